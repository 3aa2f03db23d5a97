"""Where records come in: numbered, bounded in number and in bytes, and never waited for.

Whoever records puts a note here and goes on; the writer's thread takes all that has gathered. A note that finds no
room is lost, its number is not: the next one that finds room is preceded by a note of the gap.

What happened is packed at once: that takes less than to keep it, and all it refers to, until the thread comes round to
it, and of what is packed the size is known.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from proxy.edge.audit.line import FORMAT, Note, dumps, pack
from proxy.edge.audit.plain import exactly, plain_answer, plain_decision, plain_deed, plain_end, plain_gap, plain_own
from proxy.edge.audit.printing import Plain
from proxy.edge.audit.sampling import RefusalRate, Sampler, Uncounted
from proxy.edge.audit.schema import RecordKind
from proxy.judge.decision import Decision, UpstreamAnswer
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
        self._waiting = threading.Event()
        self._seq = 0
        self._bytes = 0
        self._count = 0
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
        return self._count

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
        return self._put(plain_decision, decision, forwarding)

    def answered(self, decision_id: str, answer: UpstreamAnswer) -> bool:
        """What a bundler said to the operation of a decision. False when it is lost."""
        return self._put(plain_answer, decision_id, answer, self._clock())

    def ended(self, end: OperationEnd) -> bool:
        """What became of an operation. False when it is lost."""
        return self._put(plain_end, end, self._clock())

    def noted(self, deed: Deed) -> bool:
        """What somebody did to the gate. False when it is lost."""
        return self._put(plain_deed, deed, self._clock())

    def tell_left_out(self) -> None:
        """Record how many refusals were counted and not kept."""
        with self._lock:
            self._told_at = self._monotonic()
            counts = self._sampler.take()
        for name, count in counts.items():
            self._put(_plain_sampled, name, count, self._clock())

    def _put(self, make: Callable[..., Plain], *happened: object) -> bool:
        # a few times for every operation: no more calls than there must be
        told: bytes | None
        try:
            told = dumps(make(*happened), FORMAT)
        except Exception:  # not plain all through, or not to be handed over at all, which is told below
            told = self._exactly_packed(make, happened)
        with self._lock:
            seq = self._seq = self._seq + 1
            if told is None or self._lost_since is not None:
                has_room = self._put_with_gap(seq, told)
                return has_room and told is not None
            size = self._bytes + len(told) + _NOTE_BYTES
            if self._count >= self._most or size > self._most_bytes:
                self._lost += 1
                self._lost_since = seq
                return False
            first = not self._notes  # who takes takes all there are
            self._notes.append((seq, told))
            self._count += 1
            self._bytes = size
        if first:
            self._waiting.set()
        return True

    def _exactly_packed(self, make: Callable[..., Plain], happened: tuple[object, ...]) -> bytes | None:
        """`None` for what cannot be handed over, which must not stop the trail."""
        try:
            return pack(exactly(make(*happened)))
        except Exception:  # a promise of ours is broken: the trail says that something is missing
            _LOG.exception("audit record lost")
            return None

    def _put_with_gap(self, seq: int, told: bytes | None) -> bool:
        """A note that takes the place of what cannot be handed over, or that comes after others that found no room.
        Whether there is room now. The lock is held."""
        if told is None:
            self._lost += 1
        note = pack(plain_gap(seq, seq, self._clock(), "not printable")) if told is None else told
        size = len(note) + _NOTE_BYTES
        if self._count >= self._most or self._bytes + size > self._most_bytes:
            self._lost += told is not None
            if self._lost_since is None:
                self._lost_since = seq
            return False
        self._tell_gap(before=seq)
        self._notes.append((seq, note))
        self._count += 1
        self._bytes += size
        self._waiting.set()
        return True

    def _tell_gap(self, *, before: int) -> None:
        if (first := self._lost_since) is not None:
            self._lost_since = None
            told = pack(plain_gap(first, before - 1, self._clock(), "no room in the queue"))
            self._notes.append((before - 1, told))
            self._count += 1
            self._bytes += len(told) + _NOTE_BYTES

    # out: the writer's thread

    def wait(self, seconds: float) -> bool:
        """Until something has come in, or so long."""
        return self._waiting.wait(seconds)

    def take(self) -> list[Note]:
        """All that has come in; it counts as queued until it is `done`."""
        with self._lock:
            self._waiting.clear()
            notes, self._notes = self._notes, []
        return notes

    def done(self, notes: Sequence[Note]) -> None:
        """These of what was taken are on file, or lost for good."""
        size = sum([len(told) for _, told in notes]) + len(notes) * _NOTE_BYTES
        with self._lock:
            self._count -= len(notes)
            self._bytes -= size

    def close(self) -> None:
        """Take nothing more; what was lost at the last is told."""
        self.tell_left_out()
        with self._lock:
            self._most = 0  # nothing has room any more
            self._tell_gap(before=self._seq + 1)
        self._waiting.set()


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
