"""What became of operations, told by the blocks of the chain in their order."""
