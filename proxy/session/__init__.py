"""What the chain would say: the Smart Sessions module and its policies, mirrored. No I/O, no clock."""
