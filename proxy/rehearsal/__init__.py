"""Rules tried before they count: on cases written beside them, and on the past. No clock, no disk."""
