"""Windows of time: what was counted lately for each key, in memory that is bounded for one key and gone with the last.

A sliding window is cut into buckets of a 240th of its length, of one second at least. An amount falls into the bucket
of its moment, and a bucket counts until its end has left the window: no amount leaves early, and none later than the
width of one bucket. A calendar window has one bucket, its hour, day, week or month.

Time is handed in. A clock that steps back a little stands still here until it has caught up, so that a step lowers no
count; one that is set back further is followed, and what was counted in what is now the future counts on.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from collections.abc import Collection, Iterable, Iterator, Mapping
from datetime import UTC, date, datetime, timedelta
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from proxy.judge.counts import CountKey
from proxy.judge.marks import Mark, Marks
from proxy.judge.rule import Calendar, OnCalendar, Sliding, Window

_BUCKETS: Final = 240
_STEP_BACK_SECONDS: Final = 3_600
_SWEPT_A_CALL: Final = 2
_FORGOTTEN_AT_ONCE: Final = 2_000
_HOUR: Final = 3_600
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


_made: Final = tuple.__new__
"""Makes a named tuple without a call of Python's: several are made for each operation."""


class Bucket(NamedTuple):
    """A piece of a window, in unix seconds: it holds what happens from `start` on, and counts until `expires`."""

    start: int
    expires: int


def width_of(window: Sliding) -> int:
    """How long the buckets of a sliding window are, in seconds."""
    return -(-window.seconds // _BUCKETS) or 1


def bucket_of(window: Window, at: int) -> Bucket:
    """The bucket into which a moment falls. Buckets of calendar windows follow the zone's changes of the clock, so
    that a day may have 23 or 25 hours; an hour always has 60 minutes."""
    if isinstance(window, Sliding):
        seconds = window.seconds
        width = -(-seconds // _BUCKETS) or 1
        start = at - at % width
        return Bucket(start, start + width + seconds)
    local = (_EPOCH + timedelta(seconds=at)).astimezone(window.zone)
    if window.unit is Calendar.HOUR:
        offset = int((local.utcoffset() or timedelta()).total_seconds())
        start = at - (at + offset) % _HOUR
        return Bucket(start, start + _HOUR)
    first = local.date()
    if window.unit is Calendar.DAY:
        after = first + timedelta(days=1)
    elif window.unit is Calendar.WEEK:
        first -= timedelta(days=first.weekday())
        after = first + timedelta(days=7)
    else:
        first = first.replace(day=1)
        after = (first + timedelta(days=31)).replace(day=1)
    return Bucket(_midnight(window, first), _midnight(window, after))


def _midnight(window: OnCalendar, day: date) -> int:
    """When a day begins; where the clock is put forward at midnight, the moment of that."""
    return int(datetime(day.year, day.month, day.day, tzinfo=window.zone).timestamp())


class Sums:
    """The amounts of one key by bucket, oldest first, and their total."""

    __slots__ = ("_buckets", "_total")

    def __init__(self) -> None:
        self._buckets: list[tuple[int, int, int]] = []  # start, expires, amount
        self._total = 0

    def __len__(self) -> int:
        return len(self._buckets)

    def total(self, now: int) -> int:
        """What counts now."""
        if self._buckets and self._buckets[0][1] <= now:
            self.forget(now)
        return self._total

    def amount_in(self, start: int) -> tuple[int, int]:
        """What the bucket that starts then holds, and when it expires; zeros when there is none."""
        place = self._place(start)
        return (0, 0) if place is None else (self._buckets[place][2], self._buckets[place][1])

    def add(self, bucket: Bucket, amount: int) -> tuple[int, int]:
        """Count an amount; a negative one takes back as much as is there. What its bucket holds then, and when that
        expires."""
        place = self._place(bucket.start)
        if place is not None:
            start, expires, before = self._buckets[place]
            after = max(before + amount, 0)
            self._total += after - before
            if after:
                self._buckets[place] = (start, expires, after)
            else:
                del self._buckets[place]
            return after, expires
        if amount > 0:
            entry = (*bucket, amount)
            self._buckets.insert(bisect_left(self._buckets, entry), entry)
            self._total += amount
        return max(amount, 0), bucket.expires

    def add_at(self, start: int, expires: int, amount: int, now: int) -> tuple[int, int]:
        """The same of the bucket that starts then, when what counts no more is forgotten."""
        buckets = self._buckets
        if buckets:
            if buckets[0][1] <= now:
                self.forget(now)
            elif amount > 0:
                newest, ends, before = buckets[-1]
                if newest == start:  # nearly always
                    after = before + amount
                    buckets[-1] = start, ends, after
                    self._total += amount
                    return after, ends
                if newest < start:
                    buckets.append((start, expires, amount))
                    self._total += amount
                    return amount, expires
        return self.add(Bucket(start, expires), amount)

    def is_over(self, now: int) -> bool:
        """Whether nothing in it counts any more."""
        return not self._buckets or self._buckets[-1][1] <= now

    def forget(self, now: int) -> bool:
        """Let go of what counts no more. Whether nothing is left."""
        expired = 0
        for _, expires, amount in self._buckets:
            if expires > now:
                break
            self._total -= amount
            expired += 1
        if expired:
            del self._buckets[:expired]
        return not self._buckets

    def _place(self, start: int) -> int | None:
        buckets = self._buckets
        if buckets and buckets[-1][0] == start:  # nearly always
            return len(buckets) - 1
        place = bisect_left(buckets, (start,))
        return place if place < len(buckets) and buckets[place][0] == start else None


class BucketRow(NamedTuple):
    """What a bucket holds, for the store; nothing when it is to be forgotten."""

    key: CountKey
    start: int
    expires: int
    amount: int


class MarkRow(NamedTuple):
    """What is known of a mark, for the store; `None` when it is to be forgotten."""

    key: CountKey
    mark: bytes
    known: Mark | None


NO_MARKS: Final[Mapping[bytes, Any]] = MappingProxyType({})


class Windows:
    """The windows of all keys. What counts no more is swept out bit by bit, whenever something is counted."""

    def __init__(self) -> None:
        self._sums: dict[CountKey, Sums] = {}
        self._marks: dict[CountKey, Marks] = {}
        self._ring: deque[CountKey] = deque()  # every key of the two once, the next one to be swept first
        self._dropped: set[CountKey] = set()  # of the ring, and of none of the two until they count again
        self._rules: frozenset[bytes] | None = None  # None: any
        self._now = 0
        self._periods: dict[OnCalendar, Bucket] = {}

    def __len__(self) -> int:
        """For how many keys something is kept."""
        return len(self._ring) - len(self._dropped)

    def moment(self, now: float) -> int:
        """The time by which things are counted: `now`, or what it was before the clock stepped back."""
        second = int(now)
        if second == self._now:  # nearly always
            return second
        if second > self._now or second < self._now - _STEP_BACK_SECONDS:
            self._now = second
        return self._now

    # amounts

    def total(self, key: CountKey, now: float) -> int:
        """The amounts in the window."""
        return self.total_at(key, self.moment(now))

    def total_at(self, key: CountKey, moment: int) -> int:
        """The same at a `moment` that was asked for."""
        sums = self._sums.get(key)
        if sums is None:
            return 0
        # `Sums.total`, as each rule asks for one
        if (buckets := sums._buckets) and buckets[0][1] <= moment:
            sums.forget(moment)
        return sums._total

    def add(self, key: CountKey, window: Window, amount: int, now: float, *, at: int | None = None) -> BucketRow:
        """Count an amount now, or as of a moment before (unix seconds)."""
        moment = self.moment(now)
        self.sweep(moment)
        return self.count(key, window, amount, moment, moment if at is None else at)

    def count(self, key: CountKey, window: Window, amount: int, moment: int, at: int) -> BucketRow:
        """The same of a `moment` that was asked for, where what is over is swept out once for all that is counted."""
        sums = self._sums.get(key)
        if sums is None:
            self.sweep(moment)  # what comes in never outruns what goes
            sums = self._sums[key] = Sums()
            self._enter(key, self._marks)
        if isinstance(window, Sliding):
            seconds = window.seconds
            width = -(-seconds // _BUCKETS) or 1
            start = at - at % width
            expires = start + width + seconds
        else:
            start, expires = self._period(window, at)
        held, expires = sums.add_at(start, expires, amount, moment)
        return _made(BucketRow, (key, start, expires, held))

    def take_back(self, key: CountKey, window: Window, amount: int, at: int) -> BucketRow:
        """What was counted at that moment was not."""
        bucket = bucket_of(window, at)
        if (sums := self._sums.get(key)) is not None:
            sums.add(bucket, -amount)
        return self.bucket(key, bucket)

    def bucket(self, key: CountKey, bucket: Bucket) -> BucketRow:
        """A bucket as it stands."""
        sums = self._sums.get(key)
        amount, expires = (0, 0) if sums is None else sums.amount_in(bucket.start)
        return BucketRow(key, bucket.start, expires or bucket.expires, amount)

    # different things

    def marks(self, key: CountKey, now: float) -> Mapping[bytes, Mark]:
        """The marks in the window, the latest last."""
        return self.marks_at(key, self.moment(now))

    def marks_at(self, key: CountKey, moment: int) -> Mapping[bytes, Mark]:
        """The same at a `moment` that was asked for."""
        marks = self._marks.get(key)
        return NO_MARKS if marks is None else marks.present(moment)

    def add_mark(
        self, key: CountKey, window: Window, mark: bytes, most: int, now: float, *, at: int | None = None
    ) -> MarkRow:
        """A mark came now, or at a moment before; of more than `most` + 1 the latest `most` + 1 are kept."""
        moment = self.moment(now)
        self.sweep(moment)
        return self.count_mark(key, window, mark, most, moment, at=moment if at is None else at)

    def count_mark(self, key: CountKey, window: Window, mark: bytes, most: int, moment: int, *, at: int) -> MarkRow:
        """The same of a `moment` that was asked for, as `count` does."""
        marks = self._marks.get(key)
        if marks is None:
            self.sweep(moment)
            marks = self._marks[key] = Marks()
            self._enter(key, self._sums)
        marks.forget(moment)
        bucket = bucket_of(window, at) if isinstance(window, Sliding) else self._period(window, at)
        marks.add(mark, bucket.expires, most)
        return _made(MarkRow, (key, mark, marks.get(mark)))

    def take_back_mark(self, key: CountKey, window: Window, mark: bytes, at: int) -> MarkRow:
        """What came at that moment did not."""
        if (marks := self._marks.get(key)) is not None:
            marks.take_back(mark, bucket_of(window, at).expires, self._now)
        return self.mark(key, mark)

    def mark(self, key: CountKey, mark: bytes) -> MarkRow:
        """A mark as it stands."""
        marks = self._marks.get(key)
        return MarkRow(key, mark, None if marks is None else marks.present(0).get(mark))

    # from and for elsewhere

    def restore(self, buckets: Iterable[BucketRow], marks: Iterable[MarkRow]) -> None:
        """What was counted before a restart."""
        for row in buckets:
            if row.key not in self._sums:
                self._sums[row.key] = Sums()
                self._enter(row.key, self._marks)
            self._sums[row.key].add(Bucket(row.start, row.expires), row.amount)
        for each in sorted(marks, key=lambda row: 0 if row.known is None else row.known.expires):
            if each.known is None:
                continue
            if each.key not in self._marks:
                self._marks[each.key] = Marks()
                self._enter(each.key, self._sums)
            self._marks[each.key].put(each.mark, each.known)

    def keep_only(self, rules: frozenset[bytes]) -> Iterator[None]:
        """Forget what other rules than these have counted, a piece after the other; nothing of them is to be counted
        from now on."""
        self._rules = rules
        return self._forget_others()

    def _forget_others(self) -> Iterator[None]:
        # each key that the sweep turns past meanwhile is looked at there
        ring, left = self._ring, len(self._ring)
        while left > 0:
            for _ in range(min(left, _FORGOTTEN_AT_ONCE, len(ring))):
                if self._is_kept(ring[0]):
                    ring.rotate(-1)
            left -= _FORGOTTEN_AT_ONCE
            yield

    def _is_kept(self, key: CountKey) -> bool:
        """Whether the first key of the ring is of a rule that there is; otherwise it is gone with all it counted."""
        if self._rules is None or key.rule in self._rules:
            return True
        self._ring.popleft()
        self._dropped.discard(key)
        self._sums.pop(key, None)
        self._marks.pop(key, None)
        return False

    def has(self, key: CountKey) -> bool:
        """Whether something is kept for this key."""
        return key in self._sums or key in self._marks

    def drop(self, keys: Collection[CountKey]) -> None:
        """Forget what these keys have counted. The sweep lets go of them themselves."""
        for key in keys:
            if self.has(key):
                self._sums.pop(key, None)
                self._marks.pop(key, None)
                self._dropped.add(key)

    def keys(self) -> Iterator[CountKey]:
        """The keys for which something is kept, or was before it was dropped a while ago."""
        return iter(self._ring)

    def names(self, key: CountKey) -> bool:
        """Whether `keys` does."""
        return self.has(key) or key in self._dropped

    def _enter(self, key: CountKey, other: Mapping[CountKey, object]) -> None:
        if key in self._dropped:
            self._dropped.remove(key)
        elif key not in other:
            self._ring.append(key)

    def _period(self, window: OnCalendar, at: int) -> Bucket:
        # an hour of a calendar costs more to find than to remember
        period = self._periods.get(window)
        if period is None or not period.start <= at < period.expires:
            period = self._periods[window] = bucket_of(window, at)
        return period

    def sweep(self, moment: int) -> None:
        """Let go of what counts no more of the next two keys."""
        ring, rules = self._ring, self._rules
        for _ in range(min(_SWEPT_A_CALL, len(ring))):
            key = ring[0]
            if rules is not None and key.rule not in rules and not self._is_kept(key):
                continue
            sums, marks = self._sums.get(key), self._marks.get(key)
            if marks is None and sums is not None and (buckets := sums._buckets) and buckets[-1][1] > moment:
                # nearly always, as `Sums.is_over` says
                ring.rotate(-1)
                continue
            if sums is not None and sums.is_over(moment):
                del self._sums[key]
                sums = None
            if marks is not None and marks.forget(moment):
                del self._marks[key]
                marks = None
            if sums is not None or marks is not None:
                ring.rotate(-1)
            else:
                ring.popleft()
                self._dropped.discard(key)
