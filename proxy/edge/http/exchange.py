"""What came of one question to a bundler: its reply, or how there was none."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from proxy.bundler_answers import TOOK_NOTHING, Meaning, meaning_of_error
from proxy.edge.http.client import HttpReply, NoReplyError
from proxy.edge.http.endpoints import BundlerEndpoint
from proxy.edge.http.url_secrets import without
from proxy.errors import UpstreamUnavailable
from proxy.jsonrpc import Reply, ReplyError, print_json, read_reply
from proxy.ports import AskingOn
from proxy.record import record


@record()
class UpstreamReply:
    """A bundler's answer: its HTTP status, and the JSON-RPC reply as it came, still under our id."""

    endpoint: str
    status: int
    our_id: int
    reply: Reply

    @property
    def body(self) -> bytes:
        """The reply's bytes."""
        return self.reply.body


class ExchangeError(UpstreamUnavailable):
    """A bundler, or a gateway before it, was reached and gave no reply. What was turned away was not taken."""

    def __init__(self, problem: str, *, silent: bool, turned_away: bool) -> None:
        super().__init__(problem, may_have_been_sent=not turned_away)
        self.silent = silent


Ended = UpstreamReply | UpstreamUnavailable
"""How a question to the bundlers ended."""

Hearing = Callable[[Ended | AskingOn], None]
"""Is told how a question ended, or what asks the other bundlers now that the first has given no answer; once."""

_WAITS_FOR_INCLUSION: Final = frozenset({"pimlico_sendUserOperationNow"})


def waits_for_inclusion(method: str) -> bool:
    """Whether a method is answered once its operation is in a block."""
    return method in _WAITS_FOR_INCLUSION


def read_exchange(endpoint: BundlerEndpoint, our_id: int, heard: HttpReply | NoReplyError) -> UpstreamReply:
    """What an endpoint answered to the question of our id; no error shows a key of ours. Raises `ExchangeError`."""
    name = endpoint.name
    if isinstance(heard, NoReplyError):
        turned_away = heard.status in TOOK_NOTHING
        raise ExchangeError(f"{name} {heard.problem}", silent=heard.silent, turned_away=turned_away) from None
    try:
        reply = read_reply(heard.body, our_id)
        if reply.is_error and endpoint.secrets:
            reply = _without_secrets(endpoint, our_id, reply)
    except ReplyError as error:
        problem = f"{name} answered HTTP {heard.status} with a body that is {error}"
        raise ExchangeError(problem, silent=False, turned_away=heard.status in TOOK_NOTHING) from None
    return UpstreamReply(name, heard.status, our_id, reply)


def _without_secrets(endpoint: BundlerEndpoint, our_id: int, reply: Reply) -> Reply:
    told = print_json(reply.error).decode()
    shown = without(endpoint.secrets, told)
    if shown == told:
        return reply
    return read_reply(b'{"jsonrpc":"2.0","id":%d,"error":%b}' % (our_id, shown.encode()), our_id)


def unread(endpoint: str) -> ExchangeError:
    """What is heard of an answer that a fault of ours kept from being read."""
    return ExchangeError(f"{endpoint} gave an answer that could not be read here", silent=False, turned_away=False)


def meaning_of_reply(answer: UpstreamReply) -> Meaning:
    """What the answer to a send says of its operation."""
    reply = answer.reply
    if not reply.is_error:
        return Meaning.ACCEPTED
    return meaning_of_error(reply.error_code, reply.error_message, answer.status)
