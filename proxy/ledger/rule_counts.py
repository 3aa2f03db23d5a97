"""What rules count and remember, for all chains of a gate together: windows, histories, and what is in flight.

There is one ledger for each chain, as a nonce is of one chain. A rule may count over all of them, by client or by
account, so that this is shared: each ledger says what its nonce slots hold, and the sums are kept here. Everything
runs in one thread and gives way nowhere, which makes each call one atomic step.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from itertools import chain
from typing import Final

from proxy.errors import StateUnavailable
from proxy.judge.counts import (
    CountKey,
    DistinctCharge,
    History,
    Lesson,
    OutcomeLesson,
    Row,
    RuleCharge,
    WindowCharge,
)
from proxy.judge.history import ROW_SECONDS, learn
from proxy.judge.rule import Window
from proxy.judge.windows import NO_MARKS, Bucket, Windows, bucket_of
from proxy.ledger.forgetting import in_parts, let_go
from proxy.ledger.fullest import FullestWindows
from proxy.ledger.hindrance import RuleRefusal
from proxy.ledger.reservation import NO_ROWS, Bringer, Concluded, HistoryRow, Reservation, RuleRows
from proxy.ledger.rule_use import EVERYBODY, KnownMarks, RulesInFlight, RuleUseView, in_both

_MOST_HISTORIES: Final = 200_000
_LOOKED_AT_AT_ONCE: Final = 2_000
_FORGOTTEN_AT_ONCE: Final = 100
"""Of which one transaction tells."""
_HISTORY_SECONDS: Final = 90 * 86_400
"""A history that learnt nothing for so long is forgotten, here and on disk, and of too many those that learnt nothing
the longest."""


_made: Final = tuple.__new__
"""Makes a named tuple without a call of Python's: several are made for each operation."""


def lasting(learnt: HistoryRow, now: float) -> History | None:
    """What was learnt as it is now: a row that has not grown for a day is none."""
    _, history, updated = learnt
    return None if type(history) is Row and now - updated >= ROW_SECONDS else history


class RuleCounts:
    """The counts of all rules. Nothing is kept of rules that `keep_only` did not name last.

    `counted_by` makes of a time of day the time that things are counted by.
    """

    def __init__(self, counted_by: Callable[[float], float] = lambda now: now) -> None:
        self._counted_by = counted_by
        self.whole_since: int | None = None  # what was counted before may be missing; None: nothing is
        self._windows = Windows()
        self._histories: OrderedDict[CountKey, HistoryRow] = OrderedDict()  # what learnt last is last
        self._strangers = Windows()  # requests that nobody's signature was checked for, by who brought them
        self.held = RulesInFlight()
        self.fullest = FullestWindows()
        self._rules: frozenset[bytes] | None = None  # None: any
        self._unsaved: dict[tuple[CountKey, int | None], Bucket | None] = {}

    def __len__(self) -> int:
        """For how many keys something is kept."""
        return len(self._windows) + len(self._histories)

    # in flight

    def check(
        self, charges: tuple[RuleCharge, ...], view: RuleUseView, now: float
    ) -> tuple[RuleCharge, ...] | RuleRefusal:
        """The charges that are to be held, judged as the operation sees what is in flight. The first binding one
        that passes its limit refuses; of a rule that refuses nobody none is held when one of them does, unless they
        overflow."""
        now = self.counted(now)
        if view is EVERYBODY and self._all_fit(charges, now):
            return charges
        left_out: set[bytes] = set()
        for key, of_key in _by_key(charges):
            refusal = self._refusal(key, of_key, view, now)
            if refusal is None:
                continue
            if any(charge.binding for charge in of_key):
                return refusal
            if not any(charge.overflows for charge in of_key):
                left_out.add(key.rule)
        if not left_out:
            return charges
        return tuple(charge for charge in charges if charge.key.rule not in left_out)

    def _all_fit(self, charges: tuple[RuleCharge, ...], now: float) -> bool:
        """Whether each of these is of a count of its own, and fits or is held all the same: nearly always. Of hundreds
        each is looked up with as few calls as can be, as nothing else is done meanwhile."""
        total, moment, in_flight = self._windows.total_at, self._windows.moment(now), self.held.amounts
        shares: dict[CountKey, float] = {}  # of its limit that is used, by each count
        for charge in charges:
            key, limit = charge.key, charge.limit
            if isinstance(charge, WindowCharge):
                used, wanted = total(key, moment) + in_flight.get(key, 0), charge.amount
            else:
                present, held = self._windows.marks_at(key, moment), self.held.marks_of_all.get(key, NO_MARKS)
                wanted = 0 if charge.mark in present or charge.mark in held else 1
                used = len(present) + len(held) - in_both(present, held)
            if (use := used + wanted) > limit:
                if charge.binding or not charge.overflows:
                    return False
                use = used
            shares[key] = use / limit if limit else 0.0
        if len(shares) < len(charges):
            return False
        self.fullest.meet(shares)
        return True

    def _refusal(
        self, key: CountKey, charges: Sequence[RuleCharge], view: RuleUseView, now: float
    ) -> RuleRefusal | None:
        first = charges[0]
        limit, marks = first.limit, set[bytes]()
        if len(charges) > 1:
            limit = min(charge.limit for charge in charges)
            wanted = sum(charge.amount for charge in charges if isinstance(charge, WindowCharge))
            marks = {charge.mark for charge in charges if isinstance(charge, DistinctCharge)}
        elif isinstance(first, WindowCharge):  # nearly always
            wanted = first.amount
        else:
            wanted, marks = 0, {first.mark}
        if marks:
            present, held = self._windows.marks(key, now), self.held.marks(key, view)
            wanted = sum(mark not in present and mark not in held for mark in marks)
            used, in_flight = len(present), held.beside(present)
        else:
            used = self._windows.total(key, now)
            in_flight = self.held.amounts.get(key, 0) if view is EVERYBODY else self.held.amount(key, view)
        fits = used + in_flight + wanted <= limit
        # what is not vouched for is no use yet
        met = used + in_flight + (wanted if fits else 0) if view.bringer is None else sum(self._used(key, now))
        self.fullest.meet({key: met / limit if limit else 0.0})
        if fits:
            return None
        return RuleRefusal(key, limit, used, in_flight, wanted)

    # what has ended

    def conclude(self, reservation: Reservation, now: float, *, success: bool, at: float | None = None) -> Concluded:
        """The operation was mined: what it holds is counted in its windows, and histories learn from it.

        It is counted at the time of its block `at`, where that is known and not later than `now`, which is of the time
        that things are counted by: a settlement has no other."""
        windows, rules = self._windows, self._rules
        present = windows.moment(now)
        moment = present if at is None else min(int(at), present)
        charges, lessons = reservation.rule_charges, reservation.lessons
        if not (charges or lessons):
            return Concluded(moment, NO_ROWS)
        buckets, marks = [], []
        windows.sweep(present)
        for charge in charges:
            key = charge.key
            if rules is not None and key.rule not in rules:
                continue
            if isinstance(charge, WindowCharge):
                if success or charge.lasting:
                    buckets.append(windows.count(key, charge.window, charge.amount, present, moment))
            else:
                marks.append(windows.count_mark(key, charge.window, charge.mark, charge.limit, present, at=moment))
        histories = self._learn(lessons, now, success=success) if lessons else ()
        return Concluded(moment, RuleRows(tuple(buckets), tuple(marks), tuple(histories)))

    def reopen(self, reservation: Reservation, at: int, *, success: bool) -> RuleRows:
        """The chain took back what was counted at that moment: it leaves its windows. Histories stay learnt."""
        buckets, marks = [], []
        for charge in reservation.rule_charges:
            if isinstance(charge, DistinctCharge):
                marks.append(self._windows.take_back_mark(charge.key, charge.window, charge.mark, at))
            elif success or charge.lasting:
                buckets.append(self._windows.take_back(charge.key, charge.window, charge.amount, at))
        return RuleRows(tuple(buckets), tuple(marks))

    def rate(
        self, key: CountKey, window: Window, amount: int, limit: int, now: float, *, bringer: Bringer | None = None
    ) -> bool:
        """Count a request at once, for its `bringer` alone where nobody's signature was checked. Whether it fits; one
        that does not is not counted."""
        now = self.counted(now)
        if self._requests(key, bringer, now) + amount > limit:
            return False
        if self._is_known(key) and bringer is not None:
            self._strangers.add(_brought_by(bringer, key), window, amount, now)
        elif self._is_known(key):
            row = self._windows.add(key, window, amount, now)
            self._unsaved[key, row.start] = Bucket(row.start, row.expires)
        return True

    def _requests(self, key: CountKey, bringer: Bringer | None, now: float) -> int:
        """What is counted in a window, and what this bringer has brought beside it."""
        total = self._windows.total(key, now)
        return total if bringer is None else total + self._strangers.total(_brought_by(bringer, key), now)

    def learn_now(self, lesson: Lesson, now: float, *, success: bool) -> None:
        """A history learns at once, of what never came to a receipt."""
        if success and lesson.key not in self._histories and isinstance(lesson, OutcomeLesson):
            return  # it teaches nothing
        for row in self._learn((lesson,), self.counted(now), success=success):
            self._unsaved[row.key, None] = None

    def _learn(self, lessons: Iterable[Lesson], now: float, *, success: bool) -> list[HistoryRow]:
        """What they teach to the histories of rules that there are, all of one operation."""
        histories, rules, rows = self._histories, self._rules, []
        for lesson in lessons:
            key, before = lesson.key, None
            learnt = histories.get(key)
            if learnt is not None:
                before = learnt.history if type(learnt.history) is not Row else lasting(learnt, now)
            elif success and type(lesson) is OutcomeLesson:
                continue  # it teaches nothing
            if rules is not None and key.rule not in rules:
                continue
            history = learn(before, lesson, now, success=success)
            if type(history) is Row and not history.length:  # no row is the same as none
                histories.pop(key, None)
                rows.append(HistoryRow(key, None, 0.0))
                continue
            histories[key] = row = _made(HistoryRow, (key, history, now))
            if learnt is not None:
                histories.move_to_end(key)
            rows.append(row)
        while histories:
            first = next(iter(histories))
            if histories[first].updated >= now - _HISTORY_SECONDS and len(histories) <= _MOST_HISTORIES:
                break
            del histories[first]
            self._unsaved[first, None] = None  # nor is it found again after a restart
        return rows

    def doubt_before(self, moment: float | None) -> None:
        """What was counted before this time of day may be missing; with `None`, all of it is taken to be there."""
        self.whole_since = None if moment is None else int(self.counted(moment))

    def vouch(self, window: Window, now: float) -> None:
        """Raises `StateUnavailable` for a window that reaches back to where something may be missing."""
        if self.whole_since is None or bucket_of(window, self.whole_since).expires <= self.counted(now):
            return
        since = datetime.fromtimestamp(self.whole_since, UTC)
        what = f"the ledger may lack counts from before {since:%Y-%m-%d %H:%M} UTC, which the window reaches back to"
        raise StateUnavailable(what, fact="ledger")

    # asking, by the time that things are counted by

    def counted(self, now: float) -> float:
        """The time to count by at this time of day."""
        return self._counted_by(now)

    def moment(self, now: float) -> int:
        """See `Windows.moment`."""
        return self._windows.moment(now)

    @property
    def total_at(self) -> Callable[[CountKey, int], int]:
        """What is counted in a window at such a moment, without what is in flight."""
        return self._windows.total_at

    @property
    def histories(self) -> Mapping[CountKey, HistoryRow]:
        """What was learnt so far."""
        return self._histories

    def total(self, key: CountKey, view: RuleUseView, now: float) -> int:
        """What is counted and in flight, as one operation sees it."""
        return self._requests(key, view.bringer, now) + self.held.amount(key, view)

    def marks(self, key: CountKey, view: RuleUseView, now: float) -> KnownMarks:
        """The marks counted and in flight likewise, as they change."""
        return KnownMarks(self._windows.marks(key, now), self.held.marks(key, view))

    def history(self, key: CountKey, now: float) -> History | None:
        """What was learnt so far; of a row that has not grown for a day, nothing."""
        learnt = self._histories.get(key)
        return None if learnt is None else lasting(learnt, now)

    # what ops ask and do

    def keys_now(self) -> Iterator[CountKey]:
        """The keys for which something is counted or in flight, as they are now, each once; nothing may be left of
        some."""
        counted = tuple(self._windows.keys())
        held = self.held.keys()
        return chain(counted, [key for key in held if not self._windows.names(key)])

    def used(self, key: CountKey, now: float) -> tuple[int, int]:
        """What is counted in a window, and what is in flight: amounts, or different things."""
        return self._used(key, self.counted(now))

    def _used(self, key: CountKey, now: float) -> tuple[int, int]:
        present = self._windows.marks(key, now)
        if present or self.held.has_marks(key):
            return len(present), self.held.marks(key).beside(present)
        return self._windows.total(key, now), self.held.amount(key)

    def forget(self, rule: bytes, group: bytes | None) -> Iterator[Sequence[CountKey]]:
        """Forget what a rule has counted and learnt so far, of one group or of all, piece by piece: the keys of each
        for which there was something. What is in flight stays held."""
        there = (*self._windows.keys(), *self._histories) if group is None else (CountKey(rule, group),)
        for part in in_parts(there, _LOOKED_AT_AT_ONCE):
            for few in in_parts([key for key in part if key.rule == rule], _FORGOTTEN_AT_ONCE):
                gone = [key for key in few if key in self._histories or self._windows.has(key)]
                self._windows.drop(gone)
                for key in gone:
                    self._histories.pop(key, None)
                yield gone
            yield ()

    # rules that come and go

    def keep_only(self, rules: Collection[bytes]) -> Iterator[None]:
        """Nothing of other rules than these counts from now on. What they counted is forgotten piece by piece."""
        self._rules = frozenset(rules)
        self.fullest.keep_only(self._rules)
        windows = (each.keep_only(self._rules) for each in (self._windows, self._strangers))
        histories, is_known = let_go(self._histories, self._is_known), self._is_known
        return chain(*windows, histories, let_go(self._unsaved, lambda name: is_known(name[0])))

    def _is_known(self, key: CountKey) -> bool:
        return self._rules is None or key.rule in self._rules

    # from and for the store

    def restore(self, rows: RuleRows) -> None:
        """What was counted and learnt before a restart."""
        self._windows.restore(rows.buckets, rows.marks)
        for row in sorted(rows.histories, key=_updated):
            if row.history is not None:
                self._histories[row.key] = row

    def rows_now(self, rows: RuleRows) -> RuleRows:
        """The same rows as they stand now."""
        return RuleRows(
            tuple(self._windows.bucket(row.key, Bucket(row.start, row.expires)) for row in rows.buckets),
            tuple(self._windows.mark(row.key, row.mark) for row in rows.marks),
            tuple(self._history_row(row.key) for row in rows.histories),
        )

    def take_unsaved(self) -> RuleRows:
        """What was counted at once since this was asked last, as it stands now."""
        unsaved, self._unsaved = self._unsaved, {}
        buckets = [self._windows.bucket(key, bucket) for (key, _), bucket in unsaved.items() if bucket is not None]
        histories = [self._history_row(key) for (key, start) in unsaved if start is None]
        return RuleRows(tuple(buckets), (), tuple(histories))

    def _history_row(self, key: CountKey) -> HistoryRow:
        return self._histories.get(key) or HistoryRow(key, None, 0.0)


def _by_key(charges: Iterable[RuleCharge]) -> Collection[tuple[CountKey, Sequence[RuleCharge]]]:
    found: dict[CountKey, list[RuleCharge]] = {}
    for charge in charges:
        of_key = found.get(charge.key)
        if of_key is None:
            found[charge.key] = [charge]
        else:
            of_key.append(charge)
    return found.items()


def _brought_by(bringer: Bringer, key: CountKey) -> CountKey:
    name = hashlib.sha256(f"{bringer.client}\n{bringer.peer}".encode()).digest()
    return CountKey(key.rule, name + key.group)


def _updated(row: HistoryRow) -> float:
    return row.updated
