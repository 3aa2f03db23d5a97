"""What a busy machine owes to the gate and to who asks it: what that makes late is no fault of theirs."""

from __future__ import annotations

import time
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

_MOST_NOTED = 100_000
_LONGEST = 4


@dataclass
class Machine:
    """`waited` tells for how many seconds they have waited for a processor so far, all together."""

    waited: Callable[[], float]
    clock: Callable[[], float] = time.monotonic
    _at: list[float] = field(default_factory=list)
    _so_far: list[float] = field(default_factory=list)

    def note(self) -> None:
        """How it stands now, for whoever asks about the time since."""
        if len(self._at) >= _MOST_NOTED:
            del self._at[: _MOST_NOTED // 2], self._so_far[: _MOST_NOTED // 2]
        self._at.append(self.clock())
        self._so_far.append(self.waited())

    def owed_since(self, at: float) -> float:
        """Seconds that they have waited for a processor since then, or since the last note before."""
        self.note()
        place = max(bisect_right(self._at, at) - 1, 0)
        return max(self._so_far[-1] - self._so_far[place], 0.0)

    def patience(self, seconds: float, since: float) -> float:
        """So many seconds from then on, and what is owed beside: some times as long at most, for it has to end."""
        return seconds + min(self.owed_since(since), _LONGEST * seconds)


def waited_for_a_processor(pid: int) -> float:
    """In seconds."""
    try:
        return int(Path(f"/proc/{pid}/schedstat").read_text().split()[1]) / 1e9
    except OSError:  # it has ended, or nobody counts that here
        return 0.0
