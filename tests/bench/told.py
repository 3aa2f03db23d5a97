"""What metrics, audit and events take of the process that judges, beside what the lean proxy that recovers takes.

python -m tests.bench.told [--seconds N]

A gate with them and one without differ by less than two lives of one gate do. So each call that tells ops is clocked
where it is, in a gate under load, where what it needs is as far away as it is then: in a loop by itself the same calls
take half as much.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass, fields, replace
from pathlib import Path
from statistics import median
from typing import Final, NamedTuple

from tests.bench.corpus import write_corpus
from tests.bench.measure import grant, laid_out, measure, until
from tests.bench.scenes import WARM_UP_SECONDS, Plan
from tests.bench.servers import GateKind, gate, lean_recover, upstream

PLAN: Final = Plan(seconds=18, rounds=3, apart_seconds=2)


class Clocked(NamedTuple):
    """A line of `tests.bench.gate_without.Clocks`."""

    judged: int
    told: int
    calls: int
    nothing: int
    nothings: int
    audit_thread: int
    collecting: int


@dataclass(frozen=True)
class ToldCost:
    """µs an operation: in the thread that judges, in the one that hands records over, of the lean proxy; and, which is
    none of it, of the garbage collector in the thread that judges."""

    judging: float
    handing_over: float
    lean: float
    collecting: float

    @property
    def share(self) -> float:
        """Both beside the lean proxy."""
        return (self.judging + self.handing_over) / self.lean


def cost_between(before: Clocked, after: Clocked, lean: float) -> ToldCost:
    """Of what was judged meanwhile; what it takes to look at the clock is not counted."""
    made = Clocked(*(new - old for new, old in zip(after, before, strict=True)))
    looking = made.nothing / made.nothings
    told = made.told - made.calls * looking
    judging, handing_over, collecting = (
        each / made.judged / 1e3 for each in (told, made.audit_thread, made.collecting)
    )
    return ToldCost(judging, handing_over, lean, collecting)


def read_clocks(path: Path) -> Clocked:
    """What has come together, once all that was written is in it."""
    lines = path.read_text().count("\n")
    assert until(lambda: path.read_text().count("\n") > lines + 1)
    return Clocked(*map(int, path.read_text().splitlines()[-1].split()))


def told_in_place(folder: Path, plan: Plan) -> ToldCost:
    """Medians of `plan.rounds`, in all `plan.seconds` of load, with the lean proxy between them."""
    corpus = write_corpus(folder, {"use": laid_out(WARM_UP_SECONDS + plan.seconds)}, name="told")
    clocks = folder / "clocks"
    clocks.touch()
    options = {"block": plan.block, "age": plan.age}
    with ExitStack() as stack:
        behind = stack.enter_context(upstream(folder, corpus.known, **options))
        server = stack.enter_context(gate(folder, behind, "gate", GateKind(), clocks=clocks))
        shared = stack.enter_context(upstream(folder, corpus.known, **options))
        lean = stack.enter_context(lean_recover(folder, shared))
        grant(server, corpus)
        for each in (server, lean):
            measure(each, corpus, folder, seconds=WARM_UP_SECONDS)
        found = []
        for _ in range(plan.rounds):
            before = read_clocks(clocks)
            measure(server, corpus, folder, seconds=plan.seconds / plan.rounds)
            after = read_clocks(clocks)
            floor = measure(lean, corpus, folder, seconds=plan.apart_seconds).own_cpu
            found.append(cost_between(before, after, floor))
    return ToldCost(*(median(getattr(each, part.name) for each in found) for part in fields(ToldCost)))


def print_told(told: ToldCost) -> None:
    """One line."""
    print(
        f"metrics, audit and events in the process that judges: {told.share:.2f} of the lean one that recovers "
        f"({told.judging:.1f} µs an operation in the thread that judges, {told.handing_over:.1f} in the one that hands "
        f"records over; the lean one {told.lean:.1f}; looks of the collector, not counted, {told.collecting:.1f})"
    )


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.told", description=__doc__)
    parser.add_argument("--seconds", type=float, default=PLAN.seconds)
    options = parser.parse_args(arguments)
    plan = replace(PLAN, seconds=options.seconds)
    with tempfile.TemporaryDirectory(prefix="sessiongate-told-") as folder:
        print_told(told_in_place(Path(folder), plan))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
