"""One decision as a row of the audit trail: the table, what is written, what is read back.

Kept are the decision, who asked, what the operation would have called (target, selector, value), the facts that rules
saw of it, the rules that fired, and what the bundler answered; never a signature, and no call data beyond the selector.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

import orjson

from proxy.errors import Code, Reason
from proxy.judge.decision import Decision, UpstreamAnswer
from proxy.judge.evaluate import Hit
from proxy.judge.facts_json import facts_to_json
from proxy.judge.verdict import Allow, Reject
from proxy.userop.primitives import print_bytes

AUDIT_SCHEMA: Final = (
    # AUTOINCREMENT: an id is never given twice, so a reader that follows by id misses nothing after pruning
    """CREATE TABLE IF NOT EXISTS audit (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        decision_id TEXT NOT NULL UNIQUE,
        unix_time REAL NOT NULL,
        chain TEXT NOT NULL,
        client TEXT NOT NULL,
        method TEXT NOT NULL,
        mode TEXT NOT NULL,
        verdict TEXT NOT NULL CHECK (verdict IN ('allow', 'reject')),
        code INTEGER,
        reasons TEXT NOT NULL,
        notes TEXT NOT NULL,
        user_op_hash BLOB,
        account BLOB,
        permission_id BLOB,
        session_mode TEXT,
        calls TEXT NOT NULL,
        facts TEXT,
        rules TEXT,
        forward TEXT NOT NULL CHECK (forward IN ('none', 'pending', 'answered', 'unknown')),
        upstream_result TEXT,
        upstream_error_code INTEGER,
        upstream_error_message TEXT
    )""",
    "CREATE INDEX IF NOT EXISTS audit_by_permission_id ON audit (permission_id, id)",
    "CREATE INDEX IF NOT EXISTS audit_by_user_op_hash ON audit (user_op_hash)",
    "CREATE INDEX IF NOT EXISTS audit_by_account ON audit (account, id)",
    "CREATE INDEX IF NOT EXISTS audit_by_time ON audit (unix_time)",
    "CREATE INDEX IF NOT EXISTS audit_pending ON audit (id) WHERE forward = 'pending'",
)
"""The table and its indices; each statement may be run again."""

LATER_AUDIT_COLUMNS: Final = {"facts": "TEXT", "rules": "TEXT"}
"""Columns that a table made by an earlier release lacks."""

AUDIT_FIELDS: Final = (
    *("decision_id", "unix_time", "chain", "client", "method", "mode", "verdict", "code", "reasons", "notes"),
    *("user_op_hash", "account", "permission_id", "session_mode", "calls", "facts", "rules"),
    *("forward", "upstream_result", "upstream_error_code", "upstream_error_message"),
)
"""The columns of a row but its id, in the order in which rows are written and read."""

ANSWER_FIELDS: Final = AUDIT_FIELDS[-4:]
"""The columns that wait for the upstream."""

Columns = tuple[object, ...]

_LONGEST_TEXT: Final = 500
_LONG_HEX: Final = re.compile(r"((?:0x)?[0-9a-fA-F]{8})[0-9a-fA-F]{57,}")
_CODES: Final = frozenset(Code)


class Forward(StrEnum):
    """What became of an operation after its verdict."""

    NONE = "none"  # nothing was forwarded
    PENDING = "pending"  # forwarded, or about to be; no answer recorded yet
    ANSWERED = "answered"  # the upstream's answer is in the row
    UNKNOWN = "unknown"  # the gate ended before the answer was recorded: it may have been sent


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditReason:
    """One recorded reason of a rejection, as `proxy.errors.Reason` said it."""

    code: int
    sentence: str
    remedy: str
    policy: str | None = None
    rule: str | None = None
    call: int | None = None
    wanted: str | None = None
    got: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditCall:
    """One call: 20-byte target, 4-byte selector, value in wei."""

    target: bytes
    selector: bytes
    value: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditHit:
    """One rule that fired: in which mode, and why. `unknown` when it fired for want of a fact."""

    rule: str
    mode: str
    severity: str
    sentence: str
    unknown: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditRow:
    """One decision as recorded. `row_id` grows with every decision and is never reused."""

    row_id: int
    decision_id: str
    unix_time: float
    chain: str
    client: str
    method: str
    mode: str
    verdict: str  # allow | reject
    code: int | None  # of the first reason; None when allowed
    reasons: tuple[AuditReason, ...]
    notes: tuple[str, ...]
    user_op_hash: bytes | None
    account: bytes | None
    permission_id: bytes | None
    session_mode: str | None
    calls: tuple[AuditCall, ...]
    facts: str | None  # JSON of `proxy.judge.facts_json`; None in rows of releases that kept none
    rules: tuple[AuditHit, ...]
    forward: Forward
    upstream: UpstreamAnswer | None

    def as_json(self) -> dict[str, object]:
        """The row for `GET /audit` and `--json`: bytes in 0x-hex, values in wei as decimal text."""
        return {
            "id": self.row_id,
            "decisionId": self.decision_id,
            "time": self.unix_time,
            "chain": self.chain,
            "client": self.client,
            "method": self.method,
            "mode": self.mode,
            "verdict": self.verdict,
            "code": self.code,
            "reason": Code(self.code).label if self.code in _CODES else None,
            "reasons": [_without_none(reason) for reason in self.reasons],
            "notes": list(self.notes),
            "userOpHash": _hex(self.user_op_hash),
            "account": _hex(self.account),
            "permissionId": _hex(self.permission_id),
            "sessionMode": self.session_mode,
            "calls": [
                {"target": _hex(call.target), "selector": _hex(call.selector), "value": str(call.value)}
                for call in self.calls
            ],
            "rules": [dataclasses.asdict(hit) for hit in self.rules],
            "forward": self.forward.value,
            "upstream": None if self.upstream is None else _without_none(self.upstream),
        }


def row_of(decision: Decision, forward: Forward) -> Columns:
    """The columns of a decision, in the order of `AUDIT_FIELDS`."""
    verdict = decision.verdict
    reasons = verdict.reasons if isinstance(verdict, Reject) else ()
    notes = verdict.notes if isinstance(verdict, Allow) else ()
    return (
        *(decision.decision_id, decision.unix_time, decision.chain, decision.client),
        *(_shown(decision.method), decision.mode.value, "reject" if isinstance(verdict, Reject) else "allow"),
        int(reasons[0].code) if reasons else None,
        _json([_reason_json(reason) for reason in reasons]),
        _json([_shown(note) for note in notes]),
        *(decision.user_op_hash, decision.account, decision.permission_id, decision.session_mode),
        _json([[call.target.hex(), call.selector.hex(), hex(call.value)] for call in decision.calls]),
        None if decision.facts is None else json.dumps(facts_to_json(decision.facts), separators=(",", ":")),
        _json([_hit_json(hit) for hit in decision.hits]),
        *((forward.value, None, None, None) if decision.upstream is None else answer_columns(decision.upstream)),
    )


def _hit_json(hit: Hit) -> dict[str, object]:
    rule = hit.rule
    told = {"rule": rule.id, "mode": hit.mode.value, "severity": rule.severity.value, "sentence": _shown(hit.sentence)}
    return told | ({"unknown": True} if hit.unknown else {})


def _reason_json(reason: Reason) -> dict[str, object]:
    columns = {
        "code": int(reason.code),
        "sentence": _shown(reason.sentence),
        "remedy": _shown(reason.remedy),
        "policy": reason.policy,
        "rule": reason.rule,
        "call": reason.call,
        "wanted": _shown(reason.wanted),
        "got": _shown(reason.got),
    }
    return {name: value for name, value in columns.items() if value is not None}


def answer_columns(answer: UpstreamAnswer) -> Columns:
    """The columns that an answer fills: the last of `AUDIT_FIELDS`, `ANSWER_FIELDS`."""
    code = answer.error_code
    # SQLite's integers have 64 bits, an upstream's need not
    kept = code if code is None or -(2**63) <= code < 2**63 else None
    return (Forward.ANSWERED.value, _shown(answer.result), kept, _shown(answer.error_message))


def _shown(text: str | None) -> str | None:
    """Text from outside, fit to keep: valid UTF-8, short, and with hex longer than a hash cut, as it may be a
    signature or call data that a bundler quotes in its message."""
    if text is None:
        return None
    valid = text[: 4 * _LONGEST_TEXT].encode("utf-8", "replace").decode()
    return _LONG_HEX.sub(r"\1…", valid)[:_LONGEST_TEXT]


def _json(value: object) -> str:
    return orjson.dumps(value).decode()


def read_row(columns: Sequence[Any]) -> AuditRow:
    """A row read back: the id, then the columns in the order of `AUDIT_FIELDS`."""
    row_id, *values = columns
    row = dict(zip(AUDIT_FIELDS, values, strict=True))
    forward = Forward(row["forward"])
    upstream = UpstreamAnswer(
        result=row.pop("upstream_result"),
        error_code=row.pop("upstream_error_code"),
        error_message=row.pop("upstream_error_message"),
    )
    calls = (
        AuditCall(target=bytes.fromhex(target), selector=bytes.fromhex(selector), value=int(value, 16))
        for target, selector, value in orjson.loads(row["calls"])
    )
    row |= {
        "reasons": tuple(AuditReason(**reason) for reason in orjson.loads(row["reasons"])),
        "notes": tuple(orjson.loads(row["notes"])),
        "calls": tuple(calls),
        "rules": tuple(AuditHit(**hit) for hit in orjson.loads(row["rules"] or "[]")),
        "forward": forward,
        "upstream": upstream if forward is Forward.ANSWERED else None,
    }
    return AuditRow(row_id=row_id, **row)


def _without_none(record: AuditReason | UpstreamAnswer) -> dict[str, object]:
    return {key: value for key, value in dataclasses.asdict(record).items() if value is not None}


def _hex(data: bytes | None) -> str | None:
    return None if data is None else print_bytes(data)
