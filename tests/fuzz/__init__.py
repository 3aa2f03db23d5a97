"""Whatever reads what strangers send, fed with bytes that coverage guides: `make fuzz` for long, bounded in CI."""
