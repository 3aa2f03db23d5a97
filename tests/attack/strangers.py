"""Strangers who ask a gate for all it has, each from an address of his own, until told to stop by a signal.

    python -m tests.attack.strangers PORT FIRST COUNT CONNECTIONS

Address number n of the network 127.0.0.0/8 does what `WAYS[n % len(WAYS)]` says, on so many connections.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import socket
import sys
from collections.abc import Callable, Iterator
from typing import Final, cast

import uvloop

from tests.cost.plain_bodies import PlainBody
from tests.cost.search import kept, kept_recipes

_END: Final = b"\r\n\r\n"
_READ: Final = b'{"jsonrpc":"2.0","id":1,"method":"eth_gasPrice","params":[]}'


def _post(body: bytes, *, last: bool = False) -> bytes:
    end = "Connection: close\r\n" if last else ""
    head = (
        f"POST / HTTP/1.1\r\nHost: gate\r\nContent-Type: application/json\r\n{end}Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def _heavy() -> list[bytes]:
    return [each.body() for each in kept_recipes()]


def _texts() -> list[bytes]:
    return [each.body() for _, each in kept() if isinstance(each, PlainBody)] + [b"[" + b"{}," * 100_000 + b"{}]"]


def _batches() -> list[bytes]:
    few = [body for body in _heavy() if len(body) < 8_000 and body.startswith(b"{")]
    return [b"[" + b",".join([few[at % len(few)]] * 40) + b"]" for at in range(8)]


WAYS: Final[dict[str, Callable[[], list[bytes]]]] = {
    "worst operations": lambda: [_post(body) for body in _heavy()],
    "worst texts": lambda: [_post(body) for body in _texts()],
    "reads": lambda: [_post(_READ)],
    "batches": lambda: [_post(body) for body in _batches()],
    "a connection each": lambda: [_post(body, last=True) for body in [*_heavy(), _READ]],
    "reads by the dozen": lambda: [_post(_READ) * 12],
}


class Stranger(asyncio.Protocol):
    """One connection: says the next thing as soon as something has come back."""

    def __init__(self, said: Iterator[bytes], gone: Callable[[], None]) -> None:
        self._said = said
        self._gone = gone

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.write(next(self._said))

    def data_received(self, data: bytes) -> None:
        if _END in data and not self._transport.is_closing():
            self._transport.write(next(self._said))

    def connection_lost(self, error: Exception | None) -> None:
        self._gone()


async def attack(port: int, address: str, said: list[bytes], connections: int) -> None:
    """So many connections from one address, for ever; one that ends is opened again."""
    loop, order = asyncio.get_running_loop(), itertools.cycle(said)

    async def one() -> None:
        while True:
            over = asyncio.Event()
            sock = socket.socket()
            sock.setblocking(False)
            try:
                sock.bind((address, 0))
                await loop.sock_connect(sock, ("127.0.0.1", port))
                await loop.create_connection(lambda over=over: Stranger(order, over.set), sock=sock)  # type: ignore[misc]  # bound to this one
            except OSError:
                sock.close()
                await asyncio.sleep(0.05)  # the machine has no more of them just now
                continue
            await over.wait()
            await asyncio.sleep(0.001)

    await asyncio.gather(*(one() for _ in range(connections)))


async def _main(port: int, first: int, count: int, connections: int) -> None:
    ways = list(WAYS.values())
    asked = {}
    for number in range(first, first + count):
        asked[f"127.0.0.{number}"] = ways[number % len(ways)]()
    print(json.dumps({"pid": os.getpid()}), flush=True)
    await asyncio.gather(*(attack(port, address, said, connections) for address, said in asked.items()))


if __name__ == "__main__":
    uvloop.run(_main(*(int(each) for each in sys.argv[1:5])))
