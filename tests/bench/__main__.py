"""Side by side, in one run on this machine: yardsticks and the gate in front of the same bundler and node.

python -m tests.bench [--quick] [--out FOLDER]

Every server has one core; load and upstream share the other. Every operation is sent once, is mined, and is settled.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path
from typing import Final

from tests.bench.decision import decision_parts
from tests.bench.ledger import SESSIONS, print_ledger
from tests.bench.packs import print_packs
from tests.bench.policies import operation_costs, policy_costs, signature_costs
from tests.bench.report import Report, print_report, write_report
from tests.bench.rules import print_rules
from tests.bench.scenes import QUICK, Plan, by_depth, by_known, by_part, side_by_side, steady
from tests.bench.told import PLAN as TOLD
from tests.bench.told import print_told, told_by_turns

DECISIONS: Final = 2_000
RESULTS: Final = Path(__file__).parent / "results"


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    quick = os.environ.get("QUICK", "") not in ("", "0")
    parser.add_argument("--quick", action="store_true", default=quick, help="two minutes; also QUICK=1")
    parser.add_argument("--out", type=Path, default=RESULTS, help="where bench.json and bench.svg go")
    parser.add_argument("--operations", type=int, help="prepared for one gate; more where it is faster")
    parser.add_argument("--sessions", type=int, default=SESSIONS, help="known to the gate, for what each weighs")
    options = parser.parse_args(arguments)
    plan = QUICK if options.quick else Plan()
    if options.operations is not None:
        plan = Plan(**{**vars(plan), "operations": options.operations})
    with tempfile.TemporaryDirectory(prefix="sessiongate-bench-") as folder:
        report = measured(Path(folder), plan)
        told = None if options.quick else told_by_turns(Path(folder), TOLD)
    print_report(report)
    if told is not None:
        print_told(told)
    write_report(report, options.out)
    print(f"\n{options.out / 'bench.json'}, {options.out / 'bench.svg'}")
    if not options.quick:
        print_decision()
        print_policies()
        print_rules()
        print_packs()
        print_ledger(options.sessions)
    return 0


def measured(folder: Path, plan: Plan) -> Report:
    """All figures. Raises `AssertionError` when a request got lost on the way."""
    servers, halves, kinds, connections = side_by_side(folder, plan)
    return Report(
        servers=servers,
        halves=halves,
        kinds=kinds,
        connections=connections,
        parts=by_part(folder, plan),
        depths=by_depth(folder, plan),
        known=by_known(folder, plan),
        steady=steady(folder, plan),
    )


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
