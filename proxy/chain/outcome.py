"""What becomes known of operations, in pieces that are kept whole or not at all."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from proxy.ledger.operations import AcceptedOperation, Ended, Stage
from proxy.ledger.reservation import NO_ROWS, RuleRows
from proxy.session.counters import Counter
from proxy.session.known import KnownSession
from proxy.userop.primitives import Hash32


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became known at once, to be kept in one transaction.

    `begun` is to be held from now on, `answered` says how far it has come. `ended` hold nothing any more;
    `remembered` are those of them that the chain could bring back, and `revived` those it has brought back. `rules`
    are counts of rules that changed, as they stand. `again` says that it was handed over before and refused.
    """

    sessions: tuple[KnownSession, ...] = ()
    declared_uses: Mapping[Counter, int] = field(default_factory=dict)
    begun: AcceptedOperation | None = None
    answered: tuple[Hash32, Stage] | None = None
    ended: tuple[Hash32, ...] = ()
    remembered: tuple[Ended, ...] = ()
    revived: tuple[AcceptedOperation, ...] = ()
    rules: RuleRows = NO_ROWS
    again: bool = False

    @property
    def ends(self) -> bool:
        """Whether operations have ended with it, or have not after all: then sums change with them."""
        return bool(self.ended or self.revived)


class Keeper(Protocol):
    """Where outcomes outlive a restart."""

    async def keep(self, outcome: Outcome) -> None:
        """Returns when the outcome is on disk. Raises `StateUnavailable`.

        Of outcomes that end operations a later one is on disk only with all earlier ones: sums are kept as they
        stand, and one that has an operation's share must not outlive the process without that operation's end.
        """

    def note(self, outcome: Outcome) -> None:
        """Hand over an outcome that may be lost: without it a restart would know less, and hold no less."""
