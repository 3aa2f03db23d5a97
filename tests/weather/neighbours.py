"""Nodes and bundlers of one world, each with a weather of its own: it may hang, err, or say what is not so."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NamedTuple

from aiohttp import web

from proxy.chain import contract_abi
from proxy.chain.blocks.header import Header
from proxy.chain.logs import Log
from proxy.chain.witness import GET_ENTRY_POINT_NONCE
from proxy.userop.primitives import Hash32, parse_hash, print_bytes, print_uint
from proxy.userop.user_operation import UserOperation, parse_user_operation
from tests.app.live_node import LiveNode, with_uses
from tests.bypass_list.desk import CHAIN_ID, V07, reading
from tests.chain.builders import FakeNode
from tests.chain.on_chain import put_absent, put_session
from tests.chaos.world import LOST
from tests.edge.recording_bundler import Answer, Recorded, RecordingBundler
from tests.running_gate import ESTIMATE, GAS, RECEIPT, SEND
from tests.weather.world import World

_SEQUENCE = (1 << 64) - 1
_SOON_SECONDS = 10.0
"""Within which it mines what others wait for."""


class NodeWeather(StrEnum):
    """What is wrong with a node."""

    FAIR = "fair"
    HANGING = "hanging"
    ERRING = "erring"
    EMPTY = "empty"  # `[]` for every question about logs
    OLD = "old"  # its newest block stands still
    BEHIND = "behind"  # three blocks
    OTHER_CHAIN = "other chain"
    MISNAMED = "misnamed"  # a block asked for by its number is another one
    NO_BLOCKS = "no blocks"
    OTHER_STATE = "other state"  # views are answered as of the newest block, whichever was asked about


class BundlerWeather(StrEnum):
    """What is wrong with a bundler."""

    FAIR = "fair"
    HANGING = "hanging"
    ERRING = "erring"  # takes nothing, and does not say so
    LOSING = "losing"  # takes it, and does not say so
    KNOWING = "knowing"  # says of whatever it takes that it has it already
    REFUSING = "refusing"
    HANGING_IN_SENDS = "hanging in sends"
    FORGETFUL = "forgetful"  # knows of no receipt


class Shown(NamedTuple):
    """How a session stood when a node was asked last."""

    in_force: bool
    used: int
    enable_nonce: int


@dataclass
class Node(LiveNode):
    """`named` in what is told of it."""

    world: World = field(kw_only=True)
    named: str = field(kw_only=True)
    weather: NodeWeather = NodeWeather.FAIR
    stood_at: int = 0
    shown: dict[Hash32, Shown] = field(default_factory=dict)

    def be(self, weather: NodeWeather) -> None:
        self.weather, self.stood_at = weather, len(self.chain.headers)
        self.refuses = weather is NodeWeather.ERRING
        self.behind = 3 if weather is NodeWeather.BEHIND else 0

    async def handle(self, request: web.Request) -> web.StreamResponse:
        while self.weather is NodeWeather.HANGING:  # noqa: ASYNC110  # nobody is told of the weather
            await asyncio.sleep(0.2)
        self.asked.clear()
        self.sizes.clear()
        return await super().handle(request)

    def _answer(self, method: str, params: list[Any]) -> dict[str, object]:
        if self.weather is NodeWeather.OLD:
            self.behind = len(self.chain.headers) - self.stood_at
        match method, self.weather:
            case "eth_chainId", NodeWeather.OTHER_CHAIN:
                return {"result": print_uint(CHAIN_ID + 1)}
            case "eth_getBlockByNumber", NodeWeather.NO_BLOCKS if params[0] != "latest":
                return {"result": None}
            case "eth_getBlockByNumber", NodeWeather.MISNAMED if params[0] != "latest":
                return super()._answer(method, [print_uint(max(int(params[0], 16) - 1, self.chain.first)), *params[1:]])
            case "eth_call", NodeWeather.OTHER_STATE:
                return super()._answer(method, [params[0], "latest"])
        return super()._answer(method, params)

    def _logs(self, seen: list[Header], where: Any) -> list[Log]:
        return [] if self.weather is NodeWeather.EMPTY else super()._logs(seen, where)

    def _call(self, params: list[Any], blocks: list[Header]) -> dict[str, object]:
        data, at = bytes.fromhex(params[0]["data"][2:]), blocks[-1].number
        if data[:4] == GET_ENTRY_POINT_NONCE.selector and bytes.fromhex(params[0]["to"][2:]) == V07.address:
            _, key = contract_abi.decode(GET_ENTRY_POINT_NONCE.arguments, data[4:], "getNonce")
            nonce = (key << 64) + self.world.next_nonce(key, at)
            return {"result": print_bytes(contract_abi.encode(("uint256",), (nonce,)))}
        world = self.world
        if (session := world.named_in(data)) is not None:
            shown = Shown(world.is_in_force(session, at), world.used(session, at), world.enable_nonce(session, at))
            if self.shown.get(session) != shown:
                self.shown[session] = shown
                state = world.states[session]
                if shown.in_force:
                    put_session(self, with_uses(state, shown.used), enable_nonce=shown.enable_nonce)
                else:
                    put_absent(self, state.key, enable_nonce=shown.enable_nonce)
        return FakeNode._answer(self, "eth_call", params)

    def _transaction(self, name: str) -> dict[str, object] | None:
        found = self.world.transaction(parse_hash(name, "hash"))
        if found is None or found.to is None:
            return None
        return {"hash": name, "to": print_bytes(found.to), "input": print_bytes(found.call_data)}


@dataclass
class Bundler(RecordingBundler):
    """What it takes is mined within `longest` seconds of that."""

    world: World = field(kw_only=True)
    named: str = field(kw_only=True)
    longest: float = 150.0
    weather: BundlerWeather = BundlerWeather.FAIR

    def __post_init__(self) -> None:
        super().__post_init__()
        self.answers |= {SEND: self._submit, ESTIMATE: Answer(result=GAS), RECEIPT: self._receipt}

    def be(self, weather: BundlerWeather) -> None:
        self.weather = weather
        self.requests.clear()

    async def _answer(self, recorded: Recorded) -> Answer:
        while self._hangs(recorded.method):  # noqa: ASYNC110  # as above
            await asyncio.sleep(0.2)
        if self.weather is BundlerWeather.ERRING:
            return self.world.random.choice(LOST)
        return await super()._answer(recorded)

    def _hangs(self, method: str) -> bool:
        sends_only = self.weather is BundlerWeather.HANGING_IN_SENDS and method == SEND
        return sends_only or self.weather is BundlerWeather.HANGING

    async def _submit(self, recorded: Recorded) -> Answer:
        op = parse_user_operation(recorded.params[0], V07.version)
        operation = reading(op)
        session = None if operation.claim is None else operation.claim.envelope.permission_id
        name, world = operation.user_op_hash, self.world
        if name not in world.operations and (wrong := self._wrong_with(op, name, session)) is not None:
            return Answer(error={"code": -32500, "message": wrong})
        longest = self.longest if name not in world.acts else min(self.longest, _SOON_SECONDS)
        due = time.monotonic() + world.random.uniform(0.0, longest)
        world.take(self.named, name, op, session, due)
        match self.weather:
            case BundlerWeather.LOSING:
                return world.random.choice(LOST)
            case BundlerWeather.KNOWING:
                return Answer(error={"code": -32602, "message": "already known"})
        return Answer(result=print_bytes(name))

    def _wrong_with(self, op: UserOperation, name: Hash32, session: Hash32 | None) -> str | None:
        """What it finds when it tries the operation at the newest block."""
        world, act = self.world, self.world.acts.get(name)
        if self.weather is BundlerWeather.REFUSING:
            return "AA10 a bundler's whim"
        if op.nonce & _SEQUENCE < world.next_nonce(op.nonce >> 64, world.head):
            return "AA25 invalid account nonce"
        enables = act is not None and act.enables
        if world.is_enabled_by_another(act, world.head):
            return "AA23 reverted"
        if session is not None and not enables and not world.is_in_force(session, world.head):
            return "AA23 reverted"
        return None

    async def _receipt(self, recorded: Recorded) -> Answer:
        found = self.world.operations.get(parse_hash(recorded.params[0], "hash"))
        if self.weather is BundlerWeather.FORGETFUL or found is None or found.header is None:
            return Answer(result=None)
        block = {"blockNumber": print_uint(found.header.number), "blockHash": print_bytes(found.header.hash)}
        block["transactionHash"] = recorded.params[0]  # see `World.transaction`
        return Answer(result={"userOpHash": recorded.params[0], "success": True, "receipt": block})
