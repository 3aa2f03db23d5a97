"""What the gate takes in and gives out, and what it needs of the rooms around it. Records and protocols only."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from dataclasses import field
from enum import StrEnum
from typing import Any, NamedTuple, Protocol, runtime_checkable

from proxy.clients.licence import ANYBODY, Guest
from proxy.errors import MethodNotFound, NotLicensed, RateLimited, RpcError
from proxy.jsonrpc import Reply
from proxy.judge.decision import Decision
from proxy.judge.reading import Arrival
from proxy.judge.upstream_answer import UpstreamAnswer
from proxy.ledger.reservation import NonceSlot, Reservation
from proxy.methods import MethodClass
from proxy.record import record
from proxy.userop.decode import DecodedOperation
from proxy.userop.primitives import Address, Hash32


class RequestOutcome(StrEnum):
    """How a request ended. A closed set, fit for a metric label."""

    ANSWERED = "answered"  # the upstream's result, or ours in its place
    UPSTREAM_ERROR = "upstream_error"  # the upstream's JSON-RPC error
    REJECTED = "rejected"
    INVALID = "invalid"
    DENIED = "denied"
    RATE_LIMITED = "rate_limited"  # past a budget of its client
    UNAVAILABLE = "unavailable"
    INTERNAL_ERROR = "internal_error"

    @classmethod
    def of(cls, error: RpcError) -> RequestOutcome:
        """How a request ends that cannot be served."""
        match error:
            case RateLimited():
                return cls.RATE_LIMITED
            case MethodNotFound() | NotLicensed():
                return cls.DENIED
            case _:
                return cls.INVALID


class FeedLine(Protocol):
    """A connection on which more may be told than it asked for."""

    def tell(self, body: bytes) -> None:
        """Send this when the caller takes it; one that takes too little is left."""

    def when_gone(self, then: Callable[[], object]) -> None:
        """Call this when the connection has ended."""


@record()
class RequestContext:
    """Where a request came in: the chain's name, the client's name, the caller's household, what the client may do.

    `traceparent` is the caller's header of that name as it came, where requests are traced; `line` the WebSocket.
    `asked` is who asks by each method that judges, as rules know of them: the same for all requests of a connection.
    """

    chain: str
    client: str
    remote: str | None
    guest: Guest = ANYBODY
    traceparent: str | None = None
    line: FeedLine | None = None
    asked: dict[str, Arrival] = field(default_factory=dict, repr=False, compare=False)


class OperationEnd(NamedTuple):
    """What became of an operation after its verdict. `cause` is one of the settlement's closed set of ends, as text.

    `seconds` run from the bundler's acceptance on; what is not known of the end, or has no meaning for it, is `None`.
    """

    chain: str
    user_op_hash: Hash32
    cause: str
    account: Address | None = None
    permission_id: Hash32 | None = None
    success: bool | None = None  # of what was mined: False when it reverted
    revert_reason: str | None = None
    transaction: Hash32 | None = None
    block: int | None = None
    gas_used: int | None = None
    cost: int | None = None  # wei
    seconds: float | None = None


@record(kw_only=True)
class Deed:
    """Something people or files did to the gate: a freeze, a reload, a release, a write through the admin listener.

    `what` is a short name in snake case, `who` a role, a peer or a signal, never a secret; `details` are short JSON
    values.
    """

    what: str
    who: str
    why: str = ""
    chain: str | None = None
    account: Address | None = None
    permission_id: Hash32 | None = None
    details: Mapping[str, object] = field(default_factory=dict)


@record(kw_only=True)
class Repeat:
    """An operation that was handed in again right after a bundler had refused it, and heard that again.

    `decision_id` is that of the verdict it was sent by, if it was judged; `times` how often it has come again by now.
    """

    method: str
    account: Address
    decision_id: str | None
    code: int | None  # the bundler's
    times: int


@record()
class Answer:
    """The printed reply to one request. `http_status` counts for a request that is no element of a batch.

    `decision_id` is that of the verdict on the operation that the request carried, whatever became of it.
    """

    body: bytes
    http_status: int = 200
    decision_id: str | None = None


class Submission(NamedTuple):
    """That a question hands an operation in, which is done once; a mere question has `None` in its place.

    `slot` is what the operation competes for: as long as one with the same nonce key is in flight at a bundler, it goes
    there; where that is not known it goes to the first bundler that can be reached. What is `vouched` for finds a
    connection however many strangers send: a key of its session was seen to have signed it, or its client has shown a
    key.
    """

    slot: NonceSlot | None = None
    vouched: bool = False


@runtime_checkable
class Forwarded(Protocol):
    """What an upstream answered."""

    @property
    def endpoint(self) -> str:
        """Its name, free of secrets."""

    @property
    def status(self) -> int:
        """The HTTP status."""

    @property
    def reply(self) -> Reply:
        """The reply under our id."""


@record()
class AskingOn:
    """The first bundler has given no answer: `work` asks the others. Raises `UpstreamUnavailable`."""

    work: Coroutine[Any, Any, Forwarded]


class Upstream(Protocol):
    """The bundlers of one chain."""

    async def post(self, method: str, params: bytes, submission: Submission | None) -> Forwarded:
        """Ask; `params` is a printed JSON array. Raises `UpstreamUnavailable`."""


class Follower(Protocol):
    """Sees to what comes after a verdict."""

    async def hold(
        self, operation: DecodedOperation, reservation: Reservation | None, enable_nonce: int | None
    ) -> Reservation | None:
        """The operation is about to be sent: returns when what it holds would survive the end of this process.

        `enable_nonce` is the nonce by which an ENABLE envelope was judged, where it is known. Returns the reservation
        that stands for the operation from now on, `None` when nothing need be known of it. Raises `StateUnavailable`;
        then nothing is held.
        """

    def hold_now(self, operation: DecodedOperation, reservation: Reservation) -> bool:
        """Whether what it holds would survive that already, of an operation that changes no session and whose
        reservation stands for it; otherwise `hold` it."""

    async def accepted(
        self,
        operation: DecodedOperation,
        reservation: Reservation | None,
        enable_nonce: int | None,
        *,
        answered: bool = True,
    ) -> None:
        """The bundler took the operation, or may have if it has not `answered`: follow it to its end."""

    def accepted_now(self, reservation: Reservation, *, answered: bool = True) -> bool:
        """The same of what was held a moment ago, where it takes no waiting. Whether it was done; if not, nothing
        was."""

    def refused(self, reservation: Reservation, answer: UpstreamAnswer | None = None) -> None:
        """The bundler did not take it, by its `answer` if it gave one: it holds nothing."""

    async def observe(self, answer: object, asked: object = None) -> None:
        """An answer that may tell of something mined is about to reach a client, who `asked` about that. Returns when
        what it tells counts here too, or need not be waited for any longer."""


class Recorder(Protocol):
    """Counts and writes down. Never waits, never raises."""

    def decided(self, decision: Decision, *, forwarding: bool, seconds: float) -> None:
        """A verdict was reached; `forwarding` when its operation is about to be sent."""

    def forwarded(self, endpoint: str, seconds: float) -> None:
        """An upstream answered."""

    def answered(self, decision_id: str, answer: UpstreamAnswer) -> None:
        """What the upstream answered to a decision's operation."""

    def ended(self, context: RequestContext, method_class: MethodClass, outcome: RequestOutcome) -> None:
        """The one place where every request ends."""

    def repeated(self, context: RequestContext, repeat: Repeat) -> None:
        """What a bundler had refused came again, and was answered without a bundler."""

    def operation_ended(self, end: OperationEnd) -> None:
        """What became of an operation is known."""

    def noted(self, deed: Deed) -> None:
        """Somebody changed something of the gate."""
