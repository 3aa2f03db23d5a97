"""One sink: what it is owed, when it is told, and what becomes of a sink that does not answer.

What is owed is kept by alert, so that ten thousand happenings of one kind are one message. The gravest is told first;
beyond `queue_limit` alerts the newest of the least grave are dropped and counted, so that whoever makes many small ones
happen hides no grave one. A sink that hangs holds up its own task only.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from itertools import chain, islice
from typing import Final, NamedTuple

from proxy.edge.alerts.board import ActiveAlert, AlertKey
from proxy.edge.telemetry.health_metrics import HealthMetrics, Sent
from proxy.session.lint.findings import Severity

_LOG: Final = logging.getLogger(__name__)
_FIRST_PAUSE_SECONDS: Final = 0.5
_LONGEST_PAUSE_SECONDS: Final = 60.0
_GIVE_UP_SECONDS: Final = 86_400.0


class SinkReply(Enum):
    """What a sink made of a message."""

    TAKEN = "taken"
    LATER = "later"  # no answer, busy, broken: the same again
    NEVER = "never"  # it refuses this message


class Told(NamedTuple):
    """When a sink took its newest message of an alert, in unix seconds, and how many happenings that told of."""

    unix_time: float
    happenings: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Due:
    """One message: an alert, and whether it tells that it is over."""

    alert: ActiveAlert
    resolved: bool
    first_time: bool  # the sink has not heard of it yet


@dataclass(slots=True)
class _Owed:
    alert: ActiveAlert
    firing: bool
    resolved: bool
    since: float  # on the stopwatch


@dataclass(frozen=True, slots=True, kw_only=True)
class SinkTerms:
    """How one sink is told. `batch` messages at once; with `steady` at every change and as long as it lasts.

    Otherwise once, again after `repeat_seconds` if it goes on, and once when it is over. `per_minute` of None: no cap.
    """

    name: str
    batch: int = 1
    steady: bool = False
    repeat_seconds: float = 14_400.0
    per_minute: int | None = None
    queue_limit: int = 1_000


def _nothing() -> None:
    return None


def _place_of(key: AlertKey) -> int:
    """Among the severities, from the gravest on."""
    return len(Severity) - 1 - key.severity.rank


Deliver = Callable[[Sequence[Due]], Awaitable[SinkReply]]
"""Hands messages over. Never raises for what is wrong with the sink."""


class Sink:
    """Tells one sink. `clock` gives unix seconds, `stopwatch` monotonic ones, `chance` a number from 0 to 1."""

    def __init__(
        self,
        terms: SinkTerms,
        deliver: Deliver,
        *,
        metrics: HealthMetrics,
        clock: Callable[[], float],
        stopwatch: Callable[[], float],
        chance: Callable[[], float],
    ) -> None:
        self.terms = terms
        self._deliver = deliver
        self._metrics = metrics
        self._clock = clock
        self._stopwatch = stopwatch
        self._chance = chance
        self._owed: dict[AlertKey, _Owed] = {}  # the oldest first
        # the same by severity, the gravest first, and of one severity that whose turn it is
        self._turns: Sequence[dict[AlertKey, None]] = [{} for _ in Severity]
        self._first_turn = 0  # where among these to begin
        self._in_hand: Sequence[AlertKey] = ()  # what it is being told
        self._told: dict[AlertKey, Told] = {}
        self._wake = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._allowance = float(terms.per_minute or 0)
        self._allowed_at = stopwatch()
        self.changed: set[AlertKey] = set()
        self.on_change: Callable[[], None] = _nothing

    @property
    def name(self) -> str:
        """The sink's, from the settings."""
        return self.terms.name

    @property
    def waiting(self) -> int:
        """How many alerts it is owed a message of."""
        return len(self._owed)

    def told(self, key: AlertKey) -> Told | None:
        """What it took of an alert last."""
        return self._told.get(key)

    def restore(self, told: Mapping[AlertKey, Told]) -> None:
        """What it had taken before a restart."""
        self._told.update(told)

    def offer(self, alert: ActiveAlert) -> None:
        """An alert that is active, and may be news to the sink."""
        key = alert.key
        owed = self._owed.get(key)
        if owed is not None:
            # one that was over and begins anew is told as going on
            owed.alert, owed.firing, owed.resolved = alert, owed.firing or owed.resolved, False
            return
        told = self._told.get(key)
        if told is not None and not self.terms.steady:
            quiet = self._clock() - told.unix_time < self.terms.repeat_seconds
            if quiet or alert.count == told.happenings:
                return
        self._owe(_Owed(alert, firing=True, resolved=False, since=self._stopwatch()))

    def end(self, alert: ActiveAlert) -> None:
        """An alert that is over. One that the sink has not heard of is told first, and then that it is over."""
        owed = self._owed.get(alert.key)
        if owed is not None:
            owed.alert, owed.resolved = alert, True
        elif alert.key in self._told:
            self._owe(_Owed(alert, firing=False, resolved=True, since=self._stopwatch()))

    def forget(self, key: AlertKey) -> None:
        """An alert that nobody need hear of any more."""
        self._told.pop(key, None)

    def is_done_with(self, key: AlertKey) -> bool:
        """Whether it is owed nothing more of an alert."""
        return key not in self._owed

    def _owe(self, owed: _Owed) -> None:
        key = owed.alert.key
        if len(self._owed) >= self.terms.queue_limit:
            self._metrics.dropped(self.name, 1)
            if not self._makes_room_for(key):
                return
        self._owed[key] = owed
        self._turns_of(key)[key] = None
        self._idle.clear()
        self._wake.set()

    def _turns_of(self, key: AlertKey) -> dict[AlertKey, None]:
        return self._turns[_place_of(key)]

    def _makes_room_for(self, key: AlertKey) -> bool:
        """Whether the newest of what is less grave, and not being told, is owed no more."""
        for turns in reversed(self._turns[_place_of(key) + 1 :]):
            newest = next(reversed(turns), None)
            if newest is not None and newest not in self._in_hand:
                del turns[newest], self._owed[newest]
                return True
        return False

    async def idle(self) -> None:
        """Return when it is owed nothing."""
        await self._idle.wait()

    def oldest_seconds(self) -> float:
        """How long the oldest message has waited."""
        first = next(iter(self._owed.values()), None)
        return 0.0 if first is None else self._stopwatch() - first.since

    async def run(self) -> None:
        """Tell what is owed, as it comes."""
        failures = 0
        while True:
            await self._wake.wait()
            keys = list(self._some_keys(1 if failures else self.terms.batch))
            if not keys:
                self._wake.clear()
                self._idle.set()
                continue
            self._in_hand = keys
            await self._wait_for_allowance()
            reply = await self._tell(keys)
            self._in_hand = ()
            # after one that it has no answer to, those less grave have their turn as well
            self._first_turn = (_place_of(keys[-1]) + 1) % len(self._turns) if reply is SinkReply.LATER else 0
            if reply is SinkReply.LATER:
                failures += 1
                # between half and all of it: sinks that came back are not met by everybody at once
                pause = min(_FIRST_PAUSE_SECONDS * 2 ** min(failures - 1, 16), _LONGEST_PAUSE_SECONDS)
                await asyncio.sleep(pause * (0.5 + 0.5 * self._chance()))
            else:
                failures = 0

    def _some_keys(self, most: int) -> Sequence[AlertKey]:
        order = chain(self._turns[self._first_turn :], self._turns[: self._first_turn])
        return list(islice(chain.from_iterable(order), most))

    async def _tell(self, keys: Sequence[AlertKey]) -> SinkReply:
        dues = [self._due(self._owed[key]) for key in keys]
        reply = await self._hand_over(dues)
        if reply is SinkReply.NEVER and len(dues) > 1:
            # one of them is what it does not take: each for itself
            for key, due in zip(keys, dues, strict=True):
                self._settle(key, due, await self._hand_over([due]))
            return SinkReply.TAKEN
        for key, due in zip(keys, dues, strict=True):
            self._settle(key, due, reply)
        return reply

    async def _hand_over(self, dues: Sequence[Due]) -> SinkReply:
        try:
            return await self._deliver(dues)
        except Exception:  # a message that cannot be made must not keep the others back
            # a message that cannot be printed is a fault of ours, and the other messages have to go out
            _LOG.exception("a message to %s could not be made", self.name)
            return SinkReply.NEVER

    def _due(self, owed: _Owed) -> Due:
        resolved = owed.resolved and not owed.firing
        return Due(alert=owed.alert, resolved=resolved, first_time=owed.alert.key not in self._told)

    def _settle(self, key: AlertKey, due: Due, reply: SinkReply) -> None:
        owed = self._owed[key]
        too_old = reply is SinkReply.LATER and self._stopwatch() - owed.since > _GIVE_UP_SECONDS
        if reply is SinkReply.LATER and not too_old:
            self._metrics.sent(self.name, Sent.FAILED)
            turns = self._turns_of(key)
            turns[key] = turns.pop(key)  # what it has no answer to must not hold up the others
            return
        if reply is SinkReply.TAKEN:
            self._metrics.sent(self.name, Sent.TAKEN)
            self._told[key] = Told(self._clock(), due.alert.count)
            self.changed.add(key)
            self.on_change()
        else:
            self._metrics.sent(self.name, Sent.GIVEN_UP)
            self._metrics.dropped(self.name, 1)
            _LOG.error("alert %s given up: %s does not take it", key.digest, self.name)
        if owed.resolved and not due.resolved:
            owed.firing = False  # what is left to say is that it is over
            return
        if due.resolved:
            self._told.pop(key, None)
            if owed.firing:
                return  # it began anew while its end was on its way
        del self._owed[key], self._turns_of(key)[key]
        if not due.resolved and self.terms.steady and owed.alert.count != due.alert.count:
            self._owe(_Owed(owed.alert, firing=True, resolved=False, since=self._stopwatch()))

    async def _wait_for_allowance(self) -> None:
        """The rate cap: a bucket that fills by `per_minute` and holds one minute's."""
        cap = self.terms.per_minute
        if cap is None:
            return
        now = self._stopwatch()
        self._allowance = min(float(cap), self._allowance + (now - self._allowed_at) * cap / 60)
        self._allowed_at = now
        if self._allowance < 1:
            await asyncio.sleep((1 - self._allowance) * 60 / cap)
            self._allowed_at = self._stopwatch()
            self._allowance = 1.0
        self._allowance -= 1
