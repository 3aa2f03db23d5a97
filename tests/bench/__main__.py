"""Side by side, in one run on this machine: yardsticks and the gate in front of the same bundler and node.

python -m tests.bench [--quick] [--out FOLDER] [--keep]

Every server has one core; load and upstream share the other. Every operation is sent once, is mined, and is settled.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeVar

from tests.bench.decision import decision_parts
from tests.bench.ledger import SESSIONS, print_ledger
from tests.bench.packs import print_packs
from tests.bench.policies import operation_costs, policy_costs, signature_costs
from tests.bench.report import Report, print_report, write_kept, write_report
from tests.bench.rules import print_rules
from tests.bench.scenes import QUICK, Plan, by_depth, by_known, by_part, side_by_side, steady, sustained
from tests.bench.told import PLAN as TOLD
from tests.bench.told import print_told, told_in_place

DECISIONS: Final = 2_000
Figure = TypeVar("Figure")
RESULTS: Final = Path(__file__).parent / "results"


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    quick = os.environ.get("QUICK", "") not in ("", "0")
    parser.add_argument("--quick", action="store_true", default=quick, help="two minutes; also QUICK=1")
    parser.add_argument("--out", type=Path, help="where bench.json and bench.svg go; README shows those of whole runs")
    parser.add_argument("--keep", action="store_true", help="write to ratio.json what CI holds the gate against")
    parser.add_argument("--sessions", type=int, default=SESSIONS, help="known to the gate, for what each weighs")
    options = parser.parse_args(arguments)
    plan = QUICK if options.quick else Plan()
    with tempfile.TemporaryDirectory(prefix="sessiongate-bench-") as folder:
        report, faults = measured(Path(folder), plan)
        print_report(report)
        out = options.out or (RESULTS / "quick" if options.quick else RESULTS)
        write_report(report, out)
        print(f"\n{out / 'bench.json'}, {out / 'bench.svg'}", flush=True)
        if options.keep:
            write_kept(report)
        if not options.quick:
            faults += print_more(Path(folder), options.sessions)
    for fault in faults:
        print(f"NOT MEASURED: {fault}", file=sys.stderr)
    return 1 if faults else 0


def print_more(folder: Path, sessions: int) -> list[str]:
    """What is measured of single parts of the gate; and what of that could not be."""
    parts: dict[str, Callable[[], None]] = {
        "what is told": lambda: print_told(told_in_place(folder, TOLD)),
        "decisions": print_decision,
        "policies": print_policies,
        "rules": print_rules,
        "packs": print_packs,
        "ledger": lambda: print_ledger(sessions),
    }
    faults = []
    for name, part in parts.items():
        try:
            part()
        except Exception as fault:  # what else is measured is told all the same, and the run fails
            faults.append(f"{name}: {type(fault).__name__}: {fault}")
    return faults


def measured(folder: Path, plan: Plan) -> tuple[Report, list[str]]:
    """All figures, and what could not be measured because a request got lost on the way or nothing was settled."""
    faults: list[str] = []

    def of(look: Callable[[Path, Plan], dict[str, Figure]]) -> dict[str, Figure]:
        try:
            return look(folder, plan)
        except Exception as fault:  # what else is measured is told all the same, and the run fails
            faults.append(f"{look.__name__}: {type(fault).__name__}: {fault}")
            return {}

    servers, halves, kinds, connections = side_by_side(folder, plan, faults)
    report = Report(
        servers=servers,
        halves=halves,
        kinds=kinds,
        connections=connections,
        parts=of(by_part),
        depths=of(by_depth),
        known=of(by_known),
        sustained=of(sustained),
        steady=of(steady),
    )
    return report, faults


def print_decision() -> None:
    print("\none decision, single-call USE operation as recorded, best of five rounds:")
    for part in decision_parts(DECISIONS):
        print(f"  {part.name:<22}{part.microseconds:>8.1f} µs")


def print_policies() -> None:
    print("\none verdict by policy, decoded operation, signature not counted:")
    print(f"  {'':<32}{'as action':>12}{'as user-op':>12}")
    for row in policy_costs(DECISIONS):
        print(f"  {row.name:<32}{_in_microseconds(row.action):>12}{_in_microseconds(row.user_op):>12}")
    for part in operation_costs(DECISIONS):
        print(f"  {part.name:<32}{_in_microseconds(part.microseconds):>12}")
    print("\none session key's signature, by the kind of its validator:")
    for part in signature_costs(DECISIONS // 10):
        print(f"  {part.name:<32}{_in_microseconds(part.microseconds):>12}")


def _in_microseconds(cost: float | None) -> str:
    return "—" if cost is None else f"{cost:.1f} µs"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
