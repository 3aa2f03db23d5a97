"""The audit trail: written without holding a request up, read back, pruned."""
