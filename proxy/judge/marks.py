"""The different things of one key that lately came, as marks: the latest of them, in memory that is bounded."""

from __future__ import annotations

from collections.abc import Mapping
from heapq import heapify, heappop, heappush
from typing import NamedTuple


class Mark(NamedTuple):
    """When a mark stops to count; how often it came in the bucket that ends then, 0 when that is not known; and when
    it would have stopped before that, 0 when it was new."""

    expires: int
    times: int
    earlier: int


class Marks:
    """The different marks of one key: the latest of them, one more than any limit that was asked about.

    That is enough to tell exactly whether a limit is passed: the ones forgotten stop to count before those kept.
    """

    __slots__ = ("_crowded_until", "_marks", "_soonest", "_turn", "_whole_until")

    def __init__(self) -> None:
        self._marks: dict[bytes, Mark] = {}  # the latest last
        # a heap of when which ends, in the order they came, once there were too many; some of it may be out of date
        self._soonest: list[tuple[int, int, bytes]] = []
        self._turn = 0
        self._crowded_until = 0  # until then some that count were forgotten
        self._whole_until = 0  # until then none stops to count

    def __len__(self) -> int:
        return len(self._marks)

    def get(self, mark: bytes) -> Mark | None:
        """What is known of one."""
        return self._marks.get(mark)

    def present(self, now: int) -> Mapping[bytes, Mark]:
        """Those that count now, the latest last."""
        self.forget(now)
        return self._marks

    def add(self, mark: bytes, expires: int, most: int) -> None:
        """It came, in the bucket that counts until then; no more than `most` + 1 are kept."""
        self._ends(expires)
        before = self._marks.pop(mark, None)
        if before is not None and before.expires >= expires:
            times = before.times + 1 if before.times and before.expires == expires else before.times
            self._marks[mark] = Mark(before.expires, times, before.earlier)
        else:
            self._marks[mark] = Mark(expires, 1, 0 if before is None else before.expires)
            self._queue(mark, expires)
        while len(self._marks) > most + 1:
            self._crowded_until = max(self._crowded_until, self._marks.pop(self._first()).expires)

    def take_back(self, mark: bytes, expires: int, now: int) -> None:
        """It did not come in that bucket after all. In doubt it stays, never longer than it would have."""
        known = self._marks.get(mark)
        if known is None or known.expires != expires or not known.times or self._crowded_until > now:
            return
        if known.times > 1:
            self._marks[mark] = known._replace(times=known.times - 1)
        elif known.earlier:
            self._ends(known.earlier)
            self._marks[mark] = Mark(known.earlier, 0, 0)
            self._queue(mark, known.earlier)
        else:
            del self._marks[mark]

    def put(self, mark: bytes, known: Mark) -> None:
        """As it was before a restart."""
        self._ends(known.expires)
        self._marks[mark] = known
        self._queue(mark, known.expires)

    def forget(self, now: int) -> bool:
        """Let go of what counts no more. Whether nothing is left."""
        if now >= self._whole_until:
            self._marks = {mark: known for mark, known in self._marks.items() if known.expires > now}
            self._whole_until = min((known.expires for known in self._marks.values()), default=0)
        return not self._marks

    def _first(self) -> bytes:
        """The mark that stops to count first. It is looked for once, and then no mark more than a few times."""
        while True:
            if not self._soonest:
                self._soonest = [(known.expires, turn, mark) for turn, (mark, known) in enumerate(self._marks.items())]
                heapify(self._soonest)
                self._turn = len(self._soonest)
            expires, _, mark = heappop(self._soonest)
            known = self._marks.get(mark)
            if known is not None and known.expires == expires:
                return mark

    def _queue(self, mark: bytes, expires: int) -> None:
        """When this one ends has changed."""
        if self._soonest:
            heappush(self._soonest, (expires, self._turn, mark))
            self._turn += 1
            if len(self._soonest) > 2 * len(self._marks):  # most of it is out of date
                self._soonest = []

    def _ends(self, expires: int) -> None:
        self._whole_until = min(self._whole_until, expires) if self._marks else expires
