"""Strangers who ask a gate for all it has, each from an address of his own, until told to stop by a signal.

    python -m tests.attack.strangers PORT ADMIN_PORT FIRST COUNT CONNECTIONS WAY...

Address number n of the network 127.0.0.0/8 does the n-th of these ways, and the first again after the last, on so many
connections. What each has to say is printed before it is said.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import socket
import struct
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final, cast

import uvloop

from proxy.userop.user_operation import UserOperation
from tests.admission.builders import lane
from tests.bypass_list.desk import STRANGERS_KEY, a_session, single, use
from tests.cost.counter import FREE, LIMITED
from tests.cost.plain_bodies import PlainBody
from tests.cost.search import kept, kept_recipes
from tests.edge.http.test_intake import frame
from tests.edge.http.test_websocket import HANDSHAKE
from tests.running_gate import submission
from tests.session.builders import TOKEN, TRANSFER, action, sudo, transfer

_END: Final = b"\r\n\r\n"
_READ: Final = b'{"jsonrpc":"2.0","id":1,"method":"eth_gasPrice","params":[]}'
_PREFLIGHT: Final = (
    b"OPTIONS / HTTP/1.1\r\nHost: gate\r\nOrigin: https://dapp.example\r\nAccess-Control-Request-Method: POST\r\n\r\n"
)
_REST_SECONDS: Final = 0.001
_RESET: Final = struct.pack("ii", 1, 0)
_DIFFERENT: Final = 50
"""So many operations of each kind are said, one after the other, and then the first of them again."""
_CHUNKED: Final = (
    b"POST / HTTP/1.1\r\nHost: gate\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
)
_SPACES: Final = 40
_FIRST_LANE: Final = 1_000_000  # those of the good client end before


@dataclass(frozen=True)
class Way:
    """What is said over and over, after what is said first; of which of the two listeners. Each as soon as something
    has come back, or else whether or not; where nothing is said it is hung up at once.
    """

    said: list[bytes]
    first: bytes = b""
    admin: bool = False
    waits: bool = True


def _post(body: bytes, *, last: bool = False, path: str = "/") -> bytes:
    end = "Connection: close\r\n" if last else ""
    head = f"POST {path} HTTP/1.1\r\nHost: gate\r\nContent-Type: application/json\r\n"
    head += f"{end}Content-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def _heavy() -> list[bytes]:
    return [each.body() for each in kept_recipes()]


def _texts() -> list[bytes]:
    return [each.body() for _, each in kept() if isinstance(each, PlainBody)] + [b"[" + b"{}," * 100_000 + b"{}]"]


def _batches() -> list[bytes]:
    few = [body for body in _heavy() if len(body) < 8_000 and body.startswith(b"{")]
    return [b"[" + b",".join([few[at % len(few)]] * 40) + b"]" for at in range(8)]


def _printed(op: UserOperation, **options: Any) -> bytes:
    return json.dumps(submission(op, **options), separators=(",", ":")).encode()


def _badly_signed(**options: Any) -> list[bytes]:
    lanes = range(_FIRST_LANE, _FIRST_LANE + _DIFFERENT)
    ops = [use(LIMITED, single(transfer(1)), key=STRANGERS_KEY, nonce=lane(number)) for number in lanes]
    return [_printed(op, **options) for op in ops]


def _unknown() -> list[bytes]:
    grants = [a_session(action(TOKEN, TRANSFER, sudo), salt=10_000 + number) for number in range(_DIFFERENT)]
    return [_printed(use(grant, single(transfer(1)))) for grant in grants]


def _estimates() -> list[bytes]:
    lanes = range(_FIRST_LANE, _FIRST_LANE + _DIFFERENT)
    ops = [use(FREE, single(transfer(1)), nonce=lane(number)) for number in lanes]
    return [_printed(op, method="eth_estimateUserOperationGas") for op in ops]


def _get(path: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode()


WAYS: Final[dict[str, Callable[[], Way]]] = {
    "operations": lambda: Way([_post(body) for body in _heavy()]),
    "texts": lambda: Way([_post(body) for body in _texts()]),
    "reads": lambda: Way([_post(_READ)]),
    "batches": lambda: Way([_post(body) for body in _batches()]),
    "connections": lambda: Way([_post(body, last=True) for body in [*_heavy(), _READ]]),
    "pipelines": lambda: Way([_post(_READ) * 12]),
    "signatures": lambda: Way([_post(body) for body in _badly_signed()]),
    "unknown": lambda: Way([_post(body) for body in _unknown()]),
    "estimates": lambda: Way([_post(body) for body in _estimates()]),
    "websockets": lambda: Way([frame(body) for body in [_READ, *_badly_signed(), *_batches()]], first=HANDSHAKE),
    "trickles": lambda: Way([_CHUNKED, *[b"1\r\n \r\n"] * _SPACES, b"2\r\n{}\r\n0\r\n\r\n"], waits=False),
    "frames": lambda: Way(
        [frame(b"", 0x01), *[frame(b" ", 0x00)] * _SPACES, frame(b"{}", 0x80)], first=HANDSHAKE, waits=False
    ),
    "knocks": lambda: Way([]),
    "heads": lambda: Way(
        [*[_get(path) for path in ("/openrpc.json", "/nothing")], _PREFLIGHT, _post(b"{}", path="/no")]
    ),
    "trail": lambda: Way(
        [_get(f"/audit?{asked}") for asked in ("limit=10000", "limit=10000&show=entries", "limit=100", "format=csv")],
        admin=True,
    ),
    "admin": lambda: Way([_get(path) for path in ("/metrics", "/sessions", "/readyz", "/nothing")], admin=True),
}
"""The worst operations and texts that searches found; cheap questions; and whatever else costs a gate something."""


class Stranger(asyncio.Protocol):
    """One connection: says the next thing as soon as something has come back, or every millisecond."""

    def __init__(self, way: Way, said: Iterator[bytes], gone: Callable[[], None]) -> None:
        self._first = way.first
        self._waits = way.waits
        self._said = said
        self._gone = gone
        self._may_say = True

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.write(self._first or next(self._said))
        if not self._waits:
            self._say_on()

    def _say_on(self) -> None:
        if not self._transport.is_closing():
            if self._may_say:
                self._transport.write(next(self._said))
            asyncio.get_running_loop().call_later(_REST_SECONDS, self._say_on)

    def pause_writing(self) -> None:
        self._may_say = False

    def resume_writing(self) -> None:
        self._may_say = True

    def data_received(self, data: bytes) -> None:
        if self._waits and (self._first or _END in data) and not self._transport.is_closing():
            self._transport.write(next(self._said))

    def connection_lost(self, error: Exception | None) -> None:
        self._gone()


async def attack(port: int, address: str, way: Way, connections: int) -> None:
    """So many connections from one address, for ever; one that ends is opened again."""
    loop, order = asyncio.get_running_loop(), itertools.cycle(way.said)

    def words() -> Iterator[bytes]:
        """Of what does not wait for answers each connection says all in order."""
        return order if way.waits else itertools.cycle(way.said)

    async def one() -> None:
        while True:
            over = asyncio.Event()
            sock = socket.socket()
            sock.setblocking(False)
            try:
                sock.bind((address, 0))
                await loop.sock_connect(sock, ("127.0.0.1", port))
                if not way.said:
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                    sock.close()
                    continue
                await loop.create_connection(lambda over=over: Stranger(way, words(), over.set), sock=sock)  # type: ignore[misc]  # bound to this one
            except OSError:
                sock.close()
                await asyncio.sleep(0.05)  # the machine has no more of them just now
                continue
            await over.wait()
            await asyncio.sleep(0.001)

    await asyncio.gather(*(one() for _ in range(connections)))


async def _main(ports: tuple[int, int], first: int, count: int, connections: int, names: list[str]) -> None:
    ways = {name: WAYS[name]() for name in dict.fromkeys(names)}
    asked = [(f"127.0.0.{first + number}", ways[names[number % len(names)]]) for number in range(count)]
    print(json.dumps({"pid": os.getpid()}), flush=True)
    await asyncio.gather(*(attack(ports[way.admin], address, way, connections) for address, way in asked))


if __name__ == "__main__":
    _ports = int(sys.argv[1]), int(sys.argv[2])
    uvloop.run(_main(_ports, *(int(each) for each in sys.argv[3:6]), sys.argv[6:]))
