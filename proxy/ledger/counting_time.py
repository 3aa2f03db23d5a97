"""The time by which rules count: the time of day, as long as the monotonic clock agrees with it.

A time of day that jumps would empty windows, or fill them for longer than they last. So what is counted goes on by the
monotonic clock when the two disagree, across a restart too as long as the machine was not booted anew, until somebody
else agrees with the time of day: the blocks of a chain that is followed, or a day in which it stayed as it is.

Where nothing was counted yet in this life of the machine there is nothing to go on from. A gate that follows a chain
does not take the time of day for right then: it counts from the newest settled block on until a block is shown, and by
the time of that one where the time of day is another. So no clock that is wrong when a gate first starts is counted by.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

SLACK_SECONDS: Final = 2.0
"""Two clocks that differ by less agree."""
_WITNESS_SECONDS: Final = 60.0
"""A block's time may be so far from the time of day, and speaks for it."""
_PROBATION_SECONDS: Final = 86_400.0
_STEADY_SECONDS: Final = 3_600.0


class KeptTime(NamedTuple):
    """What a restart has to know: in which life of the machine it was, the time counted by less the monotonic one, and
    since when, by that one, it has gone on without a jump (`None` where an earlier release did not say). Seconds."""

    boot: str
    offset: float
    steady_since: float | None = None


class CountingTime:
    """`clock` gives unix seconds, `monotonic` seconds that nobody sets. `boot` names the life of the machine, empty
    where that is not known; `kept` is what the process before this one left, `settled` the time of the newest block
    that it settled, 0 for none: no time of day is before that, also where the machine was booted anew. `follows` says
    whether the blocks of a chain are heard of: then, unless `kept` is of this life of the machine, the first of them
    tells whether the time of day is right. `told` hears by how much the time of day is astray, and with 0 that it is
    followed again; `followed` what the next process has to know from now on, as soon as things are counted by another
    time: it would go back to the one before, in which what is counted now is to come.
    """

    def __init__(
        self,
        clock: Callable[[], float],
        monotonic: Callable[[], float],
        *,
        boot: str = "",
        kept: KeptTime | None = None,
        settled: float = 0.0,
        follows: bool = False,
        told: Callable[[float], None] = lambda _: None,
        followed: Callable[[KeptTime], None] = lambda _: None,
    ) -> None:
        self._clock = clock
        self._monotonic = monotonic
        self._boot = boot
        self._told = told
        self._followed = followed
        self._offset = clock() - monotonic()
        self._astray = 0.0
        self._since = self._steady_since = monotonic()
        if kept is not None and boot and kept.boot == boot:
            self._offset = kept.offset
            if kept.steady_since is not None:
                self._steady_since = min(kept.steady_since, self._steady_since)
            follows = False
        elif settled and (follows or settled - clock() > _WITNESS_SECONDS):
            self._offset = settled - monotonic()
        self._awaits_block = follows
        self._goes_by_blocks = False  # for none has agreed with the time of day in this life of the machine
        self.of(clock())

    @property
    def kept(self) -> KeptTime | None:
        """For the next process; `None` as long as nobody can tell whether this time is right."""
        return None if self._awaits_block else KeptTime(self._boot, self._offset, self._steady_since)

    @property
    def is_steady(self) -> bool:
        """Whether this time has gone on without a jump for an hour, over restarts too. Before that nobody can tell by
        it what is old: what ended a moment ago, by a clock that has been set since, looks as if that was yesterday."""
        return self._monotonic() - self._steady_since >= _STEADY_SECONDS

    def now(self) -> float:
        """The time to count by, unix seconds."""
        unix_time, monotonic = self._clock(), self._monotonic()
        offset = unix_time - monotonic
        if self._awaits_block or self._astray or abs(offset - self._offset) > SLACK_SECONDS:
            return self._counted(unix_time, monotonic)
        self._offset = offset  # nearly always, as below: it is asked several times for every operation
        return unix_time

    def of(self, unix_time: float) -> float:
        """The same, for a time of day that was just read."""
        return self._counted(unix_time, self._monotonic())

    def _counted(self, unix_time: float, monotonic: float) -> float:
        if self._awaits_block:
            return monotonic + self._offset
        astray = unix_time - monotonic - self._offset
        if abs(astray) <= SLACK_SECONDS:
            if self._astray:
                self._follow(unix_time, monotonic)
            else:
                self._offset = unix_time - monotonic
            return unix_time
        if abs(astray - self._astray) > SLACK_SECONDS:
            self._astray, self._since = astray, monotonic
            self._told(astray)
        if monotonic - self._since >= _PROBATION_SECONDS:
            self._follow(unix_time, monotonic)
            return unix_time
        return monotonic + self._offset

    def shown(self, block_time: float) -> None:
        """A node shows a block of this time (unix seconds) as its newest one; for how long it has been there nobody
        can tell."""
        if not (self._awaits_block or self._goes_by_blocks):
            return
        unix_time, monotonic = self._clock(), self._monotonic()
        if abs(block_time - unix_time) <= _WITNESS_SECONDS:
            self._follow(unix_time, monotonic)
        elif self._awaits_block or block_time - self.of(unix_time) > _WITNESS_SECONDS:
            self._go_by(block_time, monotonic)  # of several chains by the one that is furthest

    def confirmed(self, block_time: float) -> None:
        """A block of this time (unix seconds) has just come."""
        self.shown(block_time)
        unix_time, monotonic = self._clock(), self._monotonic()
        counted = self.of(unix_time)
        if abs(block_time - unix_time) <= _WITNESS_SECONDS:
            self._follow(unix_time, monotonic)
        elif abs(block_time - counted) <= _WITNESS_SECONDS:
            self._since = monotonic  # it speaks against the time of day
        elif counted < block_time < unix_time:
            self._go_by(block_time, monotonic)  # what is counted is behind, as both say

    def _go_by(self, block_time: float, monotonic: float) -> None:
        self._goes_by_blocks = True
        self._count_by(block_time - monotonic, monotonic)
        self.now()

    def _follow(self, unix_time: float, monotonic: float) -> None:
        self._goes_by_blocks = False
        self._count_by(unix_time - monotonic, monotonic)
        if self._astray:
            self._astray = 0.0
            self._told(0.0)

    def _count_by(self, offset: float, monotonic: float) -> None:
        is_another = self._awaits_block or abs(offset - self._offset) > SLACK_SECONDS
        self._awaits_block, self._offset = False, offset
        if is_another:
            self._steady_since = monotonic
            self._followed(KeptTime(self._boot, offset, monotonic))
