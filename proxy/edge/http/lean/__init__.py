"""The RPC listener as a protocol on the event loop: no task, timer or future for what a connection does not need."""
