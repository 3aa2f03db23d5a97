"""A chain of blocks with honest filters, the backends that serve it, each with its fault, and who takes the slices."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterable, Callable, Collection, Sequence
from dataclasses import dataclass, field, replace

from proxy.chain.blocks.acquaintance import Acquaintance
from proxy.chain.blocks.events import REVERT_REASON, USER_OPERATION_EVENT
from proxy.chain.blocks.follower import BlockFollower
from proxy.chain.blocks.header import Header, bloom_of_item
from proxy.chain.blocks.source import BlockSource, LogFilter, Transaction
from proxy.chain.logs import Log
from proxy.chain.session_logs import MODULE_UNINSTALLED, SESSION_TOPICS
from proxy.chain.settlement.pace import Pace
from proxy.chain.settlement.slices import BlockName, OperationMined, SessionTold, SessionTouched, Slice
from proxy.errors import NotGiven, StateUnavailable
from proxy.session.counters import SessionKey
from proxy.userop import abi
from proxy.userop.entry_point import ENTRY_POINTS, EntryPoint
from proxy.userop.primitives import Address, Hash32
from proxy.userop.user_operation import UserOperation
from tests.session.builders import ACCOUNT, SMART_SESSION, STRANGER, word

V07 = ENTRY_POINTS[1]
CHAIN_ID = 1868
NO_TRANSACTION = Hash32(bytes(32))
PACKED = abi.tuple_of(
    *(abi.ADDRESS, abi.UINT256, abi.BYTES, abi.BYTES, abi.BYTES32, abi.UINT256, abi.BYTES32, abi.BYTES, abi.BYTES)
)
BUNDLE = abi.tuple_of(abi.list_of(PACKED), abi.ADDRESS)
CREATED, REMOVED = SESSION_TOPICS[:2]
_EVENT = abi.tuple_of(abi.UINT256, abi.BOOL, abi.UINT256, abi.UINT256)
_REASON = abi.tuple_of(abi.UINT256, abi.BYTES)


def a_hash(number: int) -> Hash32:
    """Of operation `number`."""
    return Hash32(word(0xAA00_0000 + number))


def a_key(number: int = 1, account: Address = ACCOUNT) -> SessionKey:
    """Of session `number`."""
    return SessionKey(CHAIN_ID, SMART_SESSION, account, Hash32(word(number)))


@dataclass
class Ledgerless:
    """A log to be, without its place."""

    address: bytes
    topics: tuple[Hash32, ...]
    data: bytes
    transaction: Hash32 = NO_TRANSACTION


def executed(
    number: int,
    *,
    sender: Address = ACCOUNT,
    nonce: int | None = None,
    success: bool = True,
    entry_point: EntryPoint = V07,
    transaction: Hash32 = NO_TRANSACTION,
    name: Hash32 | None = None,
) -> Ledgerless:
    """Operation `number` was executed; its nonce is its number unless said otherwise, and so is its hash."""
    topics = (Hash32(USER_OPERATION_EVENT), name or a_hash(number), Hash32(bytes(12) + sender), Hash32(bytes(32)))
    data = abi.encode(_EVENT, (number if nonce is None else nonce, success, 7_000 + number, 900 + number))
    return Ledgerless(entry_point.address, topics, data, transaction)


def reverted(number: int, reason: bytes, *, name: Hash32 | None = None) -> Ledgerless:
    """Why the calls of operation `number` did."""
    topics = (Hash32(REVERT_REASON), name or a_hash(number), Hash32(bytes(12) + ACCOUNT))
    return Ledgerless(V07.address, topics, abi.encode(_REASON, (number, reason)))


def touched(key: SessionKey) -> Ledgerless:
    """The module says something of this session."""
    return Ledgerless(key.module, (Hash32(REMOVED),), key.permission_id + word(key.account))


def granted(key: SessionKey, transaction: Hash32 = NO_TRANSACTION) -> Ledgerless:
    """The module says that this session was granted."""
    return Ledgerless(key.module, (Hash32(CREATED),), key.permission_id + word(key.account), transaction)


def dropped(account: Address, module: Address = SMART_SESSION, kind: int = 1) -> Ledgerless:
    """An account's word that it has dropped a module."""
    return Ledgerless(account, (MODULE_UNINSTALLED,), word(kind) + bytes(12) + module)


def noise(number: int = 0) -> Ledgerless:
    """A log that concerns nobody here."""
    return Ledgerless(bytes([0x77]) * 19 + bytes([number % 251]), (Hash32(word(0x7070 + number)),), b"")


class FakeChain:
    """Blocks by number. Each block's hash is its own, whatever branch it is on."""

    def __init__(
        self, first: int = 1_000, *, blooms: bool = True, salt: int = 0, epoch: int = 1_700_000_000, beat: int = 2
    ) -> None:
        self.epoch = epoch  # unix seconds at which it began
        self.beat = beat  # seconds from block to block
        self._made = itertools.count(1 + (salt << 32))
        self.first = first
        self.headers: list[Header] = []
        self.logs: dict[Hash32, tuple[Log, ...]] = {}
        self.transactions: dict[Hash32, Transaction] = {}
        self.blooms = blooms
        self.mine()

    def mine(self, *logs: Ledgerless, blocks: int = 1) -> Header:
        """Add blocks; the logs are in the last of them."""
        for left in reversed(range(blocks)):
            self._add(() if left else logs)
        return self.headers[-1]

    def _add(self, logs: Sequence[Ledgerless]) -> None:
        number = self.first + len(self.headers)
        name = Hash32(word((0xB10C << 64) + next(self._made)))
        bloom = 0
        for log in logs:
            for item in (log.address, *log.topics):
                bloom |= bloom_of_item(item)
        parent = self.headers[-1].hash if self.headers else Hash32(bytes(32))
        self.headers.append(
            Header(
                number=number,
                hash=name,
                parent=parent,
                timestamp=self.epoch + self.beat * number,
                base_fee=7,
                bloom=bloom if self.blooms else 0,
            )
        )
        self.logs[name] = tuple(
            Log(
                address=Address(log.address),
                topics=log.topics,
                data=log.data,
                block=number,
                block_hash=name,
                transaction_hash=log.transaction,
                log_index=index,
            )
            for index, log in enumerate(logs)
        )

    def reorganise(self, depth: int, *new: Sequence[Ledgerless]) -> None:
        """The newest `depth` blocks make room for others: one for each of `new`, empty ones up to the old height."""
        del self.headers[len(self.headers) - depth :]
        for place in range(max(depth, len(new))):
            self._add(new[place] if place < len(new) else ())

    def name(self, back: int = 0) -> BlockName:
        """Of the newest block, or one so many before it."""
        header = self.headers[-1 - back]
        return BlockName(header.number, header.hash)


@dataclass
class Backend(BlockSource):
    """One node: so many blocks `behind`, and with its own way of being wrong."""

    chain: FakeChain
    behind: int = 0
    answers_empty: bool = False  # `[]` for logs, whatever is asked
    null_blocks: bool = False
    of_chain: int = CHAIN_ID
    down: bool = False
    most_logs: int = 5_000  # to one question; one more is refused
    asked: list[tuple[object, ...]] = field(default_factory=list)

    def _seen(self) -> list[Header]:
        if self.down:
            raise StateUnavailable("down")
        return self.chain.headers[: len(self.chain.headers) - self.behind]

    async def head(self) -> Header:
        self.asked.append(("head",))
        return self._seen()[-1]

    async def chain_id(self) -> int:
        self._seen()
        return self.of_chain

    async def headers(self, numbers: Sequence[int]) -> tuple[Header | None, ...]:
        self.asked.append(("headers", numbers[0], numbers[-1]))
        seen = {} if self.null_blocks else {header.number: header for header in self._seen()}
        return tuple(seen.get(number) for number in numbers)

    async def logs_between(self, first: int, last: int, wanted: LogFilter) -> tuple[Log, ...]:
        self.asked.append(("logs_between", first, last))
        return self._logs([each for each in self._seen() if first <= each.number <= last], wanted)

    async def logs_of(self, block: Hash32, wanted: LogFilter) -> tuple[Log, ...]:
        self.asked.append(("logs_of", block, wanted))
        return self._logs([each for each in self._seen() if each.hash == block], wanted)

    def _logs(self, headers: Sequence[Header], wanted: LogFilter) -> tuple[Log, ...]:
        if self.answers_empty:
            return ()
        found = [log for header in headers for log in self.chain.logs[header.hash] if wanted.fits(log)]
        if len(found) > self.most_logs:
            raise NotGiven("too many logs")
        return tuple(found)

    async def transactions(self, hashes: Sequence[Hash32]) -> tuple[Transaction | None, ...]:
        self._seen()
        return tuple(self.chain.transactions.get(each) for each in hashes)


class Balancer(BlockSource):
    """Hands each question to the next backend, as it comes."""

    def __init__(self, *backends: Backend) -> None:
        self._backends = itertools.cycle(backends)

    async def head(self) -> Header:
        return await next(self._backends).head()

    async def chain_id(self) -> int:
        return await next(self._backends).chain_id()

    async def headers(self, numbers: Sequence[int]) -> tuple[Header | None, ...]:
        return await next(self._backends).headers(numbers)

    async def logs_between(self, first: int, last: int, wanted: LogFilter) -> tuple[Log, ...]:
        return await next(self._backends).logs_between(first, last, wanted)

    async def logs_of(self, block: Hash32, wanted: LogFilter) -> tuple[Log, ...]:
        return await next(self._backends).logs_of(block, wanted)

    async def transactions(self, hashes: Sequence[Hash32]) -> tuple[Transaction | None, ...]:
        return await next(self._backends).transactions(hashes)


@dataclass
class Books:
    """Takes slices as a settlement does, and refuses what does not follow the cursor."""

    senders_in_flight: set[Address] = field(default_factory=lambda: {ACCOUNT})
    slices: list[Slice] = field(default_factory=list)
    undone_to: list[BlockName] = field(default_factory=list)
    started_at: list[BlockName] = field(default_factory=list)
    told_at_start: list[SessionTold] | None = None
    broken: bool = False
    cursor: BlockName | None = None
    blocks: list[BlockName] = field(default_factory=list)
    pace: Pace = field(default_factory=Pace)
    read_at: set[int] = field(default_factory=set)

    def is_read_at(self, number: int) -> bool:
        return number in self.read_at

    def trail(self) -> tuple[BlockName, ...]:
        return tuple(reversed(self.blocks))

    def senders(self) -> frozenset[Address]:
        return frozenset(self.senders_in_flight)

    async def settle(self, part: Slice) -> None:
        if self.broken:
            raise StateUnavailable("the disk is full")
        assert part.parent is not None
        assert part.parent == self.cursor
        assert part.first == part.parent.number + 1
        assert part.blocks[-1] == part.last
        assert list(part.blocks) == sorted(part.blocks)
        assert [event.place for event in part.events] == sorted(event.place for event in part.events)
        self.slices.append(part)
        self.blocks += part.blocks
        self.cursor = part.last

    async def undo(self, ancestor: BlockName) -> None:
        assert ancestor in self.blocks
        assert ancestor != self.cursor
        self.undone_to.append(ancestor)
        self.blocks = self.blocks[: self.blocks.index(ancestor) + 1]
        kept = []
        for part in self.slices:
            events = tuple(event for event in part.events if event.place.block <= ancestor.number)
            kept.append(replace(part, events=events))
        self.slices = kept
        self.cursor = ancestor

    async def start_at(self, block: BlockName, timestamp: int, told: AsyncIterable[SessionTold] | None = None) -> None:
        self.told_at_start = None if told is None else [each async for each in told]
        self.started_at.append(block)
        self.blocks, self.slices, self.cursor = [block], [], block

    @property
    def mined(self) -> list[int]:
        """The numbers of the operations that stand as mined."""
        events = [event for part in self.slices for event in part.events if isinstance(event, OperationMined)]
        return [int.from_bytes(event.user_op_hash, "big") - 0xAA00_0000 for event in events]

    @property
    def touched(self) -> list[SessionKey]:
        """The sessions that something stands of."""
        return [event.key for part in self.slices for event in part.events if isinstance(event, SessionTouched)]

    @property
    def told(self) -> list[SessionTold]:
        """What stands of declared modules."""
        return [event for part in self.slices for event in part.events if isinstance(event, SessionTold)]


@dataclass
class Knowledge(Acquaintance):
    """Accounts and operations by name."""

    watched: set[Address] = field(default_factory=set)
    ours: set[Hash32] = field(default_factory=set)
    claimed_twice: set[Hash32] = field(default_factory=set)
    sessions: dict[Address, list[SessionKey]] = field(default_factory=dict)
    uses: list[tuple[Hash32, tuple[SessionKey, ...], bool]] = field(default_factory=list)
    grants: list[SessionKey] = field(default_factory=list)
    enabled_by: list[tuple[Hash32, tuple[SessionKey, ...], bool]] = field(default_factory=list)
    turn: int = 0

    def watches(self, account: Address) -> bool:
        return account in self.watched or account in self.sessions

    def is_ours(self, user_op_hash: Hash32) -> bool:
        return user_op_hash in self.ours

    def is_claimed_twice(self, user_op_hash: Hash32) -> bool:
        return user_op_hash in self.claimed_twice

    def sessions_of(self, module: Address, account: Address) -> Sequence[SessionKey]:
        return self.sessions.get(account, [])

    def granted(self, key: SessionKey, transaction: Hash32) -> None:
        self.grants.append(key)

    def some_accounts(self, most: int) -> Sequence[Address]:
        turn = sorted(self.watched)[self.turn : self.turn + most]
        self.turn = self.turn + most if turn else 0
        return turn

    def used(self, event: OperationMined, sessions: Sequence[SessionKey], *, ours: bool, enables: bool) -> None:
        (self.enabled_by if enables and not ours else self.uses).append((event.user_op_hash, tuple(sessions), ours))


def _deaf(_header: Header) -> None:
    return None


def follower_of(
    source: BlockSource,
    books: Books,
    knows: Knowledge | None = None,
    heard: Callable[[Header], None] = _deaf,
    *,
    modules: Collection[Address] = (SMART_SESSION,),
) -> BlockFollower:
    """Of the v0.7 entry point and one module."""
    return BlockFollower(
        chain_id=CHAIN_ID,
        modules=modules,
        entry_points=[V07],
        source=source,
        taker=books,
        knows=Knowledge() if knows is None else knows,
        heard=heard,
    )


def bundle_of(*ops: UserOperation) -> bytes:
    """The call data of a bundle with these operations."""
    packed = tuple((op.sender, op.nonce, b"", op.call_data, bytes(32), 0, bytes(32), b"", op.signature) for op in ops)
    return bytes.fromhex("765e827f") + abi.encode(BUNDLE, (packed, STRANGER))
