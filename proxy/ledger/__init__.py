"""Reservations: what is held for operations in flight, so that no two of them spend the same allowance."""
