"""The floor, as a program: the least that a Python proxy can do. A yardstick, not a server: no limits, no faults.

    python -m tests.bench.lean PORT UPSTREAM_PORT parse | recover

uvloop, httptools and orjson on both sides. `parse` reads every body, prints it again under an id of its own and gives
the answer the caller's id back; `recover` finds the signer of one ECDSA signature besides.
"""

from __future__ import annotations

import asyncio
import sys
from collections import deque
from typing import Any, cast

import httptools
import orjson
import uvloop
from coincurve import PublicKey
from eth_hash.auto import keccak

_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b"
_REQUEST = b"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b"
_SIGNATURE_AT = 68  # of its hexadecimal text: prefix, mode and permission id come first


class Onward(asyncio.Protocol):
    """A connection to the upstream, which serves one caller at a time."""

    def __init__(self, proxy: Proxy) -> None:
        self.proxy = proxy
        self.caller: tuple[Caller, Any] | None = None
        self.body = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.WriteTransport, transport)
        self.parser = httptools.HttpResponseParser(self)

    def data_received(self, data: bytes) -> None:
        self.parser.feed_data(data)

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        assert self.caller is not None
        (caller, its_id), body = self.caller, self.body
        self.caller, self.body = None, b""
        self.parser = httptools.HttpResponseParser(self)
        self.proxy.idle.append(self)
        caller.answer(body, its_id)

    def connection_lost(self, _fault: Exception | None) -> None:
        if self in self.proxy.idle:
            self.proxy.idle.remove(self)

    def send(self, body: bytes, caller: tuple[Caller, Any]) -> None:
        self.caller = caller
        self.transport.write(_REQUEST % (len(body), body))


class Caller(asyncio.Protocol):
    """A caller's connection."""

    def __init__(self, proxy: Proxy) -> None:
        self.proxy = proxy
        self.body = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.WriteTransport, transport)
        self.parser = httptools.HttpRequestParser(self)

    def data_received(self, data: bytes) -> None:
        self.parser.feed_data(data)

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        body, self.body = self.body, b""
        if not body:
            self.transport.write(_ANSWER % (0, b""))
            return
        self.proxy.pass_on(body, self)

    def answer(self, body: bytes, its_id: object) -> None:
        if self.transport.is_closing():
            return
        reply = orjson.loads(body)
        reply["id"] = its_id
        printed = orjson.dumps(reply)
        self.transport.write(_ANSWER % (len(printed), printed))


class Proxy:
    """What all connections share."""

    def __init__(self, upstream: int, *, recovers: bool) -> None:
        self.upstream = upstream
        self.recovers = recovers
        self.idle: deque[Onward] = deque()
        self.ids = 0
        self.connecting: set[asyncio.Task[None]] = set()

    def pass_on(self, body: bytes, caller: Caller) -> None:
        request = orjson.loads(body)
        its_id = request["id"]
        self.ids += 1
        request["id"] = self.ids
        if self.recovers and request["method"] == "eth_sendUserOperation":
            recover(body, request["params"][0]["signature"])
        printed = orjson.dumps(request)
        if self.idle:
            self.idle.pop().send(printed, (caller, its_id))
            return
        task = asyncio.ensure_future(self.connect(printed, (caller, its_id)))
        self.connecting.add(task)
        task.add_done_callback(self.connecting.discard)

    async def connect(self, body: bytes, caller: tuple[Caller, Any]) -> None:
        _, onward = await asyncio.get_running_loop().create_connection(lambda: Onward(self), "127.0.0.1", self.upstream)
        onward.send(body, caller)


def recover(body: bytes, signature: str) -> bytes | None:
    """The signer's address, over a digest of the body: what the real digest costs beside it is the judging's."""
    raw = bytes.fromhex(signature[_SIGNATURE_AT : _SIGNATURE_AT + 130])
    if len(raw) != 65 or raw[64] not in (27, 28):
        return None
    digest = keccak(b"\x19Ethereum Signed Message:\n32" + keccak(body))
    try:
        key = PublicKey.from_signature_and_message(raw[:64] + bytes([raw[64] - 27]), digest, hasher=None)
    except Exception:  # a signature over something else may be that of no key
        return None
    return keccak(key.format(compressed=False)[1:])[12:]


async def main(port: int, upstream: int, mode: str) -> None:
    proxy = Proxy(upstream, recovers=mode == "recover")
    server = await asyncio.get_running_loop().create_server(lambda: Caller(proxy), "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]))
