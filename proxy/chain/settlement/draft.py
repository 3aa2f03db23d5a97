"""What becomes known at once, gathered until it is handed to the store as one outcome."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from proxy.chain.settlement.outcome import Outcome, SettledUpTo
from proxy.chain.settlement.slices import BlockName
from proxy.ledger.doubts import Doubt
from proxy.ledger.operations import Ended, Evidence, InFlight, Stage
from proxy.ledger.reservation import NO_ROWS, RuleRows
from proxy.session.counters import Counter, HoldName, SessionKey
from proxy.session.known import KnownSession
from proxy.userop.primitives import Hash32


class End(NamedTuple):
    """An end to be told of. `late` says that something of it had been let go before."""

    ended: Ended
    late: bool = False


@dataclass(slots=True)
class OutcomeDraft:
    """What becomes known at once."""

    sessions: dict[SessionKey, KnownSession] = field(default_factory=dict)
    uses: dict[Counter, int] = field(default_factory=dict)
    stages: list[tuple[HoldName, Stage]] = field(default_factory=list)
    remembered: list[Ended] = field(default_factory=list)
    revived: list[InFlight] = field(default_factory=list)
    rules: list[RuleRows] = field(default_factory=list)
    told: list[End] = field(default_factory=list)
    to_read: dict[SessionKey, int] = field(default_factory=dict)  # with the block that changed them, 0 if not known
    unseconded: dict[Hash32, Evidence] = field(default_factory=dict)  # holds that end by this once it is proven
    moments: dict[int | None, float] = field(default_factory=dict)  # of blocks, by the time that rules count by
    weight: int = 0  # of what has ended, in ends of operations that few rules count

    def outcome(
        self, *, cursor: SettledUpTo | None = None, blocks: tuple[BlockName, ...] = (), cut: int | None = None
    ) -> Outcome:
        """For the store."""
        return Outcome(
            sessions=tuple(self.sessions.values()),
            declared_uses=self.uses,
            stages=tuple(self.stages),
            ended=tuple([each.operation.reservation.name for each in self.remembered]),
            remembered=tuple(self.remembered),
            revived=tuple(self.revived),
            rules=RuleRows.joined(self.rules) if self.rules else NO_ROWS,
            cursor=cursor,
            blocks=blocks,
            cut=cut,
            doubts=tuple(Doubt(key, block) for key, block in self.to_read.items()),
        )
