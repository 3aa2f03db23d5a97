"""A room where operations are judged, with everything that can be asked made of tables; and the operations."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from proxy.admission import Admission, Found, Judgement, Purpose, RecentReads, Sources, Terms
from proxy.admission.conclusion import UNNAMED_REQUEST
from proxy.admission.nonce_order import AskNext, NonceOrder
from proxy.admission.sources import Staleness
from proxy.admission.turns import AbsentBudget, FirstReadings, Turns
from proxy.errors import Reason
from proxy.judge.evaluate import RuleJudge
from proxy.judge.reading import Arrival
from proxy.judge.verdict import Allow, Reject
from proxy.ledger.memory import MemoryLedger
from proxy.session.addresses import SMART_SESSION
from proxy.session.counters import SessionKey
from proxy.session.enable_digest import session_digest
from proxy.session.facts import Answer, AskedFact, MissingFact, ModuleInstalledFact
from proxy.session.known import KnownSession, Source, Status
from proxy.session.registry import Registry
from proxy.session.state import SessionState
from proxy.userop.arguments import selector
from proxy.userop.decode import DecodedOperation
from proxy.userop.entry_point import EntryPoint
from proxy.userop.execution import Call
from proxy.userop.primitives import Address, Hash32, keccak256
from proxy.userop.session_abi import SESSION, encode_sessions
from proxy.userop.session_data import ChainDigest, EnableSession, SessionData
from proxy.userop.signature import SessionEnvelope, SessionMode, encode_session_envelope
from proxy.userop.user_operation import UserOperation
from tests.bypass_list.desk import (
    CHAIN_ID,
    KEY,
    MODULES,
    NEXUS_LANE,
    OWNER_NONCE,
    V07,
    a_session,
    an_operation,
    session_signature,
    single,
)
from tests.session.builders import ACCOUNT, NOW, TOKEN, TRANSFER, action, enabled, usage

SESSION_KEY_ADDRESS = Address(keccak256(KEY.public_key.format(compressed=False)[1:])[12:])
TWICE = a_session(action(TOKEN, TRANSFER, usage(2)))
"""A session that may transfer a token twice."""


def key_of(grant: SessionData) -> SessionKey:
    """The session's name on the test chain."""
    return SessionKey(CHAIN_ID, SMART_SESSION, ACCOUNT, grant.permission_id)


def lane(number: int, sequence: int = 0) -> int:
    """A nonce of its own for each number, of the session module's on a Nexus account."""
    own = (int.from_bytes(NEXUS_LANE, "big") + number).to_bytes(3, "big")
    return int.from_bytes(own + b"\x00" + SMART_SESSION + sequence.to_bytes(8, "big"), "big")


def known(
    grant: SessionData, *, status: Status = Status.IN_FORCE, state: SessionState | None = None, **changes: Any
) -> KnownSession:
    """The session as the registry keeps it."""
    fields: dict[str, Any] = {
        "key": key_of(grant),
        "source": Source.GRANT,
        "updated_at": float(NOW),
        "state": enabled(grant) if state is None else state,
    }
    return KnownSession(status=status, **{**fields, **changes})


def granting(*grants: SessionData, nonce: int = OWNER_NONCE) -> UserOperation:
    """The owner's operation that enables sessions."""
    data = selector(f"enableSessions({SESSION.name}[])") + encode_sessions(grants)
    return _by_owner(Call(SMART_SESSION, 0, data), nonce)


def removing(grant: SessionData, nonce: int = OWNER_NONCE) -> UserOperation:
    """The owner's operation that removes a session."""
    return _by_owner(Call(SMART_SESSION, 0, selector("removeSession(bytes32)") + grant.permission_id), nonce)


def _by_owner(call: Call, nonce: int) -> UserOperation:
    return an_operation(single(call), nonce=nonce, signature=b"\x0e" * 65)


def enabling(
    grant: SessionData,
    call_data: bytes,
    *,
    enable_nonce: int = 0,
    mode: SessionMode = SessionMode.ENABLE,
    owner: bytes = b"\x05" * 65,
    **changes: Any,
) -> UserOperation:
    """The first operation of a session, which brings its grant along."""
    digest = session_digest(grant, account=ACCOUNT, smart_session=SMART_SESSION, mode=mode, nonce=enable_nonce)
    grant_of_owner = EnableSession(
        chain_digest_index=0,
        digests=(ChainDigest(CHAIN_ID, digest),),
        session=grant,
        permission_enable_signature=owner,
    )
    op = an_operation(call_data, **changes)
    envelope = SessionEnvelope(
        mode=mode, permission_id=grant.permission_id, signature=session_signature(op), enable=grant_of_owner
    )
    return replace(op, signature=encode_session_envelope(envelope))


def _nothing() -> None:
    return None


@dataclass
class FakeReader:
    """A node of tables. `sessions` has what the chain stores, an exception is raised; `asked` and `found` count.

    `hold` makes every answer wait for `release`; `on_reading` happens while the node is asked for a session, and
    `on_keeping` while what it said is written down.
    """

    registry: Registry
    sessions: dict[SessionKey, SessionState | Exception] = field(default_factory=dict)
    answers: dict[type, Answer | Exception] = field(default_factory=lambda: {ModuleInstalledFact: 1})
    state_after: SessionState | None = None
    base_fee: int | None = None
    delegates: dict[Address, Address | Exception] = field(default_factory=dict)
    on_reading: Callable[[], None] = _nothing
    on_keeping: Callable[[], None] = _nothing
    asked: list[SessionKey] = field(default_factory=list)
    facts: list[MissingFact] = field(default_factory=list)
    free: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.free.set()

    def hold(self) -> None:
        self.free.clear()

    def release(self) -> None:
        self.free.set()

    async def session(self, key: SessionKey) -> SessionState | None:
        self.asked.append(key)
        await self.free.wait()
        self.on_reading()
        stored = self.sessions.get(key)
        if isinstance(stored, Exception):
            raise stored
        if stored is not None:
            after = KnownSession(key=key, status=Status.IN_FORCE, source=Source.NODE, updated_at=0.0, state=stored)
            self.registry.put(after)
        self.on_keeping()
        return stored

    async def find(self, operation: DecodedOperation, state: SessionState, facts: Sequence[MissingFact]) -> Found:
        self.facts += facts
        await self.free.wait()
        answers: dict[AskedFact, Answer] = {}
        for fact in facts:
            answer = self.answers.get(type(fact))
            if isinstance(answer, Exception):
                raise answer
            if answer is not None:
                answers[fact] = answer  # type: ignore[index]  # only facts that are asked have an answer in the table
        return Found(state=self.state_after or state, answers=answers, base_fee=self.base_fee)

    async def delegate(self, account: Address) -> Address | None:
        delegate = self.delegates.get(account)
        if isinstance(delegate, Exception):
            raise delegate
        return delegate


class Room:
    """An `Admission` and all it draws on.

    `settled` has the hashes whose receipts were asked for; `on_settling` happens when they are.
    """

    def __init__(
        self,
        *grants: SessionData,
        node: bool = False,
        sessions: Mapping[SessionKey, SessionState | Exception] | None = None,
        rules: RuleJudge | None = None,
        **terms: Any,
    ) -> None:
        self.rules = rules
        self.registry = Registry()
        self.ledger = MemoryLedger(sessions=self.registry)
        self.now = float(NOW)
        self.newest: int | None = None
        self.first = FirstReadings(Turns(4), AbsentBudget(1.0, lambda: self.now), seconds=5.0)
        self.stale: Staleness | None = None
        self.settled: list[tuple[Hash32, ...]] = []
        self.on_settling: Callable[[], None] = _nothing
        self.reader = FakeReader(self.registry, dict(sessions or {})) if node or sessions is not None else None
        for grant in grants:
            self.registry.put(known(grant))
        self.terms = Terms(**{"chain_id": CHAIN_ID, "session_modules": MODULES, **terms})
        self.gaps: list[tuple[Hash32, int]] = []
        self._sources = Sources(
            terms=self.terms,
            registry=self.registry,
            ledger=self.ledger,
            settlement=self._settle,
            reader=self.reader,
            clock=lambda: self.now,
            reads=RecentReads(self.terms.fresh_seconds, lambda: self.now, lambda: self.newest),
            stale=lambda: self.stale,
            first=self.first,
            rules=lambda: self.rules,
            behind_gap=lambda _, name, missing: self.gaps.append((name, missing)),
        )
        self.admission = Admission(self._sources)

    def follow(self, ledger: MemoryLedger) -> None:
        """Reserve in this ledger from now on."""
        self.ledger = ledger
        self._sources = replace(self._sources, ledger=ledger)
        self.admission = Admission(self._sources)

    def take(self, **sources: Any) -> None:
        """Judge by these from now on."""
        self._sources = replace(self._sources, **sources)
        self.admission = Admission(self._sources)

    def order_by(self, ask: AskNext) -> None:
        """Nonces are asked for like this from now on."""
        self.order = NonceOrder(ask, self.ledger.occupied, lambda: self.newest)
        self.admission = Admission(replace(self._sources, order=self.order))

    async def _settle(self, hashes: Sequence[Hash32]) -> bool:
        self.settled.append(tuple(hashes))
        self.on_settling()
        return False

    @property
    def node(self) -> FakeReader:
        assert self.reader is not None
        return self.reader

    async def judge(
        self,
        op: UserOperation,
        entry_point: EntryPoint = V07,
        purpose: Purpose = Purpose.SUBMIT,
        *,
        request: Arrival = UNNAMED_REQUEST,
    ) -> Judgement:
        return await self.admission.judge(op, entry_point, purpose=purpose, request=request)

    async def judge_all(self, operations: Iterable[UserOperation]) -> list[Judgement]:
        """All at once."""
        return await asyncio.gather(*(self.judge(op) for op in operations))

    async def allowed(
        self, op: UserOperation, purpose: Purpose = Purpose.SUBMIT, *, request: Arrival = UNNAMED_REQUEST
    ) -> Judgement:
        """The judgement on an operation that has to be allowed."""
        judgement = await self.judge(op, purpose=purpose, request=request)
        assert isinstance(judgement.verdict, Allow), judgement.verdict
        return judgement

    async def refusal(
        self, op: UserOperation, purpose: Purpose = Purpose.SUBMIT, *, request: Arrival = UNNAMED_REQUEST
    ) -> Reason:
        """Why an operation is refused, which it has to be, with nothing held for it."""
        judgement = await self.judge(op, purpose=purpose, request=request)
        assert isinstance(judgement.verdict, Reject), judgement.verdict
        assert judgement.reservation is None
        return judgement.verdict.first
