"""A bundler's reply, or what came in its place, as the caller has it, and how that is counted. No I/O but the log."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final

from proxy.errors import RpcError, UpstreamUnavailable
from proxy.jsonrpc import Request, print_error
from proxy.ports import Answer, Forwarded, RequestOutcome
from proxy.refusal import error_of_upstream, internal_error, where_it_broke

_LOG: Final = logging.getLogger(__name__)


class BrokenAfterSendingError(Exception):
    """Something of ours broke when the operation was, or may have been, on its way. The cause is chained."""

    def __init__(self, decision_id: str) -> None:
        super().__init__()
        self.decision_id = decision_id


def answer_to_error(
    request: Request, error: Exception, new_id: Callable[[], str], *, submit: bool, sent: bool
) -> tuple[Answer, RequestOutcome]:
    """What is told of a refusal, of a bundler that gave no answer, or of a promise of ours that is broken."""
    if isinstance(error, RpcError):
        return Answer(print_error(request.id, error.code, error.message, error.data)), RequestOutcome.of(error)
    if isinstance(error, UpstreamUnavailable):
        told = error_of_upstream(error, submit=submit)
        return Answer(print_error(request.id, *told), decision_id=error.decision_id), RequestOutcome.UNAVAILABLE
    # nothing is let through, and the caller is answered
    broken: BaseException = error
    decision_id = None
    if isinstance(error, BrokenAfterSendingError):
        sent, decision_id, broken = True, error.decision_id, error.__cause__ or error
    decision_id = decision_id or new_id()
    _LOG.error("request %s failed: %s", decision_id, where_it_broke(broken))
    told = internal_error(decision_id, submit=submit, may_have_been_sent=sent and submit)
    return Answer(print_error(request.id, *told), decision_id=decision_id), RequestOutcome.INTERNAL_ERROR


def passed_on(request: Request, forwarded: Forwarded, decision_id: str | None = None) -> tuple[Answer, RequestOutcome]:
    """A bundler's reply under the caller's id, and how it is counted."""
    reply = forwarded.reply
    outcome = RequestOutcome.UPSTREAM_ERROR if reply.is_error else RequestOutcome.ANSWERED
    return Answer(reply.with_id(request.id or "null"), forwarded.status, decision_id), outcome
