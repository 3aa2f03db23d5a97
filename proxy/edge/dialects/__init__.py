"""What SDKs and bundlers call the same thing, translated."""
