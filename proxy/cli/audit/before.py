"""What the trail tells of the time before a decision, put into a recollection in the order of time."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from proxy.cli.rules.past import ending_by_answer, ending_by_end, recorded_in
from proxy.edge.audit.reading import AuditFilter, Trail, read_audit, read_earlier, read_entries
from proxy.edge.audit.row import AuditEntry, AuditRow, Forward, answer_told
from proxy.edge.audit.schema import RecordKind
from proxy.rehearsal.case import Ending
from proxy.rehearsal.recollection import Recollection
from proxy.userop.primitives import Hash32

_BY_HAND = frozenset({"rules_reset", "rules_allow", "rules_disallow", "counts_accepted"})
"""What people do to counts and histories that is not done again."""
_UNMINED = "unmined"


@dataclass(slots=True)
class Before:
    """How many decisions were gone through, of how many the facts are not there, how often somebody had a rule count
    anew, and what people did besides that is not done again. `holding` are the chains on which what rules hold for an
    operation outlasts that it was not mined for long."""

    holding: Collection[str]
    decisions: int = 0
    unread: int = 0
    resets: int = 0
    not_redone: list[str] = field(default_factory=list)
    _sent: dict[str, tuple[int, Hash32]] = field(default_factory=dict)  # by decision, those without an answer
    _chains: dict[str, int] = field(default_factory=dict)

    def recall(self, trail: Trail, wanted: AuditRow, since: float | None, into: Recollection) -> None:
        """All of it that was on record before `wanted` was. Raises `sqlite3.Error`."""
        filed = AuditFilter(since=since, until_id=wanted.row_id - 1)
        if wanted.is_earlier:
            self._hear_all(read_earlier(trail, filed), into)
            return
        if trail.earlier is not None and trail.earlier.exists():
            self._hear_all(read_earlier(trail, AuditFilter(since=since)), into)
        of_its_own = Trail(trail.path)
        happened = read_entries(of_its_own, filed, kinds=[RecordKind.ANSWER, RecordKind.END, RecordKind.DEED])
        following = next(happened, None)
        for row in read_audit(of_its_own, filed):
            while following is not None and following.row_id < row.row_id:
                self._let_happen(following, into)
                following = next(happened, None)
            self._hear(row, into)
        while following is not None:
            self._let_happen(following, into)
            following = next(happened, None)

    def _hear_all(self, rows: Iterable[AuditRow], into: Recollection) -> None:
        for row in rows:
            self._hear(row, into)

    def _hear(self, row: AuditRow, into: Recollection) -> None:
        if (recorded := recorded_in(row)) is None:
            self.unread += 1
            return
        self.decisions += 1
        facts = recorded.facts
        if row.forward is Forward.NONE or row.estimate:
            into.stayed(facts, refused=row.verdict == "reject" and row.forward is Forward.NONE)
            return
        into.sent(facts)
        self._sent[row.decision_id] = facts.chain_id, facts.user_op_hash
        self._chains[row.chain] = facts.chain_id

    def _let_happen(self, entry: AuditEntry, into: Recollection) -> None:
        match entry.kind:
            case RecordKind.DEED:
                self._redo(entry.detail, into)
            case RecordKind.ANSWER if (sent := self._sent.pop(entry.decision_id or "", None)) is not None:
                if ending_by_answer(answer_told(entry.detail)) is Ending.REFUSED:
                    into.ended(*sent, Ending.REFUSED, entry.unix_time)
            case RecordKind.END if entry.user_op_hash is not None and entry.chain in self._chains:
                if entry.detail.get("cause") != _UNMINED or entry.chain not in self.holding:
                    chain_id, name = self._chains[entry.chain], Hash32(entry.user_op_hash)
                    into.ended(chain_id, name, ending_by_end(entry.detail), entry.unix_time)
            case _:
                pass

    def _redo(self, told: Mapping[str, Any], into: Recollection) -> None:
        if str(told.get("status")) not in ("200", "201"):
            return
        match told:
            case {"what": "rules_reset", "rule": str(rule), "key": str(key)}:
                self.resets += 1
                into.reset(rule, None if key == "all" else bytes.fromhex(key.replace("-", "")))
            case {"what": "rules_allow", "rule": str(rule), "mark": str(mark)}:
                until = told.get("until")
                into.allow(rule, bytes.fromhex(mark), None if until is None else float(until))
            case {"what": "rules_disallow", "rule": str(rule), "mark": str(mark)}:
                into.disallow(rule, bytes.fromhex(mark))
            case {"what": str(what)} if what in _BY_HAND:
                self.not_redone.append(f"{what}: {told.get('why', '')}")
