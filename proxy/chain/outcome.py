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
    are counts of rules that changed, as they stand.
    """

    sessions: tuple[KnownSession, ...] = ()
    declared_uses: Mapping[Counter, int] = field(default_factory=dict)
    begun: AcceptedOperation | None = None
    answered: tuple[Hash32, Stage] | None = None
    ended: tuple[Hash32, ...] = ()
    remembered: tuple[Ended, ...] = ()
    revived: tuple[AcceptedOperation, ...] = ()
    rules: RuleRows = NO_ROWS


class Keeper(Protocol):
    """Where outcomes outlive a restart."""

    async def keep(self, outcome: Outcome) -> None:
        """Returns when the outcome is on disk. Raises `StateUnavailable`."""

    def note(self, outcome: Outcome) -> None:
        """Hand over an outcome that may be lost: without it a restart would know less, and hold no less."""
