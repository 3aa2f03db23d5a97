"""Servers of tests stop without a connection left open, whenever it came."""

from __future__ import annotations

import asyncio
import gc
import socket
import warnings

import pytest

from tests.edge.recording_bundler import RecordingBundler
from tests.patience import PATIENCE_SECONDS


@pytest.mark.parametrize("turns", range(6))
def test_a_connection_that_comes_while_a_bundler_stops_is_closed(turns: int) -> None:
    async def live() -> None:
        async with RecordingBundler() as bundler:
            client = socket.create_connection(("127.0.0.1", bundler.port))
            client.setblocking(False)
            for _ in range(turns):  # until it has come so far
                await asyncio.sleep(0)
        with client:
            try:
                async with asyncio.timeout(PATIENCE_SECONDS):
                    assert await asyncio.get_running_loop().sock_recv(client, 1) == b""
            except ConnectionResetError:
                pass  # nobody had accepted it

    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always", ResourceWarning)
        asyncio.run(live())
        gc.collect()
    assert [str(each.message) for each in told] == []
