"""What operations in flight hold of the counts of rules, summed as it changes.

What nobody's signature was checked for is held apart, by who brought it: a stranger can claim to be anybody, and fills
no count but that in which he stands himself. Once the bundler has taken an operation its signature was checked.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass
from typing import Final

from proxy.judge.counts import CountKey, WindowCharge
from proxy.judge.windows import NO_MARKS
from proxy.ledger.reservation import Bringer, Charges


class RuleUse:
    """The sums of some charges, and their marks, each with how many of them bring it."""

    __slots__ = ("amounts", "marks")

    def __init__(self, charges: Charges = ()) -> None:
        self.amounts: dict[CountKey, int] = {}
        self.marks: dict[CountKey, dict[bytes, int]] = {}
        if charges:
            self.hold(charges)

    def hold(self, charges: Charges) -> None:
        """These are held from now on."""
        amounts = self.amounts
        for charge in charges:
            key = charge.key
            if isinstance(charge, WindowCharge):
                amounts[key] = amounts.get(key, 0) + charge.amount
                continue
            marks, mark = self.marks.get(key), charge.mark
            if marks is None:
                self.marks[key] = {mark: 1}
            else:
                marks[mark] = marks.get(mark, 0) + 1

    def let_go(self, charges: Charges) -> None:
        """These are not held any more."""
        amounts = self.amounts
        for charge in charges:
            key = charge.key
            if isinstance(charge, WindowCharge):
                if left := amounts.get(key, 0) - charge.amount:
                    amounts[key] = left
                else:
                    amounts.pop(key, None)  # it is not there where it was held of nothing
                continue
            marks, mark = self.marks[key], charge.mark
            if left := marks[mark] - 1:
                marks[mark] = left
            elif len(marks) > 1:
                del marks[mark]
            else:
                del self.marks[key]

    def amount(self, key: CountKey, own: RuleUse) -> int:
        """The amounts held beside one's `own`."""
        return self.amounts.get(key, 0) - own.amounts.get(key, 0)

    def marks_of(self, key: CountKey, own: RuleUse) -> _SomeMarks:
        """The marks of one key held beside one's `own`."""
        return _SomeMarks(self.marks.get(key, NO_MARKS), own.marks.get(key, NO_MARKS))


NOTHING: Final = RuleUse()


@dataclass(frozen=True, slots=True)
class RuleUseView:
    """What one operation is judged beside: everything but what its own slot holds. One whose signature nobody checked
    stands beside what its `bringer` brought before, of which its slot holds `brought`."""

    own: RuleUse = NOTHING
    bringer: Bringer | None = None
    brought: RuleUse = NOTHING


EVERYBODY: Final = RuleUseView()


def in_both(some: Mapping[bytes, object], others: Mapping[bytes, object]) -> int:
    """How many marks these have in common: the smaller is walked, without a line of Python each."""
    few, many = (some, others) if len(some) < len(others) else (others, some)
    return sum(map(many.__contains__, few)) if few else 0


class _SomeMarks:
    """Those of one key that any slot but one's `own` holds."""

    __slots__ = ("_all", "_own", "_own_alone")

    def __init__(self, all_of_them: Mapping[bytes, int], own: Mapping[bytes, int]) -> None:
        self._all = all_of_them
        self._own = own
        self._own_alone = [mark for mark, times in own.items() if all_of_them.get(mark) == times] if own else ()

    def __contains__(self, mark: bytes) -> bool:
        return self._all.get(mark, 0) > self._own.get(mark, 0)

    def __iter__(self) -> Iterator[bytes]:
        return (mark for mark in self._all if mark in self)

    def __len__(self) -> int:
        return len(self._all) - len(self._own_alone)

    def beside(self, present: Mapping[bytes, object]) -> int:
        """How many of them are not among those."""
        if not present:
            return len(self)
        return len(self._all) - in_both(self._all, present) - sum(mark not in present for mark in self._own_alone)


class HeldMarks:
    """The marks of one key that are held, as one operation sees them. However many are in flight, none are walked but
    those that one bringer has brought."""

    __slots__ = ("_brought", "_held")

    def __init__(self, held: _SomeMarks, brought: _SomeMarks | None) -> None:
        self._held = held
        self._brought = brought or None

    def __contains__(self, mark: bytes) -> bool:
        return mark in self._held or (self._brought is not None and mark in self._brought)

    def __iter__(self) -> Iterator[bytes]:
        yield from self._held
        yield from (mark for mark in self._brought or () if mark not in self._held)

    def beside(self, present: Mapping[bytes, object]) -> int:
        """How many of them are not among those."""
        more = (mark for mark in self._brought or () if mark not in self._held and mark not in present)
        return self._held.beside(present) + sum(1 for _ in more)


class KnownMarks(Set[bytes]):
    """The marks that count in a window, and those that are held: looked into without being put together."""

    __slots__ = ("_held", "_present")

    def __init__(self, present: Mapping[bytes, object], held: HeldMarks) -> None:
        self._present = present
        self._held = held

    def __contains__(self, mark: object) -> bool:
        return mark in self._present or (isinstance(mark, bytes) and mark in self._held)

    def __iter__(self) -> Iterator[bytes]:
        yield from self._present
        yield from (mark for mark in self._held if mark not in self._present)

    def __len__(self) -> int:
        return len(self._present) + self._held.beside(self._present)


class RulesInFlight:
    """What is held, for everybody and by bringer."""

    def __init__(self) -> None:
        self._held = RuleUse()
        self._brought: dict[Bringer, RuleUse] = {}

    def hold(self, charges: Charges, bringer: Bringer | None = None) -> None:
        """A slot holds this from now on."""
        self._sums(bringer).hold(charges)

    def let_go(self, charges: Charges, bringer: Bringer | None = None) -> None:
        """A slot does not hold this any more."""
        sums = self._sums(bringer)
        sums.let_go(charges)
        if bringer is not None and not sums.amounts and not sums.marks:
            del self._brought[bringer]

    def amount(self, key: CountKey, view: RuleUseView = EVERYBODY) -> int:
        """The amounts held, as one operation sees them."""
        held = self._held.amount(key, view.own)
        if view.bringer is None:
            return held
        brought = self._brought.get(view.bringer)
        return held if brought is None else held + brought.amount(key, view.brought)

    @property
    def amounts(self) -> Mapping[CountKey, int]:
        """The amounts held for everybody, as they change."""
        return self._held.amounts

    @property
    def marks_of_all(self) -> Mapping[CountKey, Mapping[bytes, int]]:
        """The marks held for everybody, as they change, each with how many slots hold it."""
        return self._held.marks

    def marks(self, key: CountKey, view: RuleUseView = EVERYBODY) -> HeldMarks:
        """The marks held likewise, each once."""
        brought = None if view.bringer is None else self._brought.get(view.bringer)
        more = None if brought is None else brought.marks_of(key, view.brought)
        return HeldMarks(self._held.marks_of(key, view.own), more)

    def keys(self) -> set[CountKey]:
        """The keys of which something is held for everybody."""
        return {*self._held.amounts, *self._held.marks}

    def has_marks(self, key: CountKey) -> bool:
        """Whether what is held of a key are marks."""
        return key in self._held.marks

    def _sums(self, bringer: Bringer | None) -> RuleUse:
        if bringer is None:
            return self._held
        sums = self._brought.get(bringer)
        if sums is None:
            sums = self._brought[bringer] = RuleUse()
        return sums
