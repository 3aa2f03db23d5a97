"""A settlement with all that it needs, and blocks to feed it with, in few words."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

from proxy.chain.settlement.claimed import AskClaim
from proxy.chain.settlement.draft import End
from proxy.chain.settlement.lookout import Lookout
from proxy.chain.settlement.node_word import NodeWord
from proxy.chain.settlement.patience import Patience
from proxy.chain.settlement.polling import AskReceipt
from proxy.chain.settlement.settlement import Settlement
from proxy.chain.settlement.slices import BlockName, ChainEvent, ChainPlace, OperationMined, Slice
from proxy.chain.settlement.taker import Taker
from proxy.chain.witness import Fate
from proxy.errors import StateUnavailable
from proxy.ledger.memory import MemoryLedger
from proxy.ledger.operations import AcceptedOperation, Cause, Mined, Stage
from proxy.ledger.reservation import NOTHING_USED, Held, NonceSlot
from proxy.session.counters import Charge, Counter, SessionKey
from proxy.session.known import KnownSession, Source, Status
from proxy.session.registry import Registry
from proxy.userop.acts import SessionRemoved, SessionsEnabled
from proxy.userop.primitives import Address, Hash32
from tests.chain.builders import Bundler, Clock, Shelf, accepted
from tests.session.builders import (
    ACCOUNT,
    SMART_SESSION,
    TOKEN,
    TRANSFER,
    USAGE,
    action,
    enabled,
    key_of,
    session,
    usage,
)

GRANT = session(action(TOKEN, TRANSFER, usage(3)))
KEY = key_of(GRANT)
STATE = enabled(GRANT)
USES = Counter(SMART_SESSION, ACCOUNT, USAGE, STATE.action_config_id(next(iter(STATE.actions))))
ONE_USE = Charge(USES, 1, 3)
IN_FORCE = KnownSession(key=KEY, status=Status.IN_FORCE, source=Source.NODE, updated_at=1.0, state=STATE)
GRANTED = SessionsEnabled(SMART_SESSION, (GRANT,))
REMOVED = SessionRemoved(SMART_SESSION, KEY.permission_id)
ENTRY_POINT = Address(b"\xee" * 20)


def block(number: int, branch: int = 0) -> BlockName:
    """Blocks of different branches have different hashes."""
    return BlockName(number, Hash32(branch.to_bytes(4, "big") + number.to_bytes(28, "big")))


@dataclass
class Chain:
    """A witness made of tables; an exception is raised."""

    fates: dict[Hash32, Mined | Fate | Exception] = field(default_factory=dict)
    asked: list[Hash32] = field(default_factory=list)
    since: list[int] = field(default_factory=list)  # which block the node was to have, each time
    near: list[int | None] = field(default_factory=list)  # in which block its nonce was seen to be used
    used_by_now: set[int] = field(default_factory=set)  # nonces
    taken_in: int = 0  # the block that has what is shown to have taken a nonce
    together: list[int] = field(default_factory=list)  # how many were asked for at once, each time
    is_asked: asyncio.Event = field(default_factory=asyncio.Event)  # about many
    answers: asyncio.Event | None = None  # for which the answer about many waits
    looks: list[int] = field(default_factory=list)  # at which blocks nonces were asked for
    several: bool = False
    claimed: bool | None = None  # what bundles show: whether an operation enables; `None`: they cannot be had
    bundles_asked: int = 0
    at_once: Callable[[], int] = lambda: 4  # questions
    _taken: set[NonceSlot] = field(default_factory=set)

    async def bundle(self, mined: Mined, _slot: NonceSlot) -> Mined:
        self.bundles_asked += 1
        if self.claimed is None:
            raise StateUnavailable("no answer")
        return mined._replace(permission_ids=(KEY.permission_id,), enables=self.claimed)

    async def fate(self, slot: NonceSlot, user_op_hash: Hash32, *, since: int, near: int | None = None) -> Mined | Fate:
        self.asked.append(user_op_hash)
        self.since.append(since)
        self.near.append(near)
        fate = self.fates.get(user_op_hash, Fate.OPEN)
        if isinstance(fate, Exception):
            raise fate
        self._note_taken({user_op_hash: slot})
        return fate

    def _note_taken(self, slots: Mapping[Hash32, NonceSlot]) -> None:
        self._taken.update(slot for each, slot in slots.items() if self.fates.get(each) is Fate.TAKEN)

    async def shown(self, slots: Mapping[Hash32, NonceSlot], *, since: int) -> Mapping[Hash32, Mined | Fate]:
        self.together.append(len(slots))
        self.since.append(since)
        fates = {each: self.fates.get(each, Fate.OPEN) for each in slots}
        self.is_asked.set()
        if self.answers is not None:
            await self.answers.wait()
        return {each: fate for each, fate in fates.items() if isinstance(fate, Mined) or fate is Fate.OPEN}

    async def used_by(self, slots: Mapping[Hash32, NonceSlot], *, since: int) -> Mapping[Hash32, Mined | Fate]:
        self.since.append(since)
        fates = {each: self.fates.get(each, Fate.OPEN) for each in slots}
        self._note_taken(slots)
        return {each: fate for each, fate in fates.items() if not isinstance(fate, Exception)}

    async def used(self, slots: Collection[NonceSlot], block: BlockName) -> frozenset[NonceSlot]:
        self.looks.append(block.number)
        taken = self._taken if block.number >= self.taken_in else frozenset[NonceSlot]()
        return frozenset(slot for slot in slots if slot.nonce in self.used_by_now or slot in taken)

    async def block_hash(self, _number: int) -> Hash32 | None:
        return None


@dataclass
class Scene:
    """A settlement and everything around it. With a `chain` there is a node; its blocks are told by `tell`."""

    registry: Registry = field(default_factory=Registry)
    shelf: Shelf = field(default_factory=Shelf)
    bundler: Bundler = field(default_factory=Bundler)
    clock: Clock = field(default_factory=Clock)
    monotonic: Clock = field(default_factory=lambda: Clock(5.0))
    patience: Patience = field(default_factory=Patience)
    chain: Chain | None = None
    reread: list[SessionKey] = field(default_factory=list)
    unreadable: bool = False
    unkeepable: bool = False  # what was read is known, and is not on disk
    reads_at: int = 300  # the block at which the node answers
    told: list[End] = field(default_factory=list)
    declared: frozenset[Address] = frozenset()
    may_forget: Callable[[], bool] = lambda: True
    woken: int = 0
    named: list[int] = field(default_factory=list)  # blocks, by the bundler

    claim: AskClaim | None = None  # asked of the bundler
    inclusion: AskReceipt | None = None  # and this

    is_reading: asyncio.Event = field(default_factory=asyncio.Event)
    goes_on: asyncio.Event = field(default_factory=asyncio.Event)  # cleared, a reading waits for it
    read_for_client: asyncio.Event = field(default_factory=asyncio.Event)
    client_goes_on: asyncio.Event = field(
        default_factory=asyncio.Event
    )  # cleared, the reading of a client waits for it
    for_clients: list[SessionKey] = field(default_factory=list)  # were read

    def __post_init__(self) -> None:
        self.goes_on.set()
        self.client_goes_on.set()
        self.ledger = MemoryLedger(sessions=self.registry)
        self.settlement = Settlement(
            registry=self.registry,
            ledger=self.ledger,
            keeper=self.shelf,
            clock=self.clock,
            patience=self.patience,
            tell=self.told.append,
            may_forget=self.may_forget,
        )
        self.taker = Taker(
            self.settlement,
            chain_id=KEY.chain_id,
            registry=self.registry,
            clock=self.clock,
            monotonic=self.monotonic,
            patience=self.patience,
            declared=self.declared,
        )
        self.lookout = Lookout(
            self.settlement,
            registry=self.registry,
            receipt=self.bundler.receipt,
            clock=self.clock,
            monotonic=self.monotonic,
            patience=self.patience,
            claim=self.claim,
            inclusion=self.inclusion,
            node=None
            if self.chain is None
            else NodeWord(
                witness=self.chain,
                bundle=self.chain.bundle,
                reread=self._read,
                read=self._read_for_client,
                several=self.chain.several,
                at_once=self.chain.at_once,
                taker=self.taker,
                wake=self._wake,
                named=self.named.append,
                declared=self.declared,
            ),
        )

    def _wake(self) -> None:
        self.woken += 1

    async def _read(self, key: SessionKey) -> None:
        self.reread.append(key)
        self.is_reading.set()
        await self.goes_on.wait()
        await self._read_now(key)

    async def _read_for_client(self, key: SessionKey) -> None:
        self.for_clients.append(key)
        self.read_for_client.set()
        await self.client_goes_on.wait()
        await self._read_now(key)

    async def _read_now(self, key: SessionKey) -> None:
        if self.unreadable:
            raise StateUnavailable("no answer")
        known = self.registry.get(key)
        assert known is not None
        if max(self.registry.mined_at(key) or 0, known.block or 0) <= self.reads_at:  # as the reader does it
            self.registry.put(replace(known, state=STATE, block=self.reads_at))
        if self.unkeepable:
            raise StateUnavailable("the disk is full", fact="ledger")

    # what is sent

    async def accept(self, number: int, *charges: Charge, key: SessionKey = KEY, **of_operation: object) -> Hash32:
        """Reserve, hold, send, and have it accepted."""
        operation = self.reserve(number, *charges, key=key, **of_operation)
        await self.settlement.hold(operation)
        await self.settlement.follow(operation)
        return operation.user_op_hash

    def reserve(
        self, number: int, *charges: Charge, key: SessionKey = KEY, **of_operation: object
    ) -> AcceptedOperation:
        """Only reserve."""
        operation = accepted(number, key, *charges, **of_operation)  # type: ignore[arg-type]  # passed through
        return self.reserved(operation)

    def reserved(self, operation: AcceptedOperation) -> AcceptedOperation:
        """The same with one that is made already."""
        assert isinstance(self.ledger.reserve(operation.reservation, NOTHING_USED, self.clock.now), Held)
        return operation

    async def later(self, seconds: float) -> None:
        """Let time pass, and everything that is due be done."""
        self.clock.now += seconds
        self.monotonic.now += seconds
        await self.lookout.round()

    def shows(self, user_op_hash: Hash32, there: BlockName) -> None:
        """Asked about the operation from now on, the node has it mined there."""
        assert self.chain is not None
        self.chain.fates[user_op_hash] = Mined(
            user_op_hash=user_op_hash, success=True, block=there.number, block_hash=there.hash
        )

    # what is known

    def status(self) -> Status | None:
        """Of the session."""
        known = self.registry.get(KEY)
        return None if known is None else known.status

    def used(self) -> int | None:
        """What the session has used; `None` when it has to be read."""
        known = self.registry.get(KEY)
        assert known is not None
        return None if known.state is None else known.state.used.get(USES, 0)

    @property
    def balance(self) -> tuple[int | None, int]:
        """Used, and in flight."""
        return self.used(), self.ledger.in_flight(USES)

    @property
    def causes(self) -> list[Cause]:
        """Of the ends that were told, oldest first."""
        return [end.ended.cause for end in self.told]

    def stage(self, user_op_hash: Hash32) -> Stage | None:
        """How far an operation in flight has come."""
        flight = self.settlement.flights.get(user_op_hash)
        return None if flight is None else flight.stage

    # what the chain tells

    async def tell(self, number: int, *events: ChainEvent, timestamp: int | None = None, branch: int = 0) -> None:
        """One block with these events; the settlement begins before the first that it is told of."""
        if self.taker.cursor is None:
            await self.taker.start_at(block(number - 1, branch), 0)
            self.settlement.unconfirmed.clear()  # what the scene knows is true,
            self.settlement.to_doubt.clear()
            self.settlement.unproven.clear()  # and nothing was mined before
        await self.tell_block(number, *events, timestamp=timestamp, branch=branch)
        await self.lookout.round()

    async def tell_block(self, number: int, *events: ChainEvent, timestamp: int | None = None, branch: int = 0) -> None:
        """The same, and nothing that follows from it."""
        there = block(number, branch)
        await self.taker.settle(a_slice(self.taker.cursor, there, events, timestamp or int(self.clock.now)))


def a_slice(
    parent: BlockName | None,
    last: BlockName,
    events: Sequence[ChainEvent] = (),
    timestamp: int = 1_000,
) -> Slice:
    """One that follows `parent`."""
    return Slice(
        chain_id=KEY.chain_id,
        first=last.number if parent is None else parent.number + 1,
        last=last,
        parent=parent,
        timestamp=timestamp,
        blocks=(last,),
        events=tuple(events),
    )


def mined(
    user_op_hash: Hash32,
    number: int,
    *,
    nonce: int,
    success: bool = True,
    claims: tuple[Hash32, ...] | None = None,
    enables: bool | None = None,
    base_fee: int | None = None,
    timestamp: int = 1_000,
    branch: int = 0,
    sender: Address = ACCOUNT,
) -> OperationMined:
    """In a block."""
    of, transaction = block(number, branch), Hash32(b"\x77" * 32)
    return OperationMined(
        place=ChainPlace(number, 0),
        block=of,
        timestamp=timestamp,
        transaction=transaction,
        slot=NonceSlot(KEY.chain_id, ENTRY_POINT, sender, nonce),
        mined=Mined(
            user_op_hash=user_op_hash,
            success=success,
            block=of.number,
            block_hash=of.hash,
            timestamp=timestamp,
            transaction=transaction,
            gas_cost=70,
            gas_used=7,
            base_fee=base_fee,
            permission_ids=claims,
            enables=enables,
        ),
    )


def name(number: int) -> Hash32:
    """The hash of operation `number`."""
    return Hash32(number.to_bytes(32, "big"))


def a_lookout(ledger: MemoryLedger) -> Lookout:
    """With nothing else around it."""
    clock, patience, registry = Clock(), Patience(), Registry()
    settlement = Settlement(
        registry=registry, ledger=ledger, keeper=Shelf(), clock=clock, patience=patience, tell=lambda _: None
    )
    return Lookout(
        settlement,
        registry=registry,
        receipt=Bundler().receipt,
        clock=clock,
        monotonic=clock,
        patience=patience,
    )
