"""A node of a chain that moves, over HTTP and WebSocket: blocks, logs and nonces agree with one another at each block.

What a session has used follows from the operations that were mined, as on chain; so a reorganisation takes it back.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

from aiohttp import WSMsgType, web

from proxy.chain import contract_abi
from proxy.chain.blocks.events import Executed, read_executed
from proxy.chain.blocks.header import Header
from proxy.chain.blocks.source import LogFilter, Transaction
from proxy.chain.logs import Log
from proxy.chain.session_logs import is_grant, session_touched
from proxy.chain.witness import GET_ENTRY_POINT_NONCE
from proxy.session.counters import Counter
from proxy.session.policies.usage_limit import UsageLimit
from proxy.session.state import SessionState
from proxy.userop.primitives import Address, Hash32, print_bytes, print_uint
from proxy.userop.session_data import SessionData
from proxy.userop.user_operation import UserOperation
from tests.admission.builders import key_of
from tests.bypass_list.desk import CHAIN_ID, V07
from tests.chain.blocks.builders import FakeChain, Ledgerless, bundle_of, executed, granted, touched
from tests.chain.builders import FakeNode
from tests.chain.on_chain import put_absent, put_session
from tests.running_gate import hash_of
from tests.session.builders import SMART_SESSION, enabled
from tests.stopping import AppRunner

FIRST = 5_000
_BLOCKS_BEFORE = 30


def a_chain(beat: int = 2) -> FakeChain:
    """Its newest block is of now, the others each of so many seconds before."""
    chain = FakeChain(FIRST, epoch=int(time.time()) - beat * (FIRST + _BLOCKS_BEFORE), beat=beat)
    chain.mine(blocks=_BLOCKS_BEFORE)
    return chain


@dataclass
class LiveNode(FakeNode):
    """`behind` hides so many of the newest blocks; `refuses` answers everything with the HTTP status `refusal`.
    `bundled`: each operation is mined by a transaction of its own, which can be looked at."""

    chain: FakeChain = field(default_factory=a_chain)
    behind: int = 0
    refuses: bool = False
    refusal: int = 502
    bundled: bool = False
    mute: bool = False  # refuses to call contracts, and tells of blocks
    sessions: dict[Hash32, SessionData] = field(default_factory=dict)
    sockets: list[web.WebSocketResponse] = field(default_factory=list)
    telling: list[asyncio.Future[None]] = field(default_factory=list)
    claims: dict[Hash32, bytes] = field(default_factory=dict)  # by operation, its session
    enabling: set[Hash32] = field(default_factory=set)  # operations that bring their session's grant along
    unseen_uses: int = 0  # of each session, that no block has
    port: int = 0
    _shown: tuple[Hash32, int] | None = None

    @property
    def url(self) -> str:
        """Where it is asked, once it has started."""
        return f"http://127.0.0.1:{self.port}/"

    @property
    def socket_url(self) -> str:
        """The same by WebSocket."""
        return f"ws://127.0.0.1:{self.port}/ws"

    async def handle(self, request: web.Request) -> web.StreamResponse:
        if self.refuses:
            return web.Response(status=self.refusal, text="not now")
        return await super().handle(request)

    async def serve(self) -> AppRunner:
        """As before, with the same answers over a WebSocket at `/ws`."""
        app = web.Application()
        app.router.add_post("/", self.handle)
        app.router.add_get("/ws", self._talk)
        runner = AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        self.port = runner.addresses[0][1]
        return runner

    # what happens on chain

    def grant(self, session: SessionData, *, by: UserOperation | None = None) -> None:
        """It is in force from the next block on."""
        self.sessions[session.permission_id] = session
        self._mine(granted(key_of(session)), *(() if by is None else (self._executed(by, success=True),)))

    def revoke(self, session: SessionData, *, by: UserOperation | None = None) -> None:
        """It is not from the next block on."""
        self._mine(touched(key_of(session)), *(() if by is None else (self._executed(by, success=True),)))

    def mine(self, *ops: UserOperation, success: bool = True) -> None:
        """A block with these operations."""
        self._mine(*(self._executed(op, success) for op in ops))

    def tell(self, *logs: Ledgerless) -> None:
        """A block with these logs."""
        self._mine(*logs)

    def enable(self, op: UserOperation, session: SessionData) -> None:
        """A block with an operation that brings the session's grant along, and its bundle to look at."""
        event = self._in_a_bundle(op, self._executed(op, success=True))
        self.claims[event.topics[1]] = session.permission_id
        self.enabling.add(event.topics[1])
        self._mine(event)

    def reorganise(self, depth: int, *ops: UserOperation) -> None:
        """The newest blocks make room for as many others, and one more; the operations are in the first of them."""
        self.chain.reorganise(depth, [self._executed(op, success=True) for op in ops])
        self._mine()

    def _mine(self, *logs: Ledgerless) -> None:
        self.chain.mine(*logs)
        head = self.chain.headers[-1]
        told = {"subscription": "0x1", "result": {"number": print_uint(head.number), "hash": print_bytes(head.hash)}}
        for socket in self.sockets:
            with suppress(ConnectionError):
                body = {"jsonrpc": "2.0", "method": "eth_subscription", "params": told}
                self.telling.append(asyncio.ensure_future(socket.send_json(body)))

    def _executed(self, op: UserOperation, success: bool) -> Ledgerless:
        event = executed_by(op, success=success)
        self.claims[event.topics[1]] = op.signature[1:33]
        return self._in_a_bundle(op, event) if self.bundled else event

    def _in_a_bundle(self, op: UserOperation, event: Ledgerless) -> Ledgerless:
        """The same, of a transaction that goes by the operation's hash."""
        self.chain.transactions[event.topics[1]] = Transaction(to=V07.address, call_data=bundle_of(op))
        return replace(event, transaction=event.topics[1])

    # what it answers

    def _answer(self, method: str, params: list[Any]) -> dict[str, object]:
        seen = self.chain.headers[: len(self.chain.headers) - self.behind]
        match method:
            case "eth_chainId":
                return {"result": print_uint(CHAIN_ID)}
            case "eth_subscribe":
                return {"result": "0x1"}
            case "eth_getBlockByNumber":
                wanted = seen[-1].number if params[0] == "latest" else int(params[0], 16)
                return {"result": next((_block(each) for each in seen if each.number == wanted), None)}
            case "eth_getLogs":
                return {"result": [_log(each) for each in self._logs(seen, params[0])]}
            case "eth_getTransactionByHash":
                return {"result": self._transaction(params[0])}
            case "eth_call" if self.mute:
                return {"error": {"code": -32000, "message": "try again later"}}
            case "eth_call":
                until = _until(params[1], seen)
                # as a node says it that has not got a block, or has it no more
                unknown: dict[str, object] = {"error": {"code": -32000, "message": "header not found"}}
                return self._call(params, until) if until else unknown
        return super()._answer(method, params)

    def _transaction(self, name: str) -> dict[str, object] | None:
        found = self.chain.transactions.get(Hash32(bytes.fromhex(name[2:])))
        if found is None or found.to is None:
            return None
        return {"hash": name, "to": print_bytes(found.to), "input": print_bytes(found.call_data)}

    def _logs(self, seen: list[Header], where: Mapping[str, Any]) -> list[Log]:
        addresses = where.get("address", [])
        topics = tuple(
            tuple(Hash32(bytes.fromhex(each[2:])) for each in some or ()) for some in where.get("topics", [])
        )
        wanted = LogFilter(addresses=tuple(Address(bytes.fromhex(each[2:])) for each in addresses), topics=topics)
        if "blockHash" in where:
            blocks = [each for each in seen if print_bytes(each.hash) == where["blockHash"]]
        else:
            first, last = int(where["fromBlock"], 16), int(where["toBlock"], 16)
            blocks = [each for each in seen if first <= each.number <= last]
        return [log for each in blocks for log in self.chain.logs[each.hash] if wanted.fits(log)]

    def _call(self, params: list[Any], blocks: list[Header]) -> dict[str, object]:
        data = bytes.fromhex(params[0]["data"][2:])
        if data[:4] == GET_ENTRY_POINT_NONCE.selector and bytes.fromhex(params[0]["to"][2:]) == V07.address:
            sender, key = contract_abi.decode(GET_ENTRY_POINT_NONCE.arguments, data[4:], "getNonce")
            used = [each.nonce for each in self._mined(blocks) if each.sender == sender and each.nonce >> 64 == key]
            return {"result": print_bytes(contract_abi.encode(("uint256",), (max(used, default=(key << 64) - 1) + 1,)))}
        shown = (blocks[-1].hash, len(self.sessions))
        if shown != self._shown:  # many questions are about one block
            self._show(blocks, self._mined(blocks))
            self._shown = shown
        return super()._answer("eth_call", params)

    def _mined(self, blocks: list[Header]) -> list[Executed]:
        events = (read_executed(log) for block in blocks for log in self.chain.logs[block.hash])
        return [event for event in events if event is not None]

    def _show(self, blocks: list[Header], mined: list[Executed]) -> None:
        """Have the sessions be as they are after these blocks."""
        in_force = {self.claims[each.user_op_hash]: True for each in mined if each.user_op_hash in self.enabling}
        for log in (log for block in blocks for log in self.chain.logs[block.hash]):
            if (key := session_touched(log, CHAIN_ID, [SMART_SESSION])) is not None:
                in_force[key.permission_id] = is_grant(log)
        for session in self.sessions.values():
            its = [each.user_op_hash for each in mined if self.claims[each.user_op_hash] == session.permission_id]
            enables = len(self.enabling.intersection(its))
            if in_force.get(session.permission_id, False):
                uses = len(its) + self.unseen_uses
                put_session(self, with_uses(enabled(session), uses), enable_nonce=enables)
            else:
                put_absent(self, key_of(session), enable_nonce=enables)

    async def _talk(self, request: web.Request) -> web.StreamResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        self.sockets.append(socket)
        async for message in socket:
            if message.type is WSMsgType.TEXT:
                body = message.json()
                several = body if isinstance(body, list) else [body]
                answers = [self._response(each) for each in several]
                await socket.send_json(answers if isinstance(body, list) else answers[0])
        self.sockets.remove(socket)
        return socket


def executed_by(op: UserOperation, *, success: bool = True) -> Ledgerless:
    """What the entry point says of an operation that was mined."""
    name = Hash32(bytes.fromhex(hash_of(op)[2:]))
    return executed(0, sender=op.sender, nonce=op.nonce, success=success, name=name, entry_point=V07)


def with_uses(state: SessionState, uses: int) -> SessionState:
    """The session when it was used so often."""
    used = {
        Counter(state.key.module, state.key.account, policy, config_id, b""): uses
        for (policy, config_id), config in state.configs.items()
        if isinstance(config, UsageLimit)
    }
    return replace(state, used=used)


def _until(block: Any, seen: list[Header]) -> list[Header]:
    """The blocks up to this one (EIP-1898); none where it is not among those that the node has."""
    if block == "latest":
        return seen
    name = bytes.fromhex(block["blockHash"][2:]) if isinstance(block, dict) else int(block, 16)
    for back, each in enumerate(reversed(seen)):
        if name in (each.hash, each.number):
            return seen[: len(seen) - back]
    return []


def _block(header: Header) -> dict[str, object]:
    return {
        "number": print_uint(header.number),
        "hash": print_bytes(header.hash),
        "parentHash": print_bytes(header.parent),
        "timestamp": print_uint(header.timestamp),
        "baseFeePerGas": print_uint(7),
        "logsBloom": print_bytes(header.bloom.to_bytes(256, "big")),
    }


def _log(log: Log) -> dict[str, object]:
    return {
        "address": print_bytes(log.address),
        "topics": [print_bytes(topic) for topic in log.topics],
        "data": print_bytes(log.data),
        "blockNumber": print_uint(log.block),
        "blockHash": print_bytes(log.block_hash),
        "transactionHash": print_bytes(log.transaction_hash),
        "logIndex": print_uint(log.log_index),
    }
