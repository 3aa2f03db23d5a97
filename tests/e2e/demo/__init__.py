"""The demo: a chain, a bundler and the gate on this machine, and a session's story told through them."""
