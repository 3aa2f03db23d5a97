"""Who may have the node asked about sessions that nobody has heard of, and when.

Anyone can name ids that do not exist. So many first readings go on at once; who waits is served in turn by client,
then by the peer's address, then by account, so that a thousand questions of one do not stand before the first of
another. And each client has a budget of ids that turn out not to be there: past it, it is told so.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable, Hashable
from contextlib import asynccontextmanager
from typing import Final, NamedTuple

from proxy.errors import Code, Reason, StateUnavailable
from proxy.userop.primitives import Address

_MOST_BUDGETS: Final = 10_000
_BURST_SECONDS: Final = 10.0


class Asker(NamedTuple):
    """On whose behalf the node is asked; `absent_rate` is how many ids a second the client itself may name in vain,
    where its licence says so."""

    client: str
    peer: str
    account: Address
    absent_rate: float | None = None


class _Line:
    """Waiting ones in the order in which they are served: in turn at each level of their names."""

    __slots__ = ("branches", "leaf")

    def __init__(self) -> None:
        self.branches: OrderedDict[Hashable, _Line] = OrderedDict()
        self.leaf: OrderedDict[asyncio.Future[None], None] = OrderedDict()

    def add(self, names: tuple[Hashable, ...], turn: asyncio.Future[None]) -> None:
        line = self
        for name in names:
            line = line.branches.setdefault(name, _Line())
        line.leaf[turn] = None

    def pop(self) -> asyncio.Future[None] | None:
        """The next that still waits."""
        while self.leaf:
            turn, _ = self.leaf.popitem(last=False)
            if not turn.done():
                return turn
        while self.branches:
            name, line = self.branches.popitem(last=False)
            turn_below = line.pop()
            if line.branches or line.leaf:
                self.branches[name] = line  # at the end: the others come first now
            if turn_below is not None:
                return turn_below
        return None


class Turns:
    """So many `places` at once."""

    def __init__(self, places: int) -> None:
        self._free = places
        self._line = _Line()

    @asynccontextmanager
    async def of(self, asker: Asker) -> AsyncIterator[None]:
        """Wait for a place, and have it."""
        if self._free:
            self._free -= 1
        else:
            turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._line.add(asker, turn)
            try:
                await turn
            except asyncio.CancelledError:
                if turn.done() and not turn.cancelled():
                    self._pass_on()  # it was given a place in the moment it left
                raise
        try:
            yield
        finally:
            self._pass_on()

    def _pass_on(self) -> None:
        turn = self._line.pop()
        if turn is None:
            self._free += 1
        else:
            turn.set_result(None)


class AbsentBudget:
    """How many ids that are not on the chain a client may name: `a_second`, and ten seconds' worth at once.

    `clock` gives seconds; one that is set is no good.
    """

    def __init__(self, a_second: float, clock: Callable[[], float]) -> None:
        self._a_second = a_second
        self._clock = clock
        self._left: OrderedDict[tuple[str, str], tuple[float, float]] = OrderedDict()  # how much, and as of when

    def take(self, a_second: float) -> None:
        """From now on so many."""
        self._a_second = a_second

    def refusal(self, asker: Asker) -> Reason | None:
        """Why this client may not have another id looked for now; `None` while it may."""
        if self._left_of(asker) >= 1.0:
            return None
        own = asker.absent_rate is not None
        name = f"clients.{asker.client}.rates.absent_sessions" if own else "limits.absent_sessions"
        whose = "" if own else " for one client and address"
        rate = self._rate_of(asker)
        return Reason(
            code=Code.RATE_LIMITED,
            sentence="too many permission ids were named that are not on this chain: the budget"
            f" {name} of {rate:g} a second{whose} is used up",
            remedy="name sessions that exist; a known session is not affected",
            wanted=f"at most {rate:g} a second",
            retryable=True,
        )

    def spend(self, asker: Asker) -> None:
        """An id was looked for and is not there."""
        key = _key_of(asker)
        self._left[key] = (max(self._left_of(asker) - 1.0, 0.0), self._clock())
        self._left.move_to_end(key)
        if len(self._left) > _MOST_BUDGETS:
            self._left.popitem(last=False)

    def _rate_of(self, asker: Asker) -> float:
        return self._a_second if asker.absent_rate is None else asker.absent_rate

    def _left_of(self, asker: Asker) -> float:
        rate = self._rate_of(asker)
        most = max(rate * _BURST_SECONDS, 1.0)
        left, at = self._left.get(_key_of(asker), (most, self._clock()))
        return min(left + (self._clock() - at) * rate, most)


def _key_of(asker: Asker) -> tuple[str, str]:
    """A client with a rate of its own has it whatever its address."""
    return (asker.client, asker.peer if asker.absent_rate is None else "")


class FirstReadings:
    """The node asked about sessions nobody here has heard of: in turn, within a budget, for `seconds` in all."""

    def __init__(self, turns: Turns, budget: AbsentBudget, *, seconds: float) -> None:
        self._turns = turns
        self._budget = budget
        self._seconds = seconds

    async def look(self, asker: Asker, read: Callable[[], Awaitable[bool]]) -> Reason | None:
        """`None` when `read` was called, which says whether anything was found; or why it was not.

        Raises `StateUnavailable` when it was not this asker's turn, or the node did not tell, in time.
        """
        refusal = self._budget.refusal(asker)
        if refusal is not None:
            return refusal
        try:
            async with asyncio.timeout(self._seconds), self._turns.of(asker):
                found = await read()
        except TimeoutError:
            raise StateUnavailable(f"a session nobody here has heard of, within {self._seconds:g} s") from None
        if not found:
            self._budget.spend(asker)
        return None
