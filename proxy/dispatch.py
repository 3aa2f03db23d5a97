"""What follows a judgement: it is written down, and what was allowed is held, sent, and seen to when it is answered.

Nothing here waits but where something has to be waited for: what can be had at once is (`hold_now`,
`settle_now`, `unanswered_now`), and does the same as the way that takes time.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Final

from proxy.admission import Admission, Judgement
from proxy.admission.reasons import unavailable
from proxy.bundler_answers import Meaning, hash_named_by, meaning_of_answer
from proxy.carried import CarriedOperation
from proxy.errors import StateUnavailable, UpstreamUnavailable
from proxy.jsonrpc import Reply
from proxy.judge.decision import Decision, Whole
from proxy.judge.upstream_answer import LONGEST_SAID, UpstreamAnswer
from proxy.judge.verdict import Mode, Reject
from proxy.ledger.reservation import Reservation
from proxy.ports import Follower, Forwarded, Recorder, RequestContext, Submission, Upstream
from proxy.replies import BrokenAfterSendingError
from proxy.userop.entry_point import EntryPoint
from proxy.userop.execution import Call
from proxy.userop.primitives import print_bytes
from proxy.userop.proofs import without_proofs
from proxy.userop.signature import SessionMode
from proxy.userop.user_operation import UserOperation

_made: Final = tuple.__new__
_LOG: Final = logging.getLogger(__name__)
_MODE_NAMES: Final = {mode: mode.name.lower() for mode in SessionMode}


class Dispatch:
    """Of one chain. `clock` gives unix seconds, `stopwatch` monotonic ones, `new_id` an unused decision id."""

    def __init__(
        self,
        *,
        admission: Admission,
        upstream: Upstream,
        follower: Follower,
        recorder: Recorder,
        clock: Callable[[], float],
        stopwatch: Callable[[], float],
        new_id: Callable[[], str],
    ) -> None:
        self._admission = admission
        self.upstream = upstream
        self.follower = follower
        self._recorder = recorder
        self._clock = clock
        self._stopwatch = stopwatch
        self._new_id = new_id
        self.take(Mode.ENFORCE, keep_whole=False)

    def take(self, mode: Mode, *, keep_whole: bool) -> None:
        """From now on verdicts go on record so; see `GateSettings`."""
        self._mode, self._keep_whole = mode, keep_whole

    # before it is sent

    async def hold(self, judgement: Judgement) -> Judgement:
        """What an allowed operation holds has to survive the end of this process before anything is sent."""
        operation = judgement.operation
        if operation is None or operation.told_hash is None or isinstance(judgement.verdict, Reject):
            return judgement
        try:
            reservation = await self.follower.hold(operation, judgement.reservation, judgement.enable_nonce)
        except StateUnavailable as error:
            return replace(judgement, verdict=Reject((unavailable(error),)), reservation=None)
        if reservation is not judgement.reservation:
            judgement = replace(judgement, reservation=reservation)
        if (frozen := self._admission.frozen(operation)) is None:
            return judgement
        self.give_back(judgement)
        return replace(judgement, verdict=Reject((frozen,)), reservation=None)

    def hold_now(self, judgement: Judgement) -> Reservation | None:
        """What does so already, of an operation that was judged a moment ago; otherwise `hold` it."""
        operation, reservation = judgement.operation, judgement.reservation
        if (
            operation is None
            or operation.told_hash is None
            or reservation is None
            or judgement.enable_nonce is not None
        ):
            return None
        return reservation if self.follower.hold_now(operation, reservation) else None

    def give_back(self, judgement: Judgement, answer: UpstreamAnswer | None = None) -> None:
        """It holds nothing: it was not taken, by the bundler's `answer` if it gave one."""
        if judgement.reservation is not None:
            self.follower.refused(judgement.reservation, answer)

    def record(
        self,
        method: str,
        judgement: Judgement,
        carried: CarriedOperation,
        context: RequestContext,
        *,
        started: float,
    ) -> Decision:
        """The decision, written down. Whatever is wrong with that, what was held is given back."""
        try:
            decision = self.decide(method, judgement, carried.op, carried.entry_point, context)
            enforced = isinstance(decision.verdict, Reject) and self._mode is Mode.ENFORCE
            self._recorder.decided(decision, forwarding=not enforced, seconds=self._stopwatch() - started)
        except BaseException:  # what was held is given back, and it is raised again
            self.give_back(judgement)
            raise
        return decision

    def decide(
        self,
        method: str,
        judgement: Judgement,
        op: UserOperation,
        entry_point: EntryPoint,
        context: RequestContext,
    ) -> Decision:
        """The judgement as it goes on record."""
        operation, finding = judgement.operation, judgement.finding
        told_hash, permission_id, session_mode = None, None, None
        calls: tuple[Call, ...] = ()
        if operation is not None:
            told_hash, calls = operation.told_hash, operation.calls
            if operation.claim is not None:
                envelope = operation.claim.envelope
                permission_id, session_mode = envelope.permission_id, _MODE_NAMES[envelope.mode]
        whole = Whole(op, entry_point.address, judgement.grounds) if self._keep_whole else None
        # in the order of the fields, made without asking for their names: there is one for every operation
        told = self._new_id(), self._clock(), self._mode, judgement.verdict
        of = context.chain, context.client, method, op.sender, told_hash, permission_id, session_mode, calls
        return _made(Decision, (*told, *of, None, judgement.facts, finding.hits, finding.opened, whole))

    # while it is sent, and after

    async def post(self, method: str, params: bytes, submission: Submission | None) -> Forwarded:
        """Ask the bundlers. Raises `UpstreamUnavailable`."""
        started = self._stopwatch()
        forwarded = await self.upstream.post(method, params, submission)
        self._recorder.forwarded(forwarded.endpoint, self._stopwatch() - started)
        return forwarded

    async def preview(self, method: str, carried: CarriedOperation, decision: Decision) -> Forwarded:
        """Send what was judged; nothing is held for it."""
        try:
            forwarded = await self.post(method, carried.params, submission=None)
        except UpstreamUnavailable as error:
            self._recorder.answered(decision.decision_id, UpstreamAnswer(error_message=error.problem))
            raise
        self._recorder.answered(decision.decision_id, _answer_of(forwarded, carried.op, "preview"))
        return forwarded

    async def submit(
        self,
        method: str,
        carried: CarriedOperation,
        judgement: Judgement,
        decision: Decision,
        submission: Submission,
    ) -> Forwarded:
        """Send what was judged, and see to what it holds: a refusal gives it back, anything else keeps it."""
        try:
            return await self._send(method, carried, judgement, decision, submission)
        except UpstreamUnavailable:
            raise
        except Exception as error:  # after sending: the caller must hear that it may be out
            raise BrokenAfterSendingError(decision.decision_id) from error

    async def _send(
        self,
        method: str,
        carried: CarriedOperation,
        judgement: Judgement,
        decision: Decision,
        submission: Submission,
    ) -> Forwarded:
        try:
            forwarded = await self.post(method, carried.params, submission)
        except UpstreamUnavailable as error:
            await self.unanswered(judgement, decision, error)
            raise
        except BaseException:  # broken, or the gate is being stopped: how far it got is not known
            await self.keep(judgement, answered=False)
            raise
        await self.settle(judgement, forwarded, decision, carried.op)
        return forwarded

    async def unanswered(self, judgement: Judgement, decision: Decision, error: UpstreamUnavailable) -> None:
        """No bundler has answered a send."""
        if error.may_have_been_sent:
            await self.keep(judgement, answered=False)
        else:
            self.give_back(judgement)
        self._recorder.answered(decision.decision_id, UpstreamAnswer(error_message=error.problem))

    def unanswered_now(self, judgement: Judgement, decision: Decision, error: UpstreamUnavailable) -> bool:
        """The same where nothing of it takes waiting. Whether it was done; if not, nothing was."""
        if not error.may_have_been_sent:
            self.give_back(judgement)
        elif judgement.reservation is None or not self.follower.accepted_now(judgement.reservation, answered=False):
            return False
        self._recorder.answered(decision.decision_id, UpstreamAnswer(error_message=error.problem))
        return True

    async def settle(self, judgement: Judgement, forwarded: Forwarded, decision: Decision, op: UserOperation) -> None:
        """The bundler has answered a send. Only words that mean refusal give back what the operation holds."""
        judgement = _named_by(judgement, forwarded.reply)
        meaning, answer = _meaning_of(judgement, forwarded), _answer_of(forwarded, op, "receipt")
        if meaning is Meaning.REFUSED:
            self.give_back(judgement, answer)
        else:
            await self.keep(judgement, answered=meaning is Meaning.ACCEPTED)
        self._recorder.answered(decision.decision_id, answer)
        if meaning is Meaning.UNKNOWN and judgement.operation is not None:
            what = "answers" if forwarded.reply.is_error else "names"
            _LOG.error("%s %s the operation of decision %s otherwise", forwarded.endpoint, what, decision.decision_id)
        result = forwarded.reply.result
        if judgement.operation is not None and isinstance(result, Mapping):
            await self.follower.observe(result)  # pimlico_sendUserOperationNow waits, and answers with the receipt

    def settle_now(self, judgement: Judgement, forwarded: Forwarded, decision: Decision) -> bool:
        """The same of an answer that is the operation's hash, where nothing of it takes waiting. Whether it was done;
        if not, nothing was."""
        reply, reservation, operation = forwarded.reply, judgement.reservation, judgement.operation
        if reservation is None or reply.is_error or operation is None or operation.told_hash is None:
            return False
        named = print_bytes(operation.told_hash)
        if reply.result != named or not self.follower.accepted_now(reservation):
            return False
        self._recorder.answered(decision.decision_id, UpstreamAnswer(result=named))
        return True

    async def keep(self, judgement: Judgement, *, answered: bool) -> None:
        """It is followed to its end: the bundler took it, or may have if it has not `answered`."""
        if judgement.operation is not None and judgement.operation.told_hash is not None:
            await self.follower.accepted(
                judgement.operation, judgement.reservation, judgement.enable_nonce, answered=answered
            )


def _meaning_of(judgement: Judgement, forwarded: Forwarded) -> Meaning:
    """What the answer to a send says of the operation that was judged."""
    told_hash = None if judgement.operation is None else judgement.operation.told_hash
    name = None if told_hash is None else print_bytes(told_hash)
    return meaning_of_answer(forwarded.reply, forwarded.status, name)


def _named_by(judgement: Judgement, reply: Reply) -> Judgement:
    """An operation whose hash could not be told is followed under the one that the bundler gives it."""
    operation = judgement.operation
    if operation is None or operation.told_hash is not None or (named := hash_named_by(reply)) is None:
        return judgement
    return replace(judgement, operation=replace(operation, told_hash=named))


def _answer_of(forwarded: Forwarded, op: UserOperation, otherwise: str) -> UpstreamAnswer:
    """The answer to an operation in short; `otherwise` names a result that is no text."""
    reply = forwarded.reply
    if reply.is_error:
        message, data = (_said(text, op) for text in (reply.error_message, reply.error_data))
        return UpstreamAnswer(error_code=reply.error_code, error_message=message, error_data=data)
    return UpstreamAnswer(result=reply.result if isinstance(reply.result, str) else otherwise)


def _said(text: str | None, op: UserOperation) -> str | None:
    """What is kept of a text about an operation; one character too many tells that there was more."""
    return None if text is None else without_proofs(text[: LONGEST_SAID + 1], op)
