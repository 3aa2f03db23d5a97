"""What a start finds on disk, and where what becomes known is kept."""

from __future__ import annotations

import asyncio
import logging
import tempfile
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from traceback import extract_tb
from typing import Final, Protocol

from proxy.chain.settlement.outcome import Outcome, SettledUpTo
from proxy.chain.settlement.slices import BlockName
from proxy.config import Config
from proxy.edge.audit.beyond import SentSince
from proxy.edge.storage.store import Store
from proxy.errors import StateUnavailable
from proxy.happening import Alerts, Happening, HappeningKind
from proxy.ledger.counting_time import CountingTime
from proxy.ledger.doubts import Doubt
from proxy.ledger.operations import AcceptedOperation, Ended, EndedName, InFlight, Stage
from proxy.ledger.rule_counts import RuleCounts
from proxy.session.counters import HoldName, SessionKey
from proxy.session.known import KnownSession
from proxy.session.lint.findings import Severity
from proxy.session.registry import Registry
from proxy.session.use import SessionRecord

_LOG: Final = logging.getLogger(__name__)
_BOOT: Final = Path("/proc/sys/kernel/random/boot_id")
"""Another one in each life of the machine, in which the monotonic clock goes on from process to process."""


class Memory(Protocol):
    """What becomes known while serving, as far as it outlives this process. See `Store`."""

    async def keep(self, outcome: Outcome) -> None: ...

    def begin_now(self, operation: AcceptedOperation) -> bool: ...

    def advance(self, name: HoldName, stage: Stage) -> None: ...

    def note(self, outcome: Outcome) -> None: ...

    async def recall(self, names: Collection[HoldName]) -> tuple[Ended, ...]: ...

    async def save_session(self, session: KnownSession) -> None: ...

    async def records_of(self, keys: Collection[SessionKey]) -> Mapping[SessionKey, SessionRecord]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Remains:
    """What a start finds of operations: what was in flight, what a reorganisation could bring back, and by chain id
    how far blocks were settled; which sessions had changed on chain."""

    flights: tuple[InFlight, ...] = ()
    ended: tuple[EndedName, ...] = ()
    settled: Mapping[int, SettledUpTo] = field(default_factory=dict)
    blocks: Mapping[int, tuple[BlockName, ...]] = field(default_factory=dict)
    doubts: tuple[Doubt, ...] = ()


def remains_in(store: Store) -> Remains:
    """All of it. Raises `StateUnavailable` at what cannot be read."""
    return Remains(
        flights=store.flights(),
        ended=store.ended_names(),
        settled=store.settled(),
        blocks=store.settled_blocks(),
        doubts=store.doubts(),
    )


class NoMemory:
    """For a look at things that leaves no trace: a running gate may be using the same file."""

    async def keep(self, outcome: Outcome) -> None:  # noqa: ARG002  # to forget is the point
        return None

    def begin_now(self, operation: AcceptedOperation) -> bool:  # noqa: ARG002  # to forget is the point
        return True

    def advance(self, name: HoldName, stage: Stage) -> None:  # noqa: ARG002  # to forget is the point
        return None

    def note(self, outcome: Outcome) -> None:  # noqa: ARG002  # to forget is the point
        return None

    async def recall(self, names: Collection[HoldName]) -> tuple[Ended, ...]:  # noqa: ARG002  # nothing ended here
        return ()

    async def save_session(self, session: KnownSession) -> None:  # noqa: ARG002  # to forget is the point
        return None

    async def records_of(self, keys: Collection[SessionKey]) -> Mapping[SessionKey, SessionRecord]:  # noqa: ARG002  # nobody asks it
        return {}


def restored_registry(config: Config, store: Store) -> Registry:
    """What was known before the restart, and what the configuration declares."""
    registry = Registry()
    for key, packed in store.packed_sessions():
        registry.restore(key, packed)
    for freeze in store.freezes():
        registry.freezes.put(freeze)
    registry.declarations.restore_uses(store.declared_uses())
    registry.declarations.take(config.declared_sessions())
    return registry


def counting_time_of(store: Store, *, follows: bool = False) -> CountingTime:
    """The time that rules count by, taken up where it was before the restart; `follows` where blocks are going to be
    heard of."""
    try:
        boot = _BOOT.read_text(encoding="ascii").strip()
    except OSError as error:
        boot = ""
        _LOG.warning(
            "%s cannot be read (%s): after a restart rules count by this machine's time of day, though it jumped",
            *(_BOOT, error.strerror),
        )
    return CountingTime(
        time.time,
        time.monotonic,
        boot=boot,
        kept=store.kept_time(),
        settled=max((settled.timestamp for settled in store.settled().values()), default=0),
        follows=follows,
        told=_tell_of_time,
        followed=store.note_time,
    )


def _tell_of_time(astray: float) -> None:
    if astray:
        what = "is astray by %+.1f s, as the monotonic clock or a chain has it: windows of rules go on by that"
        _LOG.warning("this machine's time of day " + what, astray)
    else:
        _LOG.warning("windows of rules follow this machine's time of day again")


def restored_counts(store: Store, counting: CountingTime) -> RuleCounts:
    """What rules had counted and learnt before the restart."""
    counts = RuleCounts(counting.of)
    counts.restore(store.rule_rows())
    counts.doubt_before(store.rewound_at())
    return counts


async def keep_counts_of(counts: RuleCounts, store: Store, identities: Collection[bytes]) -> None:
    """Forget what rules have counted that are gone, while others have their turn."""
    for _ in counts.keep_only(identities):
        await asyncio.sleep(0)
    await store.keep_only(identities)


def ledger_path(config: Config, stack: AsyncExitStack) -> Path:
    """Where the database is; a ledger in memory is a file that nobody finds again."""
    path = config.ledger.path
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists() or path.stat().st_size == 0:
            # a path that is mistyped is an empty ledger: nothing in flight, no freeze, no count
            _LOG.warning("there is no ledger at %s yet: this gate begins with a new one and remembers nothing", path)
        return path
    folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="sessiongate-"))
    return Path(folder) / "ledger.db"


async def own_up_to_missing(
    store: Store, counts: RuleCounts, path: Path, alerts: Alerts, since: SentSince | None
) -> None:
    """Say so when the ledger has lost what was once on disk. The gate goes on with what is left: what happened to
    sessions the chain tells, but windows of rules that reach back before now are not told until they have passed.
    `since` is what the audit trail tells of and this ledger cannot have held."""
    lost = _lost(store, path, since)
    if lost is None:
        return
    await store.save_rewound(now := time.time())
    counts.doubt_before(now)
    what = (
        f"{lost} Operations in flight may be held no more, and "
        "rules whose windows reach back before now fail as they say, until those have passed or an operator takes the "
        "counts as they are (sessiongate ledger accept)."
    )
    _LOG.error("%s: %s", path, what)
    alerts.raise_(
        Happening(kind=HappeningKind.LEDGER_REWOUND, severity=Severity.CRITICAL, unix_time=time.time(), what=what)
    )


def _lost(store: Store, path: Path, since: SentSince | None) -> str | None:
    """By what the ledger is known to lack something; `None` of one that is whole as far as can be told."""
    if store.missing:
        return (
            f"The ledger lacks the last {store.missing} of the writes that were committed to it: its write-ahead log "
            "was removed, cut short or damaged, or an older copy took its place."
        )
    if store.is_unmarked:
        return (
            f"The ledger is without {path.name}-mark, which counts what is committed to it: it is a copy, or was moved "
            "without that file, and nobody can tell what was written after it."
        )
    if since is not None:
        return (
            "The ledger is older than the audit trail, which tells of operations that were held after its last write, "
            f"the newest of them in decision {since.decision_id}: an older copy took its place, and its mark with it."
        )
    return None


@contextmanager
def reading() -> Iterator[None]:
    """What is on disk and cannot be read is told without a word of what stands there. Raises `StateUnavailable`."""
    try:
        yield
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        place = next(
            (frame.name for frame in reversed(extract_tb(error.__traceback__)) if "proxy" in frame.filename), ""
        )
        why = f"a stored row cannot be read ({type(error).__name__} in {place})"
        raise StateUnavailable(f"{why}; `sessiongate ledger verify` names it", fact="ledger") from None
