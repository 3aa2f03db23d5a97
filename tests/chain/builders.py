"""A node made of a table, and the pieces a tracker needs, in few words."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

from aiohttp import web

from proxy.chain import contract_abi
from proxy.chain.settlement.outcome import Outcome
from proxy.chain.settlement.slices import BlockName
from proxy.chain.views import View
from proxy.errors import StateUnavailable
from proxy.ledger.operations import AcceptedOperation, Ended, Stage
from proxy.ledger.reservation import NonceSlot, Reservation
from proxy.session.changes import Changes, SessionChange
from proxy.session.counters import Charge, HoldName, SessionKey
from proxy.userop.primitives import Address, Hash32, print_bytes, print_uint
from tests.stopping import TestServer

Answer = bytes | BaseException | Mapping[str, object]
"""Return data, an error to answer with, or a whole JSON-RPC error object."""


@dataclass(frozen=True)
class Reverts(Exception):
    """The contract reverts with this data."""

    data: bytes = b""


@dataclass
class FakeNode:
    """Answers `eth_call` by (address, call data), and the rest as set; what it was asked is in `asked`."""

    chain_id: int = 1868
    block: int = 100
    timestamp: int = 1_700_000_000
    base_fee: int | None = 7
    calls: dict[tuple[bytes, bytes], Answer] = field(default_factory=dict)
    codes: dict[bytes, bytes] = field(default_factory=dict)
    asked: list[tuple[str, list[Any]]] = field(default_factory=list)
    batches: bool = True  # whether it takes any; it answers them in another order
    refused: int = 0  # batches
    hangs: bool = False
    sizes: list[int] = field(default_factory=list)  # how many questions came together
    reply: Callable[[dict[str, Any]], web.StreamResponse | None] = lambda _: None

    def view(self, at: Address, view: View, *arguments: object, returns: tuple[object, ...] | Answer) -> None:
        """Let `view` at an address return values, bytes or an error."""
        data = contract_abi.encode(view.results, returns) if isinstance(returns, tuple) else returns
        self.calls[at, view.call_data(*arguments)] = data

    async def handle(self, request: web.Request) -> web.StreamResponse:
        if self.hangs:
            await asyncio.Event().wait()
        body = json.loads(await request.read())
        if isinstance(body, list) and not self.batches:
            self.refused += 1
            return web.json_response({"jsonrpc": "2.0", "id": None, "error": {"code": -32600, "message": "no batches"}})
        for each in body if isinstance(body, list) else [body]:
            self.asked.append((each["method"], each["params"]))
        if isinstance(body, list):
            self.sizes.append(len(body))
            return web.json_response([self._in_batch(each) for each in reversed(body)])
        self.sizes.append(1)
        if (special := self.reply(body)) is not None:
            return special
        return web.json_response(self._response(body))

    def answered(self, method: str, params: list[Any]) -> dict[str, object]:
        """A whole response to one question."""
        return self._response({"id": 1, "method": method, "params": params})

    def _in_batch(self, body: dict[str, Any]) -> object:
        special = self.reply(body)
        return self._response(body) if special is None else json.loads(cast(web.Response, special).text or "")

    def _response(self, body: dict[str, Any]) -> dict[str, object]:
        return {"jsonrpc": "2.0", "id": body["id"], **self._answer(body["method"], body["params"])}

    def _answer(self, method: str, params: list[Any]) -> dict[str, object]:
        if method == "eth_chainId":
            return {"result": print_uint(self.chain_id)}
        if method == "eth_getBlockByNumber":
            number = self.block if params[0] == "latest" else int(params[0], 16)
            if number > self.block:
                return {"result": None}
            block = {"number": print_uint(number), "hash": print_bytes(hash_of_block(number))}
            block["parentHash"] = print_bytes(hash_of_block(max(number - 1, 0)))
            block["timestamp"] = print_uint(self.timestamp)
            return {"result": block if self.base_fee is None else {**block, "baseFeePerGas": print_uint(self.base_fee)}}
        if method == "eth_getCode":
            return {"result": print_bytes(self.codes.get(bytes.fromhex(params[0][2:]), b""))}
        if method == "eth_getLogs":
            return {"result": []}
        to, data = (bytes.fromhex(params[0][name][2:]) for name in ("to", "data"))
        answer = self.calls.get((to, data), b"")
        if isinstance(answer, Reverts):
            return {"error": {"code": 3, "message": "execution reverted", "data": print_bytes(answer.data)}}
        return {"result": print_bytes(answer)} if isinstance(answer, bytes) else {"error": answer}

    async def start(self) -> TestServer:
        """Serve on a free port of the loopback address; the caller closes it."""
        app = web.Application()
        app.router.add_post("/", self.handle)
        server = TestServer(app, host="127.0.0.1")
        await server.start_server()
        return server

    def calls_asked(self) -> list[list[Any]]:
        """The parameters of each `eth_call`."""
        return [params for method, params in self.asked if method == "eth_call"]


@dataclass
class UpTo:
    """How far blocks were followed."""

    cursor: BlockName | None = None
    restored_at: int = 0
    shown: tuple[BlockName, ...] = ()
    read: dict[SessionKey, BlockName] = field(default_factory=dict)

    def was_read(self, key: SessionKey, block: BlockName) -> None:
        self.read[key] = block

    def shown_beyond(self, _key: SessionKey) -> tuple[BlockName, ...]:
        return self.shown

    def hash_at(self, number: int) -> Hash32 | None:
        return self.cursor.hash if self.cursor is not None and self.cursor.number == number else None


def hash_of_block(number: int) -> Hash32:
    """What `FakeNode` has for one."""
    return Hash32(number.to_bytes(32, "big"))


@dataclass
class Clock:
    """Unix seconds that move when told."""

    now: float = 1_000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Shelf:
    """Keeps outcomes in a list; refuses while `broken`. `ended` is set once an operation has ended."""

    kept: list[Outcome] = field(default_factory=list)
    broken: bool = False
    unreadable: bool = False
    ended: asyncio.Event = field(default_factory=asyncio.Event)

    async def keep(self, outcome: Outcome) -> None:
        if self.broken:
            raise StateUnavailable("the store could not be written")
        self.kept.append(outcome)
        if outcome.ended:
            self.ended.set()

    def begin_now(self, operation: AcceptedOperation) -> bool:
        """Never at once: who keeps by this waits for it."""
        return False

    def advance(self, name: HoldName, stage: Stage) -> None:
        self.note(Outcome(stages=((name, stage),)))

    def note(self, outcome: Outcome) -> None:
        if not self.broken:
            self.kept.append(outcome)

    async def recall(self, names: Collection[HoldName]) -> tuple[Ended, ...]:
        """What was remembered last under each name."""
        if self.unreadable:
            raise StateUnavailable("the store could not be read")
        found: dict[HoldName, Ended] = {}
        for outcome in self.kept:
            found |= {ended.name: ended for ended in outcome.remembered}
            for flight in outcome.revived:
                found.pop(flight.operation.name, None)
        return tuple(found[name] for name in names if name in found)


@dataclass
class Bundler:
    """Receipts by hash; an exception is raised, a missing one is `None`. It answers nothing before `hangs` is set."""

    receipts: dict[bytes, Any] = field(default_factory=dict)
    asked: list[bytes] = field(default_factory=list)
    hangs: asyncio.Event | None = None

    async def receipt(self, user_op_hash: Hash32) -> Mapping[str, object] | None:
        self.asked.append(user_op_hash)
        if self.hangs is not None:
            await self.hangs.wait()
        answer = self.receipts.get(user_op_hash)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def mine(
        self, user_op_hash: Hash32, *, success: bool = True, block: int = 200, block_hash: Hash32 | None = None
    ) -> dict[str, object]:
        """Give the operation a receipt."""
        receipt = a_receipt(user_op_hash, success=success, block=block, block_hash=block_hash)
        self.receipts[user_op_hash] = receipt
        return receipt


def a_receipt(
    user_op_hash: Hash32, *, success: bool = True, block: int = 200, block_hash: Hash32 | None = None
) -> dict[str, object]:
    """The parts of a receipt that matter here."""
    bundle = {"blockNumber": print_uint(block)}
    if block_hash is not None:
        bundle["blockHash"] = print_bytes(block_hash)
    return {"userOpHash": print_bytes(user_op_hash), "success": success, "receipt": bundle}


def accepted(
    number: int,
    key: SessionKey,
    *charges: Charge,
    on_success: tuple[SessionChange, ...] = (),
    at_validation: tuple[SessionChange, ...] = (),
    nonce: int | None = None,
    valid_until: int | None = None,
    at: float = 1_000.0,
) -> AcceptedOperation:
    """Operation `number` of a session, accepted by the bundler; its nonce is its number unless said otherwise."""
    user_op_hash = Hash32(number.to_bytes(32, "big"))
    entry_point = Address(b"\xee" * 20)
    slot = NonceSlot(key.chain_id, entry_point, key.account, number if nonce is None else nonce)
    operation = AcceptedOperation(
        reservation=Reservation(
            user_op_hash=user_op_hash, slot=slot, session=key, charges=charges, valid_until=valid_until
        ),
        changes=Changes(
            user_op_hash=user_op_hash,
            chain_id=key.chain_id,
            account=key.account,
            at_validation=at_validation,
            on_success=on_success,
        ),
        accepted_at=at,
    )
    return operation.with_its_grant()
