"""Load on one server, and what came of it: closed loop by wrk, fixed rate by a client of our own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

SCRIPT = Path(__file__).parent / "load.lua"


@dataclass(frozen=True)
class Figures:
    """Requests a second, and latency in microseconds; `beyond` were asked after the last body had been sent."""

    per_second: float
    p50: float
    p99: float
    p999: float
    requests: int
    failed: int
    beyond: int = 0


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


def write_bodies(path: Path, bodies: Sequence[bytes]) -> Path:
    path.write_bytes(b"".join(body + b"\n" for body in bodies))
    return path


def drive(url: str, bodies: Path, *, connections: int, seconds: float, core: int, again: bool = False) -> Figures:
    """`connections` keep-alive clients, each sending its next request when the last is answered.

    Each body is sent once, or from the start again with `again`; wrk counts whole seconds.
    """
    command = [program("wrk", "wrk"), "--threads", "1", "--connections", str(connections)]
    command += ["--duration", f"{max(round(seconds), 1)}s", "--timeout", "5s", "--script", str(SCRIPT), url]
    env = {**os.environ, "BODIES": str(bodies), "AGAIN": "1" if again else "0"}
    found = _run(pinned(core, command), seconds, env)
    return _figures(found, found["requests"] / found["seconds"])


def drive_at(url: str, bodies: Path, *, connections: int, rate: float, core: int) -> Figures:
    """All bodies at a fixed rate; latency counts from the moment a request was to be sent, waiting included."""
    command = [sys.executable, "-m", "tests.bench.fixed_rate", url, str(bodies), str(rate), str(connections)]
    lines = bodies.read_bytes().count(b"\n")
    found = _run(pinned(core, command), lines / rate, dict(os.environ))
    return _figures(found, found["requests"] / found["seconds"])


def _run(command: list[str], seconds: float, env: dict[str, str]) -> dict[str, float]:
    done = subprocess.run(
        command,
        env=env,
        capture_output=True,
        text=True,
        timeout=seconds + 60,
        check=False,
        cwd=Path(__file__).parents[2],
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, float] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def _figures(found: dict[str, float], per_second: float) -> Figures:
    latency = found["p50"], found["p99"], found["p999"]
    counts = int(found["requests"]), int(found["failed"]), int(found.get("beyond", 0))
    return Figures(per_second, *latency, *counts)
