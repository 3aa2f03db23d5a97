"""The index of a trail: which records are of a decision, of an operation, of an account, of a session.

A b-tree by hashes is written to all over for every batch, and the more so the larger it is: that cost half of what a
record took. So the index is an inverted one in segments, as search engines and log-structured stores have it: the
sorted postings of `SEGMENT` places, made once all of them are taken and written as one blob; those of `MERGED` places
are merged into one. A search looks into each segment, and through the records themselves where there is none yet.

A posting is a checksum of what a record is of, above the record's id; both have 32 bits. It says where to look: whoever
looks compares. A segment also says which times (unix seconds) its records have.
"""

from __future__ import annotations

import sqlite3
import sys
from array import array
from bisect import bisect_left
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import chain
from operator import itemgetter
from typing import Any, Final, NamedTuple
from zlib import crc32

from proxy.edge.audit.schema import CONTENT, has_table, transaction

SEGMENT: Final = 2_048
"""Places of a segment, as it is first written."""
MERGED: Final = 32 * SEGMENT
"""Places of one made of many."""

_ID_BITS: Final = 32
_ID: Final = (1 << _ID_BITS) - 1
_FIRST_PLACE: Final = 0
_LAST_PLACE: Final = (1 << 63) - 2
_MOST_PLACES: Final = 500  # in one list: SQLite binds each
_SEARCH: Final = 25  # postings that are looked at while one is searched for

_POSTED: Final = ("id", "unix_time", "decision_id", "verdict", "user_op_hash", "account", "permission_id")
_INSERT: Final = "INSERT OR REPLACE INTO segments VALUES (?, ?, ?, ?, ?)"

SOUND: Final = (
    "typeof(last) = 'integer' AND typeof(oldest) = 'real' AND typeof(newest) = 'real' AND typeof(postings) = 'blob'"
)
"""The condition for a segment that a gate may have written."""

Posted = tuple[Any, ...]
"""What of a record the index needs: the columns `_POSTED`."""

posted: Final[Callable[[Sequence[Any]], Posted]] = itemgetter(*map(CONTENT.index, _POSTED))
"""That, out of a record's `proxy.edge.audit.schema.CONTENT`."""

Ids = range | list[int]
"""Where to look for records: at all ids of a range, or at these."""


ANYWHERE: Final = range(_FIRST_PLACE, _LAST_PLACE + 1)


def of_decision(decision_id: str) -> int:
    """The checksum by which a decision and its answer are found."""
    return crc32(decision_id.encode("utf-8", "replace"), 1)


def of_operation(user_op_hash: bytes) -> int:
    """By which decisions on an operation, and its ends, are found."""
    return crc32(user_op_hash, 2)


def of_account(account: bytes) -> int:
    """By which decisions on an account's operations are found."""
    return crc32(account, 3)


def of_session(permission_id: bytes) -> int:
    """By which decisions on a session's operations are found."""
    return crc32(permission_id, 4)


def postings_of(records: Iterable[Posted]) -> list[int]:
    """In the order of the records. Raises `TypeError` and `AttributeError` for columns that no record of a gate has."""
    found: list[int] = []
    add = found.append
    for record_id, _, decision_id, verdict, user_op_hash, account, permission_id in records:
        place = record_id & _ID
        if decision_id is not None:
            add(of_decision(decision_id) << _ID_BITS | place)
        if user_op_hash is not None:
            add(of_operation(user_op_hash) << _ID_BITS | place)
        if verdict is not None:  # of decisions alone: their answers and ends are found by them
            if account is not None:
                add(of_account(account) << _ID_BITS | place)
            if permission_id is not None:
                add(of_session(permission_id) << _ID_BITS | place)
    return found


class Segment(NamedTuple):
    """One as it is on file: its places, the times of its records, and their sorted postings."""

    first: int
    last: int
    oldest: float
    newest: float
    postings: bytes


def segment_of(first: int, last: int, records: Sequence[Posted]) -> Segment:
    """Of all records that are in these places; of none where there are none."""
    times = [record[1] for record in records] or [0.0]
    return Segment(first, last, min(times), max(times), _stored(sorted(postings_of(records))))


def is_true(segment: Segment, records: Sequence[Posted], *, pruned: int) -> bool:
    """Whether a segment is what the records in its places make, of which those up to `pruned` are gone."""
    gone = pruned - segment.first
    found = [posting for posting in _read(segment.postings) if (posting - segment.first) & _ID > gone]
    try:
        rightful = sorted(postings_of(records))
    except (TypeError, AttributeError):  # no gate wrote them
        return False
    times = [record[1] for record in records]
    if gone >= 0:
        return found == rightful and all(segment.oldest <= time <= segment.newest for time in times)
    return found == rightful and (not times or (segment.oldest, segment.newest) == (min(times), max(times)))


def places_of(segment: Segment, checksums: Collection[int]) -> list[int]:
    """The ids of its records that may be what is looked for; sorted."""
    postings, found = _read(segment.postings), set()
    if len(checksums) * _SEARCH > len(postings):  # to look for each takes longer than to look at all
        checksums = set(checksums).intersection(_checksums(postings))
    for checksum in checksums:
        at = bisect_left(postings, checksum << _ID_BITS)
        while at < len(postings) and (posting := postings[at]) >> _ID_BITS == checksum:
            found.add(segment.first + ((posting - segment.first) & _ID))
            at += 1
    return sorted(found)


def _stored(postings: Sequence[int]) -> bytes:
    made = array("Q", postings)
    if sys.byteorder == "big":
        made.byteswap()
    return made.tobytes()


def _read(blob: bytes) -> memoryview:
    whole = blob[: len(blob) // 8 * 8]
    if sys.byteorder == "little":
        return memoryview(whole).cast("Q")
    swapped = array("Q", whole)
    swapped.byteswap()
    return memoryview(swapped)


def _checksums(postings: memoryview) -> Iterable[int]:
    """The upper halves."""
    return postings.cast("B").cast("I")[1 if sys.byteorder == "little" else 0 :: 2]


def _read_posted(connection: sqlite3.Connection, first: int, last: int) -> list[Posted]:
    query = f"SELECT {', '.join(_POSTED)} FROM records WHERE id BETWEEN ? AND ? ORDER BY id"  # noqa: S608  # names of ours
    return connection.execute(query, (first, last)).fetchall()


class IndexWriter:
    """Makes the segments of a trail whose newest record is in place `newest_id`, for the one thread that writes it."""

    def __init__(self, connection: sqlite3.Connection, newest_id: int) -> None:
        """Raises `sqlite3.Error`."""
        self._connection = connection
        first = newest_id // SEGMENT * SEGMENT
        # what is not indexed is looked through: where there is no room now, the next start tries again
        with suppress(sqlite3.OperationalError):
            self._catch_up(first)
        self._open = _read_posted(connection, first, newest_id)

    def _catch_up(self, end: int) -> None:
        """Make what is missing before place `end`: of a trail of an earlier release, all. Raises `sqlite3.Error`."""
        oldest = self._connection.execute("SELECT id FROM records ORDER BY id LIMIT 1").fetchone()
        for first in range(end if oldest is None else oldest[0] // MERGED * MERGED, end, MERGED):
            with transaction(self._connection):
                bounds = (first, min(first + MERGED, end))
                there = {*self._connection.execute("SELECT first FROM segments WHERE first >= ? AND last < ?", bounds)}
                if (first,) in there and self._is_merged(first):
                    continue
                for place in range(*bounds, SEGMENT):
                    if (place,) not in there:
                        self._write(place, _read_posted(self._connection, place, place + SEGMENT - 1))

    def _is_merged(self, first: int) -> bool:
        query = "SELECT 1 FROM segments WHERE first = ? AND last >= ?"
        return self._connection.execute(query, (first, first + SEGMENT)).fetchone() is not None

    def add(self, records: Sequence[Posted]) -> list[Posted]:
        """Index these, which are put at the end in the transaction that is open; what to `keep` once it is committed.

        Raises `sqlite3.Error`."""
        left = [*self._open, *records]
        while left and left[-1][0] >= (last := left[0][0] // SEGMENT * SEGMENT + SEGMENT - 1):
            here = [record for record in left[:SEGMENT] if record[0] <= last]
            left = left[len(here) :]
            self._write(last + 1 - SEGMENT, here)
        return left

    def keep(self, records: list[Posted]) -> None:
        """These are on file, and in no segment yet."""
        self._open = records

    def _write(self, first: int, records: Sequence[Posted]) -> None:
        if not records:
            return
        self._connection.execute(_INSERT, segment_of(first, first + SEGMENT - 1, records))
        if (first + SEGMENT) % MERGED == 0:
            self._merge(first + SEGMENT - MERGED)

    def _merge(self, first: int) -> None:
        """Where all are there: of places that no record ever had there is none."""
        bounds = (first, first + MERGED - 1)
        query = "SELECT first, last, oldest, newest, postings FROM segments WHERE first >= ? AND last <= ?"
        parts = [Segment(*row) for row in self._connection.execute(query, bounds)]
        if len(parts) != MERGED // SEGMENT:
            return
        postings = sorted(chain.from_iterable([_read(each.postings) for each in parts]))
        oldest, newest = min(each.oldest for each in parts), max(each.newest for each in parts)
        self._connection.execute("DELETE FROM segments WHERE first >= ? AND last <= ?", bounds)
        self._connection.execute(_INSERT, (*bounds, oldest, newest, _stored(postings)))

    def prune(self, through: int) -> None:
        """The records up to `through` go. A segment that has others besides stays. Raises `sqlite3.Error`."""
        self._connection.execute("DELETE FROM segments WHERE last <= ?", (through,))


def places(
    connection: sqlite3.Connection,
    checksums: Collection[int] | None = None,
    *,
    first: int = _FIRST_PLACE,
    last: int = _LAST_PLACE,
    since: float | None = None,
    until: float | None = None,
) -> list[Ids]:
    """Where records may be that one of the `checksums` is of (`None`: any), from `first` to `last`, from `since` and
    before `until` (unix seconds): in the order of the trail. Others are there, too. Raises `sqlite3.Error`.
    """
    found: list[Ids] = []
    if (checksums is None and since is None and until is None) or not has_table(connection, "segments"):
        return [range(first, last + 1)]
    at = first
    postings = "x''" if checksums is None else "postings"
    query = (
        f"SELECT first, last, oldest, newest, {postings} FROM segments"  # noqa: S608  # names of ours
        f" WHERE last >= ? AND first <= ? AND {SOUND} ORDER BY first"
    )
    for segment in map(Segment._make, connection.execute(query, (first, last))):
        if segment.first > at:
            found.append(range(at, segment.first))
        if (since is None or segment.newest >= since) and (until is None or segment.oldest < until):
            here = range(max(at, segment.first), min(last, segment.last) + 1)
            if checksums is None:
                found.append(here)
            else:
                ids = [each for each in places_of(segment, checksums) if each in here]
                found += [ids[start : start + _MOST_PLACES] for start in range(0, len(ids), _MOST_PLACES)]
        at = max(at, segment.last + 1)
    found.append(range(at, last + 1))
    return list(_joined(found))


def _joined(found: Iterable[Ids]) -> Iterator[Ids]:
    """Ranges that follow one another are one; nothing is left of what is empty."""
    before: Ids = range(0)
    for place in found:
        if isinstance(place, range) and isinstance(before, range) and place and before.stop == place.start:
            before = range(before.start, place.stop)
        elif place:
            if before:
                yield before
            before = place
    if before:
        yield before


def condition_of(place: Ids) -> tuple[str, list[object]]:
    """A condition in SQL for ids that are there, and its parameters."""
    if not isinstance(place, range):
        return f"id IN ({', '.join('?' * len(place))})", list(place)
    given = [("id >= ?", place.start, _FIRST_PLACE), ("id <= ?", place.stop - 1, _LAST_PLACE)]
    # without a bound none is named: it would keep SQLite from the indexes that trails of earlier releases have
    terms = [(term, value) for term, value, bound in given if value != bound]
    return " AND ".join(term for term, _ in terms) or "1", [value for _, value in terms]
