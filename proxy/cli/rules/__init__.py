"""`sessiongate rules`: what ops can ask of their rules, offline and of a running gate."""
