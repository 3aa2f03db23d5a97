"""What the shipped rules add to one operation, by stage: CPU of one thread, no sockets, rounds in turn.

python -m tests.bench.packs
"""

from __future__ import annotations

import gc
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path
from statistics import median
from typing import Final

from prometheus_client import CollectorRegistry

from proxy.edge.alerts.sources import happenings_of
from proxy.edge.audit.plain import plain_decision
from proxy.edge.storage.database import Synchronous, open_database
from proxy.edge.telemetry.rule_metrics import RuleInfo, RuleMetrics, RuleName
from proxy.judge.counts import OutcomeLesson
from proxy.judge.decision import Decision
from proxy.judge.evaluate import Judge, RulesFinding
from proxy.judge.facts import Facts
from proxy.judge.parse import SourceFile, parse_rules
from proxy.judge.reading import Arrival, Background, facts_of
from proxy.judge.rule import Ruleset
from proxy.judge.verdict import Allow, Mode
from proxy.ledger import ending, rule_tables, sqlite
from proxy.ledger.memory import MemoryLedger
from proxy.ledger.operations import AcceptedOperation, Cause, Ended, Evidence, Mined
from proxy.ledger.reservation import NOTHING_USED, Held, NonceSlot, Reservation, RuleRows
from proxy.ledger.rule_counts import RuleCounts
from proxy.ledger.statement import Statement
from proxy.ledger.transactions import transact
from proxy.session.changes import Changes
from proxy.session.counters import SessionKey
from proxy.userop.decode import DecodedOperation
from proxy.userop.execution import Call
from proxy.userop.primitives import Address, Hash32
from proxy.userop.user_operation import UserOperation
from tests.bench.decision import decode
from tests.bench.operations import CHAIN_ID, ENTRY_POINT, RECORDED, read
from tests.bypass_list.desk import single

ROOT: Final = Path(__file__).parents[2]
NOON: Final = 1_772_452_800.0  # of a Monday, so that no rule on hours fires
USDC_CHAIN: Final = 1868
_USDC: Final = Address(bytes.fromhex("ba9986d2381edf1da03b0b9c1f8b00dc4aacc369"))
_TRANSFER: Final = bytes.fromhex("a9059cbb") + bytes(12) + b"\xa1" * 20 + (10**5).to_bytes(32, "big")
ACCOUNTS: Final = 100
BLOCK: Final = 25  # operations that are mined together
STAGES: Final = ("facts", "asked", "counted at once", "held", "printed", "told", "settled", "rows")


@dataclass(frozen=True)
class Shape:
    """What the operations do, and of how many accounts in turn they are."""

    name: str
    operations: tuple[DecodedOperation, ...]  # one of each account
    chain_id: int
    seconds: float  # from one to the next


def shapes() -> list[Shape]:
    called = read(RECORDED["use"][0])
    paid = replace(called, call_data=single(Call(_USDC, 0, _TRANSFER)))
    return [
        Shape("a call, many sessions", _by_account(called, ACCOUNTS), CHAIN_ID, 1.0),
        Shape("a transfer, many sessions", _by_account(paid, ACCOUNTS), USDC_CHAIN, 1.0),
        Shape("a call, one busy session", _by_account(called, 1), CHAIN_ID, 0.01),
    ]


def _by_account(op: UserOperation, many: int) -> tuple[DecodedOperation, ...]:
    senders = (Address((number + 1).to_bytes(20, "big")) for number in range(many))
    return tuple(decode(replace(op, sender=sender)) for sender in senders)


def rules_as_shipped() -> Ruleset:
    """The packs as the example configuration has them."""
    paths = [path for path in sorted((ROOT / "rules").glob("*.yaml")) if not path.name.endswith(".cases.yaml")]
    files = [SourceFile(path.name, path.read_text()) for path in paths]
    tokens = [file for file in files if file.path == "tokens.yaml"]
    rest = [file for file in files if file.path != "tokens.yaml"]
    parsed = parse_rules(rest, tokens, chains=None, clients=None)
    assert parsed.ruleset is not None, parsed.faults
    return parsed.ruleset


def enforcing(ruleset: Ruleset) -> Ruleset:
    """The same rules, each of which refuses."""
    return replace(ruleset, rules=tuple(replace(rule, mode=Mode.ENFORCE) for rule in ruleset.rules))


@dataclass
class Bench:
    """One set of rules and what it has counted; `spent` are the nanoseconds of each stage of this round."""

    shape: Shape
    judge: Judge | None
    path: Path  # of its database
    rules: RuleCounts = field(default_factory=RuleCounts)
    spent: dict[str, int] = field(default_factory=lambda: dict.fromkeys(STAGES, 0))
    hits: int = 0
    _numbers: Iterator[int] = field(default_factory=lambda: count(1))
    _statements: list[Statement] = field(default_factory=list)
    _waiting: list[tuple[AcceptedOperation, float]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.ledger = MemoryLedger(self.rules)
        self.database = open_database(self.path, synchronous=Synchronous.NORMAL)
        self.metrics = RuleMetrics(CollectorRegistry())
        if self.judge is not None:
            active = self.judge.ruleset.rules
            self.metrics.in_force([RuleName(rule.id, rule.mode, rule.severity) for rule in active], "d")
            self.metrics.described([RuleInfo(rule.id, rule.mode, rule.severity, "", "") for rule in active])

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        began = time.thread_time_ns()
        yield
        self.spent[name] += time.thread_time_ns() - began

    def one(self) -> None:
        """One operation from decoded to settled."""
        number = next(self._numbers)
        now = NOON + number * self.shape.seconds
        operation = self.shape.operations[number % len(self.shape.operations)]
        op = replace(operation.op, nonce=number << 64)
        operation = replace(operation, op=op)
        claim, account = operation.claim, op.sender
        assert claim is not None
        session = SessionKey(self.shape.chain_id, claim.module, account, claim.envelope.permission_id)
        slot = NonceSlot(self.shape.chain_id, ENTRY_POINT.address, account, op.nonce)
        with self.stage("facts"):
            facts = self._facts(operation, now)
        with self.stage("asked"):
            finding = RulesFinding()
            if self.judge is not None:
                finding = self.judge.consider(facts, self.ledger.counts(slot, now))
        assert not finding.rejections, [hit.rule.id for hit in finding.rejections]
        self.hits += len(finding.hits)
        with self.stage("counted at once"):
            for rate in finding.rates:
                self.ledger.rate(rate.key, rate.window, rate.amount, rate.limit, now)
            for key in finding.rows:
                self.ledger.learn_now(OutcomeLesson(key=key), now, success=True)
        reservation = Reservation(
            user_op_hash=Hash32(number.to_bytes(32, "big")),
            slot=slot,
            session=session,
            charges=(),
            valid_until=None,
            rule_charges=finding.charges,
            lessons=finding.lessons,
        )
        with self.stage("held"):
            held = self.ledger.reserve(reservation, NOTHING_USED, now)
            assert isinstance(held, Held)
            self.ledger.accept(reservation.name)
        changes = Changes(user_op_hash=reservation.user_op_hash, chain_id=self.shape.chain_id, account=account)
        accepted = AcceptedOperation(reservation=held.reservation, changes=changes, accepted_at=now)
        with self.stage("printed"):
            self._statements.append(sqlite.begin(accepted))
        with self.stage("told"):
            self._tell(facts, finding, now)
        self._waiting.append((accepted, now))
        if len(self._waiting) == BLOCK:
            self._settle(now)

    def _facts(self, operation: DecodedOperation, now: float) -> Facts:
        return facts_of(
            operation.op,
            ENTRY_POINT,
            self.shape.chain_id,
            operation,
            request=Arrival(chain="bench", client="dapp", method="eth_sendUserOperation"),
            standing=Background(verdict="allow", lanes=1, limit_used_percent=10, session_since=NOON - 86_400),
            now=now,
            asked=frozenset() if self.judge is None else self.judge.asked,
        )

    def _tell(self, facts: Facts, finding: RulesFinding, now: float) -> None:
        decision = Decision(
            decision_id="d",
            unix_time=now,
            chain="bench",
            client="dapp",
            method="eth_sendUserOperation",
            mode=Mode.ENFORCE,
            verdict=Allow(),
            facts=facts,
            hits=finding.hits,
            opened=finding.opened,
        )
        if decision.hits or decision.opened:
            self.metrics.decided([RuleName(hit.rule.id, hit.mode, hit.rule.severity) for hit in decision.hits])
            list(happenings_of(decision, lambda _: None))
        plain_decision(decision, forwarding=True)

    def _settle(self, now: float) -> None:
        """A block: all that waited is mined, and written in one transaction."""
        ends: list[RuleRows] = []
        waiting, self._waiting = self._waiting, []
        with self.stage("settled"):
            for accepted, _ in waiting:
                concluded = self.ledger.conclude(accepted.reservation, now, success=True, at=now)
                self.ledger.settle(accepted.reservation.slot)
                ends.append(concluded.rows)
        with self.stage("rows"):
            rows = RuleRows(
                tuple(row for each in ends for row in each.buckets),
                tuple(row for each in ends for row in each.marks),
                tuple(row for each in ends for row in each.histories),
            )
            for accepted, _ in waiting:
                mined = Mined(user_op_hash=accepted.user_op_hash, success=True, block=1)
                ended = Ended(operation=accepted, ended_at=now, mined=mined, cause=Cause.MINED, evidence=Evidence())
                self._statements += ending.end([accepted.name], [ended])
            self._statements += rule_tables.save(rows)
            transact(self.database, self._statements, None)
            self._statements.clear()


def packs_cost(
    shape: Shape, folder: Path, rounds: int = 9, operations: int = 100, past: int = 25 * ACCOUNTS
) -> Mapping[str, dict[str, float]]:
    """Microseconds an operation by rules and stage, medians of rounds in turn; a past is behind them."""
    shipped = rules_as_shipped()
    sets: dict[str, Ruleset | None] = {"no rules": None, "as shipped": shipped}
    if len(shape.operations) > 1:
        sets["enforcing"] = enforcing(shipped)
    benches = {
        name: Bench(shape, None if rules is None else Judge(rules), folder / f"{place}.db")
        for place, (name, rules) in enumerate(sets.items())
    }
    for bench in benches.values():
        for _ in range(past):
            bench.one()
    taken: dict[str, dict[str, list[float]]] = {name: {stage: [] for stage in STAGES} for name in benches}
    for _ in range(rounds):
        for name, bench in benches.items():
            bench.spent = dict.fromkeys(STAGES, 0)
            gc.collect()
            for _ in range(operations):
                bench.one()
            for stage, spent in bench.spent.items():
                taken[name][stage].append(spent / operations / 1e3)
    for bench in benches.values():
        bench.database.close()
    return {name: {stage: median(each) for stage, each in stages.items()} for name, stages in taken.items()}


def print_packs() -> None:
    for shape in shapes():
        with tempfile.TemporaryDirectory(prefix="sessiongate-packs-") as folder:
            costs = packs_cost(shape, Path(folder))
        print(f"\n{shape.name}: µs of CPU an operation")
        print(f"  {'':<18}" + "".join(f"{name:>12}" for name in costs))
        for stage in STAGES:
            print(f"  {stage:<18}" + "".join(f"{each[stage]:>12.1f}" for each in costs.values()))
        print(f"  {'together':<18}" + "".join(f"{sum(each.values()):>12.1f}" for each in costs.values()))


if __name__ == "__main__":
    print_packs()
