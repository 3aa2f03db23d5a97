"""A bundler and its node in one: it answers at once, mines what it took in blocks, and counts what it was asked.

    python -m tests.bench.upstream PORT KNOWN [--block-seconds S] [--age-seconds S] [--delay-seconds S]

`KNOWN` has an operation of the load a line (see `tests.bench.corpus`): its hash is prepared, because to compute it here
would cost more than to proxy it. An operation is mined in the first block that comes `age` after it was sent; one that
is parked never is. `GET /counts` tells what arrived: every hash once, what was mined, and the questions by method.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import time
from collections import Counter, deque
from pathlib import Path
from typing import Any, ClassVar, Final, cast

import orjson
import uvloop

from tests.bench.fake_chain import FakeChain, Known

SEND: Final = b"eth_sendUserOperation"
_ENTRY_POINTS: Final = b'["0x0000000071727De22E5E9d8BAf0edAc6f37da032"]'
_GAS: Final = (
    b'{"preVerificationGas":"0xbe5b","verificationGasLimit":"0x3aa56","callGasLimit":"0x5c5f",'
    b'"paymasterVerificationGasLimit":"0x0","paymasterPostOpGasLimit":"0x0"}'
)
_PRICE: Final = b'{"maxFeePerGas":"0x4f716f16","maxPriorityFeePerGas":"0x3b9aca00"}'
_FIXED: Final = {
    b"eth_chainId": b'"0x79a"',
    b"eth_supportedEntryPoints": _ENTRY_POINTS,
    b"eth_estimateUserOperationGas": _GAS,
    b"pimlico_getUserOperationGasPrice": b'{"slow":%b,"standard":%b,"fast":%b}' % (_PRICE, _PRICE, _PRICE),
    b"rundler_maxPriorityFeePerGas": b'"0x3b9aca00"',
}


_MOST_IN_BLOCK: Final = 2_500
"""Operations; what is left over is in another block at once. No chain's gas has room for as many, and the logs of some
thousands more are no answer that a gate takes."""


class World:
    """What one upstream knows: operations by nonce, what was sent, what is mined."""

    def __init__(self, known: dict[bytes, Known], age: float) -> None:
        self.known = known
        self.age = age
        self.chain = FakeChain(int(time.time()))
        self.submitted = 0
        self.sent: set[str] = set()
        self.parked = 0
        self.pending: deque[tuple[float, Known]] = deque()
        self.asked: Counter[str] = Counter()

    def take(self, nonce: bytes) -> bytes:
        operation = self.known[nonce]
        self.submitted += 1
        if operation.hash not in self.sent:
            self.sent.add(operation.hash)
            if operation.parked:
                self.parked += 1
            else:
                self.pending.append((time.monotonic(), operation))
                self.chain.prepare(operation)
        return b'"%b"' % operation.hash.encode()

    def mine(self) -> None:
        due = time.monotonic() - self.age
        ready = []
        while self.pending and self.pending[0][0] <= due:
            ready.append(self.pending.popleft()[1])
        for start in range(0, len(ready) or 1, _MOST_IN_BLOCK):
            self.chain.mine(ready[start : start + _MOST_IN_BLOCK], int(time.time()))

    def counts(self) -> bytes:
        return orjson.dumps(
            {
                "submitted": self.submitted,
                "distinct": len(self.sent),
                "mined": len(self.chain),
                "held": self.chain.mined_and_held,
                "parked": self.parked,
                "block": self.chain.blocks[-1].number,
                "asked": self.asked,
            }
        )

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        """To a question that is not one of the hot ones."""
        method, params = request["method"], request.get("params", [])
        self.asked[method] += 1
        head = {"jsonrpc": "2.0", "id": request["id"]}
        if method == "eth_getUserOperationReceipt":
            return {**head, "result": self.chain.receipt(params[0])}
        if method == "eth_getUserOperationByHash":
            found = self.chain.receipt(params[0])
            place = None if found is None else {key: found["receipt"][key] for key in ("blockNumber", "blockHash")}
            return {**head, "result": place}
        try:
            return {**head, "result": self.chain.answer(method, params)}
        except ValueError:
            return {**head, "error": {"code": 3, "message": "execution reverted", "data": "0x"}}
        except KeyError:
            return {**head, "error": {"code": -32601, "message": f"no {method} here"}}


class Connection(asyncio.Protocol):
    """One connection; requests may come in pieces, or several at once."""

    world: ClassVar[World]
    delay: ClassVar[float] = 0.0

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
            answer = _response(self._answer(request, request[head + 4 :]))
            if self.delay:
                asyncio.get_running_loop().call_later(self.delay, self.transport.write, answer)
            else:
                self.transport.write(answer)

    def _answer(self, request: bytes, body: bytes) -> bytes:
        world = self.world
        if request.startswith(b"GET"):
            return world.counts()
        method = _between(body, b'"method":"', b'"')
        if not body.startswith(b"["):
            if method == SEND:
                result = world.take(_between(body, b'"nonce":"', b'"'))
                return b'{"jsonrpc":"2.0","id":%b,"result":%b}' % (_id_of(body), result)
            if method in _FIXED and b'"params":[{"to"' not in body:
                world.asked[method.decode()] += 1
                return b'{"jsonrpc":"2.0","id":%b,"result":%b}' % (_id_of(body), _FIXED[method])
        asked = orjson.loads(body)
        return orjson.dumps([world.answer(each) for each in asked] if isinstance(asked, list) else world.answer(asked))


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


def read_known(path: Path) -> dict[bytes, Known]:
    """By nonce, as bodies have it."""
    found = {}
    with path.open("rb") as lines:
        for line in lines:
            operation = Known(**orjson.loads(line))
            found[operation.nonce.encode()] = operation
    return found


async def serve(port: int, block_seconds: float) -> None:
    await asyncio.get_running_loop().create_server(Connection, "127.0.0.1", port)
    while True:
        await asyncio.sleep(block_seconds)
        Connection.world.mine()


def main() -> None:
    parser = argparse.ArgumentParser(prog="upstream")
    parser.add_argument("port", type=int)
    parser.add_argument("known", type=Path)
    parser.add_argument("--block-seconds", type=float, default=1.0)
    parser.add_argument("--age-seconds", type=float, default=2.0)
    parser.add_argument("--delay-seconds", type=float, default=0.0)
    options = parser.parse_args()
    Connection.world = World(read_known(options.known), options.age_seconds)
    Connection.delay = options.delay_seconds
    # nothing here makes circles, and a look at all that it knows would hold up whatever is measured
    gc.freeze()
    gc.disable()
    uvloop.run(serve(options.port, options.block_seconds))


if __name__ == "__main__":
    main()
