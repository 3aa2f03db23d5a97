"""What can be wrong with an expression, and where."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

from proxy.record import record


@record()
class ExpressionFault:
    """One thing wrong: `length` characters from `offset` (of the whole expression, also for what a macro holds)."""

    offset: int
    length: int
    problem: str
    suggestion: str | None = None

    def __str__(self) -> str:
        """`column 4: op.valeu is not a field; did you mean op.value?`."""
        text = f"column {self.offset + 1}: {self.problem}"
        return text if self.suggestion is None else f"{text}; {self.suggestion}"


class UnreadableExpression(Exception):  # no Error: nothing is broken but the text
    """The text is no expression: reading stops at the first fault."""

    def __init__(self, offset: int, length: int, problem: str, suggestion: str | None = None) -> None:
        super().__init__(problem)
        self.fault = ExpressionFault(offset, max(length, 1), problem, suggestion)


def did_you_mean(name: str, known: Iterable[str]) -> str | None:
    """The cure for a name nobody knows, where one that is known looks like it."""
    by_fold = {candidate.lower(): candidate for candidate in known}
    matches = get_close_matches(name.lower()[:100], by_fold, n=1, cutoff=0.6)
    return f"did you mean {by_fold[matches[0]]}?" if matches else None
