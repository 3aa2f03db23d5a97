"""What the audit trail tells, read back: one decision with its answer and its end, or one record of another kind."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

import orjson

from proxy.errors import Code, StateUnavailable
from proxy.judge.facts_json import facts_from_json
from proxy.judge.upstream_answer import UpstreamAnswer
from proxy.session.chain_words import in_words
from proxy.userop.primitives import print_bytes

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
    signed: bool | None = None  # of a session revoked or frozen, whether its key signed; None where nobody looked


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
class AuditEnd:
    """What became of an operation. `told` has its cause, and what is known of success, transaction, block, gas used,
    cost (wei, as text) and seconds from acceptance."""

    unix_time: float
    told: Mapping[str, object]

    def as_json(self) -> dict[str, object]:
        """For `GET /audit` and `--json`."""
        meaning = self.meaning
        return {"time": self.unix_time, **self.told, **({} if meaning is None else {"meaning": meaning})}

    @property
    def meaning(self) -> str | None:
        """What the calls reverted with, in words; `None` where that is not known."""
        reason = self.told.get("revertReason")
        return in_words(reason) if isinstance(reason, str) else None


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditEntry:
    """A record that is no decision: a start, a freeze, a gap, refusals counted, an end."""

    row_id: int
    kind: str
    unix_time: float
    chain: str | None
    decision_id: str | None
    user_op_hash: bytes | None
    account: bytes | None
    permission_id: bytes | None
    detail: Mapping[str, object]

    def as_json(self) -> dict[str, object]:
        """For `GET /audit` and `--json`."""
        told = {
            "chain": self.chain,
            "decisionId": self.decision_id,
            "userOpHash": _hex(self.user_op_hash),
            "account": _hex(self.account),
            "permissionId": _hex(self.permission_id),
        }
        known = {name: value for name, value in told.items() if value is not None}
        return {"id": self.row_id, "kind": self.kind, "time": self.unix_time, **known, "detail": dict(self.detail)}


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
    estimate: bool = False  # nothing was handed in
    cut: Mapping[str, object] = dataclasses.field(default_factory=dict)  # how many there were of what is not all here
    passed_without: Mapping[str, tuple[str, ...]] = dataclasses.field(
        default_factory=dict
    )  # `facts`, and `rules` by id
    end: AuditEnd | None = None
    whole: Mapping[str, Any] | None = None  # operation, entryPoint and grounds, where the trail keeps them
    is_earlier: bool = False  # kept by an earlier release, in a table of its own with ids of its own

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
            **({} if self.meaning is None else {"meaning": self.meaning}),
            "estimate": self.estimate,
            "end": None if self.end is None else self.end.as_json(),
            **(
                {"passedWithout": {what: list(names) for what, names in self.passed_without.items()}}
                if self.passed_without
                else {}
            ),
            **({"cut": dict(self.cut)} if self.cut else {}),
            **({"whole": dict(self.whole)} if self.whole else {}),
        }

    @property
    def meaning(self) -> str | None:
        """The bundler's error in words; `None` where nothing is known of it."""
        if self.upstream is None or self.upstream.error_message is None:
            return None
        said = f"{self.upstream.error_message} {self.upstream.error_data or ''}"
        return in_words(said, self.upstream.error_code)


def decision_row(
    columns: Mapping[str, Any], *, answer: UpstreamAnswer | None, end: AuditEnd | None, open_run: bool
) -> AuditRow:
    """A record of a decision, with what other records tell of it; `open_run` while its gate still runs."""
    facts = _facts_text(columns)
    detail = orjson.loads(columns["detail"] or "{}")
    if answer is not None:
        forward = Forward.ANSWERED
    elif not columns["forwarding"]:
        forward = Forward.NONE
    else:
        forward = Forward.PENDING if open_run else Forward.UNKNOWN
    return AuditRow(
        row_id=columns["id"],
        **{name: columns[name] for name in _SAME},
        estimate=bool(columns["estimate"]),
        reasons=tuple(AuditReason(**reason) for reason in orjson.loads(columns["reasons"] or "[]")),
        notes=tuple(orjson.loads(columns["notes"] or "[]")),
        calls=_calls(columns["calls"], facts),
        facts=None if facts is None else json.dumps(facts, separators=(",", ":")),
        cut=detail.get("cut", {}),
        passed_without=detail.get("passedWithout", {}),
        whole=detail.get("whole"),
        rules=tuple(AuditHit(**hit) for hit in orjson.loads(columns["rules"] or "[]")),
        forward=forward,
        upstream=answer,
        end=end,
    )


def earlier_row(columns: Mapping[str, Any]) -> AuditRow:
    """A row of the table that earlier releases kept. What was pending then has no answer any more."""
    forward = Forward(columns["forward"])
    answer = UpstreamAnswer(
        result=columns["upstream_result"],
        error_code=columns["upstream_error_code"],
        error_message=columns["upstream_error_message"],
    )
    facts = None if columns["facts"] is None else json.loads(columns["facts"])
    return AuditRow(
        row_id=columns["id"],
        **{name: columns[name] for name in _SAME},
        estimate=bool(facts and facts.get("preview")),
        reasons=tuple(AuditReason(**reason) for reason in orjson.loads(columns["reasons"])),
        notes=tuple(orjson.loads(columns["notes"])),
        calls=_calls(columns["calls"], facts),
        facts=columns["facts"],
        cut={},
        rules=tuple(AuditHit(**hit) for hit in orjson.loads(columns["rules"] or "[]")),
        forward=Forward.UNKNOWN if forward is Forward.PENDING else forward,
        upstream=answer if forward is Forward.ANSWERED else None,
        end=None,
        is_earlier=True,
    )


def read_answer(detail: str) -> UpstreamAnswer:
    """The answer in an `answer` record."""
    return answer_told(orjson.loads(detail))


def answer_told(told: Mapping[str, Any]) -> UpstreamAnswer:
    """The same, once it was parsed."""
    return UpstreamAnswer(
        result=told.get("result"),
        error_code=told.get("code"),
        error_message=told.get("message"),
        error_data=told.get("data"),
    )


def read_end(unix_time: float, detail: str) -> AuditEnd:
    """The end in an `end` record."""
    return AuditEnd(unix_time=unix_time, told=orjson.loads(detail))


def _facts_text(columns: Mapping[str, Any]) -> dict[str, Any] | None:
    """The facts whole: what stands in columns of their own is not in them twice."""
    if columns["facts"] is None:
        return None
    said = {
        "chain": columns["chain"],
        "client": columns["client"],
        "method": columns["method"],
        "account": _hex(columns["account"]),
        "user_op_hash": _hex(columns["user_op_hash"]),
        "permission_id": _hex(columns["permission_id"]),
        "mode": columns["session_mode"],
        **orjson.loads(columns["facts"]),
    }
    return {name: value for name, value in said.items() if value is not None}


def _calls(calls: str | None, facts: Mapping[str, Any] | None) -> tuple[AuditCall, ...]:
    if calls is not None:
        return tuple(
            AuditCall(target=bytes.fromhex(target), selector=bytes.fromhex(selector), value=int(value, 16))
            for target, selector, value in orjson.loads(calls)
        )
    if facts is None or not facts.get("calls"):
        return ()
    try:
        read = facts_from_json({**facts, "moves": [], "grants": []}).calls
    except StateUnavailable:
        return ()
    return tuple(AuditCall(target=call.target, selector=call.selector, value=call.value) for call in read)


_SAME: Final = (
    *("decision_id", "unix_time", "chain", "client", "method", "mode", "verdict", "code"),
    *("user_op_hash", "account", "permission_id", "session_mode"),
)


def _without_none(record: AuditReason | UpstreamAnswer) -> dict[str, object]:
    return {key: value for key, value in dataclasses.asdict(record).items() if value is not None}


def _hex(data: bytes | None) -> str | None:
    return None if data is None else print_bytes(data)
