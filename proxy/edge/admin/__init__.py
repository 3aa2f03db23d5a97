"""The admin listener, apart from the RPC: metrics, health, sessions, freezes, the audit trail."""
