"""Where records come in: numbered, bounded in number and in bytes, and never waited for.

Whoever records puts a note here and goes on; the writer's thread takes all that has gathered. A note that finds no
room is lost, its number is not: the next one that finds room is preceded by a note of the gap.

What happened is packed at once. Later, or together with others, it takes twice as much: a processor has by then let go
of all it refers to. And of what is packed the size is known, and nothing is left for the garbage collector to look at:
notes stand end to end in a buffer that goes to whoever writes as it is, and comes back.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from marshal import dumps
from typing import Final

from proxy.edge.audit.line import BATCH_HEAD, PLAINLY, NoteBatch, batch_of, pack
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
MOST_AT_ONCE: Final = 1_000
"""So many records at most are one batch."""
_BUFFER_BYTES: Final = 524_288
"""Of a batch, but for one that is a single larger note."""
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
        self._spare: bytearray | None = None
        self._buffer = bytearray(_BUFFER_BYTES)
        self._into = memoryview(self._buffer)  # a bytearray itself copies what it is given before it takes it
        self._end = BATCH_HEAD
        self._first = 1  # number of the first note in the buffer
        self._batches: list[NoteBatch] = []  # that are full
        self._elsewhere = self._elsewhere_bytes = 0  # of notes in those, and in what is taken and not done
        self._easy = self._easy_end = 0
        self._waiting = threading.Event()
        self._is_told = False  # that something waits
        self._wanted = 0
        self._enough = threading.Event()
        self._seq = 0
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
            return self._elsewhere + self._here()

    @property
    def queued_bytes(self) -> int:
        """What they weigh."""
        with self._lock:
            return self._weight()

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
        try:
            plain = plain_decision(decision, forwarding)
        except Exception:  # a promise of ours is broken, and must not stop the trail
            return self._lose()
        return self._put(plain)

    def answered(self, decision_id: str, answer: UpstreamAnswer) -> bool:
        """What a bundler said to the operation of a decision. False when it is lost."""
        return self._put(plain_answer(decision_id, answer, self._clock()))

    def ended(self, end: OperationEnd) -> bool:
        """What became of an operation. False when it is lost."""
        return self._put(plain_end(end, self._clock()))

    def noted(self, deed: Deed) -> bool:
        """What somebody did to the gate. False when it is lost."""
        try:
            plain = plain_deed(deed, self._clock())
        except Exception:  # likewise
            return self._lose()
        return self._put(plain)

    def tell_left_out(self) -> None:
        """Record how many refusals were counted and not kept."""
        with self._lock:
            self._told_at = self._monotonic()
            counts = self._sampler.take()
        for name, count in counts.items():
            self._put(_plain_sampled(name, count, self._clock()))

    def _put(self, plain: Plain) -> bool:
        # a few times for every operation: no more work than there must be
        try:
            note = dumps(plain, PLAINLY)
        except ValueError:  # not plain all through, or not to be handed over at all
            return self._put_with_care(_exactly(plain))
        with self._lock:
            begin = self._end
            end = begin + len(note)
            if self._seq < self._easy and end <= self._easy_end:
                self._into[begin:end] = note
                self._end = end
                self._seq += 1
                return True
        return self._put_with_care(note)

    def _lose(self) -> bool:
        """What cannot be told: the trail says that something is missing."""
        _LOG.exception("audit record lost")
        return self._put_with_care(None)

    def _put_with_care(self, note: bytes | None) -> bool:
        """Where there is more to do than to put it beside the others; `None` for what cannot be handed over. Whether it
        is taken in."""
        with self._lock:
            seq = self._seq + 1
            if is_broken := note is None:
                self._lost += 1
                note = self._gap(seq, seq, "not printable")
            assert note is not None  # noqa: S101 - as it says above
            queued = self._elsewhere + self._here()
            has_room = queued < self._most and self._weight() + len(note) <= self._most_bytes
            if has_room:
                self._tell_gap(before=seq)
                self._add(seq, note)
            else:
                self._lost += not is_broken
                if self._lost_since is None:
                    self._lost_since = seq
                    self._seal()  # numbers of one batch have no holes
                self._seq = seq
            self._ease()
            return has_room and not is_broken

    # with the lock held

    def _here(self) -> int:
        """Notes in the buffer."""
        return self._seq + 1 - self._first if self._end > BATCH_HEAD else 0

    def _weight(self) -> int:
        return self._elsewhere_bytes + self._end - BATCH_HEAD

    def _add(self, seq: int, note: bytes) -> None:
        if self._here() >= MOST_AT_ONCE or self._end + len(note) > len(self._buffer):
            self._seal()
        begin = self._end
        if begin == BATCH_HEAD:
            self._first = seq
            if begin + len(note) > len(self._buffer):
                self._fill(bytearray(begin + len(note)))
        self._end = begin + len(note)
        self._into[begin : self._end] = note
        self._seq = seq
        if self._has_enough():
            self._wanted = 0
            self._enough.set()
        self._tell()

    def _seal(self) -> None:
        """What is in the buffer, if anything, is a batch; there is room for another."""
        if not (count := self._here()):
            return
        buffer, size = self._buffer, self._end
        if 2 * size < len(buffer):
            buffer, self._spare = bytearray(memoryview(buffer)[:size]), buffer  # little waits in little memory
        self._batches.append(batch_of(self._first, count, buffer, size))
        self._elsewhere += count
        self._elsewhere_bytes += size - BATCH_HEAD
        spare, self._spare = self._spare, None
        self._fill(bytearray(_BUFFER_BYTES) if spare is None else spare)

    def _fill(self, buffer: bytearray) -> None:
        """From now on notes go there, to the end of them."""
        self._buffer, self._into, self._end = buffer, memoryview(buffer), BATCH_HEAD

    def _has_enough(self) -> bool:
        """Of what somebody waits for, if anybody does."""
        queued = self._elsewhere + self._here()
        return self._wanted > 0 and (queued >= self._wanted or 2 * self._weight() > self._most_bytes)

    def _ease(self) -> None:
        """Up to this number, and to this place in the buffer, the next note needs no care: it finds room, here and in
        all, comes behind no gap, is not the first since all was taken, and does not make as many as are waited for."""
        if not self._is_told or self._lost_since is not None:
            self._easy = 0
            return
        most = min(self._most, self._wanted - 1) if self._wanted else self._most
        here = self._here()
        self._easy = self._seq + min(MOST_AT_ONCE - here, most - self._elsewhere - here)
        most_bytes = self._most_bytes // 2 if self._wanted else self._most_bytes
        self._easy_end = min(len(self._buffer), BATCH_HEAD + most_bytes - self._elsewhere_bytes)

    def _tell(self) -> None:
        if not self._is_told:
            self._is_told = True
            self._waiting.set()

    def _gap(self, first: int, last: int, why: str) -> bytes:
        return pack(plain_gap(first, last, self._clock(), why))

    def _tell_gap(self, *, before: int) -> None:
        if (first := self._lost_since) is not None:
            self._lost_since = None
            self._add(before - 1, self._gap(first, before - 1, "no room in the queue"))

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

    def take(self) -> list[NoteBatch]:
        """All that has come in; it counts as queued until it is `done`."""
        with self._lock:
            self._waiting.clear()
            self._is_told = False
            self._wanted = 0
            self._seal()
            batches, self._batches = self._batches, []
            self._ease()
        return batches

    def done(self, batch: NoteBatch) -> None:
        """What was taken is on file, or lost for good. Nobody reads its buffer any more."""
        with self._lock:
            self._elsewhere -= batch.records
            self._elsewhere_bytes -= batch.size - BATCH_HEAD
            if len(batch.buffer) == _BUFFER_BYTES:
                self._spare = batch.buffer
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


def _exactly(plain: Plain) -> bytes | None:
    """`None` for what cannot be handed over, which must not stop the trail."""
    try:
        return pack(exactly(plain))
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
