"""Cases as they are held in memory: operations over time, and what one rule should say of each."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from proxy.judge.facts import Facts
from proxy.judge.rule import Place


class Ending(StrEnum):
    """What becomes of an operation before the next one comes, if it passed."""

    SUCCEEDS = "succeeds"
    REVERTS = "reverts"
    IN_FLIGHT = "in_flight"  # stays so
    DROPPED = "dropped"
    REFUSED = "refused"  # by the bundler


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One operation. `number` counts the steps as written, from 1; `turn` the repeats of one step, from 1."""

    place: Place
    number: int
    turn: int
    turns: int
    after: int  # seconds since the case began
    facts: Facts
    fires: bool  # what is expected
    ending: Ending
    as_written: tuple[str, ...] = ()  # fields that no call data tell


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """Operations in the order of time, held against the rule named `rule` alone."""

    rule: str
    name: str
    place: Place
    steps: tuple[Step, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseFault:
    """Something wrong with a case file: where it stands, what it is, and the cure when one is known."""

    place: Place
    problem: str
    suggestion: str | None = None

    def __str__(self) -> str:
        """`rules/spending.cases.yaml:4:9: unknown key "expct"; did you mean "expect"?`."""
        cure = f"; {self.suggestion}" if self.suggestion else ""
        return f"{self.place.path}:{self.place.line}:{self.place.column}: {self.problem}{cure}"
