"""What checks are asked with and what they answer: one operation, what was counted before, and what several rules want
to know of it, found out once.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from enum import Enum, auto
from typing import Any, Final, NamedTuple

from proxy.judge.counts import CountKey, Counts, Lesson, RuleCharge
from proxy.judge.facts import Facts
from proxy.judge.group import chain_part, groups_by, join, mark_of, marks_by
from proxy.judge.measure import MOVED, Grouped, measure_of, measured_by, measured_by_recipient, print_measure
from proxy.judge.rule import AmountOf, Of, OnCalendar, Per, Rule, Sum, Window
from proxy.judge.tokens import Tokens
from proxy.judge.verdict import Mode

SPLITTING: Final = (Per.TARGET, Per.RECIPIENT, Per.TOKEN)
"""What one operation may have several of, each with an amount of its own."""
GIVEN_BACK: Final = (Sum.SPEND, Sum.EXPOSURE, Sum.VALUE)
"""What a reverted operation has not moved; gas, calls and uses are gone all the same."""


Allowed = Callable[[str, bytes, float], bool]
"""Whether ops allowed a thing by hand: the rule's id, the thing's mark, the time (unix seconds)."""


class CheckAnswer(Enum):
    """What a check says."""

    QUIET = auto()
    FIRES = auto()
    UNKNOWN = auto()


class CheckOutcome(NamedTuple):
    """An answer, in words where it fires, and what to count for an operation that goes out."""

    answer: CheckAnswer
    sentence: str = ""
    wanted: str | None = None
    got: str | None = None
    retryable: bool = False
    charges: Sequence[RuleCharge] = ()
    lessons: Sequence[Lesson] = ()
    rows: Sequence[CountKey] = ()


QUIET: Final = CheckOutcome(CheckAnswer.QUIET)
_QUIET: Final = CheckAnswer.QUIET


Find = Callable[["AskedOperation"], Any]
"""Finds out what several rules want to know of an operation."""


class AskedOperation(dict[int, Any]):
    """One operation that rules are held against, and what some rule wanted to know of it, for the others: answers by
    the place of their question, each found out when it is asked for first. Nothing that it refers to refers to it, so
    that all of it goes when the rules are through with it, and nothing waits for the collector."""

    __slots__ = ("_finders", "counts", "facts")

    def __init__(self, facts: Facts, counts: Counts, questions: SharedQuestions) -> None:
        self.facts = facts
        self.counts = counts
        self._finders = questions.finders

    def __missing__(self, place: int) -> Any:
        found = self[place] = self._finders[place](self)
        return found


Ask = Callable[[AskedOperation], CheckOutcome]
"""A rule's check made ready: all that is the same for every operation is worked out."""


class ShapedAsk(NamedTuple):
    """A check made ready for operations of one shape (`proxy.judge.shape`), where more of it can be worked out; and its
    `usual` answer, where it says the same of nearly all of them: that nothing fires, and what is counted."""

    ask: Ask
    usual: CheckOutcome | None = None


Bind = Callable[[AskedOperation], ShapedAsk | None]
"""Makes a check ready for operations of the shape of this one; `None` where that is worth nothing."""


class Ready(NamedTuple):
    """A check made ready, for any operation and, where that is worth something, for those of one shape."""

    ask: Ask
    bind: Bind | None = None


def _each(groups: Sequence[bytes], amount: int) -> Grouped:
    if len(groups) == 1:  # nearly always
        return [(groups[0], amount)]
    return [(group, amount) for group in groups]


class SharedQuestions:
    """The questions of a set of rules about an operation, each answered once however many rules ask it. Each method
    gives the place in an `AskedOperation` where the answer stands."""

    def __init__(self, tokens: Tokens) -> None:
        self.tokens = tokens
        self.finders: list[Find] = []
        """By the place of each question."""
        self._places: dict[Hashable, int] = {}

    def groups(self, per: tuple[Per, ...]) -> int:
        """The groups that the operation belongs to."""
        found = groups_by(per)
        return self._once((groups_by, per), lambda asked: found(asked.facts))

    def whole(self, per: tuple[Per, ...]) -> int:
        """One for each of them."""
        groups = self.groups(per)

        def ones(asked: AskedOperation) -> Grouped:
            return _each(asked[groups], 1)

        return self._once((len, per), ones)

    def marks(self, of: Of) -> int:
        """The things of one kind in it, as marks."""
        found = marks_by(of)
        return self._once((marks_by, of), lambda asked: found(asked.facts))

    def amount(self, measured: AmountOf) -> int:
        """How much it is in all; `None` when that is not told."""
        found = measure_of(measured, self.tokens)
        return self._once((measure_of, measured), lambda asked: found(asked.facts))

    def amounts(self, measured: AmountOf, per: tuple[Per, ...]) -> int:
        """How much it adds to each group; `None` when an amount is not told."""
        return self._once((measured_by, measured, per), self._amounts(measured, per))

    def recipients(self, measured: AmountOf) -> int:
        """How much each counterparty gets, by its mark; `None` when that is not told."""

        def found(asked: AskedOperation) -> list[tuple[bytes, int | None]]:
            by_recipient = measured_by_recipient(asked.facts, measured, self.tokens)
            return [(mark_of(recipient), amount) for recipient, amount in by_recipient.items()]

        return self._once((measured_by_recipient, measured), found)

    def _amounts(self, measured: AmountOf, per: tuple[Per, ...]) -> Callable[[AskedOperation], Grouped | None]:
        splitting = next((each for each in per if each in SPLITTING), None)
        if splitting is None:
            whole, groups = self.amount(measured), self.groups(per)

            def in_one(asked: AskedOperation) -> Grouped | None:
                amount = asked[whole]
                return None if amount is None else _each(asked[groups], amount)

            return in_one
        others = tuple(each for each in per if each is not splitting)
        rest, first = self.groups(others), per[0] is splitting

        def in_parts(asked: AskedOperation) -> Grouped | None:
            parts = measured_by(asked.facts, measured, self.tokens, splitting)
            if parts is None:
                return None
            if splitting is not Per.RECIPIENT:  # who receives is the same on every chain
                chain = chain_part(asked.facts)
                parts = [(chain + part, amount) for part, amount in parts]
            if not others:
                return parts
            return [
                (join(part, group) if first else join(group, part), amount)
                for part, amount in parts
                for group in asked[rest]
            ]

        return in_parts

    def _once(self, name: Hashable, find: Find) -> int:
        place = self._places.get(name)
        if place is None:
            place = self._places[name] = len(self.finders)
            self.finders.append(find)
        return place


class CheckTerms(NamedTuple):
    """What a check is made ready with: its rule, the rule's mode under the gate's, what rules share, and what ops allow
    by hand."""

    rule: Rule
    mode: Mode
    shared: SharedQuestions
    allowed: Allowed

    @property
    def binding(self) -> bool:
        """Whether what is counted refuses."""
        return self.mode is Mode.ENFORCE

    @property
    def overflows(self) -> bool:
        """Whether what goes over is counted all the same: it goes out, and somebody has to hear how much it was."""
        return self.mode is Mode.ALERT

    def printed(self, asked: AskedOperation, amount_of: AmountOf, amount: int) -> str:
        """An amount in people's units."""
        return print_measure(amount, amount_of, asked.facts.chain_id, self.shared.tokens)


made: Final = tuple.__new__
"""Makes a named tuple of all its values without asking for their names: many are made for each operation."""


def quietly(
    charges: Sequence[RuleCharge], lessons: Sequence[Lesson] = (), rows: Sequence[CountKey] = ()
) -> CheckOutcome:
    """Nothing to say, and something to count."""
    return made(CheckOutcome, (_QUIET, "", None, None, False, charges, lessons, rows))


def unknown(what: str) -> CheckOutcome:
    return CheckOutcome(CheckAnswer.UNKNOWN, f"{what} cannot be told of this operation")


SILENT: Final = ShapedAsk(lambda _asked: QUIET, QUIET)
"""Of every operation of a shape: nothing to say and nothing to count. Such a check need not be asked."""


def moves_nothing(shape: AskedOperation, amount: AmountOf) -> bool:
    """Whether this amount is none for every operation of a shape, because nothing of its kind moves."""
    kind = MOVED.get(amount.what)
    return kind is not None and all(move.kind is not kind for move in shape.facts.moves)


def always(outcome: CheckOutcome) -> Ready:
    """The same of every operation."""
    return Ready(lambda _asked: outcome)


def name_of(amount: AmountOf) -> str:
    return amount.what.value.replace("_", " ")


_UNITS: Final = ((86_400, "d"), (3_600, "h"), (60, "m"))


def in_words(window: Window) -> str:
    """`in 24h`, `this day (Europe/Berlin)`."""
    if isinstance(window, OnCalendar):
        return f"this {window.unit.value} ({window.zone.key})"
    for seconds, unit in _UNITS:
        if window.seconds % seconds == 0:
            return f"in {window.seconds // seconds}{unit}"
    return f"in {window.seconds}s"
