"""A gate in a process of its own, with few descriptors, before callers who want nothing good."""

from __future__ import annotations

import asyncio
import json
import socket
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from tests.bypass_list.desk import CHAIN_ID
from tests.e2e.children import Child
from tests.edge.recording_bundler import Answer, RecordingBundler
from tests.patience import patiently
from tests.ports import free_ports

ROOT = Path(__file__).parents[2]
LONG = "0x" + "00" * 500_000
MEBIBYTE = 2**20


class Gate:
    """A running `sessiongate serve`."""

    def __init__(self, child: Child, rpc: int, admin: int) -> None:
        self.child = child
        self.rpc = rpc
        self.url = f"http://127.0.0.1:{rpc}/"
        self.health = f"http://127.0.0.1:{admin}/healthz"

    @property
    def pid(self) -> int:
        """Of the gate itself, which runs under the program that ends it with its parent."""
        children = Path(f"/proc/{self.child.process.pid}/task/{self.child.process.pid}/children").read_text().split()
        return int(children[0]) if children else self.child.process.pid

    @property
    def most_resident(self) -> int:
        """Bytes that it has had in memory at most."""
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
        raise AssertionError("the system does not tell")

    async def connect(self) -> socket.socket:
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", self.rpc))
        return sock


@pytest.fixture
async def bundler() -> AsyncIterator[RecordingBundler]:
    async with RecordingBundler(CHAIN_ID) as there:
        there.answers["eth_getUserOperationByHash"] = Answer(result=LONG)
        yield there


@pytest.fixture
async def gate(tmp_path: Path, bundler: RecordingBundler) -> AsyncIterator[Gate]:
    """It may open 256 descriptors."""
    rpc, admin = free_ports(2)
    config = tmp_path / "sessiongate.yaml"
    config.write_text(
        f"listen: 127.0.0.1:{rpc}\nadmin_listen: 127.0.0.1:{admin}\nledger: sqlite:gate.db\n"
        f"chains:\n  local:\n    chain_id: {CHAIN_ID}\n    bundlers: [{bundler.url}]\n"
        "connections:\n  max_per_peer: 10000\n"
    )
    serve = [sys.executable, "-m", "proxy.cli", "serve", "--config", str(config)]
    child = Child.start("gate", ["sh", "-c", 'ulimit -n 256; exec "$@"', "sh", *serve], tmp_path / "gate.log", cwd=ROOT)
    running = Gate(child, rpc, admin)
    try:
        for _ in patiently():
            assert child.process.poll() is None, child.tail()
            if await _is_well(running.health):
                break
            await asyncio.sleep(0.01)
        yield running
    finally:
        await asyncio.to_thread(child.stop)


async def _is_well(url: str) -> bool:
    try:
        async with aiohttp.ClientSession() as session, session.get(url) as response:
            return response.status == 200
    except aiohttp.ClientError:
        return False


async def _chain_id(session: aiohttp.ClientSession, url: str) -> object:
    body = {"jsonrpc": "2.0", "id": 1, "method": "eth_chainId", "params": []}
    async with session.post(url, json=body) as response:
        return (await response.json())["result"]


async def test_silent_connections_beyond_its_descriptors_disturb_nobody(gate: Gate) -> None:
    silent: list[socket.socket] = []
    try:
        async with aiohttp.ClientSession() as staying:
            for _ in range(8):
                silent += [await gate.connect() for _ in range(50)]
                async with aiohttp.ClientSession() as newcomer:
                    assert await _chain_id(newcomer, gate.url) == hex(CHAIN_ID)
                assert await _chain_id(staying, gate.url) == hex(CHAIN_ID)
                assert await _is_well(gate.health)
    finally:
        for sock in silent:
            sock.close()


async def test_callers_who_never_read_their_batches_take_little_memory(gate: Gate, bundler: RecordingBundler) -> None:
    item = {"jsonrpc": "2.0", "id": 1, "method": "eth_getUserOperationByHash", "params": ["0x" + "00" * 32]}
    body = json.dumps([item] * 50).encode()
    head = b"POST / HTTP/1.1\r\nHost: gate\r\nContent-Type: application/json\r\n"
    head += b"Content-Length: %d\r\n\r\n" % len(body)
    loop = asyncio.get_running_loop()
    before = gate.most_resident
    readers = [await gate.connect() for _ in range(20)]
    try:
        for sock in readers:
            await loop.sock_sendall(sock, head + body)
        for sock in readers:  # until every batch has been answered, as far as it will be
            assert await loop.sock_recv(sock, 16)
        async with aiohttp.ClientSession() as good:
            assert await _chain_id(good, gate.url) == hex(CHAIN_ID)
        # 20 times 50 answers of a megabyte are a gigabyte
        assert gate.most_resident - before < 250 * MEBIBYTE
    finally:
        for sock in readers:
            sock.close()
