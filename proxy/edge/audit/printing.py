"""From what happened, as plain values, to the columns of a record: printed once, and bounded in bytes.

Never kept are an operation's signature, and call data beyond the selector. An operation's lists are cut at
`MOST_ITEMS`; what was cut is counted, and a digest stands for the whole.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

import orjson

from proxy.edge.audit.facts import MOST_ITEMS, cut_to, print_facts
from proxy.edge.audit.schema import RecordKind
from proxy.judge.upstream_answer import LONGEST_SAID
from proxy.methods import is_preview
from proxy.session.chain_words import is_known_error, says_revert
from proxy.userop.primitives import print_bytes

Plain = tuple[Any, ...]
"""One record to be, see `proxy.edge.audit.plain`; the first value is its kind."""

Columns = tuple[object, ...]
"""The content of a record after `id`, `run` and `seq`."""

_LONGEST_TEXT: Final = 500
_MOST_REASONS: Final = 32
_LONG_HEX: Final = re.compile(r"((?:0x)?[0-9a-fA-F]{8})[0-9a-fA-F]{57,}")
_SHORT: Final = 66
"""No longer than a hash with its prefix."""
_ONE_HEX: Final = re.compile(r"(?:0x)?[0-9a-fA-F]*")


class DecisionTold(NamedTuple):
    """A verdict as plain values. `columns` are those of `IN_COLUMNS`; `said` is a `SaidTold`, or `None` of an operation
    that was just allowed; `facts` are those of `plain_facts`, `whole` is JSON."""

    kind: str
    unix_time: float
    decision_id: str
    mode: str
    columns: Plain
    forwarding: bool
    said: Plain | None
    calls: tuple[tuple[bytes, bytes, int], ...]
    facts: Plain | None
    whole: bytes | None


class SaidTold(NamedTuple):
    """What there is to say of a decision likewise."""

    refused: bool
    reasons: tuple[Plain, ...]
    notes: tuple[str, ...]
    waived: tuple[str, ...]
    opened: tuple[str, ...]
    hits: tuple[Plain, ...]


_NOTHING_SAID: Final = SaidTold(False, (), (), (), (), ())


class ReasonTold(NamedTuple):
    """A reason likewise."""

    code: int
    sentence: str
    remedy: str
    policy: str | None
    rule: str | None
    call: int | None
    wanted: str | None
    got: str | None
    signed: bool | None


class AnswerTold(NamedTuple):
    """What a bundler said likewise."""

    kind: str
    unix_time: float
    decision_id: str
    result: str | None
    code: int | None
    message: str | None
    data: str | None


class EndTold(NamedTuple):
    """What became of an operation likewise: a `proxy.ports.OperationEnd`."""

    kind: str
    unix_time: float
    chain: str
    user_op_hash: bytes
    cause: str
    account: bytes | None
    permission_id: bytes | None
    success: bool | None
    revert_reason: str | None
    transaction: bytes | None
    block: int | None
    gas_used: int | None
    cost: int | None
    seconds: float | None


class DeedTold(NamedTuple):
    """What somebody did likewise."""

    kind: str
    unix_time: float
    chain: str | None
    account: bytes | None
    permission_id: bytes | None
    what: str
    who: str
    why: str
    details: tuple[tuple[str, object], ...]


def print_plain(plain: Plain) -> Columns:
    """The columns of a record that was handed on as `proxy.edge.audit.plain` makes it."""
    if (printing := _PRINTING.get(plain[0])) is not None:
        return printing(plain)
    kind, unix_time, detail = plain
    return _other(kind, unix_time, detail=detail)


def _print_decision(told: DecisionTold) -> Columns:
    calls, facts, cut = _print_operation(told)
    said = _NOTHING_SAID if told.said is None else SaidTold(*told.said)
    chain, client, method, account, user_op_hash, permission_id, session_mode = told.columns
    passed: dict[str, object] = {"facts": said.waived} if said.waived else {}
    if said.opened:
        passed["rules"] = [shown(rule) for rule in said.opened[:MOST_ITEMS]]
    detail: dict[str, object] = {"cut": cut} if cut else {}
    if passed:
        detail["passedWithout"] = passed
    if told.whole is not None:
        detail["whole"] = orjson.Fragment(told.whole)
    reasons = [ReasonTold(*reason) for reason in said.reasons[:_MOST_REASONS]]
    return (
        told.kind,
        float(told.unix_time),
        *(told.decision_id, chain, client, shown(method), told.mode),
        "reject" if said.refused else "allow",
        reasons[0].code if reasons else None,
        *(user_op_hash, account, permission_id, session_mode),
        int(told.forwarding),
        int(is_preview(method)),
        _json([_reason_json(reason) for reason in reasons]) if reasons else None,
        _json([shown(note) for note in said.notes[:_MOST_REASONS]]) if said.notes else None,
        *(calls, facts),
        _json([_hit_json(hit) for hit in said.hits[:MOST_ITEMS]]) if said.hits else None,
        _json(detail) if detail else None,
    )


def _print_answer(told: AnswerTold) -> Columns:
    code = told.code
    if code is None and told.message is None and told.data is None and told.result is not None:
        # nearly always: the operation's hash
        return _other(told.kind, told.unix_time, decision_id=told.decision_id, detail={"result": shown(told.result)})
    detail = {
        "result": shown(told.result),
        # integers of 64 bits here, an upstream's need not be
        "code": code if code is None or -(2**63) <= code < 2**63 else None,
        "message": quoted(told.message),
        "data": quoted(told.data, revert=True),
    }
    return _other(told.kind, told.unix_time, decision_id=told.decision_id, detail=_without_none(detail))


def _print_end(told: EndTold) -> Columns:
    detail = {
        "cause": told.cause,
        "success": told.success,
        "revertReason": quoted(told.revert_reason, revert=True),
        "transaction": None if told.transaction is None else print_bytes(told.transaction),
        "block": told.block,
        "gasUsed": None if told.gas_used is None else str(told.gas_used),
        "cost": None if told.cost is None else str(told.cost),
        "seconds": told.seconds,
    }
    operation = (told.user_op_hash, told.account, told.permission_id)
    return _other(told.kind, told.unix_time, chain=told.chain, operation=operation, detail=_without_none(detail))


def _print_deed(told: DeedTold) -> Columns:
    detail = {
        "what": shown(told.what),
        "who": shown(told.who),
        "why": shown(told.why),
        **{str(shown(name)): _brief(value) for name, value in told.details[:MOST_ITEMS]},
    }
    operation = (None, told.account, told.permission_id)
    return _other(told.kind, told.unix_time, chain=told.chain, operation=operation, detail=detail)


def print_own(kind: RecordKind, unix_time: float, **detail: object) -> Columns:
    """What the trail tells of itself."""
    return _other(kind.value, unix_time, detail=detail)


def print_gap(first: int, last: int, unix_time: float, why: str) -> Columns:
    """Records lost before they were written; the gap has the number of the last of them."""
    return print_own(RecordKind.GAP, unix_time, first=first, last=last, lost=last - first + 1, why=why)


def _other(
    kind: str,
    unix_time: float,
    *,
    decision_id: str | None = None,
    chain: str | None = None,
    operation: tuple[bytes | None, bytes | None, bytes | None] = (None, None, None),
    detail: Mapping[str, object],
) -> Columns:
    return (
        *(kind, float(unix_time), decision_id, chain, None, None, None, None, None, *operation),
        *(None, None, None, None, None, None, None, None, _json(detail)),
    )


def _print_operation(told: DecisionTold) -> tuple[str | None, str | None, Mapping[str, object]]:
    """Calls, facts, and what was cut of them. Calls stand in the facts where there are any."""
    if told.facts is None:
        calls = [[target.hex(), selector.hex(), hex(value)] for target, selector, value in told.calls]
        kept, cut = cut_to({"calls": calls}, MOST_ITEMS)
        return (_json(kept["calls"]) if calls else None), None, cut
    printed, cut = print_facts(told.facts, told.columns)
    return None, printed, cut


def _hit_json(hit: Plain) -> dict[str, object]:
    rule, mode, severity, sentence, unknown = hit
    told = {"rule": rule, "mode": mode, "severity": severity, "sentence": shown(sentence)}
    return told | ({"unknown": True} if unknown else {})


def _reason_json(reason: ReasonTold) -> dict[str, object]:
    columns = {
        "code": reason.code,
        "sentence": shown(reason.sentence),
        "remedy": shown(reason.remedy),
        "policy": reason.policy,
        "rule": reason.rule,
        "call": reason.call,
        "wanted": shown(reason.wanted),
        "got": shown(reason.got),
        "signed": reason.signed,
    }
    return _without_none(columns)


def shown(text: str | None) -> str | None:
    """Text from outside, fit to keep: valid UTF-8, short, and with hex longer than a hash cut, as it may be a
    signature or call data that a bundler quotes in its message."""
    if text is None:
        return None
    if len(text) <= _SHORT and text.isascii() and (len(text) <= _SHORT - 2 or text[1] == "x"):
        return text  # a hash at most: nothing in it is long
    valid = text[: 4 * _LONGEST_TEXT].encode("utf-8", "replace").decode()
    return _LONG_HEX.sub(r"\1…", valid)[:_LONGEST_TEXT]


def quoted(text: str | None, *, revert: bool = False) -> str | None:
    """The same for what a bundler or the chain said, but that what a contract reverted with is kept whole, as far as
    `LONGEST_SAID` goes: data of an error that is known, and data that are said to be of a revert.

    `revert` is for text that is said to be nothing else, where it is data.
    """
    if text is None or (len(text) <= _LONGEST_TEXT and _LONG_HEX.search(text) is None):
        return shown(text)
    valid = text[:LONGEST_SAID].encode("utf-8", "replace").decode()
    is_data = revert and _ONE_HEX.fullmatch(valid) is not None
    whole = 0

    def cut(hex_digits: re.Match[str]) -> str:
        nonlocal whole
        said_to_be = is_data or says_revert(valid, hex_digits.start())
        if not said_to_be and not is_known_error(hex_digits[0].removeprefix("0x")):
            return f"{hex_digits[1]}…"
        whole += len(hex_digits[0])
        return hex_digits[0]

    kept = _LONG_HEX.sub(cut, valid)[: _LONGEST_TEXT + whole]
    return f"{kept}…" if whole and len(text) > LONGEST_SAID else kept


def _brief(value: object) -> object:
    return value if value is None or type(value) in (bool, float) else shown(str(value))


def _without_none(told: Mapping[str, object]) -> dict[str, object]:
    return {name: value for name, value in told.items() if value is not None}


def _json(value: object) -> str:
    return orjson.dumps(value).decode()


_PRINTING: Final[Mapping[object, Callable[[Plain], Columns]]] = {
    RecordKind.DECISION.value: lambda plain: _print_decision(DecisionTold(*plain)),
    RecordKind.ANSWER.value: lambda plain: _print_answer(AnswerTold(*plain)),
    RecordKind.END.value: lambda plain: _print_end(EndTold(*plain)),
    RecordKind.DEED.value: lambda plain: _print_deed(DeedTold(*plain)),
}
