"""A gate some of whose parts are taken out, to see what they cost; and one that tells how many tasks it has.

    python -m tests.bench.gate_without PARTS serve --config FILE

`PARTS` are joined by commas: audit, metrics, events (what ops are told at once), ledger (nothing is on disk; judging
and holding stay), or nothing.
With CLOCKS in the environment nothing is taken out, and that file says what it takes to tell ops (see `Clocks`).
With TASKS in the environment the number of asyncio tasks is written to that file at every scrape. For measuring only:
no setting does this.
"""

from __future__ import annotations

import asyncio
import gc
import os
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from proxy.app import running
from proxy.app.memory import NoMemory
from proxy.app.telling import Telling
from proxy.cli import main
from proxy.edge.telemetry.recorder import EdgeRecorder

_TELL_SECONDS = 0.25
PARTS = frozenset({"audit", "metrics", "events", "ledger"})


class Clocks:
    """What tells ops, looked at where it is: CPU of the thread at each call's begin and end. A call that does nothing,
    made beside them, says what looking takes. The garbage collector is counted for itself: it looks at what is in
    flight, whoever happens to make the object that has it do so, and what tells ops leaves nothing behind.

    Each line of the file is what came together so far: operations judged; nanoseconds and calls of what tells; of what
    does nothing; nanoseconds of the thread that hands records over, and of the collector in the one that judges."""

    def __init__(self, path: Path) -> None:
        self.told = [0, 0]
        self.nothing = [0, 0]
        self.judged = 0
        self.collecting = 0
        self._began_collecting = 0
        gc.callbacks.insert(0, self._begin_collecting)
        gc.callbacks.append(self._end_collecting)
        self._file = path.open("a", encoding="ascii")

    def around(self, heard: Any, sums: list[int] | None = None) -> Any:
        """The same, clocked."""
        clock, kept = time.thread_time_ns, self.told if sums is None else sums

        def hear(*given: Any, **named: Any) -> None:
            collecting, began = self.collecting, clock()
            heard(*given, **named)
            kept[0] += clock() - began - (self.collecting - collecting)
            kept[1] += 1

        return hear

    def _begin_collecting(self, phase: str, _: object) -> None:
        if phase == "start":
            self._began_collecting = time.thread_time_ns()

    def _end_collecting(self, phase: str, _: object) -> None:
        if phase == "stop" and threading.current_thread() is threading.main_thread():
            self.collecting += time.thread_time_ns() - self._began_collecting

    async def tell(self) -> None:
        """As long as the gate runs."""
        while True:
            await asyncio.sleep(_TELL_SECONDS)
            numbers = (self.judged, *self.told, *self.nothing, _of_audit_thread(), self.collecting)
            self._file.write(f"{' '.join(map(str, numbers))}\n")
            self._file.flush()


def _of_audit_thread() -> int:
    """CPU so far, in nanoseconds."""
    found = [thread.native_id for thread in threading.enumerate() if thread.name == "audit-writer"]
    return sum(int(Path(f"/proc/self/task/{each}/schedstat").read_text().split()[0]) for each in found)


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


def clock_what_tells(clocks: Clocks) -> None:
    """Requests, verdicts, and what becomes of operations."""
    whole: Any = running
    whole_start, whole_tracing = running.start, running.open_tracing
    nothing = clocks.around(_nothing, clocks.nothing)

    class Clocked(EdgeRecorder):
        def __init__(self, *given: Any) -> None:
            super().__init__(*given)
            for name in ("decided", "forwarded", "answered", "ended"):
                setattr(self, name, clocks.around(getattr(self, name)))
            clocked: Any = self.decided

            def decided(*given: Any, **named: Any) -> None:
                clocks.judged += 1
                nothing()
                clocked(*given, **named)

            self.decided = decided  # type: ignore[method-assign]  # of each, for this measurement

    async def start(*given: Any, **named: Any) -> Any:
        telling = asyncio.create_task(clocks.tell())
        given[1].callback(telling.cancel)
        return await whole_start(*given, **named)

    whole.start = start
    whole.open_tracing = lambda *given: replace(whole_tracing(*given), recorder=Clocked)
    telling: Any = Telling
    telling.ended = _clocked_method(clocks.around(Telling.ended))


def _clocked_method(hear: Any) -> Any:
    def ended(self: Telling, end: Any) -> None:
        hear(self, end)

    return ended


def _nothing(*_: object) -> None:
    return None


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
    if "CLOCKS" in os.environ:
        clock_what_tells(Clocks(Path(os.environ["CLOCKS"])))
    else:
        take_out(frozenset(sys.argv[1].split(",")) - {""})
    if "TASKS" in os.environ:
        count_tasks(Path(os.environ["TASKS"]))
    sys.argv = ["sessiongate", *sys.argv[2:]]
    main()
