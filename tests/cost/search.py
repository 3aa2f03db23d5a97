"""Looks for requests that cost more than they may, by counted work; what was worst is kept and tried again.

python -m tests.cost.search [rounds] [seed] [rules] [part/parts]: under the shipped rules, then under each set of many
rules at once. In parts, which may run side by side, the sets are dealt out, and what was found is not kept.
"""

from __future__ import annotations

import gzip
import json
import logging
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from pathlib import Path
from random import Random
from typing import Any, Final

from tests.cost.bodies import good_under, padded_use
from tests.cost.counter import Counter
from tests.cost.plain_bodies import PlainBody, changed_body, plain_seeds
from tests.cost.recipes import Recipe, changed, seeds, unpack
from tests.cost.rule_sets import MANY, SHIPPED, judge_of
from tests.cost.units import thread_seconds

MOST: Final = 25
"""How many times the work of a valid USE of the same size a request may cause."""
MOST_AT_ONCE: Final = 100_000
"""Units that may hold the loop in one piece: 10 ms where a microsecond does ten of them."""
MOST_SECONDS_AT_ONCE: Final = 0.010
SIGNATURE: Final = 3_000
"""What a good request does in C, its signature recovered above all, in units: as long as so many take."""
WORST: Final = Path(__file__).parent / "worst"
_ALWAYS: Final = "always-"
"""So begin the names of those that cost too much once: they stay, whatever a search finds."""
ANY_JSON: Final = "any JSON"

Costly = Recipe | PlainBody
Change = Callable[[Any, Sequence[Any], Random], Any]  # of recipes among recipes, of bodies among bodies
_OF_MANY: Final = 20
"""Under each set of many rules one of so many rounds: what differs from set to set is little, and they are twenty."""
_POOL: Final = 24
_KEPT: Final = 16


@dataclass(frozen=True)
class Tried:
    """A recipe, how many times a good request's work it causes, and the units of its longest piece."""

    recipe: Costly
    ratio: float
    longest: int

    @property
    def badness(self) -> float:
        """More than 1 is too much."""
        return max(self.ratio / MOST, self.longest / MOST_AT_ONCE)


class Scales:
    """Weighs recipes against good requests under one set of rules; a batch is held against a batch."""

    def __init__(self, counter: Counter, padded: Callable[[int], bytes] = padded_use) -> None:
        self.counter = counter
        self.padded = padded
        counter.serve(padded(0))  # imports and caches are nobody's work
        self._good: dict[int, int] = {}

    def weigh(self, recipe: Costly) -> Tried:
        """The recipe, weighed."""
        body = recipe.body()
        weight = self.counter.weigh(body)
        return Tried(recipe, weight.all / (recipe.copies * self.good(len(body) // recipe.copies)), weight.longest)

    def good(self, size: int) -> int:
        """Units of a good request padded to about `size` bytes, never more than `size`."""
        step = size - size % 4096
        if step not in self._good:
            self._good[step] = SIGNATURE + self.counter.weigh(self.padded(step)).all
        return self._good[step]


class Search:
    """Climbs from the seeds and from what was worst before."""

    def __init__(self, scales: Scales, seed: int, change: Change = changed) -> None:
        self._scales = scales
        self._change = change
        self._random = Random(seed)  # repeatable, not secret
        self.pool: list[Tried] = []

    def begin(self, recipes: Sequence[Costly]) -> None:
        """Try these first."""
        for recipe in recipes:
            self._take(recipe)

    def run(self, rounds: int) -> Tried:
        """The worst of `rounds` changes more."""
        for _ in range(rounds):
            parent = self._random.choice(self.pool).recipe
            others = [each.recipe for each in self.pool]
            for _ in range(self._random.choice((1, 1, 2, 3))):
                parent = self._change(parent, others, self._random)
            self._take(parent)
        return self.pool[0]

    def _take(self, recipe: Costly) -> None:
        if any(each.recipe == recipe for each in self.pool):
            return
        self.pool.append(self._scales.weigh(recipe))
        self.pool.sort(key=lambda each: -each.badness)
        # one kind of signer must not crowd out the others
        kinds: dict[str, int] = {}
        self.pool = [each for each in self.pool if _count(kinds, each.recipe.signer) <= _POOL // 6][:_POOL]


def _count(kinds: dict[str, int], kind: str) -> int:
    kinds[kind] = kinds.get(kind, 0) + 1
    return kinds[kind]


@cache
def kept() -> tuple[tuple[str, Costly], ...]:
    """The worst of earlier searches, by file name."""
    return tuple((path.name, _unpacked(path.read_bytes())) for path in sorted(WORST.glob("*.gz")))


def _unpacked(packed: bytes) -> Costly:
    fields = json.loads(gzip.decompress(packed))
    return PlainBody(fields["text"]) if "text" in fields else unpack(packed)


def kept_recipes() -> list[Recipe]:
    """Those that carry an operation."""
    return [each for _, each in kept() if isinstance(each, Recipe)]


def main() -> int:
    """Search, confirm by the clock of this thread, keep the worst. 1 when anything costs more than it may."""
    rounds, seed, rules = (int(number) for number in (*sys.argv[1:4], *("2000", "1", "10000")[len(sys.argv[1:4]) :]))
    part, parts = (int(number) for number in (sys.argv[4] if len(sys.argv) > 4 else "1/1").split("/"))
    logging.disable()  # the bundler here names every operation alike, and each is told of
    failed, worst = False, []
    for name in (SHIPPED, ANY_JSON, *MANY)[part - 1 :: parts]:
        began = time.monotonic()
        counter = Counter(judge_of(SHIPPED if name == ANY_JSON else name, rules))
        scales = Scales(counter, good_under(name))
        if name == ANY_JSON:
            search = Search(scales, seed, changed_body)
            search.begin([each for _, each in kept() if isinstance(each, PlainBody)] + plain_seeds())
        else:
            search = Search(scales, seed)
            search.begin(kept_recipes() + seeds())
        search.run(rounds if name == SHIPPED else rounds // _OF_MANY)
        print(f"{f'{rules} rules: ' if name in MANY else ''}{name}, {time.monotonic() - began:.0f} s")
        shown = search.pool[: _KEPT if name == SHIPPED else 3]
        for tried in shown:
            failed = _shown(scales, tried) or failed
        worst += [tried.recipe for tried in shown]
        counter.close()
        judge_of.cache_clear()  # ten thousand rules are a gigabyte or two
    if parts == 1:
        _keep(worst)
    return int(failed)


def _shown(scales: Scales, tried: Tried) -> bool:
    """Print what it costs, by the clock too. Whether that is too much."""
    counter, body = scales.counter, tried.recipe.body()
    good_body = scales.padded(len(body) // tried.recipe.copies)
    work = _seconds(counter, body) / tried.recipe.copies
    good = _seconds(counter, good_body)
    at_once = min(counter.longest_seconds(body) for _ in range(3))
    over = tried.ratio > MOST or work / good > MOST or tried.longest > MOST_AT_ONCE
    is_long = at_once > MOST_SECONDS_AT_ONCE
    print(
        f"{tried.recipe.signer:10} {len(body):7} bytes  units x{tried.ratio:5.1f}  time x{work / good:5.1f}"
        f"  {work * 1e3:6.2f} ms, at once {tried.longest:6} units, {at_once * 1e3:5.2f} ms"
        f"{'  LONG' if is_long else ''}{'  TOO MUCH' if over else ''}",
        flush=True,
    )
    return over


def _seconds(counter: Counter, body: bytes) -> float:
    return min(thread_seconds(counter.prepare(body), 1) for _ in range(5))  # a gate of its own each time


def _keep(recipes: Sequence[Costly]) -> None:
    for path in WORST.glob("*.gz"):
        if not path.name.startswith(_ALWAYS):
            path.unlink()
    for recipe in recipes:
        packed = recipe.pack()
        kind = recipe.signer.replace(" ", "-").replace("'", "")
        name = f"{kind}-{sha256(packed).hexdigest()[:10]}.gz"
        (WORST / name).write_bytes(packed)


if __name__ == "__main__":
    sys.exit(main())
