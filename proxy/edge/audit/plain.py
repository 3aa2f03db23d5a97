"""What happened as plain values: nested tuples of text, bytes, numbers and None, and at the last place a few objects.

This is all that the process that judges does for a record; whoever writes it prints it (`proxy.edge.audit.printing`),
in another process where the settings want that. So nothing here prints, cuts or copies what is bulky. A signature is in
none of it, and of call data only what facts have.
"""

from __future__ import annotations

from dataclasses import replace
from operator import attrgetter
from typing import Any, Final

import orjson

from proxy.edge.audit.facts import IN_COLUMNS, plain_facts
from proxy.edge.audit.printing import Plain
from proxy.edge.audit.schema import RecordKind
from proxy.judge.decision import Decision, Whole
from proxy.judge.evaluate import Hit
from proxy.judge.upstream_answer import UpstreamAnswer
from proxy.judge.verdict import ALLOWED, Allow, Reject
from proxy.ports import Deed, OperationEnd
from proxy.session.grounds import grounds_to_json
from proxy.userop.primitives import print_bytes
from proxy.userop.user_operation import UserOperation, print_user_operation

_MOST: Final = 33
"""Reasons, notes or rules of one decision that are handed on; one more than is kept, so that the cut shows."""

_FROM: Final = Decision._fields.index(IN_COLUMNS[0])
_TO: Final = _FROM + len(IN_COLUMNS)
assert Decision._fields[-4:] == ("facts", "hits", "opened", "whole")  # noqa: S101 - our own promise
_DECIDED: Final = RecordKind.DECISION.value
_ANSWERED: Final = RecordKind.ANSWER.value
_END: Final = RecordKind.END.value
_REASON: Final = attrgetter("sentence", "remedy", "policy", "rule", "call", "wanted", "got", "signed")


def plain_decision(decision: Decision, forwarding: bool) -> Plain:
    """A verdict; `forwarding` when its operation goes, or went, to a bundler."""
    decision_id, unix_time, mode, verdict = decision[:4]
    facts, hits, opened, whole = decision[-4:]
    is_plain = verdict is ALLOWED or (type(verdict) is Allow and not verdict.notes and not verdict.waived)
    return (
        _DECIDED,
        unix_time,
        decision_id,
        mode._value_,
        decision[_FROM:_TO],
        forwarding,
        None if is_plain and not hits and not opened else _said(decision),
        () if facts is not None else tuple([(call.target, call.selector, call.value) for call in decision.calls]),
        None if facts is None else plain_facts(facts),
        None if whole is None else _whole(whole),
    )


def _said(decision: Decision) -> Plain:
    """What there is to say of a decision that did not just allow: refused, reasons, notes, waived, opened, hits."""
    verdict = decision.verdict
    reasons: Plain = ()
    notes: Plain = ()
    waived: Plain = ()
    if refused := isinstance(verdict, Reject):
        reasons = tuple([(int(each.code), *_REASON(each)) for each in verdict.reasons[:_MOST]])
    elif isinstance(verdict, Allow) and (verdict.notes or verdict.waived):
        notes = verdict.notes[:_MOST]
        waived = tuple([each.value for each in verdict.waived])
    return refused, reasons, notes, waived, decision.opened, tuple([_hit(each) for each in decision.hits[:_MOST]])


def plain_answer(decision_id: str, answer: UpstreamAnswer, unix_time: float) -> Plain:
    """What the bundler said to the operation of a decision."""
    return (
        _ANSWERED,
        unix_time,
        decision_id,
        answer.result,
        answer.error_code,
        answer.error_message,
        answer.error_data,
    )


def plain_end(end: OperationEnd, unix_time: float) -> Plain:
    """What became of an operation."""
    return (_END, unix_time) + end  # noqa: RUF005  # by way of a list it takes three times as long


def plain_deed(deed: Deed, unix_time: float) -> Plain:
    """What somebody did to the gate."""
    details = tuple([(str(name), _brief(value)) for name, value in deed.details.items()])
    place = (deed.chain, deed.account, deed.permission_id)
    return RecordKind.DEED.value, unix_time, *place, deed.what, deed.who, deed.why, details


def plain_own(kind: RecordKind, unix_time: float, **detail: object) -> Plain:
    """What the trail tells of itself; `detail` are JSON values."""
    return kind.value, unix_time, detail


def plain_gap(first: int, last: int, unix_time: float, why: str) -> Plain:
    """Records lost before they were written; the gap has the number of the last of them."""
    return plain_own(RecordKind.GAP, unix_time, first=first, last=last, lost=last - first + 1, why=why)


def _hit(hit: Hit) -> Plain:
    rule = hit.rule
    return rule.id, hit.mode._value_, rule.severity._value_, hit.sentence, hit.unknown


def _whole(whole: Whole) -> bytes:
    """The operation and its grounds, printed: only a trail that keeps call data has them."""
    return orjson.dumps(
        {
            "operation": print_user_operation(_unsigned(whole.op)),
            "entryPoint": print_bytes(whole.entry_point),
            "grounds": None if whole.grounds is None else grounds_to_json(whole.grounds),
        }
    )


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


def _brief(value: object) -> object:
    return value if value is None or type(value) in (bool, float) else str(value)


def exactly(value: Any) -> Any:
    """The same with nothing but plain values in it: enums, named tuples and the like are what they stand for. Raises
    `ValueError` for what stands for none."""
    kind = type(value)
    if kind in _PLAIN:
        return value
    if kind is tuple:
        return tuple([each if type(each) in _PLAIN else exactly(each) for each in value])
    if isinstance(value, str):
        return str(value)
    if isinstance(value, int | float):
        return float(value) if isinstance(value, float) else int(value)
    if isinstance(value, bytes):
        return bytes(value)
    if isinstance(value, tuple | list):
        return tuple(exactly(each) for each in value)
    if isinstance(value, dict):
        return {str(name): exactly(each) for name, each in value.items()}
    raise ValueError(f"{kind.__name__} is no plain value")


_PLAIN: Final = frozenset({str, bytes, int, float, bool, type(None)})
