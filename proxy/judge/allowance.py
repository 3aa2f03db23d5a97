"""What ops allow by hand: a thing that a rule's history need not know first."""

from __future__ import annotations

from collections.abc import Iterator

from proxy.record import record


@record(kw_only=True)
class Allowance:
    """A thing that a rule of `first_seen` takes for known.

    `mark` is its mark (`proxy.judge.group`), `thing` its name as people wrote it. Times in unix seconds; `until` is
    exclusive, `None` for no end.
    """

    rule: str
    mark: bytes
    thing: str
    since: float
    until: float | None
    reason: str


class Allowances:
    """Those in force, and those whose end has come, until they are dropped."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, bytes], Allowance] = {}

    def __iter__(self) -> Iterator[Allowance]:
        return iter(tuple(self._found.values()))

    def put(self, allowance: Allowance) -> None:
        """Allow, in place of what was allowed of the same thing."""
        self._found[allowance.rule, allowance.mark] = allowance

    def drop(self, rule: str, mark: bytes) -> Allowance | None:
        """Allow it no more; what was allowed."""
        return self._found.pop((rule, mark), None)

    def covers(self, rule: str, mark: bytes, now: float) -> bool:
        """Whether a thing is allowed at this time."""
        found = self._found.get((rule, mark))
        return found is not None and (found.until is None or now < found.until)
