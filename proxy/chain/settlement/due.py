"""What is due when: a heap from which things may be taken out before their time."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from heapq import heapify, heappop, heappush
from typing import Generic, TypeVar

_Thing = TypeVar("_Thing", bound=Hashable)
_Entry = tuple[float, int, _Thing]
_SPARE = 1_000


class DueHeap(Generic[_Thing]):
    """Things by the time they are due, the earliest first; each has one time. Times are of one clock, whichever."""

    def __init__(self) -> None:
        self._heap: list[_Entry[_Thing]] = []
        self._due: dict[_Thing, _Entry[_Thing]] = {}
        self._number = 0  # of those put so far

    def __len__(self) -> int:
        return len(self._due)

    def __contains__(self, thing: object) -> bool:
        return thing in self._due

    def put(self, thing: _Thing, due: float) -> None:
        """Due then, whatever was said of it before."""
        self._number += 1
        self._due[thing] = entry = (due, self._number, thing)
        heappush(self._heap, entry)
        if len(self._heap) > 2 * len(self._due) + _SPARE:
            # half of it is out of date: as many were put since this was done last
            self._heap = list(self._due.values())
            heapify(self._heap)

    def discard(self, thing: _Thing) -> None:
        """Never due."""
        self._due.pop(thing, None)

    def first(self) -> float | None:
        """When the earliest is due; `None` when nothing is."""
        while self._heap:
            entry = self._heap[0]
            if self._due.get(entry[2]) is entry:
                return entry[0]
            heappop(self._heap)
        return None

    def is_due(self, now: float) -> bool:
        """Whether anything is."""
        first = self.first()
        return first is not None and first <= now

    def pop_due(self, now: float) -> Iterator[_Thing]:
        """Take out what is due, the earliest first."""
        while (due := self.first()) is not None and due <= now:
            thing = heappop(self._heap)[2]
            del self._due[thing]
            yield thing
