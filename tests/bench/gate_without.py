"""A gate some of whose parts are taken out, to see what they cost; and one that tells how many tasks it has.

    python -m tests.bench.gate_without PARTS serve --config FILE

`PARTS` are joined by commas: audit, metrics, events (what ops are told at once), ledger (nothing is on disk; judging
and holding stay), or nothing.
With TURNS in the environment nothing is taken out, and nobody is told anything in every other second; that file says
what both kinds of seconds took (see `Turns`).
With TASKS in the environment the number of asyncio tasks is written to that file at every scrape. For measuring only:
no setting does this.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from proxy.app import running
from proxy.app.memory import NoMemory
from proxy.app.telling import Telling
from proxy.cli import main
from proxy.edge.telemetry.recorder import EdgeRecorder

PARTS = frozenset({"audit", "metrics", "events", "ledger"})


class Turns:
    """Seconds in which ops are told, and seconds in which they are not, in one process: two of them differ by more than
    what is looked for. Each ends with a line in the file: whether they were told, CPU seconds of the process so far,
    and operations judged so far."""

    def __init__(self, path: Path) -> None:
        self.telling = True
        self.judged = 0
        self._file = path.open("a", encoding="ascii")

    async def take(self) -> None:
        """As long as the gate runs."""
        loop = asyncio.get_running_loop()
        due = loop.time()
        while True:
            due += 1
            await asyncio.sleep(due - loop.time())
            self._file.write(f"{int(self.telling)} {time.process_time_ns()} {self.judged}\n")
            self._file.flush()
            self.telling = not self.telling


class Deaf:
    """Counts nothing, whatever it is told."""

    def __getattr__(self, name: str) -> Deaf:
        return self

    def __call__(self, *_: object, **__: object) -> None:
        return None


def take_out(parts: frozenset[str]) -> None:
    """From every gate that this process starts."""
    assert parts <= PARTS, parts - PARTS
    whole: Any = running
    whole_tracing, whole_shared = running.open_tracing, running.Shared

    def recorder(metrics: Any, audit: Any, *rest: Any) -> Any:
        return EdgeRecorder(
            Deaf() if "metrics" in parts else metrics,
            None if "audit" in parts else audit,
            *(() if "events" in parts else rest),
        )

    def tracing(*given: Any) -> Any:
        return replace(whole_tracing(*given), recorder=recorder)

    def shared(**each: Any) -> Any:
        return whole_shared(**{**each, "memory": NoMemory()} if "ledger" in parts else each)

    whole.open_tracing = tracing
    whole.Shared = shared


def tell_by_turns(turns: Turns) -> None:
    """Of requests, of verdicts, and of what becomes of operations."""
    whole: Any = running
    whole_hooks, whole_start, whole_tracing, whole_end = (
        *(running._hooks, running.start, running.open_tracing),
        Telling.ended,
    )

    def by_turns(heard: Any) -> Any:
        def hear(*given: Any, **named: Any) -> None:
            if turns.telling:
                heard(*given, **named)

        return hear

    class ByTurns(EdgeRecorder):
        def __init__(self, *given: Any) -> None:
            super().__init__(*given)
            self.judged: Any = self.decided

            def decided(*given: Any, **named: Any) -> None:
                turns.judged += 1
                if turns.telling:
                    self.judged(*given, **named)

            self.decided = decided  # type: ignore[method-assign]  # each of them, for this measurement
            for name in ("forwarded", "answered", "ended"):
                setattr(self, name, by_turns(getattr(self, name)))

    def hooks(metrics: Any) -> Any:
        found = whole_hooks(metrics)
        return replace(found, began=by_turns(found.began), ended=by_turns(found.ended))

    async def start(*given: Any) -> Any:
        taking = asyncio.create_task(turns.take())
        given[1].callback(taking.cancel)
        return await whole_start(*given)

    whole._hooks, whole.start = hooks, start
    whole.open_tracing = lambda *given: replace(whole_tracing(*given), recorder=ByTurns)
    telling: Any = Telling

    def ended(self: Telling, end: Any) -> None:
        if turns.telling:
            whole_end(self, end)

    telling.ended = ended


def count_tasks(path: Path) -> None:
    """Write the number of tasks at every scrape."""
    whole: Any = running
    made = whole.metrics_of

    def tell() -> None:
        path.write_text(str(len(asyncio.all_tasks())))

    def metrics_of(config: Any) -> Any:
        metrics = made(config)
        metrics.before_each_scrape(tell)
        return metrics

    whole.metrics_of = metrics_of


if __name__ == "__main__":
    if "TURNS" in os.environ:
        tell_by_turns(Turns(Path(os.environ["TURNS"])))
    else:
        take_out(frozenset(sys.argv[1].split(",")) - {""})
    if "TASKS" in os.environ:
        count_tasks(Path(os.environ["TASKS"]))
    sys.argv = ["sessiongate", *sys.argv[2:]]
    main()
