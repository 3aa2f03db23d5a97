"""Gates that note down, a few times a second, how long they worked for whom, who stood in line, and how often the loop
went round meanwhile: `turns.json` beside their settings. Times are those of the loop's thread, so that it counts for
nothing what else the machine does.

    python -m tests.attack.watched

Started and told what to do as `tests.chaos.nursery`.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from proxy.edge.http import households, server
from tests.chaos import nursery

TURNS: Final = "turns.json"
_EVERY_SECONDS: Final = 0.2


class WatchedTurns(households.HouseholdTurns):
    """By household: seconds that were worked for it, how often it stood in line, how long altogether, and its longest
    piece.
    """

    file: Path

    def __init__(self, most: int, *, clock: Callable[[], float] = time.thread_time) -> None:
        super().__init__(most, clock=clock)
        self._noted: dict[str, list[float]] = {}
        self._rounds = 0
        self._written = 0.0

    def _charge(self, held: Any, seconds: float) -> None:
        notes = self._notes_of(held)
        notes[0] += seconds
        notes[3] = max(notes[3], seconds)
        super()._charge(held, seconds)
        if (now := time.monotonic()) - self._written > _EVERY_SECONDS:
            self._written = now
            whole = self.file.with_suffix(".new")
            whole.write_text(json.dumps({"had": self._noted, "rounds": self._rounds}))
            whole.replace(self.file)

    def _take_turns(self) -> None:
        self._rounds += 1
        super()._take_turns()

    def _notes_of(self, held: Any) -> list[float]:
        return self._noted.setdefault(held.household or "", [0.0, 0.0, 0.0, 0.0])

    def _stand(self, held: Any, standing: Any) -> None:
        began, notes = self.clock(), self._notes_of(held)

        def over() -> None:
            notes[1] += 1
            notes[2] += self.clock() - began

        def begin() -> None:
            over()
            standing()

        if isinstance(standing, asyncio.Future):
            standing.add_done_callback(lambda _: over())
            super()._stand(held, standing)
        else:
            super()._stand(held, begin)


def main() -> None:
    """See above."""
    server.HouseholdTurns = WatchedTurns  # type: ignore[misc]  # of whichever gate is forked
    serve = nursery.serve

    def watched(config: str, log: str, most_bytes: int, astray: str) -> None:
        WatchedTurns.file = Path(config).parent / TURNS
        serve(config, log, most_bytes, astray)

    nursery.serve = watched
    nursery.main()


if __name__ == "__main__":
    main()
