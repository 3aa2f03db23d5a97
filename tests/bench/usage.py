"""What a process and its children take of the machine, from /proc."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

_TICK = 1 / os.sysconf("SC_CLK_TCK")
_PARENT, _USER, _SYSTEM = 1, 11, 12  # of /proc/PID/stat, counted after the command's closing bracket


@dataclass(frozen=True)
class Usage:
    """Seconds of CPU so far, resident bytes (shared ones in parts), and what descriptors there are by kind.

    `own_seconds` is the CPU of the process itself, without what it started.
    """

    cpu_seconds: float
    own_seconds: float
    resident: int
    sockets: int
    files: int


def usage_of(pid: int) -> Usage:
    """Of a process and all that it started."""
    family = _family(pid)
    cpu = sum(_cpu(each) for each in family)
    kinds: Counter[str] = Counter()
    for each in family:
        kinds += _descriptors(each)
    return Usage(cpu, _cpu(pid), sum(_resident(each) for each in family), kinds["sockets"], kinds["files"])


def _stat(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:  # it has just ended
        return []


def _family(pid: int) -> list[int]:
    parents = {int(path.name): _stat(int(path.name)) for path in Path("/proc").iterdir() if path.name.isdigit()}
    family = [pid]
    for each in family:
        family += [child for child, stat in parents.items() if stat and int(stat[_PARENT]) == each]
    return family


def _cpu(pid: int) -> float:
    stat = _stat(pid)
    return (int(stat[_USER]) + int(stat[_SYSTEM])) * _TICK if stat else 0.0


def _resident(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))


def _descriptors(pid: int) -> Counter[str]:
    kinds: Counter[str] = Counter()
    try:
        names = list(Path(f"/proc/{pid}/fd").iterdir())
    except OSError:
        return kinds
    for name in names:
        try:
            target = str(name.readlink())
        except OSError:
            continue
        kinds["sockets" if target.startswith("socket:") else "files"] += 1
    return kinds
