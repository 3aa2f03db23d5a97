"""What of a decision is worth telling: rules that fired, rejections of note, passes without a fact. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Final

from proxy.errors import Code
from proxy.happening import Happening, HappeningKind
from proxy.judge.decision import Decision
from proxy.judge.evaluate import Hit
from proxy.judge.rule import Rule
from proxy.judge.verdict import Allow, Mode, Reject
from proxy.methods import is_preview
from proxy.ports import OperationEnd
from proxy.session.lint.findings import Severity
from proxy.userop.primitives import print_bytes, print_checksummed

RuleOf = Callable[[str], Rule | None]
"""A rule in force by its id."""

_SHOWN: Final = 4  # bytes at each end of an id


def is_of_note(decision: Decision) -> bool:
    """Whether `happenings_of` may find anything: cheap, for every operation."""
    verdict = decision.verdict
    if decision.hits or decision.opened:
        return True
    if isinstance(verdict, Allow):
        return bool(verdict.waived)
    return decision.mode is Mode.ALERT or verdict.first.code is Code.SESSION_REVOKED


def happenings_of(decision: Decision, rule_of: RuleOf) -> Iterator[Happening]:
    """Each happening of a decision, of an estimate too: nothing was handed in, and the words say so."""
    for hit in decision.hits:
        if hit.mode in (Mode.ALERT, Mode.ENFORCE):
            yield _of_hit(decision, hit)
    for name in decision.opened:
        rule = rule_of(name)
        # one that a reload has just taken away is told as well
        if decision.mode is Mode.ENFORCE and (rule is None or rule.mode is Mode.ENFORCE):
            yield _of_opened(decision, name, rule)
    verdict = decision.verdict
    if isinstance(verdict, Allow):
        if verdict.waived:
            yield _of_waived(decision, verdict)
    elif verdict.first.code is Code.SESSION_REVOKED:
        yield _of_revoked(decision, verdict)
    elif decision.mode is Mode.ALERT and verdict.first.rule is None and not is_preview(decision.method):
        # a rule's is told as its hit
        yield _of_would_be(decision, verdict)


def happening_of_end(end: OperationEnd, now: float) -> Happening | None:
    """The end of an operation, where ops want to hear of it: given up unmined, or its hold released by hand."""
    whose = f"operation {_short(print_bytes(end.user_op_hash))}"
    if end.permission_id is not None:
        whose = f"{whose} of session {_short(print_bytes(end.permission_id))}"
    match end.cause:
        case "unmined":
            kind, what = HappeningKind.NEVER_MINED, f"{whose} was accepted by the bundler and never seen on chain"
        case "released":
            kind, what = HappeningKind.HOLD_RELEASED, f"what {whose} held was released by an operator"
        case _:
            return None
    after = "" if end.seconds is None else f", {end.seconds:.0f} s after it was accepted"
    return Happening(
        kind=kind,
        severity=Severity.MEDIUM,
        unix_time=now,
        what=f"{what}{after}",
        chain=end.chain,
        account=end.account,
        permission_id=end.permission_id,
        user_op_hash=end.user_op_hash,
    )


def _of_hit(decision: Decision, hit: Hit) -> Happening:
    rule = hit.rule
    did = "rejected" if hit.mode is Mode.ENFORCE and isinstance(decision.verdict, Reject) else "fired on"
    doubt = "; it lacked a fact and fails closed" if hit.unknown else ""
    return _happening(
        decision,
        HappeningKind.RULE_FIRED,
        rule.severity,
        f"rule {rule.id} {did} {_whose(decision)}: {hit.sentence}{_amounts(hit.wanted, hit.got)}{doubt}",
        rule=rule,
        mode=hit.mode._value_,
    )


def _of_opened(decision: Decision, name: str, rule: Rule | None) -> Happening:
    what = f"rule {name} let {_whose(decision)} pass unjudged: it lacked a fact, and says fail: open"
    mode = Mode.ENFORCE.value
    told = _happening(decision, HappeningKind.FAILED_OPEN, Severity.CRITICAL, what, rule=rule, mode=mode)
    return replace(told, rule=name)


def _of_waived(decision: Decision, verdict: Allow) -> Happening:
    lacking = ", ".join(each.value for each in verdict.waived)
    notes = f": {'; '.join(verdict.notes)}" if verdict.notes else ""
    what = f"{_whose(decision)} was let pass although its {lacking} could not be judged{notes}"
    severity = Severity.LOW if is_preview(decision.method) else Severity.HIGH
    return _happening(decision, HappeningKind.FAILED_OPEN, severity, what)


def _of_revoked(decision: Decision, verdict: Reject) -> Happening:
    reason = verdict.first
    # a key that does not sign any more is a stranger who read the id off the chain
    signed = {True: "its key signed", False: "its key did not sign", None: "whether its key signed is not known"}
    estimate = is_preview(decision.method)  # which carries no signature, or any
    severity = Severity.LOW if reason.signed is False or (estimate and not reason.signed) else Severity.CRITICAL
    did = "rejected" if decision.mode is Mode.ENFORCE else "let pass, as the gate does not enforce"
    what = f"{_whose(decision)} was {did}: {reason.sentence}; {signed[reason.signed]}"
    return _happening(decision, HappeningKind.REJECTED, severity, what)


def _of_would_be(decision: Decision, verdict: Reject) -> Happening:
    reason = verdict.first
    what = f"{_whose(decision)} was let pass, enforcing would reject it ({reason.code.label}): {reason.sentence}"
    amounts = _amounts(reason.wanted, reason.got)
    return _happening(decision, HappeningKind.WOULD_REJECT, Severity.MEDIUM, f"{what}{amounts}")


def _happening(
    decision: Decision,
    kind: HappeningKind,
    severity: Severity,
    what: str,
    *,
    rule: Rule | None = None,
    mode: str | None = None,
) -> Happening:
    return Happening(
        kind=kind,
        severity=severity,
        unix_time=decision.unix_time,
        what=what,
        chain=decision.chain,
        client=decision.client,
        account=decision.account,
        permission_id=decision.permission_id,
        user_op_hash=decision.user_op_hash,
        decision_id=decision.decision_id,
        rule=None if rule is None else rule.id,
        mode=mode,
        tags=() if rule is None else rule.tags,
        owner=None if rule is None else rule.owner,
        runbook=None if rule is None else rule.runbook,
        notify=() if rule is None else rule.notify,
    )


def _whose(decision: Decision) -> str:
    """An operation, by whose it is; ids in short, the labels have them whole."""
    if decision.permission_id is not None:
        whose = f"of session {_short(print_bytes(decision.permission_id))}"
    elif decision.account is not None:
        whose = f"of account {_short(print_checksummed(decision.account))}"
    else:
        whose = "that could not be read"
    what = "an estimate" if is_preview(decision.method) else "an operation"
    return f"{what} {whose} for client {decision.client}"


def _amounts(wanted: str | None, got: str | None) -> str:
    told = [f"wanted {wanted}"] if wanted is not None else []
    return f" ({', '.join((*told, f'got {got}'))})" if got is not None else ""


def _short(text: str) -> str:
    return f"{text[: 2 + 2 * _SHOWN]}…{text[-2 * _SHOWN :]}"
