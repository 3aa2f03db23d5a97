"""A gate some of whose parts are taken out, to see what they cost; and one that tells how many tasks it has.

    python -m tests.bench.gate_without PARTS serve --config FILE

`PARTS` are joined by commas: audit, metrics, events (what ops are told at once), ledger (nothing is on disk; judging
and holding stay), or nothing.
With TASKS in the environment the number of asyncio tasks is written to that file at every scrape. For measuring only:
no setting does this.
"""

from __future__ import annotations

import asyncio
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from proxy.app import running
from proxy.app.memory import NoMemory
from proxy.cli import main
from proxy.edge.telemetry.recorder import EdgeRecorder

PARTS = frozenset({"audit", "metrics", "events", "ledger"})


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
    take_out(frozenset(sys.argv[1].split(",")) - {""})
    if "TASKS" in os.environ:
        count_tasks(Path(os.environ["TASKS"]))
    sys.argv = ["sessiongate", *sys.argv[2:]]
    main()
