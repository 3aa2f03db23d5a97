"""Things in the order of a number each, and in groups in the order in which they came; from any place on, however many
there are.

Neither is ever looked through: to add, to take out and to find the place to go on from cost about the same for ten as
for a million.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Hashable, Iterator
from itertools import count
from typing import Any, Final, Generic, TypeVar

_Thing = TypeVar("_Thing", bound=Hashable)
_Group = TypeVar("_Group", bound=Hashable)
_MOST_A_CHUNK: Final = 512
_FEW: Final = 8


class Ranked(Generic[_Thing]):
    """Things by rank, and by themselves where ranks are the same: they have to be comparable.

    Entries are in sorted lists of bounded length, one after the other.
    """

    __slots__ = ("_chunks", "_number")

    def __init__(self) -> None:
        self._chunks: list[list[tuple[float, _Thing]]] = []
        self._number = 0

    def __len__(self) -> int:
        return self._number

    def add(self, rank: float, thing: _Thing) -> None:
        """It must not be here with this rank."""
        self._number += 1
        entry = (rank, thing)
        if not self._chunks:
            self._chunks.append([entry])
            return
        place = self._chunk_of(entry)
        chunk = self._chunks[place]
        insort(chunk, entry)
        if len(chunk) > _MOST_A_CHUNK:
            # what comes in order fills each list before the next one is begun
            keep = _MOST_A_CHUNK if chunk[-1] == entry else _MOST_A_CHUNK // 2
            self._chunks.insert(place + 1, chunk[keep:])
            del chunk[keep:]

    def discard(self, rank: float, thing: _Thing) -> None:
        """It must be here with this rank."""
        entry = (rank, thing)
        place = self._chunk_of(entry)
        chunk = self._chunks[place]
        at = bisect_left(chunk, entry)
        if chunk[at] != entry:
            raise KeyError(thing)
        self._number -= 1
        del chunk[at]
        if not chunk:
            del self._chunks[place]

    def parts(self) -> list[list[tuple[float, _Thing]]]:
        """All as they are now, by ascending rank, in lists of bounded length: a copy that nothing changes."""
        return [chunk.copy() for chunk in self._chunks]

    def oldest(self) -> Iterator[tuple[float, _Thing]]:
        """By ascending rank. Nothing may be changed meanwhile."""
        for chunk in self._chunks:
            yield from chunk

    def newest(self, before: tuple[float, _Thing] | None = None) -> Iterator[tuple[float, _Thing]]:
        """By descending rank, from the last before that entry on. Nothing may be changed meanwhile."""
        if not self._chunks:
            return
        place, at = len(self._chunks) - 1, len(self._chunks[-1])
        if before is not None:
            place = self._chunk_of(before)
            at = bisect_left(self._chunks[place], before)
        while place >= 0:
            chunk = self._chunks[place]
            for index in range((len(chunk) if at is None else at) - 1, -1, -1):
                yield chunk[index]
            place, at = place - 1, None  # type: ignore[assignment]  # None: from its end on

    def _chunk_of(self, entry: tuple[float, _Thing]) -> int:
        """Where an entry is, or belongs."""
        return min(bisect_left(self._chunks, entry, key=_last), len(self._chunks) - 1)


def _last(chunk: list[tuple[float, Any]]) -> tuple[float, Any]:  # Any: whatever is ranked
    return chunk[-1]


class _Crowd(Generic[_Thing]):
    """The members of a large group."""

    __slots__ = ("order", "serials")

    def __init__(self) -> None:
        self.serials: dict[_Thing, int] = {}
        self.order: Ranked[_Thing] = Ranked()


class Groups(Generic[_Group, _Thing]):
    """Things by group, in the order in which they came. Most groups are of one, and take no room of their own."""

    def __init__(self) -> None:
        self._groups: dict[_Group, _Thing | list[_Thing] | _Crowd[_Thing]] = {}  # of one, of few, of many
        self._serials = count()

    def __contains__(self, group: object) -> bool:
        """Whether it has any members."""
        return group in self._groups

    def has(self, group: _Group, thing: _Thing) -> bool:
        """Whether it is in the group."""
        members = self._members(group)
        return thing in (members if isinstance(members, list) else members.serials)

    def size(self, group: _Group) -> int:
        """How many members it has."""
        members = self._members(group)
        return len(members if isinstance(members, list) else members.serials)

    def add(self, group: _Group, thing: _Thing) -> None:
        """The last of its group. It must not be in it."""
        members = self._members(group)
        if isinstance(members, _Crowd):
            self._join(members, thing)
        elif not members:
            self._groups[group] = thing
        elif len(members) < _FEW:
            self._groups[group] = [*members, thing]
        else:
            crowd = self._groups[group] = _Crowd()
            for each in (*members, thing):
                self._join(crowd, each)

    def _members(self, group: _Group) -> list[_Thing] | _Crowd[_Thing]:
        if group not in self._groups:
            return []
        members = self._groups[group]
        return members if isinstance(members, list | _Crowd) else [members]

    def _join(self, crowd: _Crowd[_Thing], thing: _Thing) -> None:
        serial = crowd.serials[thing] = next(self._serials)
        crowd.order.add(serial, thing)

    def remove(self, group: _Group, thing: _Thing) -> None:
        """It must be in the group."""
        members = self._members(group)
        if isinstance(members, _Crowd):
            members.order.discard(members.serials.pop(thing), thing)
            if not members.serials:
                del self._groups[group]
            return
        members.remove(thing)
        if not members:
            del self._groups[group]

    def oldest(self, group: _Group) -> Iterator[_Thing]:
        """The members as they came. Nothing may be changed meanwhile."""
        members = self._members(group)
        if isinstance(members, list):
            yield from members
        else:
            yield from (thing for _, thing in members.order.oldest())

    def newest(self, group: _Group, after: _Thing | None = None) -> Iterator[_Thing]:
        """Those that came last first; those that came before `after`, none where that is no member. Nothing may be
        changed meanwhile."""
        members = self._members(group)
        if isinstance(members, list):
            last = len(members) if after is None else members.index(after) if after in members else 0
            yield from reversed(members[:last])
        elif after is None or after in members.serials:
            before = None if after is None else (members.serials[after], after)
            yield from (thing for _, thing in members.order.newest(before))
