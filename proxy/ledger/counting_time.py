"""The time by which rules count: the time of day, as long as the monotonic clock agrees with it.

A time of day that jumps would empty windows, or fill them for longer than they last. So what is counted goes on by the
monotonic clock when the two disagree, across a restart too as long as the machine was not booted anew, until somebody
else agrees with the time of day: the blocks of a chain that is followed, or a day in which it stayed as it is.
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
    that it settled, 0 for none: no time of day is before that, also where the machine was booted anew. `told` hears by
    how much the time of day is astray, and with 0 that it is followed again; `followed` what the next process has to
    know from now on, as soon as things are counted by another time: it would go back to the one before, in which what
    is counted now is to come.
    """

    def __init__(
        self,
        clock: Callable[[], float],
        monotonic: Callable[[], float],
        *,
        boot: str = "",
        kept: KeptTime | None = None,
        settled: float = 0.0,
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
        elif settled - clock() > _WITNESS_SECONDS:
            self._offset = settled - monotonic()
        self.of(clock())

    @property
    def kept(self) -> KeptTime:
        """For the next process."""
        return KeptTime(self._boot, self._offset, self._steady_since)

    @property
    def is_steady(self) -> bool:
        """Whether this time has gone on without a jump for an hour, over restarts too. Before that nobody can tell by
        it what is old: what ended a moment ago, by a clock that has been set since, looks as if that was yesterday."""
        return self._monotonic() - self._steady_since >= _STEADY_SECONDS

    def now(self) -> float:
        """The time to count by, unix seconds."""
        return self.of(self._clock())

    def of(self, unix_time: float) -> float:
        """The same, for a time of day that was just read."""
        monotonic = self._monotonic()
        astray = unix_time - monotonic - self._offset
        if abs(astray) <= SLACK_SECONDS:
            if self._astray:
                self._follow(unix_time, monotonic)
            else:
                self._offset = unix_time - monotonic  # the same, for what is asked several times for every operation
            return unix_time
        if abs(astray - self._astray) > SLACK_SECONDS:
            self._astray, self._since = astray, monotonic
            self._told(astray)
        if monotonic - self._since >= _PROBATION_SECONDS:
            self._follow(unix_time, monotonic)
            return unix_time
        return monotonic + self._offset

    def confirmed(self, block_time: float) -> None:
        """A block of this time (unix seconds) has just come."""
        unix_time, monotonic = self._clock(), self._monotonic()
        counted = self.of(unix_time)
        if abs(block_time - unix_time) <= _WITNESS_SECONDS:
            self._follow(unix_time, monotonic)
        elif abs(block_time - counted) <= _WITNESS_SECONDS:
            self._since = monotonic  # it speaks against the time of day

    def _follow(self, unix_time: float, monotonic: float) -> None:
        before, self._offset = self._offset, unix_time - monotonic
        if abs(self._offset - before) > SLACK_SECONDS:
            self._steady_since = monotonic
            self._followed(self.kept)
        if self._astray:
            self._astray = 0.0
            self._told(0.0)
