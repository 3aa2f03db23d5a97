"""The node: what the chain says about sessions, and what became of operations that were accepted."""
