"""Load on one server by wrk, and what came of it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

SCRIPT = Path(__file__).parent / "load.lua"


@dataclass(frozen=True)
class Figures:
    """Requests a second, and latency in microseconds."""

    per_second: float
    p50: float
    p99: float
    requests: int
    failed: int


def program(name: str, package: str) -> str:
    """Where a program is; Debian keeps nginx outside ordinary users' PATH."""
    found = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if found is None:
        raise FileNotFoundError(f"{name} is not installed (Debian: apt-get install {package})")
    return found


def pinned(core: int, command: list[str]) -> list[str]:
    """`command` on one core, where there are cores to choose from."""
    if (os.cpu_count() or 1) < 2 or shutil.which("taskset") is None:
        return command
    return ["taskset", "--cpu-list", str(core), *command]


def drive(url: str, bodies: Path, *, connections: int, seconds: int, core: int) -> Figures:
    """`connections` keep-alive clients, each sending its next request when the last is answered."""
    command = [program("wrk", "wrk"), "--threads", "1", "--connections", str(connections)]
    command += ["--duration", f"{seconds}s", "--timeout", "5s", "--script", str(SCRIPT), url]
    done = subprocess.run(
        pinned(core, command),
        env={**os.environ, "BODIES": str(bodies)},
        capture_output=True,
        text=True,
        timeout=seconds + 30,
        check=True,
    )
    found = json.loads(done.stdout.strip().splitlines()[-1])
    return Figures(found["requests"] / found["seconds"], found["p50"], found["p99"], found["requests"], found["failed"])
