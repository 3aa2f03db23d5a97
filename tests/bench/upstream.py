"""A bundler that costs as little as possible: it answers every request at once with something fixed.

    python -m tests.bench.upstream PORT HASHES.json

`HASHES.json` gives the hash to answer by the operation's nonce: the gate would complain of a bundler that names an
operation otherwise than it does. `GET` anything answers how many operations were submitted so far, the proof that
they really went all the way.
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import ClassVar, cast

import uvloop

CHAIN_ID = b'"0x79a"'
ENTRY_POINTS = b'["0x0000000071727De22E5E9d8BAf0edAc6f37da032"]'
RECEIPT = b'{"userOpHash":%s,"success":true,"logs":[],"receipt":{"blockNumber":"0x10"}}'


class Bundler(asyncio.Protocol):
    """One connection; requests may come in pieces, or several at once."""

    submitted = 0
    hashes: ClassVar[dict[bytes, bytes]] = {}

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.WriteTransport, transport)  # uvloop's own class, not a subclass
        self.buffer = b""

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        while (head := self.buffer.find(b"\r\n\r\n")) >= 0:
            end = head + 4 + _length(self.buffer[:head])
            if len(self.buffer) < end:
                return
            request, self.buffer = self.buffer[:end], self.buffer[end:]
            self.transport.write(_response(self._answer(request, request[head + 4 :])))

    def _answer(self, request: bytes, body: bytes) -> bytes:
        if request.startswith(b"GET"):
            return str(Bundler.submitted).encode()
        return b'{"jsonrpc":"2.0","id":' + _id_of(body) + b',"result":' + self._result(body) + b"}"

    def _result(self, body: bytes) -> bytes:
        match _between(body, b'"method":"', b'"'):
            case b"eth_sendUserOperation":
                Bundler.submitted += 1
                return Bundler.hashes[_between(body, b'"nonce":"', b'"')]
            case b"eth_getUserOperationReceipt":
                return RECEIPT % _between(body, b'"params":[', b"]")
            case b"eth_chainId":
                return CHAIN_ID
            case b"eth_supportedEntryPoints":
                return ENTRY_POINTS
            case _:
                return b"null"


def _length(head: bytes) -> int:
    value = _between(head.lower() + b"\r\n", b"content-length:", b"\r\n")
    return int(value) if value else 0


def _id_of(body: bytes) -> bytes:
    start = body.find(b'"id":') + 5
    end = start
    while body[end : end + 1].isdigit():
        end += 1
    return body[start:end]


def _between(text: bytes, before: bytes, after: bytes) -> bytes:
    start = text.find(before)
    if start < 0:
        return b""
    start += len(before)
    return text[start : text.find(after, start)]


def _response(body: bytes) -> bytes:
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: "
    return head + str(len(body)).encode() + b"\r\n\r\n" + body


async def serve(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(Bundler, "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    recorded = json.loads(Path(sys.argv[2]).read_text())
    Bundler.hashes = {nonce.encode(): f'"{op_hash}"'.encode() for nonce, op_hash in recorded.items()}
    uvloop.run(serve(int(sys.argv[1])))
