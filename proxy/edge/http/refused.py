"""A POST that its head alone refuses, and that is read all the same for the id to answer under."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from proxy.edge.http.inbound import CARRIED_SECONDS, HttpWaiting, InboundCall, print_refusal
from proxy.edge.http.messages import HttpAnswer, HttpRequest
from proxy.errors import RpcError, TooMuchWaits
from proxy.jsonrpc import NULL_ID, Batch, BodyLimits, parse_body
from proxy.ports import Answer

if TYPE_CHECKING:
    from proxy.edge.http.service import Service

LONGEST: Final = 16 * 1024
"""Bytes of a body that is read for its ids alone: an operation has a few thousand. Under another id than theirs, SDKs
show their users no reason."""


def is_worth_reading(request: HttpRequest) -> bool:
    """Whether a request that is refused will have sent its body, and one so short that its id costs next to nothing."""
    return request.length is not None and request.length <= LONGEST and "Expect" not in request.headers


class RefusedCall(InboundCall):
    """Whatever its body asks, the answer is the refusal."""

    __slots__ = ("_error",)

    def __init__(self, service: Service, request: HttpRequest, error: RpcError) -> None:
        # nothing of the base is called: nobody calls, and nothing is counted as asked
        self._service = service
        self._request = request
        self.household = service.household(request)
        self.turns = service.turns
        self.turns.charge(self.household, CARRIED_SECONDS)
        self._error = error.with_traceback(None)  # its frames lead to the connection, and that to this

    def again(self, length: int | None) -> InboundCall | None:  # noqa: ARG002 - each is looked at anew
        """See `InboundCall`."""
        return None

    def end(self) -> None:
        """Nothing was begun."""

    def nobody_waited(self) -> None:
        """It was counted when it was refused."""

    def refuse(self, error: RpcError) -> HttpAnswer:  # noqa: ARG002 - it has been refused already
        """See `InboundCall`."""
        return self._service.refusal(self._request, self._error)

    def no_room(self) -> HttpAnswer:
        """See `InboundCall`."""
        return self.refuse(TooMuchWaits())

    def begin(self, body: bytes, waiting: HttpWaiting) -> None:
        """See `InboundCall`."""
        waiting.answered(self._told(body))

    async def _answer(self, body: bytes) -> HttpAnswer:
        return self._told(body)

    def _told(self, body: bytes) -> HttpAnswer:
        ids, is_batch = _ids_in(body, self._service.settings.limits)
        told = [print_refusal(each, self._error) for each in ids]
        if not told:  # notifications only
            return self._service.respond(self._request, None)
        return self._service.respond(self._request, Answer(b"[%b]" % b",".join(told) if is_batch else told[0]))


def _ids_in(body: bytes, limits: BodyLimits) -> tuple[Sequence[str], bool]:
    """Under which ids a body wants answers, and whether it is a batch."""
    try:
        parsed = parse_body(body, limits)
    except RpcError:
        return [NULL_ID], False
    if isinstance(parsed, Batch):
        return [item.id for item in parsed.items if item.id is not None], True
    return [NULL_ID if parsed.item.id is None else parsed.item.id], False
