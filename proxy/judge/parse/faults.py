"""What is read, what comes of it, and what can be wrong with it."""

from __future__ import annotations

from collections.abc import Callable

from proxy.judge.rule import Place, Ruleset
from proxy.record import record


@record()
class SourceFile:
    """One file: its name as faults show it, and its text."""

    path: str
    text: str


@record()
class Beside:
    """A file that a rule file names: its path as faults show it, and its text, or else why it cannot be read."""

    path: str
    text: str | None
    problem: str = ""


ReadBeside = Callable[[str, str], Beside]
"""Reads a file that a rule file names: from the path of the one and the name in it."""


def nothing_beside(_source: str, name: str) -> Beside:
    """For rules that stand alone."""
    return Beside(name, None, "no file can be read here")


@record(kw_only=True)
class RuleFault:
    """One fault, or one warning: where it stands, what is wrong, and the cure when one is known.

    `rule` is the id of the rule it is about; `None` outside of rules.
    """

    place: Place
    problem: str
    suggestion: str | None = None
    rule: str | None = None

    def __str__(self) -> str:
        """`rules/spending.yaml:4:12: unknown key 'limt'; did you mean "limit"?`."""
        cure = f"; {self.suggestion}" if self.suggestion else ""
        return f"{self.place.path}:{self.place.line}:{self.place.column}: {self.problem}{cure}"


@record(kw_only=True)
class Parsed:
    """What came of reading: a set of rules, or `None` and every fault. Warnings stand in nobody's way."""

    ruleset: Ruleset | None
    faults: tuple[RuleFault, ...] = ()
    warnings: tuple[RuleFault, ...] = ()
    beside: tuple[str, ...] = ()  # paths of the files that the rules name
