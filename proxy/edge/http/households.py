"""Whose request is worked on next, so that no household keeps others waiting by asking for much.

A household has an account of the time of this process that its requests have taken. As long as nobody waits, whoever
comes is served at once. When what was done since the loop last went round has taken as long as others may wait,
whatever comes next stands in line: the loop hears first who else has asked, and of all who wait it is the turn of the
household that has had least. A piece of work is not broken off: it ends by itself, and is paid for.

A connection carries one request of HTTP at a time, so that who has many connections is counted; a batch or a WebSocket
carries many. All that one household has on its connections in such ways begins one at a time, each in a turn of the
loop, and only so many are answered at once.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Coroutine, Generator
from contextvars import ContextVar
from functools import partial
from heapq import heappop, heappush, heapreplace
from itertools import count, islice
from types import coroutine
from typing import Any, Final, TypeVar

from proxy.edge.http.http_log import HTTP_LOG

_T = TypeVar("_T")

TURN_SECONDS: Final = 0.002
"""So long may be worked on what was asked, until the loop goes round."""
_MOST_ACCOUNTS: Final = 4_096
"""Households that are remembered; who was forgotten begins again with as little as anybody has had."""
_NOBODY_KNOWS: Final = ""
"""The household of all of whom nobody can tell where they call from."""

WORKED_FOR: Final[ContextVar[str | None]] = ContextVar("worked_for", default=None)
"""The household whose request is answered, by a task or at once: for whoever shares out what is short further on."""

_Standing = asyncio.Future[None] | Callable[[], None]
"""What stands in line: a task that waits for this, or what is to be called."""


class _Household:
    __slots__ = ("at_hand", "household", "is_turning", "spent", "standing", "waiting")

    def __init__(self, household: str | None, spent: float) -> None:
        self.household = household
        self.spent = spent  # seconds; nobody has less than who was last in turn, so that none are saved up
        self.standing: deque[_Standing] = deque()
        self.at_hand = 0
        self.is_turning = False  # something of it began in this turn of the loop
        self.waiting: deque[asyncio.Future[None]] = deque()

    @property
    def is_idle(self) -> bool:
        return not (self.at_hand or self.is_turning or self.standing or self.waiting)


class HouseholdTurns:
    """Gives each household its share of the loop, and answers of its batches and WebSockets `most` at once, each begun
    in a turn of its own. `clock` gives seconds that go on while this process works.
    """

    def __init__(self, most: int, *, clock: Callable[[], float] = time.perf_counter) -> None:
        self._most = most
        self.clock = clock
        self._households: OrderedDict[str, _Household] = OrderedDict()
        self._line: list[tuple[float, int, _Household]] = []  # a heap: who has had least is first
        self._numbers = count()
        self._least = 0.0  # what the one had had who was last in turn, or was served while nobody waited
        self._worked = 0.0  # since the loop last went round
        self.is_due = False
        """Whether the loop has to go round before anything else begins: what comes stands in line."""

    # --- the share of the loop

    def charge(self, household: str | None, seconds: float) -> None:
        """So long was worked for it."""
        held = self._households.get(household or _NOBODY_KNOWS)
        self._charge(self._of(household) if held is None else held, seconds)

    def _charge(self, held: _Household, seconds: float) -> None:
        if not self._line and held.spent > self._least:
            self._least = held.spent  # nobody waits: of what was had until now nothing is owed to who comes later
        held.spent += seconds
        self._worked += seconds
        if self._worked > TURN_SECONDS and not self.is_due:
            self._go_round()

    def begin(self, household: str | None, begin: Callable[[], None], owed: float = 0.0) -> None:
        """Call `begin` now, or when it is this household's turn, and charge what it takes; at once what it has taken
        already, and is `owed`."""
        held = self._of(household)
        if owed:
            self._charge(held, owed)
        if self.is_due and self._has_to_wait(held):
            self._stand(held, begin)
        else:
            self._begin(held, begin)

    def _begin(self, held: _Household, begin: Callable[[], None]) -> None:
        began, before = self.clock(), WORKED_FOR.set(held.household)
        try:
            begin()
        finally:
            WORKED_FOR.reset(before)
            self._charge(held, self.clock() - began)

    def _has_to_wait(self, held: _Household) -> bool:
        """Who has had less than whoever was last in turn has not: it would be first in line."""
        if held.spent < (least := self._least - TURN_SECONDS):
            held.spent = least
        return held.spent >= self._least or bool(held.standing)

    @coroutine
    def work(self, household: str | None, work: Coroutine[Any, Any, _T]) -> Generator[Any, Any, _T]:
        """Do this, and charge what each piece of it takes; stand in line before it and where it would let others on."""
        go_on: Callable[[], Any] = partial(work.send, None)
        step = go_on
        WORKED_FOR.set(household)
        if self.is_due and self._has_to_wait(self._of(household)):
            try:
                yield from self._turn_of(household)
            except BaseException:  # it was given up before it began, and that is raised again
                work.close()
                raise
        while True:
            began = self.clock()
            try:
                waited_for = step()
            except StopIteration as done:
                result: _T = done.value
                return result
            finally:
                step = go_on  # what was thrown leads to this frame
                self.charge(household, self.clock() - began)
            try:
                if waited_for is None and self.is_due:
                    yield from self._turn_of(household)
                else:
                    yield waited_for
            except BaseException as error:  # whatever it is, it is for the work to hear
                step, waited_for = partial(work.throw, error), None

    def _turn_of(self, household: str | None) -> Generator[Any, Any, None]:
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._stand(self._of(household), turn)
        yield from turn

    def _stand(self, held: _Household, standing: _Standing) -> None:
        held.standing.append(standing)
        if len(held.standing) == 1:
            held.spent = max(held.spent, self._least)
            heappush(self._line, (held.spent, next(self._numbers), held))

    def _go_round(self) -> None:
        self.is_due = True
        asyncio.get_running_loop().call_soon(self._take_turns)

    def _take_turns(self) -> None:
        """At least one of them: what was worked since the last ones, on reading above all, is of the same time."""
        line = self._line
        while line:
            spent, _, held = line[0]
            is_alone = len(line) == 1
            if held.spent > spent and not is_alone:  # it has had more since
                heapreplace(line, (held.spent, next(self._numbers), held))
                continue
            self._least = held.spent
            standing = held.standing.popleft()
            # before anything of it begins, which may have more of it stand in line
            if not held.standing:
                heappop(line)
            elif not is_alone:
                heapreplace(line, (held.spent, next(self._numbers), held))
            if self._let_begin(held, standing) or self._worked > TURN_SECONDS:
                self._worked = 0.0
                self._go_round()
                return
        self._worked = 0.0
        self.is_due = False

    def _let_begin(self, held: _Household, standing: _Standing) -> bool:
        """Whether it is done in the next turn of the loop, and not by now."""
        if not isinstance(standing, asyncio.Future):
            try:
                self._begin(held, standing)
            except Exception:  # a promise of ours is broken: it costs this one, and nobody else his turn
                HTTP_LOG.exception("what stood in line could not begin")
            return False
        if standing.done():  # given up
            return False
        standing.set_result(None)
        return True

    def _of(self, household: str | None) -> _Household:
        name = household or _NOBODY_KNOWS
        held = self._households.get(name)
        if held is None:
            held = self._households[name] = _Household(household, self._least)
            if len(self._households) > _MOST_ACCOUNTS:
                self._forget_some()
        return held

    def _forget_some(self) -> None:
        for name in list(islice(self._households, 4)):
            if self._households[name].is_idle:
                del self._households[name]
            else:
                self._households.move_to_end(name)

    # --- many on one connection

    def turn(self, household: str | None) -> _Turn:
        """Wait until it may begin; it has ended with the context."""
        return _Turn(self, None if household is None else self._of(household))  # nobody can tell whose that is

    async def may_begin(self, held: _Household) -> None:
        """Until something of it may; then it has to be over some time."""
        if not (held.is_turning or held.waiting or held.at_hand >= self._most):
            held.at_hand += 1
            self._turn_soon(held)
            return
        turn = asyncio.get_running_loop().create_future()
        held.waiting.append(turn)
        is_begun = False
        try:
            await turn
            is_begun = True
        finally:
            if not is_begun and not turn.cancel() and not turn.cancelled():  # or else nobody waits any more
                self.is_over(held)

    def is_over(self, held: _Household) -> None:
        """What had begun."""
        held.at_hand -= 1
        if not held.is_turning:
            self._next(held)

    def _turn_soon(self, held: _Household) -> None:
        held.is_turning = True
        asyncio.get_running_loop().call_soon(self._turned, held)

    def _turned(self, held: _Household) -> None:
        held.is_turning = False
        self._next(held)

    def _next(self, held: _Household) -> None:
        while held.waiting and held.at_hand < self._most:
            turn = held.waiting.popleft()
            if not turn.done():
                held.at_hand += 1
                turn.set_result(None)
                self._turn_soon(held)
                return


class _Turn:
    """One for as long as it is within it: no generator, which would outlive who is closed while he waits."""

    __slots__ = ("_held", "_turns")

    def __init__(self, turns: HouseholdTurns, held: _Household | None) -> None:
        self._turns = turns
        self._held = held

    async def __aenter__(self) -> None:
        if self._held is not None:
            await self._turns.may_begin(self._held)

    async def __aexit__(self, *_: object) -> None:
        if self._held is not None:
            self._turns.is_over(self._held)
