"""What rules count and remember, for all chains of a gate together: windows, histories, and what is in flight.

There is one ledger for each chain, as a nonce is of one chain. A rule may count over all of them, by client or by
account, so that this is shared: each ledger says what its nonce slots hold, and the sums are kept here. Everything
runs in one thread and gives way nowhere, which makes each call one atomic step.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple

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
from proxy.judge.windows import Bucket, Windows
from proxy.ledger.reservation import Concluded, HistoryRow, Reservation, RuleRefusal, RuleRows

_MOST_HISTORIES: Final = 200_000
_HISTORY_SECONDS: Final = 90 * 86_400  # on disk likewise
"""A history that learnt nothing for so long is forgotten, and of too many those that learnt nothing the longest."""


@dataclass(slots=True, eq=False)
class RuleUse:
    """What operations in one nonce slot hold of rule counts, at most: only one of them can be mined."""

    amounts: dict[CountKey, int] = field(default_factory=dict)
    marks: set[tuple[CountKey, bytes]] = field(default_factory=set)

    def grow(self, charges: Iterable[RuleCharge]) -> None:
        """One more operation may take the slot: the larger amount counts, and the marks of all."""
        amounts: dict[CountKey, int] = {}
        for charge in charges:
            if isinstance(charge, WindowCharge):
                amounts[charge.key] = amounts.get(charge.key, 0) + charge.amount
            else:
                self.marks.add((charge.key, charge.mark))
        for key, amount in amounts.items():
            if amount > self.amounts.get(key, 0):
                self.amounts[key] = amount


NOTHING: Final = RuleUse()


class _Learnt(NamedTuple):
    history: History
    updated: float


OnUse = Callable[[CountKey, int, int], None]
"""Told of each count that a charge meets: its key, what is used of it, in flight included, and its limit."""


class RuleCounts:
    """The counts of all rules. Nothing is kept of rules that `keep_only` did not name last."""

    def __init__(self) -> None:
        self.on_use: OnUse | None = None
        self._windows = Windows()
        self._histories: dict[CountKey, _Learnt] = {}  # what learnt last is last
        self._amounts: dict[CountKey, int] = {}
        self._marks: dict[CountKey, dict[bytes, int]] = {}  # each with the number of slots that hold it
        self._rules: frozenset[bytes] | None = None  # None: any
        self._unsaved: dict[tuple[CountKey, int | None], Bucket | None] = {}

    def __len__(self) -> int:
        """For how many keys something is kept."""
        return len(self._windows) + len(self._histories)

    # in flight

    def hold(self, use: RuleUse) -> None:
        """A slot holds this from now on."""
        for key, amount in use.amounts.items():
            self._amounts[key] = self._amounts.get(key, 0) + amount
        for key, mark in use.marks:
            marks = self._marks.setdefault(key, {})
            marks[mark] = marks.get(mark, 0) + 1

    def let_go(self, use: RuleUse) -> None:
        """A slot does not hold this any more."""
        for key, amount in use.amounts.items():
            if left := self._amounts[key] - amount:
                self._amounts[key] = left
            else:
                del self._amounts[key]
        for key, mark in use.marks:
            marks = self._marks[key]
            marks[mark] -= 1
            if not marks[mark]:
                del marks[mark]
            if not marks:
                del self._marks[key]

    def in_flight(self, key: CountKey, own: RuleUse = NOTHING) -> int:
        """The amounts held, without those of the slot that holds `own`."""
        return self._amounts.get(key, 0) - own.amounts.get(key, 0)

    def marks_in_flight(self, key: CountKey, own: RuleUse = NOTHING) -> Collection[bytes]:
        """The marks held, without those that only the slot that holds `own` has."""
        marks = self._marks.get(key)
        if marks is None:
            return ()
        return [mark for mark, slots in marks.items() if slots > ((key, mark) in own.marks)]

    def check(self, charges: tuple[RuleCharge, ...], own: RuleUse, now: float) -> tuple[RuleCharge, ...] | RuleRefusal:
        """The charges that are to be held, judged beside what the operation's own slot holds. The first binding one
        that passes its limit refuses; of a rule that refuses nobody none is held when one of them does, unless they
        overflow."""
        left_out: set[bytes] = set()
        for key, of_key in _by_key(charges).items():
            refusal = self._refusal(key, of_key, own, now)
            if refusal is None:
                continue
            if any(charge.binding for charge in of_key):
                return refusal
            if not any(charge.overflows for charge in of_key):
                left_out.add(key.rule)
        if not left_out:
            return charges
        return tuple(charge for charge in charges if charge.key.rule not in left_out)

    def _refusal(self, key: CountKey, charges: list[RuleCharge], own: RuleUse, now: float) -> RuleRefusal | None:
        limit = min(charge.limit for charge in charges)
        wanted = sum(charge.amount for charge in charges if isinstance(charge, WindowCharge))
        marks = {charge.mark for charge in charges if isinstance(charge, DistinctCharge)}
        if marks:
            present = self._windows.marks(key, now)
            held = {mark for mark in self.marks_in_flight(key, own) if mark not in present}
            new = {mark for mark in marks if mark not in present and mark not in held}
            used, in_flight, wanted = len(present), len(held), len(new)
        else:
            used, in_flight = self._windows.total(key, now), self.in_flight(key, own)
        fits = used + in_flight + wanted <= limit
        if self.on_use is not None:
            self.on_use(key, used + in_flight + (wanted if fits else 0), limit)
        if fits:
            return None
        return RuleRefusal(key, limit, used, in_flight, wanted)

    # what has ended

    def conclude(self, reservation: Reservation, now: float, *, success: bool, at: float | None = None) -> Concluded:
        """The operation was mined: what it holds is counted in its windows, and histories learn from it.

        It is counted at the time of its block `at`, where that is known and not later than now."""
        moment = self._windows.moment(now) if at is None else min(int(at), self._windows.moment(now))
        buckets, marks = [], []
        for charge in reservation.rule_charges:
            if not self._is_known(charge.key):
                continue
            if isinstance(charge, DistinctCharge):
                mark = self._windows.add_mark(charge.key, charge.window, charge.mark, charge.limit, now, at=moment)
                marks.append(mark)
            elif success or charge.lasting:
                buckets.append(self._windows.add(charge.key, charge.window, charge.amount, now, at=moment))
        lessons = [lesson for lesson in reservation.lessons if self._is_known(lesson.key)]
        histories = tuple(self._learn(lesson, now, success=success) for lesson in lessons)
        return Concluded(moment, RuleRows(tuple(buckets), tuple(marks), histories))

    def reopen(self, reservation: Reservation, at: int, *, success: bool) -> RuleRows:
        """The chain took back what was counted at that moment: it leaves its windows. Histories stay learnt."""
        buckets, marks = [], []
        for charge in reservation.rule_charges:
            if isinstance(charge, DistinctCharge):
                marks.append(self._windows.take_back_mark(charge.key, charge.window, charge.mark, at))
            elif success or charge.lasting:
                buckets.append(self._windows.take_back(charge.key, charge.window, charge.amount, at))
        return RuleRows(tuple(buckets), tuple(marks))

    def rate(self, key: CountKey, window: Window, amount: int, limit: int, now: float) -> bool:
        """Count a request at once. Whether it fits; one that does not is not counted."""
        if self._windows.total(key, now) + amount > limit:
            return False
        if self._is_known(key):
            row = self._windows.add(key, window, amount, now)
            self._unsaved[key, row.start] = Bucket(row.start, row.expires)
        return True

    def learn_now(self, lesson: Lesson, now: float, *, success: bool) -> None:
        """A history learns at once, of what never came to a receipt."""
        if self._is_known(lesson.key) and not self._teaches_nothing(lesson, success=success):
            self._learn(lesson, now, success=success)
            self._unsaved[lesson.key, None] = None

    def _teaches_nothing(self, lesson: Lesson, *, success: bool) -> bool:
        return isinstance(lesson, OutcomeLesson) and success and lesson.key not in self._histories

    def _learn(self, lesson: Lesson, now: float, *, success: bool) -> HistoryRow:
        before = self.history(lesson.key, now)
        self._histories.pop(lesson.key, None)
        history = learn(before, lesson, now, success=success)
        if not (isinstance(history, Row) and history.length == 0):  # no row is the same as none
            self._histories[lesson.key] = _Learnt(history, now)
        while self._histories:
            first = next(iter(self._histories))
            old = self._histories[first].updated < now - _HISTORY_SECONDS
            if not old and len(self._histories) <= _MOST_HISTORIES:
                break
            del self._histories[first]
        return self._history_row(lesson.key)

    # asking

    def total(self, key: CountKey, own: RuleUse, now: float) -> int:
        """What is counted and in flight, without what the slot that holds `own` has in flight."""
        return self._windows.total(key, now) + self.in_flight(key, own)

    def marks(self, key: CountKey, own: RuleUse, most: int, now: float) -> Collection[bytes]:
        """The marks counted and in flight likewise; of more than `most` + 1, the latest `most` + 1."""
        # what is in flight is the latest of all
        latest = dict.fromkeys((*self.marks_in_flight(key, own), *reversed(list(self._windows.marks(key, now)))))
        return frozenset(list(latest)[: most + 1])

    def history(self, key: CountKey, now: float) -> History | None:
        """What was learnt so far; of a row that has not grown for a day, nothing."""
        learnt = self._histories.get(key)
        if learnt is None or (isinstance(learnt.history, Row) and now - learnt.updated >= ROW_SECONDS):
            return None
        return learnt.history

    # what ops ask and do

    def keys_now(self) -> Iterator[CountKey]:
        """The keys for which something is counted or in flight, as they are now."""
        return iter({*self._windows.keys(), *self._amounts, *self._marks})

    def used(self, key: CountKey, now: float) -> tuple[int, int]:
        """What is counted in a window, and what is in flight: amounts, or different things."""
        present = self._windows.marks(key, now)
        if present or key in self._marks:
            return len(present), sum(mark not in present for mark in self._marks.get(key, ()))
        return self._windows.total(key, now), self.in_flight(key)

    def forget(self, rule: bytes, group: bytes | None) -> int:
        """Forget what a rule has counted and learnt, of one group or of all; for how many keys there was something.
        What is in flight stays held."""
        if group is None:
            keys = {key for key in (*self._windows.keys(), *self._histories) if key.rule == rule}
        else:
            keys = {key for key in (CountKey(rule, group),) if key in self._histories or self._windows.has(key)}
        self._windows.drop(keys)
        for key in keys:
            self._histories.pop(key, None)
        self._unsaved = {name: bucket for name, bucket in self._unsaved.items() if name[0] not in keys}
        return len(keys)

    # rules that come and go

    def keep_only(self, rules: Collection[bytes]) -> None:
        """Forget what other rules than these have counted and learnt; what they have in flight does not matter."""
        self._rules = frozenset(rules)
        self._windows.keep_only(self._rules)
        self._histories = {key: learnt for key, learnt in self._histories.items() if self._is_known(key)}
        self._unsaved = {name: bucket for name, bucket in self._unsaved.items() if self._is_known(name[0])}

    def _is_known(self, key: CountKey) -> bool:
        return self._rules is None or key.rule in self._rules

    # from and for the store

    def restore(self, rows: RuleRows) -> None:
        """What was counted and learnt before a restart."""
        self._windows.restore(rows.buckets, rows.marks)
        for row in sorted(rows.histories, key=_updated):
            if row.history is not None:
                self._histories[row.key] = _Learnt(row.history, row.updated)

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
        learnt = self._histories.get(key)
        return HistoryRow(key, None, 0.0) if learnt is None else HistoryRow(key, *learnt)


@dataclass(frozen=True, slots=True)
class SlotCounts:
    """The counts as an operation in one slot is judged by them; see `proxy.judge.counts.Counts`."""

    counts: RuleCounts
    own: Callable[[], RuleUse]
    now: float

    def total(self, key: CountKey, _window: Window) -> int:
        return self.counts.total(key, self.own(), self.now)

    def marks(self, key: CountKey, _window: Window, most: int) -> Collection[bytes]:
        return self.counts.marks(key, self.own(), most, self.now)

    def history(self, key: CountKey) -> History | None:
        return self.counts.history(key, self.now)


def _by_key(charges: Iterable[RuleCharge]) -> Mapping[CountKey, list[RuleCharge]]:
    found: dict[CountKey, list[RuleCharge]] = {}
    for charge in charges:
        found.setdefault(charge.key, []).append(charge)
    return found


def _updated(row: HistoryRow) -> float:
    return row.updated
