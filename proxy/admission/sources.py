"""What a verdict draws on: the terms of the configuration, what is known here, and whoever can be asked for more."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Final, Literal, Protocol

from proxy.ledger.reservation import Ledger
from proxy.session.counters import SessionKey
from proxy.session.enforce import Doubt
from proxy.session.facts import Answer, AskedFact, MissingFact
from proxy.session.registry import Registry
from proxy.session.state import SessionState
from proxy.userop.decode import DecodedOperation
from proxy.userop.primitives import Address, Hash32

UnknownSession = Literal["reject", "alert", "allow"]

_MOST_REMEMBERED_READS: Final = 10_000


class Purpose(Enum):
    """Why a verdict is wanted."""

    SUBMIT = auto()  # the operation goes out: what it uses is held
    PREVIEW = auto()  # an estimate: nothing is held, and a stub signature is not held against it
    EXPLAIN = auto()  # as a submission would be judged, and nothing is held


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What the configuration says about judging on one chain. `fresh_seconds`: how long a reading counts as new."""

    chain_id: int
    session_modules: frozenset[Address]
    unknown_session: UnknownSession = "reject"
    unknown_policy: Doubt = "ask"
    unknown_validator: Doubt = "ask"
    strict_accounts: frozenset[Address] = frozenset()
    fresh_seconds: float = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What the node answered: the state with more in it, and what is good for this operation only."""

    state: SessionState
    answers: Mapping[AskedFact, Answer] = field(default_factory=dict)
    base_fee: int | None = None


class ChainReader(Protocol):
    """The node of one chain. Every method raises `StateUnavailable` when it cannot answer."""

    async def session(self, key: SessionKey) -> SessionState | None:
        """The session as the chain has it, the registry told of it; `None` when it is not enabled there."""

    async def find(self, operation: DecodedOperation, state: SessionState, facts: Sequence[MissingFact]) -> Found:
        """The facts a verdict misses; what outlives the operation goes into the registry too."""

    async def delegate(self, account: Address) -> Address | None:
        """The EIP-7702 delegate of an account, `None` when it has none."""


Settlement = Callable[[Sequence[Hash32]], Awaitable[bool]]
"""Asks what became of accepted operations, once; whether any of them ended."""


class RecentReads:
    """When each session was last read, so that refusals cannot be used to flood the node. Bounded."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._at: OrderedDict[SessionKey, float] = OrderedDict()

    def is_recent(self, key: SessionKey, now: float) -> bool:
        """Whether this session was read so short a time ago that another reading would tell nothing."""
        at = self._at.get(key)
        return at is not None and now - at < self._seconds

    def note(self, key: SessionKey, now: float) -> None:
        """It is being read now (unix seconds)."""
        self._at[key] = now
        self._at.move_to_end(key)
        if len(self._at) > _MOST_REMEMBERED_READS:
            self._at.popitem(last=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """Everything a verdict of one chain draws on. `reader` is `None` without a node; `clock` gives unix seconds."""

    terms: Terms
    registry: Registry
    ledger: Ledger
    settlement: Settlement
    reader: ChainReader | None
    clock: Callable[[], float]
    reads: RecentReads
