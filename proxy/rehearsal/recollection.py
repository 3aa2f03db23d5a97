"""The past as it was, so that one operation can be judged again: rules have counted what they had counted then."""

from __future__ import annotations

from typing import Final

from proxy.judge.counts import OutcomeLesson
from proxy.judge.evaluate import Judge, RulesFinding
from proxy.judge.facts import Facts
from proxy.judge.prepared import lower
from proxy.judge.rule import Ruleset
from proxy.judge.verdict import Mode
from proxy.ledger.memory import MemoryLedger
from proxy.ledger.reservation import NOTHING_USED, Held, Reservation
from proxy.ledger.rule_counts import RuleCounts
from proxy.rehearsal.case import Ending
from proxy.rehearsal.rehearse import of_its_own, reservation_of, slot_of
from proxy.userop.primitives import Hash32


class Recollection:
    """What went out is counted, whatever the rules say of it today: held from when it was sent until it ended, and
    counted when it did. Everything comes in the order of time."""

    def __init__(self, ruleset: Ruleset, *, ceiling: Mode = Mode.ENFORCE) -> None:
        self._judge: Final = Judge(ruleset, ceiling=ceiling, allowed=self._is_allowed)
        # one that lets out what it finds, and so counts it, as it was let out
        self._witness: Final = Judge(ruleset, ceiling=lower(Mode.ALERT, ceiling), allowed=self._is_allowed)
        self._allowed: Final[dict[tuple[str, bytes], float | None]] = {}  # by rule and mark, until when
        self._identities: Final = {rule.id: rule.identity for rule in ruleset.rules}
        self._rules: Final = RuleCounts()
        self._ledgers: Final[dict[int, MemoryLedger]] = {}
        # by chain and hash, each with the rules that fired
        self._sent: Final[dict[tuple[int, Hash32], tuple[Reservation, frozenset[str]]]] = {}
        self._mined: Final[dict[tuple[int, Hash32], frozenset[str]]] = {}

    def sent(self, facts: Facts) -> None:
        """An operation went out."""
        name, ledger = (facts.chain_id, facts.user_op_hash), self._ledger(facts.chain_id)
        finding = self._ask(self._witness, facts)
        self._knocked(finding, facts, refused=False, out=True)
        if name in self._mined:
            return
        held = ledger.reserve(reservation_of(facts, finding), NOTHING_USED, facts.unix_time)
        if isinstance(held, Held):
            ledger.accept(held.reservation.name)
            self._sent[name] = held.reservation, frozenset(hit.rule.id for hit in finding.hits)

    def stayed(self, facts: Facts, *, refused: bool) -> None:
        """An operation did not go out: it was refused, or was an estimate."""
        self._knocked(self._ask(self._witness, facts), facts, refused=refused, out=False)

    def ended(self, chain_id: int, user_op_hash: Hash32, ending: Ending, now: float) -> None:
        """What went out came to an end."""
        if ending is Ending.IN_FLIGHT or (sent := self._sent.pop((chain_id, user_op_hash), None)) is None:
            return
        (reservation, fired), ledger = sent, self._ledger(chain_id)
        if ending in (Ending.DROPPED, Ending.REFUSED):
            ledger.expire(reservation.name)
            return
        ledger.settle(reservation.slot)
        ledger.conclude(reservation, now, success=ending is Ending.SUCCEEDS)
        self._mined[chain_id, user_op_hash] = fired

    def reset(self, rule: str, group: bytes | None) -> None:
        """Somebody had a rule count anew, for one key or for all."""
        if (identity := self._identities.get(rule)) is not None:
            for _ in self._rules.forget(identity, group):
                pass

    def allow(self, rule: str, mark: bytes, until: float | None) -> None:
        """Somebody had a rule take a thing for known."""
        self._allowed[rule, mark] = until

    def disallow(self, rule: str, mark: bytes) -> None:
        """Somebody took that back."""
        self._allowed.pop((rule, mark), None)

    def _is_allowed(self, rule: str, mark: bytes, now: float) -> bool:
        return (rule, mark) in self._allowed and ((until := self._allowed[rule, mark]) is None or now < until)

    def judge(self, facts: Facts) -> RulesFinding:
        """What the rules say of it now, as things stood then."""
        return self._ask(self._judge, facts)

    def _ledger(self, chain_id: int) -> MemoryLedger:
        ledger = self._ledgers.get(chain_id)
        if ledger is None:
            ledger = self._ledgers[chain_id] = MemoryLedger(self._rules)
        return ledger

    def _ask(self, judge: Judge, facts: Facts) -> RulesFinding:
        finding = judge.consider(facts, self._ledger(facts.chain_id).counts(slot_of(facts), facts.unix_time))
        before = self._mined.get((facts.chain_id, facts.user_op_hash))
        return finding if before is None else of_its_own(finding, before)

    def _knocked(self, finding: RulesFinding, facts: Facts, *, refused: bool, out: bool) -> None:
        """What is counted at once."""
        ledger, now = self._ledger(facts.chain_id), facts.unix_time
        for rate in finding.rates:
            ledger.rate(rate.key, rate.window, rate.amount, rate.limit, now)
        if refused or out:
            for row in finding.rows:
                ledger.learn_now(OutcomeLesson(key=row), now, success=out)
