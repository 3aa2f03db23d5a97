"""Strangers from several addresses at once, and a good client beside them."""
