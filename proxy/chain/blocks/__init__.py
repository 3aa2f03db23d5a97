"""The blocks of a chain, read in order from its node, each proven before anything rests on it."""
