"""What is only passed along, from a request to its answer, with nothing to wait for but the bundler's reply.

Nearly all that a gate carries where it judges nothing, and every read, goes this way: no task, no future. What needs
more than one look at it is the gate's own to answer, which tells the same of everything that goes here.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final, Protocol

from proxy.carried import read_carried
from proxy.errors import UpstreamUnavailable
from proxy.gate import Gate
from proxy.jsonrpc import Request, print_json
from proxy.judge.verdict import Mode
from proxy.methods import PREVIEWS, TELL_OF_BLOCKS, MethodClass, check_arity, classify
from proxy.ports import Answer, AskingOn, Forwarded, OperationPlace, Recorder, RequestContext, RequestOutcome
from proxy.replies import passed_on, place_of

_JUDGED: Final = frozenset({MethodClass.SUBMIT, *PREVIEWS})


class Waiting(Protocol):
    """Whoever waits for an answer."""

    def answered(self, answer: Answer | None) -> None:
        """This is it; `None` for a notification."""

    def wait_for(self, work: Coroutine[Any, Any, Answer | None]) -> None:
        """This gives it, in time."""


Ended = Forwarded | UpstreamUnavailable | AskingOn


class DirectUpstream(Protocol):
    """The bundlers of one chain, asked without waiting for them."""

    def begin(
        self,
        method: str,
        params: bytes,
        hearing: Callable[[Ended], None],
        *,
        submit: bool,
        place: OperationPlace | None = None,
    ) -> bool:
        """Ask as `Upstream.post` does where that takes waiting for nothing but the reply, and have `hearing` told of
        it later than this returns. Whether it was asked; if not, nothing was done."""


class Passage:
    """Answers one chain's requests for its gate. `stopwatch` gives monotonic seconds."""

    def __init__(
        self, gate: Gate, upstream: DirectUpstream, *, recorder: Recorder, stopwatch: Callable[[], float]
    ) -> None:
        self.gate = gate
        self.upstream = upstream
        self.recorder = recorder
        self.stopwatch = stopwatch

    def begin(self, request: Request, context: RequestContext, waiting: Waiting) -> None:
        """Answer one request, now or later. Whatever happens, it is counted and it is answered."""
        settings = self.gate.settings
        method_class = classify(request.method, settings.allow_methods)
        if request.id is not None:
            if method_class is MethodClass.PASS:
                passing = request.method not in settings.translated
            else:
                unjudged = method_class in PREVIEWS and not settings.judge_previews
                passing = method_class in _JUDGED and (settings.mode is Mode.OFF or unjudged)
            if passing:
                _Crossing(self, request, method_class, context, waiting).begin()
                return
        waiting.wait_for(self.gate.answer(request, context))


class _Crossing:
    """One request on its way."""

    __slots__ = ("_context", "_method_class", "_passage", "_request", "_sent", "_started", "_waiting")

    def __init__(
        self,
        passage: Passage,
        request: Request,
        method_class: MethodClass,
        context: RequestContext,
        waiting: Waiting,
    ) -> None:
        self._passage = passage
        self._request = request
        self._method_class = method_class
        self._context = context
        self._waiting = waiting
        self._sent = False

    def begin(self) -> None:
        passage, request = self._passage, self._request
        try:
            params, submit, place = self._params()
            self._started = passage.stopwatch()
            self._sent = passage.upstream.begin(request.method, params, self._heard, submit=submit, place=place)
        except Exception as error:  # a refusal, or a promise of ours is broken: the gate tells which
            self._end(*passage.gate.told(request, self._method_class, error))
            return
        if not self._sent:
            self._sent = True  # in doubt
            asking = passage.gate.upstream.post(request.method, params, submit=submit, place=place)
            self._waiting.wait_for(self._asked(asking))

    def _params(self) -> tuple[bytes, bool, OperationPlace | None]:
        """What goes on of the request, whether that hands an operation in, and where. Raises `RpcError`."""
        request, method_class, guest = self._request, self._method_class, self._context.guest
        guest.admit(request.method, method_class, request.params)
        if method_class is MethodClass.PASS:
            check_arity(request.method, len(request.params))
            return print_json(request.params), False, None
        gate = self._passage.gate
        carried = read_carried(request.method, method_class, request.params, gate.serving)
        op, entry_point = carried.op, carried.entry_point
        preview = method_class in PREVIEWS
        guest.admit_operation(op, entry_point, gate.settings.session_modules, preview=preview)
        return carried.params, not preview, None if preview else place_of(op, entry_point)

    def _heard(self, ended: Ended) -> None:
        gate, request = self._passage.gate, self._request
        if isinstance(ended, AskingOn):
            self._waiting.wait_for(self._asked(ended.work))
            return
        try:
            if isinstance(ended, UpstreamUnavailable):
                answer, outcome = gate.told(request, self._method_class, ended)
            else:
                self._passage.recorder.forwarded(ended.endpoint, self._passage.stopwatch() - self._started)
                if self._tells_of_blocks(ended):
                    self._waiting.wait_for(self._tell(ended))
                    return
                answer, outcome = passed_on(request, ended)
        except Exception as error:  # a promise of ours is broken; the caller is answered
            answer, outcome = gate.told(request, self._method_class, error, sent=self._sent)
        self._end(answer, outcome)

    def _tells_of_blocks(self, ended: Forwarded) -> bool:
        reply = ended.reply
        return self._request.method in TELL_OF_BLOCKS and not reply.is_error and reply.result is not None

    async def _asked(self, asking: Awaitable[Forwarded]) -> Answer:
        """What comes of a question that takes waiting."""
        passage = self._passage
        return await self._whatever_comes(passage.gate.passing(self._request, asking, self._started))

    async def _tell(self, ended: Forwarded) -> Answer:
        """What is told of blocks counts here before the caller has it."""
        return await self._whatever_comes(self._passage.gate.pass_on_told(self._request, ended))

    async def _whatever_comes(self, work: Awaitable[tuple[Answer, RequestOutcome]]) -> Answer:
        outcome = RequestOutcome.INTERNAL_ERROR
        try:
            answer, outcome = await work
        except Exception as error:  # a refusal, or a promise of ours is broken: the gate tells which
            answer, outcome = self._passage.gate.told(self._request, self._method_class, error, sent=self._sent)
        finally:
            self._passage.recorder.ended(self._context, self._method_class, outcome)
        return answer

    def _end(self, answer: Answer, outcome: RequestOutcome) -> None:
        self._passage.recorder.ended(self._context, self._method_class, outcome)
        self._waiting.answered(answer)
