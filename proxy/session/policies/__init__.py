"""The on-chain policies of a session, one file per contract."""
