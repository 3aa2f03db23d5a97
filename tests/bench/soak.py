"""Mixed load for a while: does anything grow that should not?   python -m tests.bench.soak [--seconds N] [--rate N]

Memory, tasks, sockets and files are looked at all the time, operations are mined as they go. The second quarter of the
run is held against the last: by then everything that may fill has filled. Exit code 1 when something grew.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Final

from tests.bench.corpus import write_corpus
from tests.bench.load import pinned, write_bodies
from tests.bench.measure import grant, settled
from tests.bench.servers import CLIENT_CORE, ROOT, GateKind, Server, gate, upstream
from tests.e2e.children import bound

MEMORY_SLACK: Final = 1.10
"""What is kept of operations that were mined, against reorganisations, is memory that is spent on purpose."""
_LOOK_SECONDS: Final = 0.5
_CONNECTIONS: Final = 16
COUNT_SLACK: Final = {"files": 8, "tasks": _CONNECTIONS + 8, "sockets": _CONNECTIONS + 8}
"""What goes on at the moment of one look and not at another's; a caller who waits has a connection to the bundler."""


@dataclass(frozen=True)
class Look:
    """What the gate had at one moment; memory in MiB."""

    memory: float
    tasks: int
    sockets: int
    files: int


@dataclass(frozen=True)
class Soaked:
    """The medians of the second quarter and of the last; what grew between them, by name."""

    early: Look
    late: Look
    grew: tuple[str, ...]
    failed: int


def judge(looks: Sequence[Look], failed: int) -> Soaked:
    """Whether a run was flat. Raises `ValueError` when it was looked at too seldom to say."""
    if len(looks) < 8:
        raise ValueError(f"{len(looks)} looks are too few")
    quarter = len(looks) // 4
    early, late = _median(looks[quarter : 2 * quarter]), _median(looks[-quarter:])
    grew = [name for name, slack in COUNT_SLACK.items() if getattr(late, name) > getattr(early, name) + slack]
    if late.memory > early.memory * MEMORY_SLACK:
        grew.append("memory")
    return Soaked(early, late, tuple(grew), failed)


def _median(looks: Sequence[Look]) -> Look:
    def of(name: str) -> float:
        return median(getattr(look, name) for look in looks)

    return Look(of("memory"), int(of("tasks")), int(of("sockets")), int(of("files")))


def soak(folder: Path, seconds: float, rate: float) -> Soaked:
    """One gate with the shipped rules under the recorded mix."""
    corpus = write_corpus(folder, {"mix": round(seconds * rate)}, sessions=50)
    tasks = folder / "tasks"
    with (
        upstream(folder, corpus.known) as port,
        gate(folder, port, "soak", GateKind(rules=True), tasks=tasks) as server,
    ):
        grant(server, corpus)
        bodies = write_bodies(folder / "bodies", corpus.bodies["mix"])
        command = [sys.executable, "-m", "tests.bench.fixed_rate", server.url, str(bodies), str(rate)]
        looks = []
        with subprocess.Popen(
            bound(pinned(CLIENT_CORE, [*command, str(_CONNECTIONS)])), stdout=subprocess.PIPE, cwd=ROOT, text=True
        ) as load:
            while load.poll() is None:
                looks.append(look(server, tasks))
                time.sleep(_LOOK_SECONDS)
            told = "" if load.stdout is None else load.stdout.read()
        assert load.returncode == 0, told
        assert settled(server) is not None, "what was mined is not settled"
    failed = int(told.partition('"failed": ')[2].partition("}")[0])
    return judge(looks, failed)


def look(server: Server, tasks: Path) -> Look:
    """From outside, but for the number of tasks, which only the process knows."""
    with urllib.request.urlopen(f"{server.admin}/metrics", timeout=30) as response:
        response.read()
    usage = server.usage()
    return Look(usage.resident / 2**20, int(tasks.read_text()), usage.sockets, usage.files)


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="make soak", description=__doc__)
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--rate", type=float, default=150, help="requests a second")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="sessiongate-soak-") as folder:
        found = soak(Path(folder), options.seconds, options.rate)
    print(f"{'':<10}{'memory MiB':>12}{'tasks':>8}{'sockets':>9}{'files':>7}")
    for name, each in (("early", found.early), ("late", found.late)):
        print(f"{name:<10}{each.memory:>12.1f}{each.tasks:>8}{each.sockets:>9}{each.files:>7}")
    print(f"grew: {', '.join(found.grew) or 'nothing'}; failed requests: {found.failed}")
    return 1 if found.grew or found.failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
