"""What a verdict draws on: the terms of the configuration, what is known here, and whoever can be asked for more."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Final, Literal, NamedTuple, Protocol

from proxy.admission.in_time import seconds_in_all
from proxy.admission.nonce_order import NonceOrder
from proxy.admission.turns import FirstReadings
from proxy.errors import StateUnavailable
from proxy.judge.evaluate import RuleJudge
from proxy.ledger.reservation import Ledger
from proxy.record import record
from proxy.session.counters import SessionKey
from proxy.session.enforce import Doubt
from proxy.session.facts import Answer, AskedFact, MissingFact
from proxy.session.registry import Registry
from proxy.session.state import SessionState
from proxy.userop.decode import DecodedOperation
from proxy.userop.primitives import Address, Hash32

UnknownSession = Literal["reject", "alert", "allow"]

_MOST_REMEMBERED_READS: Final = 10_000
_LONGEST_ABSENCE: Final = 8
"""So many times longer at most an absent session is not read again, where newer blocks are heard of late."""


class Purpose(Enum):
    """Why a verdict is wanted."""

    SUBMIT = "submit", False  # the operation goes out: what it uses is held
    PREVIEW = "preview", True  # an estimate: nothing is held, and a stub signature is not held against it
    SPONSOR = "sponsor", True  # likewise, of one that will name a paymaster and may not be signed at all yet
    EXPLAIN = "explain", False  # as a submission would be judged, and nothing is held

    def __init__(self, _name: str, is_preview: bool) -> None:
        self.is_preview = is_preview
        """Whether only what could become of the operation is asked, before it is whole."""


@record(kw_only=True)
class Terms:
    """What the configuration says about judging on one chain. `fresh_seconds`: how long a reading counts as new."""

    chain_id: int
    session_modules: frozenset[Address]
    unknown_session: UnknownSession = "reject"
    unknown_policy: Doubt = "ask"
    unknown_validator: Doubt = "ask"
    strict_accounts: frozenset[Address] = frozenset()
    stale_state: Literal["closed", "open"] = "closed"
    nonce_gap: Literal["alert", "reject"] = "alert"  # what becomes of an operation behind a gap in its key's nonces
    fresh_seconds: float = 2.0
    keep_grounds: bool = False  # what a session's verdict rested on is handed on with it


@record(kw_only=True)
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


class Staleness(NamedTuple):
    """Why what is known of the chain is too old to count. `readable`: whether its node, asked now, tells what is."""

    what: str
    readable: bool


Settlement = Callable[[Sequence[Hash32]], Awaitable[bool]]
"""Asks what became of accepted operations, once; whether any of them ended."""


@dataclass(slots=True)
class _Reading:
    at: float
    task: asyncio.Task[SessionState | None] | None = None  # `None` when it has ended
    is_waited_for: bool = True  # by somebody whose time it is begun in; otherwise it may take any
    failure: str | None = None
    absent_at: int | None = None  # the newest block when the chain had no such session


class RecentReads:
    """At most one reading of each session per `seconds`, so that refusals cannot be used to flood the node. Bounded.

    A session that the chain has not got is not read again before there is a newer block: `newest` gives the number of
    the newest one, `None` where that is not known. `clock` gives seconds; one that is set is no good.
    """

    def __init__(
        self, seconds: float, clock: Callable[[], float], newest: Callable[[], int | None] = lambda: None
    ) -> None:
        self._seconds = seconds
        self._clock = clock
        self._newest = newest
        self._readings: OrderedDict[SessionKey, _Reading] = OrderedDict()

    @property
    def newest(self) -> int | None:
        """The number of the newest block that was processed; `None` where that is not known."""
        return self._newest()

    async def once(
        self, key: SessionKey, read: Callable[[], Awaitable[SessionState | None]], *, waits: bool = True
    ) -> SessionState | None:
        """What `read` says; whoever comes while it is under way waits for the same reading, but nobody who `waits` for
        one that was begun for nobody who does.

        So soon after one that another would tell nothing new, the answer is `None`. Raises `StateUnavailable` when the
        reading fails, or has just failed.
        """
        last = self._readings.get(key)
        is_due = last is None or (last.task is None and self._is_due(last))
        if last is None or is_due or (last.task is not None and waits and not last.is_waited_for):
            return await asyncio.shield(self._begin(key, read, waits=waits))
        if last.task is not None:
            return await asyncio.shield(last.task)
        if last.failure is not None:
            raise StateUnavailable(last.failure)
        return None

    def _is_due(self, last: _Reading) -> bool:
        passed = self._clock() - last.at
        if last.absent_at is not None and last.absent_at == self._newest():
            return passed >= _LONGEST_ABSENCE * self._seconds
        return passed >= self._seconds

    def _begin(
        self, key: SessionKey, read: Callable[[], Awaitable[SessionState | None]], *, waits: bool
    ) -> asyncio.Task[SessionState | None]:
        reading, newest = _Reading(self._clock(), is_waited_for=waits), self._newest()

        async def run() -> SessionState | None:
            reading.failure = "the session could not be read a moment ago"
            try:
                state = await read()
            except StateUnavailable as error:
                reading.failure = error.what
                raise
            finally:
                reading.task = None
            reading.failure = None
            reading.absent_at = newest if state is None else None
            return state

        task = reading.task = asyncio.create_task(run())
        task.add_done_callback(_take_note)
        self._readings[key] = reading
        self._readings.move_to_end(key)
        if len(self._readings) > _MOST_REMEMBERED_READS:
            self._readings.popitem(last=False)
        return task


def _take_note(ended: asyncio.Task[SessionState | None]) -> None:
    """A failure that nobody waits for any more is in the books all the same."""
    if not ended.cancelled():
        ended.exception()


def _no_rules() -> RuleJudge | None:
    return None


def _never_stale() -> Staleness | None:
    return None


async def _nothing_to_reconcile(_key: SessionKey) -> None:
    return None


def _is_reconciled(_key: SessionKey) -> bool:
    return True


def _nobody_to_tell(_key: SessionKey, _user_op_hash: Hash32, _missing: int) -> None:
    return None


@record(kw_only=True)
class Sources:
    """Everything a verdict of one chain draws on. `reader` is `None` without a node; `clock` gives unix seconds.

    `reconciled` returns when it was asked what became of a session's operations that a restart found in flight;
    `is_reconciled` whether that takes no waiting.
    `stale` tells whether what is known of the chain is too old. `first` bounds what strangers may have looked for.
    `order` knows of gaps in nonces, `None` without a node; `behind_gap` hears of operations that wait, and for what.
    `seconds` are given to all that is asked for one operation, or for one description.
    `rules` gives the rules of this moment, `None` where ops wrote none; they are asked for once for each judgement.
    """

    terms: Terms
    registry: Registry
    ledger: Ledger
    settlement: Settlement
    reader: ChainReader | None
    clock: Callable[[], float]
    reads: RecentReads
    reconciled: Callable[[SessionKey], Awaitable[None]] = _nothing_to_reconcile
    is_reconciled: Callable[[SessionKey], bool] = _is_reconciled
    rules: Callable[[], RuleJudge | None] = _no_rules
    stale: Callable[[], Staleness | None] = _never_stale
    first: FirstReadings | None = None
    order: NonceOrder | None = None
    seconds: float = seconds_in_all(5.0)
    behind_gap: Callable[[SessionKey, Hash32, int], None] = _nobody_to_tell
