"""The database file: what a restart must not forget."""
