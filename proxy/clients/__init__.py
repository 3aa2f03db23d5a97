"""What a client may do here, and how much of it in a second. No I/O; who is calling is found out elsewhere."""
