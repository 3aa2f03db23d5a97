"""Operations handed in by each SDK with its defaults, and a wire on which is heard how often."""

from __future__ import annotations

import asyncio
import json
import re
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any
from urllib.parse import urlsplit

from proxy.userop.user_operation import UserOperation, print_user_operation
from tests.e2e.rig import HERE, node_binary
from tests.running_gate import ENTRY_POINT
from tests.stopping import stop_accepting

SDKS = ("viem http", "viem custom", "permissionless", "aa-sdk", "ethers", "abstractionkit", "userop.js", "web3.py")
NAME_A_METHOD = tuple(each for each in SDKS if each not in ("aa-sdk", "abstractionkit"))
"""Those that can be told what to ask; of the others the method is their own."""
_OPERATION = b"callData"


async def hand_in(tasks: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Each task's outcome, in order."""
    by_node = [task for task in tasks if task["client"] != "web3.py"]
    by_web3 = [task for task in tasks if task["client"] == "web3.py"]
    told, of_web3 = await asyncio.gather(_run((node_binary(), "clients/send.mjs"), by_node), _by_web3(by_web3))
    outcomes = {id(each): outcome for each, outcome in zip([*by_node, *by_web3], [*told, *of_web3], strict=True)}
    return [outcomes[id(each)] for each in tasks]


async def _by_web3(tasks: list[dict[str, Any]]) -> list[Any]:
    # a process of its own: it changes the interpreter it is imported into
    outcomes: list[Any] = await _run((sys.executable, "-W", "ignore", "clients/send_web3.py"), tasks) if tasks else []
    return outcomes


async def _run(command: tuple[str, ...], told: object) -> Any:
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*command, cwd=HERE, stdin=pipe, stdout=pipe, stderr=pipe)
    out, err = await asyncio.wait_for(process.communicate(json.dumps(told).encode()), 120)
    assert process.returncode == 0, err.decode()
    return json.loads(out)


def task(client: str, url: str, op: UserOperation, **said: object) -> dict[str, Any]:
    """What an SDK is told to hand in; `method`, `entryPoint` and `extra` fields of the operation may be said."""
    extra = said.pop("extra", {})
    assert isinstance(extra, dict)
    return {
        "client": client,
        "url": url,
        "op": {**print_user_operation(op), **extra},
        "entryPoint": ENTRY_POINT,
        **said,
    }


class Cut(IntEnum):
    """What arrives of a request that is cut short."""

    NOT_AT_ALL = 0
    HEAD = 1
    BODY = 2


@dataclass
class Wire:
    """Carries requests to a gate and what it answers back, and keeps what was asked.

    The first `cut_short` requests that hand an operation in break off in their head or body, and stay open.
    """

    gate_url: str
    cut: Cut = Cut.NOT_AT_ALL
    cut_short: int = 1
    port: int = 0
    asked: list[bytes] = field(default_factory=list)
    """The body of each request."""
    answered: bytearray = field(default_factory=bytearray)
    """Whatever came back."""

    @property
    def url(self) -> str:
        """That of the gate, at this wire's port."""
        return urlsplit(self.gate_url)._replace(netloc=f"127.0.0.1:{self.port}").geturl()

    @property
    def sends(self) -> int:
        """How many requests handed an operation in."""
        return sum(_OPERATION in body for body in self.asked)

    async def carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Carry one connection until the gate ends it, or this is cancelled."""
        parts = urlsplit(self.gate_url)
        from_gate, to_gate = await asyncio.open_connection(parts.hostname, parts.port)
        going = asyncio.create_task(self._there(reader, to_gate))
        with suppress(ConnectionError):
            while data := await from_gate.read(65_536):
                self.answered.extend(data)
                writer.write(data)
        going.cancel()
        for each in (to_gate, writer):
            each.close()
            with suppress(ConnectionError):
                await each.wait_closed()

    async def _there(self, reader: asyncio.StreamReader, to_gate: asyncio.StreamWriter) -> None:
        while True:
            try:
                head = await reader.readuntil(b"\r\n\r\n")
                length = re.search(rb"(?i)\r\ncontent-length: ([0-9]+)\r\n", head)
                body = await reader.readexactly(int(length[1]) if length else 0)
            except (asyncio.IncompleteReadError, ConnectionError):
                to_gate.close()
                return
            self.asked.append(body)
            if self.cut is Cut.NOT_AT_ALL or self.cut_short == 0 or _OPERATION not in body:
                to_gate.write(head + body)
                continue
            self.cut_short -= 1
            to_gate.write(head[:20] if self.cut is Cut.HEAD else head + body[:20])


@asynccontextmanager
async def wire_to(gate_url: str, cut: Cut = Cut.NOT_AT_ALL) -> AsyncIterator[Wire]:
    """A wire for as long as the context lasts; its connections end with their callers, who have to be gone by then."""
    wire = Wire(gate_url, cut)
    carrying: set[asyncio.Task[None]] = set()

    def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        carrying.add(asyncio.create_task(wire.carry(reader, writer)))

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    wire.port = server.sockets[0].getsockname()[1]
    try:
        yield wire
    finally:
        await stop_accepting(server)
        server.close()
        await asyncio.gather(*carrying)
