"""sessiongate: a security gate for smart-account session keys, in front of an ERC-4337 bundler."""

__version__ = "0.1.0"
