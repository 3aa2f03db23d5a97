"""A chain that counts, a bundler with one place for each nonce, and a disk that is full now and then: for the state
machines."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from proxy.chain.blocks.header import Header
from proxy.chain.settlement.outcome import Outcome, SettledUpTo
from proxy.chain.settlement.slices import BlockName, ChainPlace, OperationMined, SessionTouched
from proxy.chain.witness import Fate
from proxy.errors import StateUnavailable
from proxy.judge.counts import CountKey, WindowCharge
from proxy.judge.rule import Sliding
from proxy.judge.windows import BucketRow
from proxy.ledger.doubts import Doubt
from proxy.ledger.operations import AcceptedOperation, Ended, InFlight, Mined, Stage
from proxy.ledger.reservation import NonceSlot
from proxy.session.counters import Charge, Counter, HoldName, SessionKey
from proxy.session.known import KnownSession, Source, Status
from proxy.userop.primitives import Hash32
from tests.chain.builders import accepted
from tests.session.builders import SMART_SESSION, TOKEN, TRANSFER, USAGE, action, enabled, key_of, session, usage

LIMIT = 12
NONCES = 6
GRANTS = [session(action(TOKEN, TRANSFER, usage(LIMIT)), salt=number) for number in (1, 2)]
KEYS = [key_of(grant) for grant in GRANTS]
KEY = KEYS[0]
STATES = dict(zip(KEYS, map(enabled, GRANTS), strict=True))
USES = {
    key: Counter(SMART_SESSION, key.account, USAGE, state.action_config_id(next(iter(state.actions))))
    for key, state in STATES.items()
}
SPEND_LIMIT = 8
COUNT_LIMIT = 4
MONTH = Sliding(30 * 86_400)
SPEND = CountKey(b"s" * 16, b"")


def count_of(key: SessionKey) -> CountKey:
    """How many operations a session sends."""
    return CountKey(b"c" * 16, key.permission_id)


def operation_of(
    number: int,
    key: SessionKey,
    amount: int,
    *,
    nonce: int,
    at: float,
    grant: int | None = None,
    valid_until: int | None = None,
    is_ruled: bool = True,
) -> AcceptedOperation:
    """An operation under one session, with what two rules count of it where they look at it."""
    spend = WindowCharge(key=SPEND, window=MONTH, amount=amount, limit=SPEND_LIMIT, binding=True, lasting=False)
    one = WindowCharge(key=count_of(key), window=MONTH, amount=1, limit=COUNT_LIMIT, binding=True, lasting=True)
    charge = Charge(USES[key], amount, LIMIT)
    operation = accepted(number, key, charge, nonce=nonce, at=at, valid_until=valid_until)
    charges = (spend, one) if is_ruled else ()
    return replace(operation, reservation=replace(operation.reservation, rule_charges=charges, grant=grant))


def key_of_claim(operation: AcceptedOperation) -> SessionKey:
    """The session under which it came."""
    key = operation.reservation.session
    assert key is not None
    return key


def is_ruled(operation: AcceptedOperation) -> bool:
    """Whether rules count it."""
    return bool(operation.reservation.rule_charges)


def amount_of(operation: AcceptedOperation) -> int:
    """What it spends."""
    return operation.reservation.amounts()[USES[key_of_claim(operation)]]


@dataclass(frozen=True)
class Block:
    """`burnt` are nonces that the owner used."""

    hash: Hash32
    timestamp: int
    mined: tuple[AcceptedOperation, ...]
    burnt: tuple[NonceSlot, ...] = ()


@dataclass
class Chain:
    """Blocks from number 1 on; a nonce is used once, and an enable nonce too.

    Every second answer is that of a backend some blocks `behind`. `past` are operations that no gate has seen.
    """

    blocks: list[Block] = field(default_factory=list)
    made: int = 0
    reverts: set[Hash32] = field(default_factory=set)  # wherever they are mined
    shows_claims: bool = True
    silent: bool = False
    time: int = 1_000  # unix seconds, never set by anybody
    behind: int = 0
    past: set[Hash32] = field(default_factory=set)
    answers: int = 0

    def newest(self) -> int:
        """The newest block of whichever backend answers now."""
        self.answers += 1
        return max(len(self.blocks) - (self.behind if self.answers % 2 else 0), 0)

    def spent(self, operations: Iterable[AcceptedOperation]) -> int:
        """What a rule has counted."""
        counted = (each for each in operations if is_ruled(each) and each.user_op_hash not in self.reverts)
        return sum(map(amount_of, counted))

    def add(self, operations: Iterable[AcceptedOperation], burnt: Iterable[NonceSlot] = ()) -> None:
        self.made += 1
        name = Hash32(self.made.to_bytes(32, "big"))
        self.blocks.append(Block(name, self.time, tuple(operations), tuple(burnt)))
        assert all(self.used(key) <= LIMIT for key in KEYS), "the chain itself would not have it"

    def used(self, key: SessionKey, block: int | None = None) -> int:
        return sum(amount_of(each) for each in self.mined(block) if key_of_claim(each) == key)

    def used_here(self, key: SessionKey) -> int:
        """What the gate has seen of that."""
        return sum(amount_of(each) for each in self.mined_here() if key_of_claim(each) == key)

    def mined_here(self) -> list[AcceptedOperation]:
        return [each for each in self.mined() if each.user_op_hash not in self.past]

    def mined(self, block: int | None = None) -> list[AcceptedOperation]:
        return [each for made in self.blocks[:block] for each in made.mined]

    def taken(self, block: int | None = None) -> set[NonceSlot]:
        return {each.reservation.slot for each in self.mined(block)} | {
            slot for made in self.blocks[:block] for slot in made.burnt
        }

    def grants_used(self) -> set[tuple[SessionKey, int]]:
        return {
            (key_of_claim(each), each.reservation.grant) for each in self.mined() if each.reservation.grant is not None
        }

    def can_mine(self, operation: AcceptedOperation, beside: Sequence[AcceptedOperation] = ()) -> bool:
        """Validation, as far as it is in this model, behind others in the same block."""
        reservation, key = operation.reservation, key_of_claim(operation)
        of_key = [each for each in beside if key_of_claim(each) == key]
        grants = self.grants_used() | {(key, each.reservation.grant) for each in of_key}
        return (
            self.is_valid(operation)
            and reservation.slot not in self.taken() | {each.reservation.slot for each in beside}
            and (reservation.grant is None or (key, reservation.grant) not in grants)
            and self.used(key) + sum(map(amount_of, of_key)) + amount_of(operation) <= LIMIT
        )

    def is_valid(self, operation: AcceptedOperation) -> bool:
        """Whether its time is not over."""
        until = operation.reservation.valid_until
        return until is None or until >= self.time

    def find(self, user_op_hash: Hash32, last: int | None = None) -> Mined | None:
        for number, block in enumerate(self.blocks[:last], 1):
            if any(each.user_op_hash == user_op_hash for each in block.mined):
                success = user_op_hash not in self.reverts
                return Mined(user_op_hash=user_op_hash, success=success, block=number, block_hash=block.hash)
        return None

    async def block_hash(self, number: int) -> Hash32 | None:
        """As a node tells it."""
        if self.silent:
            raise StateUnavailable("no answer")
        return self.name(number).hash if number <= self.newest() else None

    async def headers(self, numbers: Sequence[int]) -> tuple[Header | None, ...]:
        """As a node tells it."""
        if self.silent:
            raise StateUnavailable("no answer")
        newest = self.newest()
        return tuple(self.header_of(number) if number <= newest else None for number in numbers)

    def header_of(self, number: int) -> Header:
        parent = self.name(max(number - 1, 0)).hash
        timestamp = self.blocks[number - 1].timestamp if number else 0
        return Header(number=number, hash=self.name(number).hash, parent=parent, timestamp=timestamp)

    def name(self, number: int) -> BlockName:
        return BlockName(number, self.blocks[number - 1].hash if number else Hash32(bytes(32)))

    def events(self, number: int, is_ours: Callable[[Hash32], bool]) -> list[OperationMined | SessionTouched]:
        """What a block told, as `proxy.chain.blocks.follower` has it: a session that was used by an operation that is
        not ours has changed."""
        block = self.blocks[number - 1]
        told: list[OperationMined | SessionTouched] = []
        for index, each in enumerate(block.mined):
            slot, key = each.reservation.slot, key_of_claim(each)
            told.append(
                self._told(
                    ChainPlace(number, index),
                    slot,
                    each.user_op_hash,
                    success=each.user_op_hash not in self.reverts,
                    permission_ids=(key.permission_id,) if self.shows_claims else None,
                    enables=(each.reservation.grant is not None) if self.shows_claims else None,
                )
            )
            if not is_ours(each.user_op_hash):
                place, name = ChainPlace(number, index), self.name(number)
                used = (key,) if self.shows_claims else KEYS
                told += [SessionTouched(place=place, block=name, key=each_key) for each_key in used]
        for index, slot in enumerate(block.burnt, len(told)):
            burnt = Hash32(b"\xbb" * 24 + slot.nonce.to_bytes(8, "big"))
            told.append(self._told(ChainPlace(number, index), slot, burnt, success=True, permission_ids=()))
        return told

    def _told(
        self,
        place: ChainPlace,
        slot: NonceSlot,
        user_op_hash: Hash32,
        *,
        success: bool,
        permission_ids: tuple[Hash32, ...] | None,
        enables: bool | None = None,
    ) -> OperationMined:
        block, timestamp = self.name(place.block), self.blocks[place.block - 1].timestamp
        transaction = Hash32(b"\x77" * 32)
        mined = Mined(
            user_op_hash=user_op_hash,
            success=success,
            block=block.number,
            block_hash=block.hash,
            timestamp=timestamp,
            transaction=transaction,
            gas_cost=1,
            gas_used=1,
            permission_ids=permission_ids,
            enables=enables,
        )
        return OperationMined(
            place=place, block=block, timestamp=timestamp, transaction=transaction, slot=slot, mined=mined
        )

    # as a witness

    async def fate(self, slot: NonceSlot, user_op_hash: Hash32, *, since: int, near: int | None = None) -> Mined | Fate:
        if self.silent:
            raise StateUnavailable("no answer")
        newest = self.newest()
        if newest < since:
            raise StateUnavailable("a backend behind the other")
        if (mined := self.find(user_op_hash, newest)) is not None:
            return mined
        return Fate.TAKEN if slot in self.taken(newest) else Fate.OPEN

    async def shown(self, slots: Mapping[Hash32, NonceSlot], *, since: int) -> Mapping[Hash32, Mined | Fate]:
        fates = {each: await self.fate(slot, each, since=since) for each, slot in slots.items()}
        return {each: fate for each, fate in fates.items() if isinstance(fate, Mined) or fate is Fate.OPEN}

    async def used_by(self, slots: Mapping[Hash32, NonceSlot], *, since: int) -> Mapping[Hash32, Mined | Fate]:
        return {each: await self.fate(slot, each, since=since) for each, slot in slots.items()}

    async def used_slots(self, slots: Collection[NonceSlot], block: BlockName) -> frozenset[NonceSlot]:
        return frozenset(slots) & self.taken(block.number)


class Witness:
    """The chain, as it is asked."""

    def __init__(self, chain: Chain) -> None:
        self.fate = chain.fate
        self.shown = chain.shown
        self.used_by = chain.used_by
        self.used = chain.used_slots

    async def block_hash(self, _number: int) -> Hash32 | None:
        raise StateUnavailable("not asked here")


@dataclass
class Disk:
    """What a restart finds. Notes are written when somebody waits for something later, or never. While it is `full`
    nothing is; what ends operations goes before whatever is written next, as `proxy.ledger.group_commit` has it."""

    sessions: dict[SessionKey, KnownSession] = field(
        default_factory=lambda: {
            key: KnownSession(key=key, status=Status.IN_FORCE, source=Source.NODE, updated_at=0.0, state=STATES[key])
            for key in KEYS
        }
    )
    in_flight: dict[HoldName, InFlight] = field(default_factory=dict)
    ended: dict[HoldName, Ended] = field(default_factory=dict)
    buckets: dict[tuple[CountKey, int], BucketRow] = field(default_factory=dict)
    cursor: SettledUpTo | None = None
    blocks: dict[int, BlockName] = field(default_factory=dict)
    doubts: dict[tuple[SessionKey, int], Doubt] = field(default_factory=dict)
    notes: list[Outcome] = field(default_factory=list)
    full: bool = False
    is_deaf: bool = False
    owed: list[Outcome] = field(default_factory=list)
    lost: bool = False  # a note that nobody will hand over again

    async def keep(self, outcome: Outcome) -> None:
        if self.full and outcome.ends and not outcome.again:
            self.owed.append(outcome)
        self.flush()
        self.write(outcome)

    def begin_now(self, operation: AcceptedOperation) -> bool:
        if self.full:
            return False
        self.flush()
        self.write(Outcome(begun=operation))
        return True

    def advance(self, name: HoldName, stage: Stage) -> None:
        self.note(Outcome(stages=((name, stage),)))

    def note(self, outcome: Outcome) -> None:
        self.notes.append(outcome)

    async def recall(self, names: Collection[HoldName]) -> tuple[Ended, ...]:
        if self.is_deaf:
            raise StateUnavailable("the ledger could not be read", fact="ledger")
        return tuple(self.ended[name] for name in names if name in self.ended)

    async def save_session(self, known: KnownSession) -> None:
        self.flush()
        self.sessions[known.key] = known

    def crash(self, *, keeps_notes: bool) -> None:
        """What nobody waited for may be gone."""
        if keeps_notes and not self.full:
            self.flush()
        self.notes.clear()
        self.owed.clear()
        self.lost = False

    def flush(self) -> None:
        notes, self.notes = self.notes, []
        if self.full:
            self.lost |= bool(notes)
            raise StateUnavailable("the disk is full", fact="ledger")
        owed, self.owed = self.owed, []
        for outcome in (*owed, *notes):
            self.write(outcome)

    def write(self, outcome: Outcome) -> None:
        """This is on disk."""
        if outcome.begun is not None:
            begun = InFlight(operation=outcome.begun, stage=Stage.FORWARDED)
            self.in_flight.setdefault(outcome.begun.name, begun)
        for name, stage in outcome.stages:
            if name in self.in_flight:
                self.in_flight[name] = replace(self.in_flight[name], stage=stage)
        for name, seconds in outcome.silences:
            if name in self.in_flight:
                self.in_flight[name] = replace(self.in_flight[name], silent_seconds=seconds)
        self.sessions |= {known.key: known for known in outcome.sessions}
        for ended in outcome.remembered:
            if ended.name in self.in_flight:
                # the record is as it was when it was begun, as in the table
                operation = ended.operation if ended.restated else self.in_flight[ended.name].operation
                self.ended[ended.name] = ended._replace(operation=operation)
        for name in outcome.ended:
            self.in_flight.pop(name, None)
        for flight in outcome.revived:
            self.in_flight.setdefault(flight.operation.name, flight)
            self.ended.pop(flight.operation.name, None)
        self.buckets |= {(row.key, row.start): row for row in outcome.rules.buckets}
        for key in outcome.read:
            of_key = [name for name in self.doubts if name[0] == key]
            self.doubts |= {name: self.doubts[name]._replace(is_read=True) for name in of_key}
        self.doubts |= {(each.key, each.block): each for each in outcome.doubts}
        if outcome.cut is not None:
            last = outcome.cut
            self.doubts = {name: each for name, each in self.doubts.items() if name[1] <= last or not each.is_read}
            self.blocks = {number: block for number, block in self.blocks.items() if number <= (outcome.cut or 0)}
        if outcome.cursor is not None:
            self.cursor = outcome.cursor
            self.blocks |= {block.number: block for block in outcome.blocks}
