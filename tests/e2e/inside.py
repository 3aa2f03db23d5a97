"""A gate in this process, on a loop in a thread of its own: for what no setting of a gate can be asked to do sooner."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator, Mapping
from contextlib import AsyncExitStack, contextmanager

from proxy.app import start
from proxy.config import Config
from tests.e2e.hand_mined import HandMined
from tests.e2e.rig import CHAIN_ID

CHAIN = "local"


@contextmanager
def gate_inside(chain: HandMined, more: Mapping[str, object]) -> Iterator[str]:
    """Its URL, in front of this chain and its bundler. `more` are settings."""
    served = {"chain_id": CHAIN_ID, "bundlers": [chain.bundler], "node": chain.node, "poll_seconds": "0.1"}
    config = Config.model_validate(
        {
            "listen": "127.0.0.1:0",
            "admin_listen": "127.0.0.1:0",
            "ledger": "memory",
            "chains": {CHAIN: served},
            "audit": {"written_by": "thread"},
            **more,
        }
    )
    loop, stack = asyncio.new_event_loop(), AsyncExitStack()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    running = asyncio.run_coroutine_threadsafe(start(config, stack), loop).result()
    try:
        yield f"http://127.0.0.1:{running.rpc_port}/{CHAIN}"
    finally:
        asyncio.run_coroutine_threadsafe(stack.aclose(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
