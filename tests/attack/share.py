"""What a gate did with its time while somebody was asked: for whom it worked, and whether it had a core to work on."""

from __future__ import annotations

import json
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

_FRESH_SECONDS: Final = 0.3
"""After so long what is noted down has been."""
_NANO: Final = 1e-9
_TICKS: Final = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Had:
    """Of one household, in seconds of the loop's thread; `longest` is of all that were ever worked for it at once."""

    worked: float = 0.0
    stood: int = 0
    in_line: float = 0.0
    longest: float = 0.0

    def __sub__(self, other: Had) -> Had:
        return Had(self.worked - other.worked, self.stood - other.stood, self.in_line - other.in_line, self.longest)


@dataclass(frozen=True)
class Share:
    """By household what it had, how long the gate's loop was running and was waiting for a core, and how long the rest
    of the gate was running, in seconds, and how often the loop went round while it had much to do.
    """

    had: dict[str, Had]
    running: float
    waiting: float
    beside: float
    rounds: int

    @classmethod
    def so_far(cls, notes: Path, pid: int) -> Self:
        """Waits until the notes are those of now."""
        time.sleep(_FRESH_SECONDS)
        told = json.loads(notes.read_text()) if notes.exists() else {"had": {}, "rounds": 0}
        try:
            running, waiting, _ = map(int, Path(f"/proc/{pid}/schedstat").read_text().split())
        except FileNotFoundError:  # a kernel that does not count
            running, waiting = 0, 0
        had = {name: Had(*each) for name, each in told["had"].items()}
        whole = sum(map(int, Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13])) / _TICKS
        return cls(had, running * _NANO, waiting * _NANO, whole - running * _NANO, told["rounds"])

    def since(self, before: Share) -> Share:
        """Between the two."""
        had = {name: each - before.had.get(name, Had()) for name, each in self.had.items()}
        return Share(
            had,
            self.running - before.running,
            self.waiting - before.waiting,
            self.beside - before.beside,
            self.rounds - before.rounds,
        )

    @property
    def core(self) -> float:
        """The part of the time that the loop wanted a core and had one, but for what its own threads kept it from."""
        wanted = self.running + max(self.waiting - max(self.beside, 0.0), 0.0)
        return self.running / wanted if wanted > 0 else 1.0

    @property
    def round(self) -> float:
        """Seconds that the loop worked until it heard who else had asked, in the middle."""
        return self.running / self.rounds if self.rounds else 0.0

    @property
    def worked(self) -> float:
        """For anybody."""
        return sum(each.worked for each in self.had.values())

    def part_of(self, household: str) -> float:
        """Of all that was worked for anybody."""
        return self.had.get(household, Had()).worked / (self.worked or 1.0)

    def told(self) -> str:
        """In one line, whoever had least first."""
        each = sorted(self.had.items(), key=lambda item: item[1].worked)
        whole = ", ".join(
            f"{name} {100 * self.part_of(name):.1f} % (at once {1e3 * had.longest:.1f} ms)"
            for name, had in each
            if name and had.worked > 0
        )
        return (
            f"worked {self.running:.1f} s for: {whole}; "
            f"went round {self.rounds} times, {1e3 * self.round:.2f} ms each; "
            f"had a core {100 * self.core:.0f} % of the time that it wanted one"
        )


def beside_the_loop(pid: int, cores: set[int]) -> None:
    """Whatever the gate has started itself may run on these cores: it is not to take the loop's."""
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        os.sched_setaffinity(int(child), cores)
