"""What becomes known of operations, in pieces that are kept whole or not at all."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import field
from typing import NamedTuple, Protocol

from proxy.chain.settlement.slices import BlockName
from proxy.ledger.doubts import Doubt
from proxy.ledger.operations import AcceptedOperation, Ended, InFlight, Stage
from proxy.ledger.reservation import NO_ROWS, RuleRows
from proxy.record import record
from proxy.session.counters import Counter, HoldName, SessionKey
from proxy.session.known import KnownSession


class SettledUpTo(NamedTuple):
    """How far the blocks of a chain are settled. `known_seconds` is for how long, altogether, its blocks have told
    what became of operations: time in which nobody could tell is not in it. Of operations that were sent when so many
    seconds were known, or fewer, those in flight are still to be proven, as no block from this one on may show them:
    `None` where there is nothing to prove."""

    chain_id: int
    block: BlockName
    timestamp: int  # of the block, unix seconds
    known_seconds: float
    unproven_until: float | None = None


@record(kw_only=True)
class Outcome:
    """What became known at once, to be kept in one transaction.

    `begun` is to be held from now on, `stages` say how far operations have come, `silences` for how many seconds it
    was answered that they are not there, `moved` to the bundlers of which marks they went. `ended` hold nothing any
    more; `remembered` are those of them that the chain could bring back, and `revived` those it has brought back.
    `rules` are counts of rules that changed, as they stand.
    `cursor` is how far the chain is settled with this, `blocks` are settled ones known by hash, and those above `cut`
    are none any more. `doubts` are sessions that changed on chain, to be read; `read` are those that were read since.
    `again` says that it was handed over before and refused.
    """

    sessions: tuple[KnownSession, ...] = ()
    declared_uses: Mapping[Counter, int] = field(default_factory=dict)
    begun: AcceptedOperation | None = None
    stages: tuple[tuple[HoldName, Stage], ...] = ()
    silences: tuple[tuple[HoldName, float], ...] = ()
    moved: tuple[tuple[HoldName, str], ...] = ()
    ended: tuple[HoldName, ...] = ()
    remembered: tuple[Ended, ...] = ()
    revived: tuple[InFlight, ...] = ()
    rules: RuleRows = NO_ROWS
    cursor: SettledUpTo | None = None
    blocks: tuple[BlockName, ...] = ()
    cut: int | None = None
    doubts: tuple[Doubt, ...] = ()
    read: tuple[SessionKey, ...] = ()
    again: bool = False

    @property
    def ends(self) -> bool:
        """Whether operations have ended with it, or have not after all: then sums change with them; or it says what a
        later cursor rests on."""
        return bool(self.remembered or self.revived or self.cursor or self.doubts)

    def __bool__(self) -> bool:
        return bool(
            self.sessions
            or self.declared_uses
            or self.begun
            or self.stages
            or self.silences
            or self.moved
            or self.ended
            or self.revived
            or any(self.rules)
            or self.cursor
            or self.cut is not None
            or self.doubts
            or self.read
        )


class Keeper(Protocol):
    """Where outcomes outlive a restart."""

    async def keep(self, outcome: Outcome) -> None:
        """Returns when the outcome is on disk. Raises `StateUnavailable`.

        Of outcomes that end operations a later one is on disk only with all earlier ones: sums are kept as they
        stand, and one that has an operation's share must not outlive the process without that operation's end. What
        is `begun` waits for none of them.
        """

    def begin_now(self, operation: AcceptedOperation) -> bool:
        """Whether what is begun is on disk at once. Otherwise nothing of it is, and it is to be kept."""

    def advance(self, name: HoldName, stage: Stage) -> None:
        """An operation has come so far; the same as to `note` that alone."""

    def note(self, outcome: Outcome) -> None:
        """Hand over an outcome that may be lost: without it a restart would know less, and hold no less."""

    async def recall(self, names: Collection[HoldName]) -> tuple[Ended, ...]:
        """How these operations ended, as kept. Raises `StateUnavailable`."""
