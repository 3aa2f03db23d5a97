"""Looks for requests that cost more than they may, by counted work; what was worst is kept and tried again.

python -m tests.cost.search [rounds] [seed]
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from pathlib import Path
from random import Random
from typing import Final

from tests.cost.bodies import padded_use
from tests.cost.counter import Counter
from tests.cost.recipes import Recipe, changed, seeds, unpack
from tests.cost.units import thread_seconds, units_of

MOST: Final = 25
"""How many times the work of a valid USE of the same size a request may cause."""
MOST_AT_ONCE: Final = 0.010
"""Seconds of the loop in one piece, on a machine with nothing else to do."""
WORST: Final = Path(__file__).parent / "worst"
_POOL: Final = 24
_KEPT: Final = 16


@dataclass(frozen=True)
class Tried:
    """A recipe and how many times a good request's work it causes."""

    recipe: Recipe
    ratio: float


class Search:
    """Climbs from the seeds and from what was worst before."""

    def __init__(self, counter: Counter, seed: int) -> None:
        self._counter = counter
        self._random = Random(seed)  # repeatable, not secret
        self.pool: list[Tried] = []

    def begin(self, recipes: list[Recipe]) -> None:
        """Try these first."""
        for recipe in recipes:
            self._take(recipe)

    def run(self, rounds: int) -> Tried:
        """The worst of `rounds` changes more."""
        for _ in range(rounds):
            parent = self._random.choice(self.pool).recipe
            others = [each.recipe for each in self.pool]
            for _ in range(self._random.choice((1, 1, 2, 3))):
                parent = changed(parent, others, self._random)
            self._take(parent)
        return self.pool[0]

    def _take(self, recipe: Recipe) -> None:
        if any(each.recipe == recipe for each in self.pool):
            return
        self.pool.append(Tried(recipe, ratio(self._counter, recipe)))
        self.pool.sort(key=lambda each: -each.ratio)
        # one kind of signer must not crowd out the others
        kinds: dict[str, int] = {}
        self.pool = [each for each in self.pool if _count(kinds, each.recipe.signer) <= _POOL // 6][:_POOL]


def _count(kinds: dict[str, int], kind: str) -> int:
    kinds[kind] = kinds.get(kind, 0) + 1
    return kinds[kind]


def ratio(counter: Counter, recipe: Recipe) -> float:
    """How many times the work of good requests of its size a request causes; a batch is held against a batch."""
    body = recipe.body()
    return units_of(counter.prepare(body)) / (recipe.copies * yardstick(counter, len(body) // recipe.copies))


_yardsticks: Final[dict[int, int]] = {}


def yardstick(counter: Counter, size: int) -> int:
    """Units of a valid USE padded to about `size` bytes, never more than `size`."""
    step = size - size % 4096
    if step not in _yardsticks:
        _yardsticks[step] = units_of(counter.prepare(padded_use(step)))
    return _yardsticks[step]


@cache
def kept() -> tuple[tuple[str, Recipe], ...]:
    """The worst of earlier searches, by file name."""
    return tuple((path.name, unpack(path.read_bytes())) for path in sorted(WORST.glob("*.gz")))


def main() -> int:
    """Search, confirm by the clock of this thread, keep the worst. 1 when anything costs more than it may."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 2_000
    counter = Counter()
    counter.serve(padded_use(0))
    search = Search(counter, int(sys.argv[2]) if len(sys.argv) > 2 else 1)
    search.begin([recipe for _, recipe in kept()] + seeds())
    search.run(rounds)
    failed = False
    for tried in search.pool[:_KEPT]:
        body = tried.recipe.body()
        work = _seconds(counter, body) / tried.recipe.copies
        good = _seconds(counter, padded_use(len(body) // tried.recipe.copies))
        over = tried.ratio > MOST or work / good > MOST
        failed = failed or over
        print(
            f"{tried.recipe.signer:10} {len(body):7} bytes  units x{tried.ratio:5.1f}  time x{work / good:5.1f}"
            f"  {work * 1e3:6.2f} ms{'  LONG' if work > MOST_AT_ONCE else ''}{'  TOO MUCH' if over else ''}"
        )
    _keep([tried.recipe for tried in search.pool[:_KEPT]])
    counter.close()
    return int(failed)


def _seconds(counter: Counter, body: bytes) -> float:
    return min(thread_seconds(counter.prepare(body), 1) for _ in range(5))  # a gate of its own each time


def _keep(recipes: list[Recipe]) -> None:
    for path in WORST.glob("*.gz"):
        path.unlink()
    for recipe in recipes:
        packed = recipe.pack()
        name = f"{recipe.signer.replace(' ', '-')}-{sha256(packed).hexdigest()[:10]}.gz"
        (WORST / name).write_bytes(packed)


if __name__ == "__main__":
    sys.exit(main())
