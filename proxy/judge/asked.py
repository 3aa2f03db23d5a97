"""What a check is asked with and what it answers: one rule, one operation, and what was counted before."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

from proxy.judge.counts import (
    CountKey,
    Counts,
    Lesson,
    RuleCharge,
)
from proxy.judge.facts import Facts
from proxy.judge.group import chain_part, groups_of, join
from proxy.judge.measure import measure, measured_by, print_measure
from proxy.judge.rule import (
    AmountOf,
    OnCalendar,
    Per,
    Rule,
    Sum,
    Window,
)
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


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckOutcome:
    """An answer, in words where it fires, and what to count for an operation that goes out."""

    answer: CheckAnswer
    sentence: str = ""
    wanted: str | None = None
    got: str | None = None
    retryable: bool = False
    charges: Sequence[RuleCharge] = ()
    lessons: Sequence[Lesson] = ()
    rows: Sequence[CountKey] = ()


@dataclass(frozen=True, slots=True)
class CheckQuestion:
    """One rule and one operation."""

    rule: Rule
    facts: Facts
    counts: Counts
    tokens: Tokens
    mode: Mode
    allowed: Allowed

    @property
    def binding(self) -> bool:
        """Whether what is counted refuses."""
        return self.mode is Mode.ENFORCE

    @property
    def overflows(self) -> bool:
        """Whether what goes over is counted all the same: it goes out, and somebody has to hear how much it was."""
        return self.mode is Mode.ALERT

    def key(self, group: bytes) -> CountKey:
        """The name of the rule's count for a group."""
        return CountKey(self.rule.identity, group)

    def keys(self, per: tuple[Per, ...]) -> list[CountKey]:
        """The counts that the operation belongs to."""
        return [self.key(group) for group in groups_of(self.facts, per)]


QUIET: Final = CheckOutcome(answer=CheckAnswer.QUIET)


def unknown(what: str) -> CheckOutcome:
    return CheckOutcome(answer=CheckAnswer.UNKNOWN, sentence=f"{what} cannot be told of this operation")


def amounts_of(asked: CheckQuestion, measured: AmountOf, per: tuple[Per, ...]) -> list[tuple[CountKey, int]] | None:
    """How much the operation adds to each group; `None` when an amount is not told."""
    splitting = next((each for each in per if each in SPLITTING), None)
    if splitting is None:
        amount = measure(asked.facts, measured, asked.tokens)
        return None if amount is None else [(key, amount) for key in asked.keys(per)]
    parts = measured_by(asked.facts, measured, asked.tokens, splitting)
    if parts is None:
        return None
    if splitting is not Per.RECIPIENT:  # who receives is the same on every chain
        parts = [(chain_part(asked.facts) + part, amount) for part, amount in parts]
    others = [each for each in per if each is not splitting]
    if not others:
        return [(asked.key(part), amount) for part, amount in parts]
    first = per.index(splitting) == 0
    return [
        (asked.key(join(part, group) if first else join(group, part)), amount)
        for part, amount in parts
        for group in groups_of(asked.facts, (others[0],))
    ]


def name_of(amount: AmountOf) -> str:
    return amount.what.value.replace("_", " ")


def printed(asked: CheckQuestion, amount_of: AmountOf, amount: int) -> str:
    return print_measure(amount, amount_of, asked.facts.chain_id, asked.tokens)


_UNITS: Final = ((86_400, "d"), (3_600, "h"), (60, "m"))


def in_words(window: Window) -> str:
    """`in 24h`, `this day (Europe/Berlin)`."""
    if isinstance(window, OnCalendar):
        return f"this {window.unit.value} ({window.zone.key})"
    for seconds, unit in _UNITS:
        if window.seconds % seconds == 0:
            return f"in {window.seconds // seconds}{unit}"
    return f"in {window.seconds}s"
