"""From what happened to the columns of a record, printed once and bounded in bytes.

Never kept are a signature, and call data beyond the selector. An operation's lists are cut at `MOST_ITEMS`; what was
cut is counted, and a digest stands for the whole.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from hashlib import blake2b
from operator import attrgetter
from typing import Any, Final

import orjson

from proxy.edge.audit.schema import RecordKind
from proxy.errors import Reason
from proxy.judge.decision import Decision, UpstreamAnswer, Whole
from proxy.judge.evaluate import Hit
from proxy.judge.facts_json import facts_to_json
from proxy.judge.verdict import Allow, Reject
from proxy.methods import is_preview
from proxy.ports import Deed, OperationEnd
from proxy.session.chain_words import is_revert_data
from proxy.session.grounds import grounds_to_json
from proxy.userop.primitives import print_bytes
from proxy.userop.user_operation import UserOperation, print_user_operation

MOST_ITEMS: Final = 32
"""So many calls, moves, acts or grants of an operation are kept; within a grant a quarter."""

MOST_BYTES: Final = 16_384
"""Facts longer than this are cut once more, to a quarter of the items."""

_IN_COLUMNS: Final = ("chain", "client", "method", "account", "user_op_hash", "permission_id", "mode")
"""Facts that a record has columns for."""

_TOLD: Final = attrgetter(*_IN_COLUMNS)
_COLUMNS: Final = attrgetter(*_IN_COLUMNS[:-1], "session_mode")
_NOTHING: Final[Mapping[str, object]] = {}

Columns = tuple[object, ...]
"""The content of a record after `id`, `run` and `seq`."""

_LONGEST_TEXT: Final = 500
_MOST_REASONS: Final = 32
_LONG_HEX: Final = re.compile(r"((?:0x)?[0-9a-fA-F]{8})[0-9a-fA-F]{57,}")
_SAYS_REVERT: Final = re.compile(r"revert[a-z]*\W{1,3}(?:(?:with|reason|data)\W{1,3}){0,2}$", re.IGNORECASE)
_LONGEST_QUOTE: Final = 8_192
_DIGEST_BYTES: Final = 16


def print_decision(decision: Decision, *, forwarding: bool) -> Columns:
    """A verdict; `forwarding` when its operation goes, or went, to a bundler."""
    verdict = decision.verdict
    refused = isinstance(verdict, Reject)
    reasons = verdict.reasons[:_MOST_REASONS] if isinstance(verdict, Reject) else ()
    notes = verdict.notes[:_MOST_REASONS] if isinstance(verdict, Allow) else ()
    calls, facts, cut = _print_operation(decision)
    return (
        RecordKind.DECISION.value,
        float(decision.unix_time),
        *(decision.decision_id, decision.chain, decision.client, shown(decision.method), decision.mode.value),
        "reject" if refused else "allow",
        int(reasons[0].code) if reasons else None,
        *(decision.user_op_hash, decision.account, decision.permission_id, decision.session_mode),
        int(forwarding),
        int(is_preview(decision.method)),
        _json([_reason_json(reason) for reason in reasons]) if reasons else None,
        _json([shown(note) for note in notes]) if notes else None,
        *(calls, facts),
        _json([_hit_json(hit) for hit in decision.hits[:MOST_ITEMS]]) if decision.hits else None,
        _json(_detail(cut, decision.whole)) if cut or decision.whole is not None else None,
    )


def print_answer(decision_id: str, answer: UpstreamAnswer, unix_time: float) -> Columns:
    """What the bundler said to the operation of a decision."""
    code = answer.error_code
    told = {
        "result": shown(answer.result),
        # integers of 64 bits here, an upstream's need not be
        "code": code if code is None or -(2**63) <= code < 2**63 else None,
        "message": quoted(answer.error_message),
        "data": quoted(answer.error_data, revert=True),
    }
    return _other(RecordKind.ANSWER, unix_time, decision_id=decision_id, detail=_without_none(told))


def print_end(end: OperationEnd, unix_time: float) -> Columns:
    """What became of an operation."""
    told = {
        "cause": str(end.cause),
        "success": end.success,
        "revertReason": quoted(end.revert_reason, revert=True),
        "transaction": None if end.transaction is None else print_bytes(end.transaction),
        "block": end.block,
        "gasUsed": None if end.gas_used is None else str(end.gas_used),
        "cost": None if end.cost is None else str(end.cost),
        "seconds": end.seconds,
    }
    return _other(
        RecordKind.END,
        unix_time,
        chain=end.chain,
        operation=(end.user_op_hash, end.account, end.permission_id),
        detail=_without_none(told),
    )


def print_deed(deed: Deed, unix_time: float) -> Columns:
    """What somebody did to the gate."""
    details = {str(shown(name)): _brief(value) for name, value in list(deed.details.items())[:MOST_ITEMS]}
    told = {"what": shown(deed.what), "who": shown(deed.who), "why": shown(deed.why), **details}
    return _other(
        RecordKind.DEED,
        unix_time,
        chain=deed.chain,
        operation=(None, deed.account, deed.permission_id),
        detail=told,
    )


def print_own(kind: RecordKind, unix_time: float, **detail: object) -> Columns:
    """What the trail tells of itself."""
    return _other(kind, unix_time, detail=detail)


def _other(
    kind: RecordKind,
    unix_time: float,
    *,
    decision_id: str | None = None,
    chain: str | None = None,
    operation: tuple[bytes | None, bytes | None, bytes | None] = (None, None, None),
    detail: Mapping[str, object],
) -> Columns:
    return (
        *(kind.value, float(unix_time), decision_id, chain, None, None, None, None, None, *operation),
        *(None, None, None, None, None, None, None, None, _json(detail)),
    )


def _print_operation(decision: Decision) -> tuple[str | None, str | None, Mapping[str, object]]:
    """Calls, facts, and what was cut of them. Calls stand in the facts where there are any."""
    if decision.facts is None:
        calls = [[call.target.hex(), call.selector.hex(), hex(call.value)] for call in decision.calls]
        kept, cut = _cut({"calls": calls}, MOST_ITEMS)
        return (_json(kept["calls"]) if calls else None), None, cut
    whole = facts_to_json(decision.facts)
    facts, cut = _cut(whole, MOST_ITEMS)
    # what stands in a column of its own is not said twice; a fact that is not there and has a column is said to be none
    for name, told, column in zip(_IN_COLUMNS, _TOLD(decision.facts), _COLUMNS(decision), strict=True):
        if told == column:
            facts.pop(name, None)
        elif told is None:
            facts[name] = None
    printed = orjson.dumps(facts)
    if len(printed) > MOST_BYTES:
        shorter, cut = _cut(whole, MOST_ITEMS // 4)
        printed = orjson.dumps({name: shorter.get(name) for name in facts})
    return None, printed.decode(), cut


def _detail(cut: Mapping[str, object], whole: Whole | None) -> dict[str, object]:
    told: dict[str, object] = {"cut": cut} if cut else {}
    if whole is not None:
        told["whole"] = {
            "operation": print_user_operation(_unsigned(whole.op)),
            "entryPoint": print_bytes(whole.entry_point),
            "grounds": None if whole.grounds is None else grounds_to_json(whole.grounds),
        }
    return told


def _unsigned(op: UserOperation) -> UserOperation:
    """The operation without what proves anything: its own signature, the paymaster's, an authorisation's."""
    return replace(
        op,
        signature=b"",
        paymaster_and_data=None if op.paymaster_and_data is None else op.paymaster_and_data[:20],
        paymaster_data=None if op.paymaster_data is None else bytes(len(op.paymaster_data)),
        paymaster_signature=None,
        eip7702_auth=None,
    )


def _cut(described: dict[str, Any], most: int) -> tuple[dict[str, Any], Mapping[str, object]]:
    """The object with each of its lists no longer than `most`; how long they were, and a digest of those."""
    if "grants" not in described and not any(type(v) is list and len(v) > most for v in described.values()):
        return described, _NOTHING
    counts = {name: len(value) for name, value in described.items() if type(value) is list and len(value) > most}
    kept = {name: value[:most] if name in counts else value for name, value in described.items()}
    nested = False
    if grants := kept.get("grants"):
        kept["grants"] = [_cut(grant, most // 4)[0] for grant in grants]
        nested = kept["grants"] != grants
    if not counts and not nested:
        return kept, {}
    told = {name: described[name] for name in ("calls", "moves", "acts", "grants") if name in described}
    return kept, {**counts, "digest": blake2b(orjson.dumps(told), digest_size=_DIGEST_BYTES).hexdigest()}


def _hit_json(hit: Hit) -> dict[str, object]:
    rule = hit.rule
    told = {"rule": rule.id, "mode": hit.mode.value, "severity": rule.severity.value, "sentence": shown(hit.sentence)}
    return told | ({"unknown": True} if hit.unknown else {})


def _reason_json(reason: Reason) -> dict[str, object]:
    columns = {
        "code": int(reason.code),
        "sentence": shown(reason.sentence),
        "remedy": shown(reason.remedy),
        "policy": reason.policy,
        "rule": reason.rule,
        "call": reason.call,
        "wanted": shown(reason.wanted),
        "got": shown(reason.got),
    }
    return _without_none(columns)


def shown(text: str | None) -> str | None:
    """Text from outside, fit to keep: valid UTF-8, short, and with hex longer than a hash cut, as it may be a
    signature or call data that a bundler quotes in its message."""
    if text is None:
        return None
    if len(text) <= 64 and text.isascii():
        return text
    valid = text[: 4 * _LONGEST_TEXT].encode("utf-8", "replace").decode()
    return _LONG_HEX.sub(r"\1…", valid)[:_LONGEST_TEXT]


def quoted(text: str | None, *, revert: bool = False) -> str | None:
    """The same for what a bundler or the chain said: what a contract reverted with is kept whole.

    `revert` is for text that is said to be nothing else.
    """
    if text is None or (len(text) <= _LONGEST_TEXT and _LONG_HEX.search(text) is None):
        return shown(text)
    valid = text[:_LONGEST_QUOTE].encode("utf-8", "replace").decode()
    whole = 0

    def cut(hex_digits: re.Match[str]) -> str:
        nonlocal whole
        said_to_be = (
            revert or _SAYS_REVERT.search(valid, max(hex_digits.start() - 32, 0), hex_digits.start()) is not None
        )
        if not is_revert_data(hex_digits[0].removeprefix("0x"), said_to_be=said_to_be):
            return f"{hex_digits[1]}…"
        whole += len(hex_digits[0])
        return hex_digits[0]

    kept = _LONG_HEX.sub(cut, valid)
    return kept[: _LONGEST_TEXT + whole]


def _brief(value: object) -> object:
    return value if value is None or type(value) in (bool, float) else shown(str(value))


def _without_none(told: Mapping[str, object]) -> dict[str, object]:
    return {name: value for name, value in told.items() if value is not None}


def _json(value: object) -> str:
    return orjson.dumps(value).decode()
