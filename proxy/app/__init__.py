"""The gate put together: every part built once and wired. The only room that knows all others."""

from __future__ import annotations

from proxy.app.running import Running, explain_once, serve, start

__all__ = ["Running", "explain_once", "serve", "start"]
