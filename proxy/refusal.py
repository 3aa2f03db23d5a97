"""What a refused caller is told: one JSON-RPC error with the reason, the cure, and the decision's id to quote."""

from __future__ import annotations

from traceback import format_tb
from typing import Final

from proxy.errors import Code, Reason, UpstreamFull, UpstreamUnavailable
from proxy.judge.decision import Decision
from proxy.userop.primitives import print_bytes, print_checksummed

_PLACES: Final = "places at the bundler"
_LOOK_FIRST: Final = "look for the operation's receipt by its hash before sending again"


def error_of_reason(reason: Reason, decision: Decision) -> tuple[Code, str, dict[str, object]]:
    """The code, message and data of a rejection. The message stands alone; the data is for programs."""
    data: dict[str, object] = {"decisionId": decision.decision_id, "reason": reason.code.label}
    optional: dict[str, object | None] = {
        "rule": reason.rule,
        "policy": reason.policy,
        "permissionId": None if decision.permission_id is None else print_bytes(decision.permission_id),
        "account": None if decision.account is None else print_checksummed(decision.account),
        "userOpHash": None if decision.user_op_hash is None else print_bytes(decision.user_op_hash),
        "call": reason.call,
        "wanted": reason.wanted,
        "got": reason.got,
    }
    data |= {name: value for name, value in optional.items() if value is not None}
    return reason.code, reason.sentence, data | {"retryable": reason.retryable, "remedy": reason.remedy}


def error_of_upstream(error: UpstreamUnavailable, *, submit: bool) -> tuple[Code, str, dict[str, object]]:
    """Nobody answered. After a submission the caller must know whether it may be on its way."""
    data: dict[str, object] = {} if error.decision_id is None else {"decisionId": error.decision_id}
    data |= {"reason": Code.UPSTREAM_UNAVAILABLE.label, "retryable": True}
    if submit:
        data["mayHaveBeenSent"] = error.may_have_been_sent
    if submit and error.may_have_been_sent:
        data["remedy"] = _LOOK_FIRST
    elif isinstance(error, UpstreamFull):
        data |= {"budget": _PLACES, "remedy": "send it again once some of what is under way has its answer"}
    else:
        data["remedy"] = f"send again; if it persists, the operator of this gate has to look at its {error.asked}"
    return Code.UPSTREAM_UNAVAILABLE, f"no {error.asked} answered: {error.problem}", data


def internal_error(decision_id: str, *, submit: bool, may_have_been_sent: bool) -> tuple[Code, str, dict[str, object]]:
    """We broke a promise; nothing about how is told.

    A submission is not answered with -32603: clients take it for a hiccup of a node and send again by themselves.
    """
    data: dict[str, object] = {"decisionId": decision_id, "retryable": False}
    if not may_have_been_sent:
        code = Code.STATE_UNAVAILABLE if submit else Code.INTERNAL_ERROR
        data |= {"reason": code.label, "remedy": "tell the operator of this gate, who finds it in its log"}
        return code, "internal error of this gate; this request submitted nothing", data
    data |= {"reason": Code.UPSTREAM_UNAVAILABLE.label, "mayHaveBeenSent": True, "remedy": _LOOK_FIRST}
    return Code.UPSTREAM_UNAVAILABLE, "internal error of this gate; the operation may have been sent", data


def where_it_broke(error: BaseException) -> str:
    """What broke and where. Without the exception's own text, which may quote an operation or a URL."""
    return f"{type(error).__name__}\n{''.join(format_tb(error.__traceback__))}"
