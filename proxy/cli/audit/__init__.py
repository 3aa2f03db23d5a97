"""`sessiongate audit` and what belongs to it."""
