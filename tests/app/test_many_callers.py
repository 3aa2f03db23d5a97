"""A gate in a process of its own, with few descriptors, before callers who want nothing good."""

from __future__ import annotations

import asyncio
import json
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import aiohttp
import pytest

from tests.bypass_list.desk import CHAIN_ID
from tests.e2e.children import Child
from tests.edge.http.test_intake import frame
from tests.edge.http.test_websocket import HANDSHAKE
from tests.edge.recording_bundler import Answer, Recorded, RecordingBundler
from tests.patience import patiently
from tests.ports import free_ports

ROOT = Path(__file__).parents[2]
LONG = "0x" + "00" * 500_000
MEBIBYTE = 2**20
ASKING = {"jsonrpc": "2.0", "id": 1, "method": "eth_getUserOperationByHash", "params": ["0x" + "00" * 32]}
FLOOD = frame(json.dumps(ASKING).encode().ljust(400_000)) * 4
NAMED = b"connections.max_waiting_bytes"
BYTES_ACKED = 120
"""Where `tcpi_bytes_acked` stands in Linux's `tcp_info`."""


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


@asynccontextmanager
async def serving(folder: Path, bundler: RecordingBundler, descriptors: int, bounds: str = "") -> AsyncIterator[Gate]:
    rpc, admin = free_ports(2)
    config = folder / "sessiongate.yaml"
    config.write_text(
        f"listen: 127.0.0.1:{rpc}\nadmin_listen: 127.0.0.1:{admin}\nledger: sqlite:gate.db\n"
        f"chains:\n  local:\n    chain_id: {CHAIN_ID}\n    bundlers: [{bundler.url}]\n"
        f"connections:\n  max_per_peer: 10000\n{bounds}"
    )
    serve = [sys.executable, "-m", "proxy.cli", "serve", "--config", str(config)]
    within = ["sh", "-c", f'ulimit -n {descriptors}; exec "$@"', "sh"]
    child = Child.start("gate", [*within, *serve], folder / "gate.log", cwd=ROOT)
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


@pytest.fixture
async def gate(tmp_path: Path, bundler: RecordingBundler) -> AsyncIterator[Gate]:
    """It may open 256 descriptors."""
    async with serving(tmp_path, bundler, 256) as running:
        yield running


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
    body = json.dumps([ASKING] * 50).encode()
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


class Flooder:
    """A WebSocket that sends long messages for as long as anything is taken, and listens."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self.told = b""
        self.tasks = [asyncio.create_task(self._send()), asyncio.create_task(self._listen())]

    async def _send(self) -> None:
        with suppress(OSError):
            while True:
                await asyncio.get_running_loop().sock_sendall(self._sock, FLOOD)

    async def _listen(self) -> None:
        with suppress(OSError):
            while piece := await asyncio.get_running_loop().sock_recv(self._sock, 4096):
                self.told += piece

    @property
    def is_in(self) -> bool:
        """Whether it was not told to go."""
        return not self.tasks[1].done() and NAMED not in self.told

    def acknowledged(self) -> int:
        """Bytes that the gate's system has taken for it."""
        told = self._sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 192)
        return int.from_bytes(told[BYTES_ACKED : BYTES_ACKED + 8], sys.byteorder)

    def close(self) -> None:
        self._sock.close()

    @property
    def address(self) -> str:
        """As the system prints it."""
        return f"0100007F:{self._sock.getsockname()[1]:04X}"


def unread(gate: Gate) -> dict[str, int]:
    """Bytes of each caller that are with the gate's system, and that the gate has not read."""
    here = f"0100007F:{gate.rpc:04X}"
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return {row[2]: int(row[4].partition(":")[2], 16) for row in rows if row[1] == here}


async def test_a_flood_of_websockets_hands_over_no_more_than_may_wait_and_others_are_served(
    tmp_path: Path, bundler: RecordingBundler
) -> None:
    most = 4 * MEBIBYTE
    decided = asyncio.Event()

    async def think(_: Recorded) -> Answer:
        await decided.wait()
        return Answer(result=None)

    bundler.answers["eth_getUserOperationByHash"] = think
    async with serving(tmp_path, bundler, 1024, f"  max_waiting_bytes: {most}\n") as gate:
        before = gate.most_resident
        async with aiohttp.ClientSession() as http, http.ws_connect(f"ws://127.0.0.1:{gate.rpc}/") as good:
            flooders = []
            for _ in range(60):
                sock = await gate.connect()
                await asyncio.get_running_loop().sock_sendall(sock, HANDSHAKE.replace(b"/soneium", b"/"))
                flooders.append(Flooder(sock))
            last: list[int] = []
            for _ in patiently():
                await good.send_str('{"jsonrpc":"2.0","id":1,"method":"eth_chainId","params":[]}')
                assert (await good.receive_json())["result"] == hex(CHAIN_ID)
                # of two looks the later is at what is unread: what the gate reads in between counts as not read
                acknowledged = {each.address: each.acknowledged() for each in flooders if each.is_in}
                left = unread(gate)
                taken = [size - left[port] for port, size in acknowledged.items() if port in left]
                if taken == last and len(taken) < 60 and sum(taken) <= most + 60 * len(HANDSHAKE):
                    break
                last = taken
                await asyncio.sleep(0.01)
            assert sum(taken) <= most + 60 * len(HANDSHAKE)
            assert len(taken) >= 2, "the rest of them keep their places"
            assert any(NAMED in each.told for each in flooders)
            assert await _chain_id(http, gate.url) == hex(CHAIN_ID)
            assert gate.most_resident - before < 80 * MEBIBYTE
            decided.set()
            for each in flooders:
                for task in each.tasks:
                    task.cancel()
                await asyncio.gather(*each.tasks, return_exceptions=True)
                each.close()
