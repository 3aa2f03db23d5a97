"""What is due when: things from which any may be taken out before its time."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Iterator
from heapq import heapify, heappop, heappush
from math import inf
from typing import Generic, TypeVar

_Thing = TypeVar("_Thing", bound=Hashable)
_Entry = tuple[float, int, _Thing]
_SPARE = 1_000


class DueHeap(Generic[_Thing]):
    """Things by the time they are due, the earliest first; each has one time. Times are of one clock, whichever.

    Nearly all are put for a time as long from now as that of the one before: these stand in a row. The others are in
    a heap.
    """

    def __init__(self) -> None:
        self._row: OrderedDict[_Thing, float] = OrderedDict()
        self._last = -inf  # when the last of the row is due, or was
        self._heap: list[_Entry[_Thing]] = []
        self._due: dict[_Thing, _Entry[_Thing]] = {}
        self._number = 0  # of those put into the heap so far

    def __len__(self) -> int:
        return len(self._row) + len(self._due)

    def __contains__(self, thing: object) -> bool:
        return thing in self._row or thing in self._due

    def put(self, thing: _Thing, due: float) -> None:
        """Due then, whatever was said of it before."""
        row = self._row
        if self._due:
            self._due.pop(thing, None)
        if due >= self._last or not row:
            if thing in row:
                row.move_to_end(thing)
            row[thing] = self._last = due
            return
        row.pop(thing, None)
        self._number += 1
        self._due[thing] = entry = (due, self._number, thing)
        heappush(self._heap, entry)
        if len(self._heap) > 2 * len(self._due) + _SPARE:
            # half of it is out of date: as many were put since this was done last
            self._heap = list(self._due.values())
            heapify(self._heap)

    def discard(self, thing: _Thing) -> None:
        """Never due."""
        if self._row.pop(thing, None) is None and self._due:
            self._due.pop(thing, None)

    def first(self) -> float | None:
        """When the earliest is due; `None` when nothing is."""
        first = self._first()
        return None if first is None else first[0]

    def is_due(self, now: float) -> bool:
        """Whether anything is."""
        first = self.first()
        return first is not None and first <= now

    def pop_due(self, now: float) -> Iterator[_Thing]:
        """Take out what is due, the earliest first."""
        while (first := self._first()) is not None and first[0] <= now:
            thing = first[1]
            self.discard(thing)
            yield thing

    def _first(self) -> tuple[float, _Thing] | None:
        in_heap = None
        while self._heap:
            entry = self._heap[0]
            if self._due.get(entry[2]) is entry:
                in_heap = entry[0], entry[2]
                break
            heappop(self._heap)
        if not self._row:
            return in_heap
        thing = next(iter(self._row))
        due = self._row[thing]
        return (due, thing) if in_heap is None or due <= in_heap[0] else in_heap
