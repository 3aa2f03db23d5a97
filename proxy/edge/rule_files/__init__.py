"""Rules from disk: read, watched, swapped whole."""
