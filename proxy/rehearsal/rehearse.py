"""Operations in time held against one set of rules, with a ledger of its own: what the gate would say and count."""

from __future__ import annotations

from collections.abc import Set
from copy import deepcopy
from dataclasses import dataclass, field, replace
from typing import Final

from proxy.judge.counts import CountKey, Counts, History, OutcomeLesson
from proxy.judge.evaluate import Judge, RulesFinding
from proxy.judge.facts import ALLOWED, Facts
from proxy.judge.rule import Rate, Ruleset, Window
from proxy.judge.verdict import Mode
from proxy.ledger.memory import MemoryLedger
from proxy.ledger.reservation import NOTHING_USED, Held, NonceSlot, Reservation
from proxy.ledger.rule_counts import RuleCounts
from proxy.rehearsal.case import Ending
from proxy.session.counters import SessionKey
from proxy.userop.entry_point import ENTRY_POINT_BY_VERSION, EntryPointVersion
from proxy.userop.primitives import Hash32

Asked = dict[CountKey, "int | Set[bytes] | History | None"]
"""What was counted when a rule asked, by the count's name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What the rules said of one operation, whether it went out, and the counts they looked at."""

    finding: RulesFinding
    went_out: bool
    asked: Asked


@dataclass(slots=True)
class _Watched:
    """Counts that remember what they answered, so that a failure can show why."""

    counts: Counts
    asked: Asked = field(default_factory=dict)

    def total(self, key: CountKey, window: Window) -> int:
        total = self.asked[key] = self.counts.total(key, window)
        return total

    def marks(self, key: CountKey, window: Window) -> Set[bytes]:
        marks = self.asked[key] = frozenset(self.counts.marks(key, window))
        return marks

    def history(self, key: CountKey) -> History | None:
        history = self.counts.history(key)
        self.asked[key] = deepcopy(history)  # what is learnt later changes it
        return history


class Rehearsal:
    """One set of rules and everything it has counted. Operations come in the order of time."""

    def __init__(self, ruleset: Ruleset, *, ceiling: Mode = Mode.ENFORCE) -> None:
        self._judge: Final = Judge(ruleset, ceiling=ceiling)
        self._rules: Final = RuleCounts()
        self._ledgers: Final[dict[int, MemoryLedger]] = {}
        self._mined: Final[dict[Hash32, frozenset[str]]] = {}  # and the rules that fired

    def hear(self, facts: Facts, ending: Ending) -> Said:
        """Judge an operation and let it end so, if it goes out: neither chain nor rules refuse it, nor is it an
        estimate."""
        now = facts.unix_time
        ledger = self._ledgers.get(facts.chain_id)
        if ledger is None:
            ledger = self._ledgers[facts.chain_id] = MemoryLedger(self._rules)
        place = slot_of(facts)
        watched = _Watched(ledger.counts(place, now))
        finding = self._judge.consider(facts, watched)
        if (before := self._mined.get(facts.user_op_hash)) is not None:
            # sent again by a caller that had not heard. The gate would not count it against itself, nor do we; only
            # rates ask how often somebody knocks
            finding = of_its_own(finding, before)
        for rate in finding.rates:
            ledger.rate(rate.key, rate.window, rate.amount, rate.limit, now)
        refused = facts.verdict != ALLOWED or bool(finding.rejections)
        went_out = not refused and not facts.preview and self._send(ledger, facts, place, finding, ending)
        if refused or went_out:
            for row in finding.rows:
                ledger.learn_now(OutcomeLesson(key=row), now, success=went_out)
        return Said(finding=finding, went_out=went_out, asked=watched.asked)

    def _send(
        self, ledger: MemoryLedger, facts: Facts, place: NonceSlot, finding: RulesFinding, ending: Ending
    ) -> bool:  # fmt: skip
        name, now = facts.user_op_hash, facts.unix_time
        if name in self._mined:
            return True
        wanted = reservation_of(facts, finding)
        held = ledger.reserve(wanted, NOTHING_USED, now)
        if not isinstance(held, Held):
            return False
        if ending is Ending.REFUSED:
            ledger.release(wanted.name)
            return True
        ledger.accept(wanted.name)
        if ending is Ending.DROPPED:
            ledger.expire(wanted.name)
        elif ending in (Ending.SUCCEEDS, Ending.REVERTS):
            ledger.settle(place)
            ledger.conclude(held.reservation, now, success=ending is Ending.SUCCEEDS)
            self._mined[name] = frozenset(hit.rule.id for hit in finding.hits)
        return True


def of_its_own(finding: RulesFinding, before: Set[str]) -> RulesFinding:
    """Of an operation that was counted before, when these rules fired on it, what it is not counted against itself."""
    again = tuple(hit for hit in finding.hits if hit.rule.id in before or isinstance(hit.rule.check, Rate))
    return replace(finding, hits=again)


def reservation_of(facts: Facts, finding: RulesFinding) -> Reservation:
    """What rules hold for an operation that goes out."""
    return Reservation(
        user_op_hash=facts.user_op_hash,
        slot=slot_of(facts),
        session=_session_of(facts),
        charges=(),
        valid_until=None,
        rule_charges=finding.charges,
        lessons=finding.lessons,
    )


def _session_of(facts: Facts) -> SessionKey | None:
    if facts.permission_id is None or facts.module is None:
        return None
    return SessionKey(facts.chain_id, facts.module, facts.account, facts.permission_id)


def slot_of(facts: Facts) -> NonceSlot:
    """Where the operation's nonce is."""
    entry_point = ENTRY_POINT_BY_VERSION[EntryPointVersion(facts.entry_point)]
    return NonceSlot(facts.chain_id, entry_point.address, facts.account, facts.nonce)
