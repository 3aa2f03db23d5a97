"""What a stretch of blocks says, in chain order: the one form in which the chain's word reaches the settlement.

Whoever follows the chain, by a node's blocks or by a bundler's receipts, makes these; the settlement takes them in
and keeps each with its cursor in one transaction. Records only.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, Set
from typing import Final, NamedTuple, Protocol

from proxy.chain.settlement.pace import Pace
from proxy.ledger.operations import Mined
from proxy.ledger.reservation import NonceSlot
from proxy.record import record
from proxy.session.changes import Changes
from proxy.session.counters import SessionKey
from proxy.userop.primitives import Address, Hash32

MOST_ENDS: Final = 25
"""Operations that end in one piece of work and one transaction, or fewer where many rules count each: a slice of
several blocks holds no more, and the one of a block that holds more is kept in pieces."""


class BlockName(NamedTuple):
    """A block, whatever happens to the chain: another branch has other hashes."""

    number: int
    hash: Hash32


class ChainPlace(NamedTuple):
    """Where in the chain a log stands; ordered as the chain is."""

    block: int
    log_index: int


class OperationMined(NamedTuple):
    """The entry point's UserOperationEvent.

    Every sender's operation in a slice is one of these, ours or not: an operation of another hash in a nonce `slot` of
    ours says that the nonce was used by another. `mined` has the place in the chain once more, and the session claims
    under which the bundle's call data carries this hash.
    """

    place: ChainPlace
    block: BlockName
    timestamp: int  # of the block, unix seconds
    transaction: Hash32
    slot: NonceSlot
    mined: Mined

    @property
    def user_op_hash(self) -> Hash32:
        """The operation's name."""
        return self.mined.user_op_hash


@record(kw_only=True)
class SessionTouched:
    """A log of a session module: something of this session changed here. What, only a reading tells."""

    place: ChainPlace
    block: BlockName
    key: SessionKey


@record(kw_only=True)
class SessionTold:
    """A log of a declared module that tells what changed, or an operation of a session there that did not come through
    here: `changes` are those of one account."""

    place: ChainPlace
    block: BlockName
    changes: Changes


ChainEvent = OperationMined | SessionTouched | SessionTold


@record(kw_only=True)
class Slice:
    """All that concerns us in blocks `first` to `last.number`, both included, proven to be of one chain.

    `parent` is the block before `first`, `None` where the slice begins what is known of a chain. `blocks` are those of
    its blocks that are known by hash, ascending, `last` among them. `events` are in chain order.
    """

    chain_id: int
    first: int
    last: BlockName
    parent: BlockName | None
    timestamp: int  # of the last block, unix seconds
    blocks: tuple[BlockName, ...]
    events: tuple[ChainEvent, ...]


class SliceTaker(Protocol):
    """The settlement, as whoever follows the chain sees it."""

    @property
    def cursor(self) -> BlockName | None:
        """The block up to which everything is settled and kept; `None` before the first slice."""

    @property
    def pace(self) -> Pace:
        """How fast operations are let in meanwhile."""

    def trail(self) -> tuple[BlockName, ...]:
        """Settled blocks known by hash, newest first, across restarts: where a common ancestor is looked for."""

    def senders(self) -> Set[Address]:
        """Whose operations are in flight or remembered as unmined: at least these must be looked for. A view of what
        is so at any time."""

    def is_read_at(self, number: int) -> bool:
        """Whether sessions were read at a block of this number: whether that is this chain's its hash tells."""

    async def settle(self, part: Slice) -> None:
        """Take in the stretch that follows the cursor, in chain order, and keep it with its cursor.

        What the store does not take now it takes later, and before anything that rests on it. Raises `ValueError` for
        a stretch that does not follow, `StateUnavailable` when it is to be offered again.
        """

    async def undo(self, ancestor: BlockName) -> None:
        """The chain has left the blocks after `ancestor`: undo what stood on them and move the cursor back."""

    async def start_at(self, block: BlockName, timestamp: int, told: AsyncIterable[SessionTold] | None = None) -> None:
        """Nothing before this block will be told: what was in flight is decided by the nonces at this block, and what
        was known of sessions is read again. Of declared modules `told` is what their logs say up to this block, since
        the last one that was settled; with `None` nothing that was known of their sessions counts. To be repeated when
        that fails."""
