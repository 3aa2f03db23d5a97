"""A gate without sockets: its bundler, its follower and its recorder are lists that a test looks into."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from proxy.admission import Admission
from proxy.admission.enquiry import Enquiry
from proxy.errors import UpstreamUnavailable
from proxy.gate import DialectAnswer, Gate, GateSettings
from proxy.jsonrpc import Reply, Request, print_request, read_reply
from proxy.judge.decision import Decision
from proxy.judge.upstream_answer import UpstreamAnswer
from proxy.judge.verdict import Mode
from proxy.ledger.memory import MemoryLedger
from proxy.ledger.reservation import Reservation
from proxy.methods import MethodClass
from proxy.ports import Deed, Forwarded, OperationEnd, Repeat, RequestContext, RequestOutcome, Submission
from proxy.strict_json import print_json
from proxy.userop.decode import DecodedOperation
from proxy.userop.execution import Call
from proxy.userop.primitives import print_bytes, print_checksummed
from proxy.userop.user_operation import UserOperation, print_user_operation
from tests.admission.builders import TWICE, Room
from tests.bypass_list.desk import CHAIN_ID, V06, V07, V09, an_operation, reading, single, use
from tests.session.builders import NOW, STRANGER, transfer

CONTEXT = RequestContext("soneium", "trading-dapp", "127.0.0.1")
SEND = "eth_sendUserOperation"
ESTIMATE = "eth_estimateUserOperationGas"
ENTRY_POINT = print_checksummed(V07.address)
GOOD = use(TWICE, single(transfer(1)))
OUTSIDE = use(TWICE, single(Call(STRANGER, 0, bytes.fromhex("a9059cbb"))))
STUB = an_operation(single(transfer(1)), signature=b"\0" + TWICE.permission_id + b"\xff" * 65)
HASH = print_bytes(reading(GOOD).user_op_hash)


@dataclass(frozen=True)
class Sent:
    """One request as it went to the bundler."""

    method: str
    params: bytes
    submission: Submission | None

    @property
    def operation(self) -> Any:
        return json.loads(self.params)[0]


@dataclass(frozen=True)
class Answered:
    """One answer of the bundler."""

    reply: Reply
    endpoint: str = "soneium#0"
    status: int = 200


def result(value: object, status: int = 200) -> Answered:
    """A bundler's result."""
    return Answered(read_reply(b'{"jsonrpc":"2.0","id":1,"result":%b}' % print_json(value), 1), status=status)


def error(code: int, message: str, status: int = 200) -> Answered:
    """A bundler's error."""
    said = print_json({"code": code, "message": message})
    return Answered(read_reply(b'{"jsonrpc":"2.0","id":1,"error":%b}' % said, 1), status=status)


UNREACHED = UpstreamUnavailable("soneium#0 cannot be reached", may_have_been_sent=False)
TIMED_OUT = UpstreamUnavailable("soneium#0 did not answer within 30 s", may_have_been_sent=True)


@dataclass
class FakeUpstream:
    """Answers in turn; the last answer stays. An exception is raised."""

    answers: list[Answered | BaseException] = field(default_factory=lambda: [result("taken")])
    sent: list[Sent] = field(default_factory=list)

    async def post(self, method: str, params: bytes, submission: Submission | None) -> Forwarded:
        print_request(1, method, params)
        self.sent.append(Sent(method, params, submission))
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, BaseException):
            raise answer
        return answer


@dataclass
class FakeFollower:
    """Remembers what it was told and tells the ledger, as the real one does."""

    ledger: MemoryLedger
    broken: Exception | None = None
    accepted_: list[tuple[DecodedOperation, Reservation | None, int | None]] = field(default_factory=list)
    followed: list[tuple[Reservation, bool]] = field(default_factory=list)
    """What may be out, and whether that was answered."""
    refused_: list[tuple[Reservation, UpstreamAnswer | None]] = field(default_factory=list)
    observed: list[object] = field(default_factory=list)
    on_holding: Callable[[], None] = lambda: None
    at_once: bool = True
    """Whether it says so without being waited for that something is held, or followed."""

    async def hold(
        self, operation: DecodedOperation, reservation: Reservation | None, enable_nonce: int | None
    ) -> Reservation | None:
        self.on_holding()
        return reservation

    def hold_now(self, operation: DecodedOperation, reservation: Reservation) -> bool:
        if self.at_once:
            self.on_holding()
        return self.at_once

    def accepted_now(self, reservation: Reservation, *, answered: bool = True) -> bool:
        if self.at_once:
            self.followed.append((reservation, answered))
            self.ledger.accept(reservation.name)
            if self.broken is not None:
                raise self.broken
        return self.at_once

    async def accepted(
        self,
        operation: DecodedOperation,
        reservation: Reservation | None,
        enable_nonce: int | None,
        *,
        answered: bool = True,
    ) -> None:
        self.accepted_.append((operation, reservation, enable_nonce))
        if reservation is not None:
            self.followed.append((reservation, answered))
        if reservation is not None:
            self.ledger.accept(reservation.name)
        if self.broken is not None:
            raise self.broken

    def refused(self, reservation: Reservation, answer: UpstreamAnswer | None = None) -> None:
        self.refused_.append((reservation, answer))
        self.ledger.release(reservation.name)

    async def observe(self, answer: object, asked: object = None) -> None:
        self.observed.append(answer)
        if self.broken is not None:
            raise self.broken


@dataclass
class FakeRecorder:
    """Everything that is counted and written down."""

    broken: Exception | None = None
    decisions: list[tuple[Decision, bool]] = field(default_factory=list)
    answers: list[tuple[str, UpstreamAnswer]] = field(default_factory=list)
    exchanges: list[str] = field(default_factory=list)
    ends: list[tuple[RequestContext, MethodClass, RequestOutcome]] = field(default_factory=list)
    operation_ends: list[OperationEnd] = field(default_factory=list)
    deeds: list[Deed] = field(default_factory=list)
    repeats: list[Repeat] = field(default_factory=list)

    def decided(self, decision: Decision, *, forwarding: bool, seconds: float) -> None:
        self.decisions.append((decision, forwarding))
        if self.broken is not None:
            raise self.broken

    def forwarded(self, endpoint: str, seconds: float) -> None:
        self.exchanges.append(endpoint)

    def answered(self, decision_id: str, answer: UpstreamAnswer) -> None:
        self.answers.append((decision_id, answer))

    def ended(self, context: RequestContext, method_class: MethodClass, outcome: RequestOutcome) -> None:
        self.ends.append((context, method_class, outcome))

    def repeated(self, context: RequestContext, repeat: Repeat) -> None:
        self.repeats.append(repeat)

    def operation_ended(self, end: OperationEnd) -> None:
        self.operation_ends.append(end)

    def noted(self, deed: Deed) -> None:
        self.deeds.append(deed)

    @property
    def outcomes(self) -> list[RequestOutcome]:
        return [outcome for _, _, outcome in self.ends]


class Scene:
    """A gate with `room` behind it."""

    def __init__(
        self,
        room: Room | None = None,
        *,
        admission: Admission | None = None,
        enquiry: Enquiry | None = None,
        dialects: Mapping[str, DialectAnswer] | None = None,
        **settings: Any,
    ) -> None:
        self.room = room or Room()
        self.upstream = FakeUpstream()
        self.follower = FakeFollower(self.room.ledger)
        self.recorder = FakeRecorder()
        self._ids = 0
        defaults: dict[str, Any] = {"mode": Mode.ENFORCE, "judge_previews": True, "chain_id": CHAIN_ID}
        defaults["entry_points"] = {entry_point.address: entry_point for entry_point in (V06, V07, V09)}
        self.gate = Gate(
            GateSettings(**{**defaults, **settings}),
            admission=admission or self.room.admission,
            upstream=self.upstream,
            follower=self.follower,
            recorder=self.recorder,
            clock=lambda: float(NOW),
            stopwatch=lambda: 0.0,
            new_id=self._new_id,
            enquiry=enquiry,
            dialects=dialects,
        )

    def _new_id(self) -> str:
        self._ids += 1
        return f"d-{self._ids}"

    async def ask(self, method: str, *params: object, request_id: str | None = "1") -> Any:
        """The reply as a client reads it; `None` when there is none."""
        answer = await self.gate.answer(Request(request_id, method, list(params)), CONTEXT)
        return None if answer is None else json.loads(answer.body)

    async def send(self, op: UserOperation, method: str = SEND) -> Any:
        """The reply to a submission (or a preview) of an operation."""
        return await self.ask(method, print_user_operation(op), ENTRY_POINT)


def scene(**settings: Any) -> Scene:
    """A gate that knows the session TWICE, before a bundler that takes GOOD."""
    made = Scene(Room(TWICE), **settings)
    made.upstream.answers = [result(HASH)]
    return made
