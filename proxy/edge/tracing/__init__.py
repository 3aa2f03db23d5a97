"""Traces of requests, for who wants them: nothing here is imported by a gate that is not told where to send them."""
