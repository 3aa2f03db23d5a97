"""Where records come in: numbered, bounded in number and in bytes, and never waited for.

Whoever records puts a note here and goes on; the writer's thread takes all that has gathered. A note that finds no
room is lost, its number is not: the next one that finds room is preceded by a note of the gap.

What happened is kept as plain values at once, which takes less than to keep it and all it refers to; `PACKED_AT` of
them are packed together, which takes half of what it takes one by one, and of what is packed the size is known. What
may be large is packed, and weighed, before it is taken in.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from proxy.edge.audit.line import Pack, Told, pack
from proxy.edge.audit.plain import (
    exactly,
    is_brief,
    is_brief_answer,
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
PACKED_AT: Final = 32
"""So many notes at most wait to be packed."""
_SAMPLED_SECONDS: Final = 10.0


@dataclass(frozen=True, slots=True)
class Bounds:
    """How much may wait to be written. In `bytes` those few notes are not that are not packed yet: none of them is
    large (`proxy.edge.audit.plain.is_brief`)."""

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
        self._loose: list[Told] = []
        self._easy = 0
        self._packs: list[Pack] = []
        self._waiting = threading.Event()
        self._is_told = False  # that something waits
        self._wanted = 0
        self._enough = threading.Event()
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
        with self._lock:
            return self._count + len(self._loose)

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
        plain = _made(plain_decision, decision, forwarding)
        return self._put(plain, brief=plain is not None and is_brief(plain))

    def answered(self, decision_id: str, answer: UpstreamAnswer) -> bool:
        """What a bundler said to the operation of a decision. False when it is lost."""
        return self._put(plain_answer(decision_id, answer, self._clock()), brief=is_brief_answer(answer))

    def ended(self, end: OperationEnd) -> bool:
        """What became of an operation. False when it is lost."""
        return self._put(plain_end(end, self._clock()), brief=end.revert_reason is None)

    def noted(self, deed: Deed) -> bool:
        """What somebody did to the gate. False when it is lost."""
        return self._put(_made(plain_deed, deed, self._clock()), brief=False)

    def tell_left_out(self) -> None:
        """Record how many refusals were counted and not kept."""
        with self._lock:
            self._told_at = self._monotonic()
            counts = self._sampler.take()
        for name, count in counts.items():
            self._put(_plain_sampled(name, count, self._clock()), brief=False)

    def _put(self, plain: Plain | None, *, brief: bool) -> bool:
        # a few times for every operation: no more work than there must be
        with self._lock:
            seq = self._seq = self._seq + 1
            loose = self._loose
            if brief and len(loose) < self._easy:
                loose.append((seq, plain))  # type: ignore[arg-type]  # what is brief is there
                return True
            return self._put_with_care(seq, plain, brief)

    # with the lock held

    def _put_with_care(self, seq: int, plain: Plain | None, brief: bool) -> bool:
        """Where there is more to do than to put it beside the others. Whether it is taken in."""
        if not brief or plain is None or self._lost_since is not None:
            taken = self._weigh(seq, plain)
        elif taken := self._count + len(self._loose) < self._most and self._bytes < self._most_bytes:
            self._loose.append((seq, plain))
            if len(self._loose) >= PACKED_AT:
                self._pack_loose()
            self._tell()
        else:
            self._lost += 1
            self._lost_since = seq
        self._ease()
        return taken

    def _ease(self) -> None:
        """So many notes may wait to be packed until the next one needs care: it makes them `PACKED_AT`, finds no room,
        comes behind a gap, or is the first since all was taken."""
        is_easy = self._is_told and self._lost_since is None and self._bytes < self._most_bytes
        self._easy = min(PACKED_AT - 1, self._most - self._count) if is_easy else 0

    def _tell(self) -> None:
        if not self._is_told:
            self._is_told = True
            self._waiting.set()

    def _weigh(self, seq: int, plain: Plain | None) -> bool:
        """A note that may be large, that cannot be handed over (`None`), or that comes after others that found no
        room. Whether it is taken in."""
        self._pack_loose()
        told = None if plain is None else _packed(seq, plain)
        if broken := told is None:
            self._lost += 1
            told = self._gap(seq, seq, "not printable")
        assert told is not None  # noqa: S101 - as it says above
        size = self._bytes + len(told) + _NOTE_BYTES
        if self._count >= self._most or size > self._most_bytes:
            self._lost += not broken
            if self._lost_since is None:
                self._lost_since = seq
            return False
        self._tell_gap(before=seq)
        self._add(1, told)
        return not broken

    def _pack_loose(self) -> None:
        """What waits for it is packed, together where that can be."""
        notes = self._loose
        if not notes:
            return
        self._loose = []
        try:
            self._add(len(notes), pack(notes))
        except ValueError:  # not plain all through, or one of them not to be handed over at all
            for seq, plain in notes:
                if (told := _packed(seq, plain)) is None:
                    self._lost += 1
                    told = self._gap(seq, seq, "not printable")
                self._add(1, told)

    def _add(self, count: int, told: bytes) -> None:
        self._packs.append((count, told))
        self._count += count
        self._bytes += len(told) + count * _NOTE_BYTES
        if self._wanted and (self._count >= self._wanted or 2 * self._bytes > self._most_bytes):
            self._enough.set()
        self._tell()

    def _gap(self, first: int, last: int, why: str) -> bytes:
        return pack([(last, plain_gap(first, last, self._clock(), why))])

    def _tell_gap(self, *, before: int) -> None:
        if (first := self._lost_since) is not None:
            self._lost_since = None
            self._add(1, self._gap(first, before - 1, "no room in the queue"))

    # out: the writer's thread

    def wait(self, seconds: float) -> bool:
        """Until something has come in, or so long."""
        return self._waiting.wait(seconds)

    def wait_for(self, count: int, seconds: float) -> None:
        """Until about so many are queued, or so much that little room is left, or the door is closed, or so long."""
        with self._lock:
            self._enough.clear()
            self._wanted = wanted = min(count, self._most // 2)
            if self._count + len(self._loose) >= wanted or 2 * self._bytes > self._most_bytes:
                self._enough.set()
        self._enough.wait(seconds)
        self._wanted = 0

    def take(self) -> list[Pack]:
        """All that has come in; it counts as queued until it is `done`."""
        with self._lock:
            self._pack_loose()
            self._waiting.clear()
            self._is_told = False
            self._ease()
            packs, self._packs = self._packs, []
        return packs

    def done(self, packs: Sequence[Pack]) -> None:
        """These of what was taken are on file, or lost for good."""
        count = sum([count for count, _ in packs])
        size = sum([len(told) for _, told in packs]) + count * _NOTE_BYTES
        with self._lock:
            self._count -= count
            self._bytes -= size
            self._ease()

    def close(self) -> None:
        """Take nothing more; what was lost at the last is told."""
        self.tell_left_out()
        with self._lock:
            self._pack_loose()
            self._most = 0  # nothing has room any more
            self._tell_gap(before=self._seq + 1)
            self._ease()
        self._waiting.set()
        self._enough.set()


def _made(make: Callable[..., Plain], *happened: object) -> Plain | None:
    """`None` for what cannot be told, which must not stop the trail."""
    try:
        return make(*happened)
    except Exception:  # a promise of ours is broken: the trail says that something is missing
        _LOG.exception("audit record lost")
        return None


def _packed(seq: int, plain: Plain) -> bytes | None:
    """`None` for what cannot be handed over, which must not stop the trail."""
    try:
        return pack([(seq, plain)])
    except ValueError:  # not plain all through
        try:
            return pack([(seq, exactly(plain))])
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
