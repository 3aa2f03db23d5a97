"""What metrics, audit and events take of the process that judges, beside what the lean proxy that recovers takes.

python -m tests.bench.told [--seconds N] [--operations N]

Two gates, or two lives of one, differ by more than that. So it is one gate under a load that goes on, which tells
nobody anything in every other second: what seconds in turn took of its CPU, for each operation that it judged in them.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import pairwise
from math import sqrt
from pathlib import Path
from statistics import mean, median, stdev
from typing import Final

from tests.bench.corpus import write_corpus
from tests.bench.measure import grant, measure
from tests.bench.scenes import WARM_UP_SECONDS, Plan
from tests.bench.servers import GateKind, gate, lean_recover, upstream

PLAN: Final = Plan(seconds=60, rounds=3, operations=90_000, apart_seconds=2)
_FEWEST: Final = 0.5
"""A second in which less was judged than so much of what is usual is none: the load began or ended in it."""


@dataclass(frozen=True)
class Turn:
    """A second: whether ops were told in it, CPU of the process in µs, and operations judged."""

    told: bool
    cpu: float
    judged: int

    @property
    def each(self) -> float:
        """µs an operation."""
        return self.cpu / self.judged


@dataclass(frozen=True)
class ToldShare:
    """What telling takes beside the lean proxy, and how far that may be off (one standard error); µs an operation
    with it and without, and of the lean proxy; of how many pairs of seconds that is said."""

    share: float
    error: float
    told: float
    untold: float
    lean: float
    pairs: int


def read_turns(text: str) -> list[Turn]:
    """What a gate has written (`tests.bench.gate_without.Turns`), without seconds that are not full of load."""
    lines = [tuple(map(int, line.split())) for line in text.splitlines()]
    turns = [
        Turn(bool(after[0]), (after[1] - before[1]) / 1e3, after[2] - before[2]) for before, after in pairwise(lines)
    ]
    usual = median([turn.judged for turn in turns if turn.judged] or [0])
    return [turn for turn in turns if turn.judged > _FEWEST * usual]


def share_of(turns: Sequence[Turn], lean: float) -> ToldShare:
    """Each second beside the one after it, so that what changes slowly is in both."""
    in_turn = [(one, other) for one, other in zip(turns[::2], turns[1::2], strict=False) if one.told != other.told]
    pairs = [(one, other) if one.told else (other, one) for one, other in in_turn]
    shares = [(told.each - untold.each) / lean for told, untold in pairs]
    return ToldShare(
        share=mean(shares),
        error=stdev(shares) / sqrt(len(shares)) if len(shares) > 1 else float("inf"),
        told=mean(told.each for told, _ in pairs),
        untold=mean(untold.each for _, untold in pairs),
        lean=lean,
        pairs=len(pairs),
    )


def told_by_turns(folder: Path, plan: Plan) -> ToldShare:
    """`plan.operations` are prepared for `plan.seconds` of load, in `plan.rounds` with the lean proxy between them."""
    corpus = write_corpus(folder, {"use": plan.operations}, name="told")
    turns = folder / "turns"
    turns.touch()
    options = {"block": plan.block, "age": plan.age}
    with ExitStack() as stack:
        behind = stack.enter_context(upstream(folder, corpus.known, **options))
        server = stack.enter_context(gate(folder, behind, "gate", GateKind(), turns=turns))
        shared = stack.enter_context(upstream(folder, corpus.known, **options))
        lean = stack.enter_context(lean_recover(folder, shared))
        grant(server, corpus)
        for each in (server, lean):
            measure(each, corpus, folder, seconds=WARM_UP_SECONDS)
        turns.write_text("")
        floor = []
        for _ in range(plan.rounds):
            measure(server, corpus, folder, seconds=plan.seconds / plan.rounds)
            floor.append(measure(lean, corpus, folder, seconds=plan.apart_seconds).own_cpu)
    return share_of(read_turns(turns.read_text()), median(floor))


def print_told(told: ToldShare) -> None:
    """One line."""
    print(
        f"metrics, audit and events in the process that judges: {told.share:.3f} ± {told.error:.3f} of the lean one "
        f"that recovers ({told.told:.1f} µs an operation with them, {told.untold:.1f} without, in {told.pairs} pairs "
        f"of seconds; the lean one {told.lean:.1f})"
    )


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.told", description=__doc__)
    parser.add_argument("--seconds", type=float, default=PLAN.seconds)
    parser.add_argument("--operations", type=int, default=PLAN.operations)
    options = parser.parse_args(arguments)
    plan = replace(PLAN, seconds=options.seconds, operations=options.operations)
    with tempfile.TemporaryDirectory(prefix="sessiongate-told-") as folder:
        print_told(told_by_turns(Path(folder), plan))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
