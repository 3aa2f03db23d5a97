"""Sessions that are granted, used and removed while the weather is what it is."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from math import inf
from typing import Any

from proxy.userop.primitives import Hash32
from proxy.userop.session_data import SessionData
from proxy.userop.user_operation import UserOperation
from tests.admission.builders import enabling, granting, lane, removing
from tests.bypass_list.desk import NEXUS_LANE, OWNER_NONCE, a_session, reading, single
from tests.session.builders import TOKEN, TRANSFER, action, transfer, usage
from tests.weather.clients import SEND, Clients
from tests.weather.world import Act

_LOOK_SECONDS = 0.5
_OVER_SECONDS = 240.0
_FIRST_SALT = 20_000_000


def owners_lane(number: int) -> int:
    """A nonce of its own for each number, of the account's own validator."""
    own = (int.from_bytes(NEXUS_LANE, "big") + number) << 232
    return own | (OWNER_NONCE & ((1 << 232) - 1))


@dataclass
class Lives:
    """`over`: sessions that were removed for good; `left`: those that are in force, and have most of their uses."""

    clients: Clients
    limit: int
    over: list[SessionData] = field(default_factory=list)
    left: list[SessionData] = field(default_factory=list)
    tasks: set[asyncio.Task[None]] = field(default_factory=set)
    _salt: int = _FIRST_SALT

    async def begin_some(self, pause: float) -> None:
        """One after the other, each in one of the ways in which a session may come and go."""
        kinds = (self._by_owner, self._enabled, self._past)
        while True:
            for begin in kinds:
                self._begin(self._one(begin, number=self._salt))
                await asyncio.sleep(pause)

    def _begin(self, life: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(life)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def until_over(self) -> None:
        """Whatever has begun has ended."""
        async with asyncio.timeout(_OVER_SECONDS):
            while self.tasks:
                self.clients.world.mine(inf)
                await asyncio.wait(self.tasks, timeout=_LOOK_SECONDS)

    async def _one(self, begin: Callable[[SessionData], UserOperation | None], number: int) -> None:
        self._salt += 1
        clients, world = self.clients, self.clients.world
        grant = a_session(action(TOKEN, TRANSFER, usage(self.limit)), salt=number)
        world.introduce(grant, self.limit)
        early = clients.a_use(grant)
        await clients.ask("a life too early", SEND, clients.params(early))
        if (op := begin(grant)) is None:
            world.ask(Act(grant, granted=True))
        else:
            if begin == self._enabled:
                self._begin(self._rival(grant, op))
            await self._until_mined("a life granted", op)
        for each in (early, clients.a_use(grant), clients.a_use(grant)):
            await self._until_mined("a life used", each)
        if number % 2:
            self.left.append(grant)
            return
        if number % 4:
            world.ask(Act(grant, granted=False))
        else:
            op = removing(grant, owners_lane(next(clients.numbers)))
            self._announce(op, Act(grant, granted=False))
            await self._until_mined("a life removed", op)
        self.over.append(grant)

    def _by_owner(self, grant: SessionData) -> UserOperation:
        op = granting(grant, nonce=owners_lane(next(self.clients.numbers)))
        self._announce(op, Act(grant, granted=True))
        return op

    def _enabled(self, grant: SessionData) -> UserOperation:
        op = enabling(grant, single(transfer(1)), nonce=lane(next(self.clients.numbers)))
        self._announce(op, Act(grant, granted=True, enables=True))
        return op

    async def _rival(self, grant: SessionData, first: UserOperation) -> None:
        """Another operation that brings the same grant along, once a bundler has the first: one can be mined."""
        op = enabling(grant, single(transfer(1)), nonce=lane(next(self.clients.numbers)))
        self._announce(op, Act(grant, granted=True, enables=True))
        while reading(first).user_op_hash not in self.clients.world.operations:  # noqa: ASYNC110  # polled
            await asyncio.sleep(_LOOK_SECONDS)
        await self.clients.ask("a life's rival", SEND, self.clients.params(op))

    def _past(self, grant: SessionData) -> None:
        return None

    def _announce(self, op: UserOperation, act: Act) -> None:
        self.clients.world.acts[reading(op).user_op_hash] = act

    async def _until_mined(self, kind: str, op: UserOperation) -> None:
        """It is sent until a bundler has it, and not while there is rest."""
        clients, name = self.clients, reading(op).user_op_hash
        params = clients.params(op)
        while not self._is_mined(name):
            if not clients.resting and name not in clients.world.operations:
                await clients.ask(kind, SEND, params)
            await asyncio.sleep(_LOOK_SECONDS)

    def _is_mined(self, name: Hash32) -> bool:
        sent = self.clients.world.operations.get(name)
        return sent is not None and sent.header is not None
