"""What operations in flight hold of the counts of rules, summed as it changes.

What nobody's signature was checked for is held apart, by who brought it: a stranger can claim to be anybody, and fills
no count but that in which he stands himself. Once the bundler has taken an operation its signature was checked.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from proxy.judge.counts import CountKey, RuleCharge, WindowCharge
from proxy.ledger.reservation import Bringer


@dataclass(slots=True, eq=False)
class RuleUse:
    """What operations in one nonce slot hold of rule counts, at most: only one of them can be mined."""

    amounts: dict[CountKey, int] = field(default_factory=dict)
    marks: set[tuple[CountKey, bytes]] = field(default_factory=set)

    def grow(self, charges: Iterable[RuleCharge]) -> None:
        """One more operation may take the slot: the larger amount counts, and the marks of all."""
        amounts: dict[CountKey, int] = {} if self.amounts else self.amounts
        for charge in charges:
            key = charge.key
            if isinstance(charge, WindowCharge):
                amounts[key] = amounts.get(key, 0) + charge.amount
            else:
                self.marks.add((key, charge.mark))
        if amounts is self.amounts:  # nearly always the first
            return
        for key, amount in amounts.items():
            if amount > self.amounts.get(key, 0):
                self.amounts[key] = amount


NOTHING: Final = RuleUse()


@dataclass(frozen=True, slots=True)
class RuleUseView:
    """What one operation is judged beside: everything but what its own slot holds. One whose signature nobody checked
    stands beside what its `bringer` brought before, of which its slot holds `brought`."""

    own: RuleUse = NOTHING
    bringer: Bringer | None = None
    brought: RuleUse = NOTHING


EVERYBODY: Final = RuleUseView()


class _Sums:
    """The sums over slots."""

    __slots__ = ("amounts", "marks")

    def __init__(self) -> None:
        self.amounts: dict[CountKey, int] = {}
        self.marks: dict[CountKey, dict[bytes, int]] = {}  # each with the number of slots that hold it

    def hold(self, use: RuleUse) -> None:
        amounts = self.amounts
        for key, amount in use.amounts.items():
            amounts[key] = amounts.get(key, 0) + amount
        for key, mark in use.marks:
            marks = self.marks.get(key)
            if marks is None:
                marks = self.marks[key] = {}
            marks[mark] = marks.get(mark, 0) + 1

    def let_go(self, use: RuleUse) -> None:
        for key, amount in use.amounts.items():
            if left := self.amounts[key] - amount:
                self.amounts[key] = left
            else:
                del self.amounts[key]
        for key, mark in use.marks:
            marks = self.marks[key]
            marks[mark] -= 1
            if not marks[mark]:
                del marks[mark]
            if not marks:
                del self.marks[key]

    def amount(self, key: CountKey, own: RuleUse) -> int:
        return self.amounts.get(key, 0) - own.amounts.get(key, 0)

    def marks_of(self, key: CountKey, own: RuleUse) -> Iterator[bytes]:
        marks = self.marks.get(key)
        if marks is not None:
            yield from (mark for mark, slots in marks.items() if slots > ((key, mark) in own.marks))


class RulesInFlight:
    """What is held, for everybody and by bringer."""

    def __init__(self) -> None:
        self._held = _Sums()
        self._brought: dict[Bringer, _Sums] = {}

    def hold(self, use: RuleUse, bringer: Bringer | None = None) -> None:
        """A slot holds this from now on."""
        self._sums(bringer).hold(use)

    def let_go(self, use: RuleUse, bringer: Bringer | None = None) -> None:
        """A slot does not hold this any more."""
        sums = self._sums(bringer)
        sums.let_go(use)
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

    def marks(self, key: CountKey, view: RuleUseView = EVERYBODY) -> Collection[bytes]:
        """The marks held likewise, each once."""
        found = dict.fromkeys(self._held.marks_of(key, view.own)) if key in self._held.marks else {}
        brought = None if view.bringer is None else self._brought.get(view.bringer)
        if brought is not None:
            found |= dict.fromkeys(brought.marks_of(key, view.brought))
        return found

    def keys(self) -> set[CountKey]:
        """The keys of which something is held for everybody."""
        return {*self._held.amounts, *self._held.marks}

    def has_marks(self, key: CountKey) -> bool:
        """Whether what is held of a key are marks."""
        return key in self._held.marks

    def _sums(self, bringer: Bringer | None) -> _Sums:
        if bringer is None:
            return self._held
        sums = self._brought.get(bringer)
        if sums is None:
            sums = self._brought[bringer] = _Sums()
        return sums
