"""The garbage collector of a gate that serves: it looks at a few young objects at a time, and never at all there is.

Nothing of an operation refers to itself, so that all of it goes without the collector. Left to itself that looked
through everything in flight again and again, and held the loop for as long as there was much of it. What goes round in
a circle (a task that failed, its frames) is young when it is let go of, and is found. What has lived through two looks
stays out of all others.

A look is due when some thousands more were made than let go of. Where much is under way at once, and as much of it ends
as begins, far more than these are young by then: such a look is left out, for it would hold the loop for as long as
several requests may.

As long as there is nothing to find, three quarters of what was made and stays are not looked at either: a look costs as
much as what it looks at was to make. The first thing that is found ends that.

Only when memory has grown by half is the whole looked through once more. That holds the loop for a second per some
millions of objects: so it waits for a moment in which little is made, and no longer than until memory has doubled.
Where looks at the young have found no circle since the last time, memory is three times what it was before that
happens, and it waits for as long as much is made: nobody is held up for what is not there.
"""

from __future__ import annotations

import gc
import logging
import resource
import time
from collections.abc import Callable, Mapping
from typing import Final

_LOG: Final = logging.getLogger(__name__)
_YOUNG: Final = 4_000
"""Objects made and not let go of, net, before they are looked at: of a hundred operations in flight."""
_LOOKS: Final = 2
"""After so many looks at the young, one at all that these have left."""
_NEVER: Final = 1_000_000_000
_MOST: Final = 12_000
"""Objects that one look is at: as many as all looks before the one at both are due for."""
_QUIET_ROUNDS: Final = 4
"""Rounds of looks that have found nothing, before any is left out."""
_LEFT_OUT: Final = 12
"""Looks that are left out after a round of four that has found nothing."""
_GROWN: Final = 1.5
_MUCH_GROWN: Final = 2.0
_MUCH_GROWN_WITHOUT_CIRCLES: Final = 3.0
_QUIET_SECONDS: Final = 0.5
"""Nothing of the young was due to be looked at for so long: nobody, or few, wait for what this process does."""
_WHOLE: Final = 2
"""The generation that is all there is."""


def _peak() -> int:
    """The most memory this process has had so far; in which unit depends on the system."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


class Collector:
    """From `begin` to `end` the collector works as above. `later` has something called by the loop, from any thread,
    `after` in that of the loop, so many seconds later."""

    def __init__(
        self,
        later: Callable[[Callable[[], None]], object],
        after: Callable[[float, Callable[[], None]], object],
        peak: Callable[[], int] = _peak,
    ) -> None:
        self._later = later
        self._after = after
        self._peak = peak
        self._looks = 0  # so far, those that were left out too
        self._looks_then = 0  # when it was last seen whether it is quiet
        self._peak_then = 0
        self._is_due = False
        self._quiet_rounds = 0
        self._to_leave_out = 0
        self._is_left_out = False  # the look that is under way
        self._has_looked = self._has_found = False  # since all there is was looked at: at the young, anything
        self._thresholds = gc.get_threshold()

    def begin(self) -> None:
        """What was made so far stays."""
        self._look_at_all()
        gc.set_threshold(_YOUNG, _LOOKS, _NEVER)
        gc.callbacks.append(self._looked)
        gc.enable()

    def end(self) -> None:
        """As it was before."""
        gc.callbacks.remove(self._looked)
        self._is_due = False
        gc.set_threshold(*self._thresholds)
        gc.unfreeze()

    def _looked(self, phase: str, info: Mapping[str, int]) -> None:
        """By the collector itself, in whichever thread it was due."""
        if phase == "start":
            self._looks += 1
            self._is_left_out = info["generation"] != _WHOLE and self._leaves_out(info["generation"])
            if self._is_left_out:
                gc.freeze()  # nothing is left to be looked at
            return
        self._has_looked |= not self._is_left_out
        if info["collected"]:
            self._quiet_rounds = self._to_leave_out = 0
            self._has_found = True
        if info["generation"] != 1:
            return
        gc.freeze()
        if not (info["collected"] or self._is_left_out):
            self._quiet_rounds += 1
            self._to_leave_out = _LEFT_OUT if self._quiet_rounds > _QUIET_ROUNDS else 0
        if not self._is_due and self._has_grown(_MUCH_GROWN_WITHOUT_CIRCLES if self._sees_no_circles else _GROWN):
            self._is_due = True
            self._later(self._wait_for_quiet)

    def _leaves_out(self, generation: int) -> bool:
        if self._to_leave_out:
            self._to_leave_out -= 1
            return True
        return sum(len(gc.get_objects(each)) for each in range(generation + 1)) > _MOST

    def _has_grown(self, times: float) -> bool:
        return self._peak() > times * self._peak_then

    @property
    def _sees_no_circles(self) -> bool:
        return self._has_looked and not self._has_found

    def _wait_for_quiet(self) -> None:
        self._looks_then = self._looks
        self._after(_QUIET_SECONDS, self._look_again)

    def _look_again(self) -> None:
        if not self._is_due:
            return  # it has ended meanwhile
        if self._looks != self._looks_then and (self._sees_no_circles or not self._has_grown(_MUCH_GROWN)):
            self._wait_for_quiet()
            return
        begun = time.monotonic()
        gc.unfreeze()
        self._look_at_all()
        _LOG.info("memory has grown: looked for garbage in all of it, %.2f s", time.monotonic() - begun)

    def _look_at_all(self) -> None:
        gc.collect()
        gc.freeze()
        self._peak_then, self._is_due = self._peak(), False
        self._has_looked = self._has_found = False


def keep_what_was_made() -> None:
    """Very much was made while nothing was collected, and stays: a gate that serves does not look through it."""
    if any(isinstance(getattr(each, "__self__", None), Collector) for each in gc.callbacks):
        gc.freeze()
