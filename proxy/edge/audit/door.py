"""Where records come in: numbered, bounded in number and in bytes, and never waited for.

Whoever records puts a note here and goes on; the writer's thread takes all that has gathered. A note that finds no
room is lost, its number is not: the next one that finds room is preceded by a note of the gap.

What happened is packed at once. Later, or together with others, it takes twice as much: a processor has by then let go
of all it refers to. And of what is packed the size is known, and nothing is left for the garbage collector to look at.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from proxy.edge.audit.line import Note, pack
from proxy.edge.audit.plain import (
    exactly,
    plain_answer,
    plain_decision,
    plain_deed,
    plain_end,
    plain_gap,
    plain_own,
)
from proxy.edge.audit.printing import Plain
from proxy.edge.audit.sampling import RefusalRate, Sampler, Uncounted
from proxy.edge.audit.schema import RecordKind
from proxy.judge.decision import Decision
from proxy.judge.upstream_answer import UpstreamAnswer
from proxy.methods import is_preview
from proxy.ports import Deed, OperationEnd

_LOG: Final = logging.getLogger(__name__)
_NOTE_BYTES: Final = 256
"""What a note takes beside what is packed in it, at most."""
_SAMPLED_SECONDS: Final = 10.0


@dataclass(frozen=True, slots=True)
class Bounds:
    """How much may wait to be written."""

    notes: int = 20_000
    bytes: int = 33_554_432


class Door:
    """The way in for one run of a gate. `clock` gives unix seconds, `monotonic` those that only grow."""

    def __init__(
        self,
        bounds: Bounds,
        rate: RefusalRate,
        *,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._most, self._most_bytes = bounds.notes, bounds.bytes
        self._sampler = Sampler(rate)
        self._clock = clock
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._notes: list[Note] = []
        self._taken = 0  # notes that are not done
        self._easy = self._easy_bytes = 0
        self._waiting = threading.Event()
        self._is_told = False  # that something waits
        self._wanted = 0
        self._enough = threading.Event()
        self._seq = 0
        self._bytes = 0
        self._lost = 0
        self._lost_since: int | None = None
        self._told_at = monotonic()

    @property
    def lost(self) -> int:
        """Records that found no room, since the start."""
        return self._lost

    @property
    def queued(self) -> int:
        """Records taken in that are not on file yet."""
        with self._lock:
            return self._taken + len(self._notes)

    @property
    def queued_bytes(self) -> int:
        """What they weigh."""
        return self._bytes

    @property
    def left_out(self) -> int:
        """Refusals counted and not kept, since the start."""
        return self._sampler.left_out

    # in: from any thread, never waits for the disk

    def decided(self, decision: Decision, *, forwarding: bool) -> bool:
        """A verdict. False when it is lost."""
        if not forwarding:
            now = self._monotonic()
            estimate = is_preview(decision.method)
            with self._lock:
                keeps = self._sampler.keeps(decision, now, estimate=estimate)
            if not keeps:
                if now - self._told_at >= _SAMPLED_SECONDS:
                    self.tell_left_out()
                return True
        return self._put(_made(plain_decision, decision, forwarding))

    def answered(self, decision_id: str, answer: UpstreamAnswer) -> bool:
        """What a bundler said to the operation of a decision. False when it is lost."""
        return self._put(plain_answer(decision_id, answer, self._clock()))

    def ended(self, end: OperationEnd) -> bool:
        """What became of an operation. False when it is lost."""
        return self._put(plain_end(end, self._clock()))

    def noted(self, deed: Deed) -> bool:
        """What somebody did to the gate. False when it is lost."""
        return self._put(_made(plain_deed, deed, self._clock()))

    def tell_left_out(self) -> None:
        """Record how many refusals were counted and not kept."""
        with self._lock:
            self._told_at = self._monotonic()
            counts = self._sampler.take()
        for name, count in counts.items():
            self._put(_plain_sampled(name, count, self._clock()))

    def _put(self, plain: Plain | None) -> bool:
        # a few times for every operation: no more work than there must be
        with self._lock:
            seq = self._seq = self._seq + 1
            try:
                note = pack((seq, plain))
            except ValueError:  # not plain all through, or not to be handed over at all
                return self._put_with_care(seq, _exactly(seq, plain))
            notes, size = self._notes, self._bytes + len(note) + _NOTE_BYTES
            if len(notes) < self._easy and size <= self._easy_bytes and plain is not None:
                notes.append(note)
                self._bytes = size
                return True
            return self._put_with_care(seq, None if plain is None else note)

    # with the lock held

    def _put_with_care(self, seq: int, note: Note | None) -> bool:
        """Where there is more to do than to put it beside the others; `None` for what cannot be handed over. Whether it
        is taken in."""
        if is_broken := note is None:
            self._lost += 1
            note = self._gap(seq, seq, "not printable")
        assert note is not None  # noqa: S101 - as it says above
        has_room = self._taken + len(self._notes) < self._most and self._bytes + _weight(note) <= self._most_bytes
        if has_room:
            self._tell_gap(before=seq)
            self._add(note)
        else:
            self._lost += not is_broken
            if self._lost_since is None:
                self._lost_since = seq
        self._ease()
        return has_room and not is_broken

    def _add(self, note: Note) -> None:
        self._notes.append(note)
        self._bytes += _weight(note)
        if self._has_enough():
            self._wanted = 0
            self._enough.set()
        self._tell()

    def _has_enough(self) -> bool:
        """Of what somebody waits for, if anybody does."""
        queued = self._taken + len(self._notes)
        return self._wanted > 0 and (queued >= self._wanted or 2 * self._bytes > self._most_bytes)

    def _ease(self) -> None:
        """So many notes, of so many bytes, may be here until the next one needs care: it finds no room, comes behind a
        gap, is the first since all was taken, or makes as many as are waited for."""
        is_easy = self._is_told and self._lost_since is None
        self._easy = (min(self._most, self._wanted - 1) if self._wanted else self._most) - self._taken if is_easy else 0
        self._easy_bytes = self._most_bytes // 2 if self._wanted else self._most_bytes

    def _tell(self) -> None:
        if not self._is_told:
            self._is_told = True
            self._waiting.set()

    def _gap(self, first: int, last: int, why: str) -> Note:
        return pack((last, plain_gap(first, last, self._clock(), why)))

    def _tell_gap(self, *, before: int) -> None:
        if (first := self._lost_since) is not None:
            self._lost_since = None
            self._add(self._gap(first, before - 1, "no room in the queue"))

    # out: the writer's thread

    def wait(self, seconds: float) -> bool:
        """Until something has come in, or so long."""
        return self._waiting.wait(seconds)

    def wait_for(self, count: int, seconds: float) -> None:
        """Until about so many are queued, or so much that little room is left, or the door is closed, or so long."""
        with self._lock:
            self._enough.clear()
            self._wanted = min(count, self._most // 2)
            if not self._wanted or self._has_enough():
                self._wanted = 0
                self._enough.set()
            self._ease()
        self._enough.wait(seconds)

    def take(self) -> list[Note]:
        """All that has come in; it counts as queued until it is `done`."""
        with self._lock:
            self._waiting.clear()
            self._is_told = False
            self._wanted = 0
            notes, self._notes = self._notes, []
            self._taken += len(notes)
            self._ease()
        return notes

    def done(self, notes: Sequence[Note]) -> None:
        """These of what was taken are on file, or lost for good."""
        size = sum(map(len, notes)) + len(notes) * _NOTE_BYTES
        with self._lock:
            self._taken -= len(notes)
            self._bytes -= size
            self._ease()

    def close(self) -> None:
        """Take nothing more; what was lost at the last is told."""
        self.tell_left_out()
        with self._lock:
            self._most = 0  # nothing has room any more
            self._tell_gap(before=self._seq + 1)
            self._ease()
        self._waiting.set()
        self._enough.set()


def _weight(note: Note) -> int:
    return len(note) + _NOTE_BYTES


def _made(make: Callable[..., Plain], *happened: object) -> Plain | None:
    """`None` for what cannot be told, which must not stop the trail."""
    try:
        return make(*happened)
    except Exception:  # a promise of ours is broken: the trail says that something is missing
        _LOG.exception("audit record lost")
        return None


def _exactly(seq: int, plain: Plain | None) -> Note | None:
    """`None` for what cannot be handed over, which must not stop the trail."""
    try:
        return pack((seq, exactly(plain)))
    except Exception:  # a promise of ours is broken: the trail says that something is missing
        _LOG.exception("audit record lost")
        return None


def _plain_sampled(name: Uncounted, count: int, unix_time: float) -> Plain:
    return plain_own(
        RecordKind.SAMPLED,
        unix_time,
        chain=name.chain,
        client=name.client,
        code=name.code,
        estimate=name.estimate,
        refusals=count,
    )
