"""What can go wrong, said once: the JSON-RPC codes this gate emits, the reason a caller reads, and the exceptions.

A rejection is a value (`Reason`). An exception means that input broke a standard or that we broke a promise:

    SessiongateError
    ├── RpcError            the request itself cannot be served: carries the JSON-RPC code to answer with
    │   ├── ParseError          -32700  the body is not JSON as we read it
    │   ├── InvalidRequest      -32600  not a JSON-RPC 2.0 request
    │   │   └── NotLicensed         -32600  not this client's account, session, address or chain
    │   ├── RateLimited         -32056  a client's budget is used up: names it
    │   ├── MethodNotFound      -32601  unknown, or denied by this gate
    │   ├── ReadsSpent      -32056  reads of the node past a client's budget
    │   ├── TooMuchWaits    -32056  more waits to be read than there is room for
    │   └── InvalidParams       -32602  a parameter is malformed: names the field
    ├── Undecodable         -32057  well-formed, but not readable exactly as the chain would read it
    ├── StateUnavailable    -32058  node, registry or ledger missing or stale
    ├── UpstreamUnavailable -32059  no bundler answered: says whether the operation may have been sent
    │   └── UpstreamFull        -32059  it has as much to answer as it may have at once: nothing was sent
    └── ConfigErrors        every fault of a configuration at once, each with file and line
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from enum import IntEnum
from math import ceil

from proxy.record import record


class Code(IntEnum):
    """JSON-RPC error codes this gate answers with. The bundlers' own codes (-32500…-32521) stay theirs."""

    PARSE_ERROR = -32700
    INVALID_REQUEST = -32600
    METHOD_NOT_FOUND = -32601
    INVALID_PARAMS = -32602
    INTERNAL_ERROR = -32603
    RULE_REJECTED = -32050
    SESSION_UNKNOWN = -32051
    SESSION_REVOKED = -32052
    SESSION_NOT_VALID_NOW = -32053
    SESSION_SCOPE = -32054
    LIMIT_EXCEEDED = -32055
    RATE_LIMITED = -32056
    UNDECODABLE = -32057
    STATE_UNAVAILABLE = -32058
    UPSTREAM_UNAVAILABLE = -32059

    @property
    def label(self) -> str:
        """The name of the code in lower case: `session_scope`. A closed set, fit for a metric label."""
        return self.name.lower()


@record(kw_only=True)
class TokenLimit:
    """A limit of one token that an operation would pass, for telling it in the token's own unit. All in base units.

    `said` is the part of the reason's sentence that says it in base units.
    """

    token: bytes  # its address; empty for the chain's own coin
    verb: str  # transfer, approval, value
    amount: int
    left: int
    limit: int
    in_flight: int
    this_operation: int  # by earlier calls of it
    said: str


@record(kw_only=True)
class Reason:
    """Why an operation is refused, in words for the dapp developer who reads it.

    `sentence` says what and where, `remedy` the cure. `wanted` and `got` are already printed (base units,
    0x-hex), never secrets or signatures. `retryable` is true when the same operation may pass
    later though nobody does anything about it.
    """

    code: Code
    sentence: str
    remedy: str
    policy: str | None = None  # name of the on-chain policy that refuses
    rule: str | None = None  # id of ops' rule that refuses
    call: int | None = None  # index into the operation's calls
    wanted: str | None = None
    got: str | None = None
    missing: str | None = None  # who should have had the fact that a verdict lacked: node, ledger, rules
    signed: bool | None = None  # of a session revoked or frozen, whether its key signed; None where nobody looked
    retryable: bool = False
    token_limit: TokenLimit | None = None  # of a limit of a token, what the sentence says of it

    def at_call(self, index: int) -> Reason:
        """The same reason, pointing at one call of a batch."""
        return replace(self, call=index)


class SessiongateError(Exception):
    """The root of everything this package raises on purpose."""


class RpcError(SessiongateError):
    """A request that cannot be served; `code`, `message` and `data` become its JSON-RPC error."""

    code = Code.INTERNAL_ERROR

    def __init__(self, message: str, *, data: Mapping[str, object] | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.data = data


class ParseError(RpcError):
    """The body is not JSON as this gate reads it (RFC 8259, UTF-8, bounded depth)."""

    code = Code.PARSE_ERROR


class InvalidRequest(RpcError):
    """JSON, but not a JSON-RPC 2.0 request."""

    code = Code.INVALID_REQUEST


class NotLicensed(InvalidRequest):
    """What this client may not do, whoever else may; the settings of the gate say so."""

    def __init__(self, message: str) -> None:
        remedy = "the operator of this gate can widen what this client may do"
        super().__init__(message, data={"reason": "not_licensed", "retryable": False, "remedy": remedy})


class RateLimited(RpcError):
    """A client has used up its budget of `a_second`; another is there after `wait_seconds`."""

    code = Code.RATE_LIMITED

    def __init__(self, budget: str, a_second: float, *, wait_seconds: float) -> None:
        wanted = f"at most {a_second:g} a second"
        super().__init__(
            f"the budget {budget} is used up: {wanted}",
            data={
                "reason": self.code.label,
                "budget": budget,
                "wanted": wanted,
                "retryable": True,
                "retryAfterMs": ceil(wait_seconds * 1000),
                "remedy": "send less often, or have the operator of this gate raise the budget",
            },
        )


class MethodNotFound(RpcError):
    """A method this gate does not serve."""

    code = Code.METHOD_NOT_FOUND


class ReadsSpent(RpcError):
    """A client has asked the node more than it may for the moment."""

    code = Code.RATE_LIMITED


class TooMuchWaits(RpcError):
    """More has come of requests that are not whole than there is room for, and this one has waited longest."""

    code = Code.RATE_LIMITED

    def __init__(self) -> None:
        super().__init__(
            "too much waits of requests that are not whole: connections.max_waiting_bytes",
            data={
                "reason": self.code.label,
                "budget": "connections.max_waiting_bytes",
                "retryable": True,
                "remedy": "send it again; it was not looked at",
            },
        )


class InvalidParams(RpcError):
    """A parameter that breaks the strict profile; `field` is its path, `params[0].callData`."""

    code = Code.INVALID_PARAMS

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"{field}: {problem}", data={"field": field, "reason": problem})
        self.field = field
        self.problem = problem


class Undecodable(SessiongateError):
    """Bytes that cannot be read exactly; `where` names the part (`signature`, `callData`), `problem` why."""

    def __init__(self, where: str, problem: str) -> None:
        super().__init__(f"{where}: {problem}")
        self.where = where
        self.problem = problem


class StateUnavailable(SessiongateError):
    """A fact the verdict needs cannot be had now; `what` names it, `fact` who should have had it (node, ledger).

    `what` is for callers. Words of others, that may name more than callers are to know, are in the text for the log.
    """

    def __init__(self, what: str, *, fact: str = "node", words: str = "") -> None:
        super().__init__(f"{what}: {words}" if words else what)
        self.what = what
        self.fact = fact


class ContractAbsent(StateUnavailable):
    """The node has answered: there is no contract at that address, or none that has what was asked for."""


class NotGiven(StateUnavailable):
    """The node has answered: what was asked for is more than it gives, or than is taken here, at once."""


class BlockUnknown(StateUnavailable):
    """The node has answered: it has not got the block that it was asked about, or the chain has left that."""


class UpstreamUnavailable(SessiongateError):
    """No bundler answered. `may_have_been_sent` is false only when no byte of the request can have arrived."""

    asked = "bundler"

    def __init__(self, problem: str, *, may_have_been_sent: bool) -> None:
        super().__init__(problem)
        self.problem = problem
        self.may_have_been_sent = may_have_been_sent
        self.decision_id: str | None = None  # of the operation that was to be sent, where there was a verdict


class UpstreamFull(UpstreamUnavailable):
    """A bundler has as much to answer as it may have at once. Nothing was sent, and it says nothing of the bundler."""

    def __init__(self, problem: str, *, may_have_been_sent: bool = False) -> None:
        super().__init__(problem, may_have_been_sent=may_have_been_sent)


class PaymasterUnavailable(UpstreamUnavailable):
    """The paymaster did not answer."""

    asked = "paymaster"


@record(kw_only=True)
class ConfigFault:
    """One fault of a configuration file: where it stands, what is wrong, and the cure when one is known."""

    path: str
    line: int
    problem: str
    suggestion: str | None = None
    column: int | None = None  # known of rules

    def __str__(self) -> str:
        cure = f"; {self.suggestion}" if self.suggestion else ""
        column = "" if self.column is None else f"{self.column}:"
        return f"{self.path}:{self.line}:{column} {self.problem}{cure}"


class ConfigErrors(SessiongateError):
    """Every fault found, in file order."""

    def __init__(self, faults: Sequence[ConfigFault]) -> None:
        super().__init__("\n".join(str(fault) for fault in faults))
        self.faults = tuple(faults)
