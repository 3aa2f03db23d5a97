"""A gate's verdict without its sockets: sessions in force, a key that really signs, and nobody to ask."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import Any

from coincurve import PrivateKey

from proxy.admission import Admission, Judgement, Purpose, RecentReads, Sources, Terms
from proxy.errors import Reason
from proxy.gate import Gate, GateSettings
from proxy.jsonrpc import Reply, Request, read_reply
from proxy.judge.decision import Decision
from proxy.judge.upstream_answer import UpstreamAnswer
from proxy.judge.verdict import Allow, Mode, Reject
from proxy.ledger.memory import MemoryLedger
from proxy.ledger.reservation import Reservation
from proxy.methods import MethodClass
from proxy.ports import Forwarded, RequestContext, RequestOutcome, Submission
from proxy.session.addresses import SMART_SESSION
from proxy.session.counters import SessionKey
from proxy.session.known import KnownSession, Source, Status
from proxy.session.registry import Registry
from proxy.userop import abi
from proxy.userop.decode import DecodedOperation, decode_operation
from proxy.userop.entry_point import ENTRY_POINT_BY_VERSION, EntryPoint, EntryPointVersion
from proxy.userop.execution import EXECUTE, Call
from proxy.userop.primitives import Address, keccak256
from proxy.userop.session_data import ActionData, SessionData
from proxy.userop.user_operation import UserOperation
from tests.session.builders import ACCOUNT, NOW, enabled, session

CHAIN_ID = 1
MODULE = SMART_SESSION
MODULES = frozenset({MODULE})
V06, V07, V08, V09 = (ENTRY_POINT_BY_VERSION[version] for version in EntryPointVersion)
KEY = PrivateKey(b"\x4b" * 32)
STRANGERS_KEY = PrivateKey(b"\x57" * 32)
NEXUS_LANE = b"\x12\x34\x56"
NEXUS_NONCE = int.from_bytes(NEXUS_LANE + b"\x00" + MODULE + bytes(8), "big")
OWNER_NONCE = int.from_bytes(NEXUS_LANE + b"\x00" + b"\x0f" * 20 + bytes(8), "big")

_OWNERS = abi.tuple_of(abi.UINT256, abi.list_of(abi.ADDRESS))
_EXECUTE = abi.tuple_of(abi.BYTES32, abi.BYTES)
_BATCH = abi.tuple_of(abi.list_of(abi.tuple_of(abi.ADDRESS, abi.UINT256, abi.BYTES)))


def a_session(*actions: ActionData, **options: Any) -> SessionData:
    """A session of `KEY`."""
    owner = Address(keccak256(KEY.public_key.format(compressed=False)[1:])[12:])
    return replace(session(*actions, **options), session_validator_init_data=abi.encode(_OWNERS, [1, [owner]]))


def single(call: Call, mode: bytes = b"\0") -> bytes:
    """execute(bytes32,bytes) for one call."""
    packed = call.target + call.value.to_bytes(32, "big") + call.data
    return EXECUTE + abi.encode(_EXECUTE, [mode.ljust(32, b"\0"), packed])


def batch(*calls: Call, mode: bytes = b"\x01") -> bytes:
    """execute(bytes32,bytes) for several calls."""
    packed = abi.encode(_BATCH, [[(call.target, call.value, call.data) for call in calls]])
    return EXECUTE + abi.encode(_EXECUTE, [mode.ljust(32, b"\0"), packed])


def an_operation(call_data: bytes, **changes: Any) -> UserOperation:
    """An operation of `ACCOUNT`, a Nexus account, that names the session module in its nonce and is not signed."""
    fields: dict[str, Any] = {
        "sender": ACCOUNT,
        "nonce": NEXUS_NONCE,
        "call_data": call_data,
        "signature": b"",
        "call_gas_limit": 50_000,
        "verification_gas_limit": 200_000,
        "pre_verification_gas": 48_000,
        "max_fee_per_gas": 2 * 10**9,
        "max_priority_fee_per_gas": 10**9,
    }
    return UserOperation(**{**fields, **changes})


def reading(op: UserOperation, entry_point: EntryPoint = V07) -> DecodedOperation:
    """The one reading of an operation."""
    return decode_operation(op, entry_point, CHAIN_ID, MODULES)


def session_signature(op: UserOperation, entry_point: EntryPoint = V07, key: PrivateKey = KEY) -> bytes:
    """The session key's signature over the operation's hash."""
    unsigned = replace(op, signature=b"\0" * 33, nonce=op.nonce)
    user_op_hash = decode_operation(unsigned, entry_point, CHAIN_ID, frozenset()).user_op_hash
    compact = key.sign_recoverable(user_op_hash, hasher=None)
    return compact[:64] + bytes((compact[64] + 27,))


def use(grant: SessionData, call_data: bytes, *, key: PrivateKey = KEY, **changes: Any) -> UserOperation:
    """A USE operation of that session, signed."""
    op = an_operation(call_data, **changes)
    return replace(op, signature=b"\0" + grant.permission_id + session_signature(op, key=key))


class Desk:
    """Judges with these sessions in force; `ledger` and `registry` may be looked at."""

    def __init__(self, *grants: SessionData) -> None:
        self.registry = Registry()
        self.ledger = MemoryLedger()
        for grant in grants:
            known = enabled(grant)
            self.registry.put(
                KnownSession(key=known.key, status=Status.IN_FORCE, source=Source.GRANT, updated_at=NOW, state=known)
            )
        self._admission = Admission(
            Sources(
                terms=Terms(chain_id=CHAIN_ID, session_modules=MODULES),
                registry=self.registry,
                ledger=self.ledger,
                settlement=nothing_settles,
                reader=None,
                clock=lambda: NOW,
                reads=RecentReads(2.0, lambda: NOW),
            )
        )

    async def ask(self, method: str, *params: object) -> tuple[dict[str, Any], list[str]]:
        """The gate's reply to a request, and the methods that reached the bundler behind it."""
        bundler = Bundler()
        gate = Gate(
            GateSettings(
                mode=Mode.ENFORCE,
                judge_previews=True,
                entry_points={V06.address: V06, V07.address: V07},
                chain_id=CHAIN_ID,
            ),
            admission=self._admission,
            upstream=bundler,
            follower=Aside(),
            recorder=Aside(),
            clock=lambda: NOW,
            stopwatch=lambda: 0.0,
            new_id=lambda: "d-1",
        )
        answer = await gate.answer(Request("1", method, list(params)), RequestContext("chain", "client", None))
        assert answer is not None
        reply: dict[str, Any] = json.loads(answer.body)
        return reply, bundler.asked

    async def judge(self, op: UserOperation, entry_point: EntryPoint = V07, *, preview: bool = False) -> Judgement:
        """The verdict and what it rests on."""
        return await self._admission.judge(op, entry_point, purpose=Purpose.PREVIEW if preview else Purpose.SUBMIT)

    async def allowed(self, op: UserOperation, entry_point: EntryPoint = V07) -> Judgement:
        """The judgement on an operation that has to be allowed."""
        judgement = await self.judge(op, entry_point)
        assert isinstance(judgement.verdict, Allow), judgement.verdict
        return judgement

    async def refusal(self, op: UserOperation, entry_point: EntryPoint = V07) -> Reason:
        """The reason why an operation is refused, which it has to be."""
        judgement = await self.judge(op, entry_point)
        assert isinstance(judgement.verdict, Reject)
        assert judgement.reservation is None
        return judgement.verdict.first

    def key(self, grant: SessionData) -> SessionKey:
        """The session's key."""
        return SessionKey(CHAIN_ID, MODULE, ACCOUNT, grant.permission_id)


@dataclass(frozen=True)
class _Forwarded:
    reply: Reply
    endpoint: str = "bundler"
    status: int = 200


class Bundler:
    """Takes everything and remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    async def post(self, method: str, params: bytes, submission: Submission | None) -> Forwarded:
        self.asked.append(method)
        return _Forwarded(read_reply(b'{"jsonrpc":"2.0","id":1,"result":"taken"}', 1))


class Aside:
    """Follower and recorder of a gate whose verdicts are all that matters."""

    async def hold(
        self, operation: DecodedOperation, reservation: Reservation | None, enable_nonce: int | None
    ) -> Reservation | None:
        return reservation

    async def accepted(
        self,
        operation: DecodedOperation,
        reservation: Reservation | None,
        enable_nonce: int | None,
        *,
        answered: bool = True,
    ) -> None:
        return None

    def refused(self, reservation: Reservation, answer: UpstreamAnswer | None = None) -> None:
        return None

    async def observe(self, answer: object, asked: object = None) -> None:
        return None

    def decided(self, decision: Decision, *, forwarding: bool, seconds: float) -> None:
        return None

    def forwarded(self, endpoint: str, seconds: float) -> None:
        return None

    def answered(self, decision_id: str, answer: UpstreamAnswer) -> None:
        return None

    def ended(self, context: RequestContext, method_class: MethodClass, outcome: RequestOutcome) -> None:
        return None


async def nothing_settles(_hashes: object) -> bool:
    """A settlement that has no news."""
    return False
