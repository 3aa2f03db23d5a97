"""Who asks the gate, how long each waited, and what came of it."""

from __future__ import annotations

import asyncio
import os
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from typing import Any

import aiohttp

from proxy.errors import Code
from proxy.userop.primitives import Hash32, print_bytes, print_checksummed
from proxy.userop.session_data import SessionData
from proxy.userop.user_operation import UserOperation, print_user_operation
from tests.admission.builders import lane
from tests.bypass_list.desk import V07, reading, session_signature, single, use
from tests.chaos.gates import GateProcess
from tests.patience import patiently
from tests.session.builders import ACCOUNT, transfer
from tests.weather.machine import Machine, waited_for_a_processor
from tests.weather.world import PAST, World

ANSWER_SECONDS = 30.0
"""The longest that anybody may wait beside what the machine makes him wait: twice what the settings allow."""
AT_ONCE = 4
"""Sessions that are used at a time, each until it is refused for a while."""
PARKED_A_SESSION = 40
"""Operations of one session that wait for a nonce; as many are sent to let them go."""
GRACE_SECONDS = 15.0
"""After which a gate is to have found the neighbour that is well."""
NODE_SECONDS = 5.0
"""A gate's own patience with a node. A machine that has let gate and clients wait for a processor for as long, since
that grace began, may have made an answer late which they would have had in time."""
SEND, ESTIMATE = "eth_sendUserOperation", "eth_estimateUserOperationGas"
LATER = frozenset({"busy", Code.STATE_UNAVAILABLE, Code.UPSTREAM_UNAVAILABLE})
"""What is to be asked for again."""
NOT_SO = frozenset({Code.SESSION_UNKNOWN, Code.SESSION_REVOKED, Code.SESSION_NOT_VALID_NOW, Code.SESSION_SCOPE})
"""What nobody may be told of a session that has been in force for as long as the chain is."""


@dataclass
class Sky:
    """Since when no node, and no bundler, that was well has become ill, which a gate only finds out by asking it;
    `None` when none is well."""

    spell: str = "fair"
    node_since: float | None = 0.0
    bundler_since: float | None = 0.0
    nodes: frozenset[str] = frozenset()
    bundlers: frozenset[str] = frozenset()
    lives: int = 1  # of the gate
    is_gate_there: bool = True

    def turns(self, spell: str, *, nodes: frozenset[str], bundlers: frozenset[str]) -> None:
        """The weather is another one, in which these are well."""
        self.spell = spell
        self.node_since = _since(self.node_since, self.nodes, nodes)
        self.bundler_since = _since(self.bundler_since, self.bundlers, bundlers)
        self.nodes, self.bundlers = nodes, bundlers

    def gate_goes(self) -> None:
        """It is killed."""
        self.is_gate_there = False

    def gate_comes(self) -> None:
        """It knows no neighbour any more."""
        now = time.monotonic()
        self.is_gate_there, self.lives = True, self.lives + 1
        self.node_since = None if self.node_since is None else now
        self.bundler_since = None if self.bundler_since is None else now


def _since(before: float | None, were: frozenset[str], are: frozenset[str]) -> float | None:
    if not are:
        return None
    return before if before is not None and were <= are else time.monotonic()


def _is_long(since: float | None, began: float) -> bool:
    return since is not None and began - since > GRACE_SECONDS


@dataclass
class Clients:
    """`sky`: the weather there is; what is told is told by it. `on_time`: it is a fault that they wait for long, are
    hung up on, or are told that something cannot be had while those who can tell are well, unless the `machine` owes
    them so much; `owed` counts that."""

    gate: GateProcess
    http: aiohttp.ClientSession
    world: World
    on_time: bool = True
    sky: Sky = field(default_factory=Sky)
    numbers: Iterator[int] = field(default_factory=lambda: iter(range(1, 10_000_000)))
    sent: dict[Hash32, UserOperation] = field(default_factory=dict)
    accepted: list[Hash32] = field(default_factory=list)
    gaps: list[tuple[SessionData, int]] = field(default_factory=list)  # lanes whose first nonce is awaited
    resting: bool = False
    all_waited: dict[str, list[float]] = field(default_factory=dict)
    under_way: set[asyncio.Task[object]] = field(default_factory=set)
    owed: int = 0
    _waited: dict[str, list[float]] = field(default_factory=dict)
    _errors: Counter[tuple[str, object]] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.machine = Machine(self._waited_for_a_processor)

    def told(self) -> str:
        """Of the spell that is over."""
        waited = ", ".join(f"{kind} {len(seconds)} ({max(seconds):.1f} s)" for kind, seconds in self._waited.items())
        errors = ", ".join(f"{kind} {_named(code)} {times}" for (kind, code), times in self._errors.items())
        self._waited.clear()
        self._errors.clear()
        return f"{self.sky.spell}: {waited}; {errors}"

    def begin(self, kind: str, method: str, params: list[object]) -> None:
        task: asyncio.Task[object] = asyncio.create_task(self.ask(kind, method, params))
        self.under_way.add(task)
        task.add_done_callback(self.under_way.discard)

    async def ask(self, kind: str, method: str, params: list[object]) -> dict[str, Any]:
        began, body = time.monotonic(), {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
        answer: dict[str, Any] = {}
        before = replace(self.sky)
        self.machine.note()
        try:
            async with self.http.post(self.gate.url, json=body) as response:
                if response.status == HTTPStatus.SERVICE_UNAVAILABLE:
                    answer = {"error": {"code": "busy"}}  # all its places are taken; it says when to come again
                else:
                    answer = await response.json()
        except (aiohttp.ClientError, OSError, ValueError) as error:
            if self.on_time and self._has_lived_since(before):
                self.world.faults.append(f"{kind} had no answer: {error!r}")
            answer = {"error": {"code": "no gate"}}
        seconds = time.monotonic() - began
        for waited in (self._waited, self.all_waited):
            waited.setdefault(kind, []).append(seconds)
        if self.on_time and self._has_lived_since(before) and seconds > ANSWER_SECONDS:
            self._is_late(f"{kind} was answered after {seconds:.1f} s", seconds - ANSWER_SECONDS, began)
        if "error" in answer:
            self._errors[kind, answer["error"]["code"]] += 1
            self.look_at(kind, answer["error"], began, before)
        elif method == SEND and "result" in answer:
            self.accepted.append(Hash32(bytes.fromhex(answer["result"][2:])))
        return answer

    def look_at(self, kind: str, error: dict[str, Any], began: float, before: Sky) -> None:
        """Whether it may be answered so."""
        code, sky = error["code"], self.sky
        is_node_there = before.node_since == sky.node_since and _is_long(sky.node_since, began)
        is_bundler_there = before.bundler_since == sky.bundler_since and _is_long(sky.bundler_since, began)
        is_late = self.on_time and self._has_lived_since(before) and code in ("busy", Code.STATE_UNAVAILABLE)
        if is_late and is_node_there and (is_bundler_there or code != "busy"):
            self._is_late(f"{kind} while a node was well ({sky.spell}): {error}", NODE_SECONDS, began - GRACE_SECONDS)
        if code in NOT_SO and not kind.startswith("a life"):
            self.world.faults.append(f"{kind} of a session in force ({sky.spell}): {error}")

    def _has_lived_since(self, before: Sky) -> bool:
        return before.is_gate_there and self.sky.is_gate_there and before.lives == self.sky.lives

    def _is_late(self, what: str, seconds: float, since: float) -> None:
        """It would have been in time, had it had so many seconds more since then."""
        if self.machine.owed_since(since) >= seconds:
            self.owed += 1
        else:
            self.world.faults.append(what)

    def _waited_for_a_processor(self) -> float:
        return sum(waited_for_a_processor(pid) for pid in (os.getpid(), self.gate.pid) if pid is not None)

    async def ask_until_told(self, kind: str, params: list[object]) -> dict[str, Any]:
        """The same operation is submitted until the answer is no matter of time."""
        for _ in patiently():
            answer = await self.ask(kind, SEND, params)
            error = answer.get("error")
            if not isinstance(error, dict) or error["code"] not in LATER:
                return answer
            await asyncio.sleep(0.5)
        return answer

    def a_use(self, grant: SessionData, nonce: int | None = None, amount: int = 1) -> UserOperation:
        """Of a nonce lane of its own unless said otherwise."""
        return use(grant, single(transfer(amount)), nonce=lane(next(self.numbers)) if nonce is None else nonce)

    def params(self, op: UserOperation) -> list[object]:
        """To submit it by; it is remembered as sent."""
        self.sent.setdefault(reading(op).user_op_hash, op)
        return [print_user_operation(op), print_checksummed(V07.address)]

    def operation(self, grant: SessionData) -> list[object]:
        return self.params(self.a_use(grant))

    async def again(self, name: Hash32) -> None:
        """A client that has heard nothing sends it again."""
        await self.ask("sent again", SEND, self.params(self.sent[name]))

    # what is not as usual

    def replace(self, grant: SessionData) -> None:
        """Two operations for one nonce."""
        nonce = lane(next(self.numbers))
        for amount in (1, 2):
            self.begin("replacement", SEND, self.params(self.a_use(grant, nonce, amount)))

    def claim_twice(self, grant: SessionData, other: SessionData) -> None:
        """One hash under two sessions: it does not cover the signature."""
        op = self.a_use(grant)
        for each in (op, replace(op, signature=b"\0" + other.permission_id + session_signature(op))):
            self.begin("another claim", SEND, self.params(each))

    def go_past(self, grant: SessionData) -> None:
        """A use that the gate never sees."""
        op = self.a_use(grant)
        due = time.monotonic() + self.world.random.uniform(0.0, 10.0)
        self.world.take(PAST, reading(op).user_op_hash, op, grant.permission_id, due)

    def park(self, grant: SessionData) -> None:
        """An operation behind a nonce that nothing has used yet."""
        number = next(self.numbers)
        self.gaps.append((grant, number))
        self.begin("parked", SEND, self.params(self.a_use(grant, lane(number, 1))))

    async def park_many(self, pools: Pools, most: int) -> None:
        """So many at once."""
        for first in range(0, most, PARKED_A_SESSION):
            for _ in range(min(PARKED_A_SESSION, most - first)):
                self.park(pools.parked[0])
            pools.parked.pop(0)
            await asyncio.gather(*self.under_way)

    async def fill_gaps(self, pools: Pools) -> None:
        """Nothing is left behind a nonce that is unused, and who was parked is not again."""
        gaps, self.gaps = iter(self.gaps), []
        pools.parked.pop(0)

        async def fill_some() -> None:
            for grant, number in gaps:  # shared by all who fill
                op = self.a_use(grant, lane(number))
                while "result" not in await self.ask("gap filled", SEND, self.params(op)):  # noqa: ASYNC110  # polled
                    await asyncio.sleep(0.5)

        await asyncio.gather(*(fill_some() for _ in range(16)))


def _named(code: object) -> object:
    return Code(code).name.lower() if isinstance(code, int) and code in set(Code) else code


@dataclass
class Pools:
    """Sessions by what is done with them."""

    grants: list[SessionData]  # in force and known, used until they are refused
    idle: list[SessionData]  # known, and used past the gate alone
    parked: list[SessionData]  # known; what is sent for them waits for a nonce
    unseen: Iterator[SessionData]  # in force, and not known to the gate
    far: frozenset[Hash32]  # of the first, those that the chain itself hardly bounds


async def load(clients: Clients, pools: Pools, rate: float, *, uses: int) -> None:
    """Half of it are operations, the rest what clients ask beside. Each session is asked for more than its `uses`."""
    random, begun, grants = clients.world.random, time.monotonic(), pools.grants
    for number in range(1, 10_000_000):
        if number % (2 * uses) == 0 and len(grants) > AT_ONCE:
            grants.pop(0)
        luck, grant = random.random(), grants[random.randrange(min(AT_ONCE, len(grants)))]
        if luck < 0.40:
            clients.begin("send", SEND, clients.operation(grant))
        elif luck < 0.55:
            clients.begin("estimate", ESTIMATE, clients.operation(grant))
        elif luck < 0.70 and clients.accepted:
            clients.begin("receipt", "eth_getUserOperationReceipt", [print_bytes(random.choice(clients.accepted))])
        elif luck < 0.80:
            clients.begin("first use", SEND, clients.operation(next(pools.unseen)))
        elif luck < 0.84:
            clients.replace(grant)
        elif luck < 0.88:
            clients.claim_twice(grant, grants[random.randrange(min(AT_ONCE, len(grants)))])
        elif luck < 0.92:
            clients.go_past(grant if grant.permission_id in pools.far else random.choice(pools.idle))
        elif luck < 0.95 and pools.parked:
            clients.park(pools.parked[0])
            if len(clients.gaps) % PARKED_A_SESSION == 0 and len(pools.parked) > 1:
                pools.parked.pop(0)
        else:
            name = [print_checksummed(ACCOUNT), print_bytes(grant.permission_id)]
            clients.begin("session", "sessiongate_getSession", [*name])
        await asyncio.sleep(max(0.0, begun + number / rate - time.monotonic()))
