"""Fewer rows written for what is entered together: the same tables in the end, as if one statement after the other had
been executed.

Nearly every operation is answered a few milliseconds after it has begun, in the same batch: its row is written once, as
it is then, and not twice. One that its bundler refused, or that was never sent, is not written at all.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Final

from proxy.ledger.prompt_commit import Statement
from proxy.ledger.sqlite import BEGIN, BEGIN_UNLESS_STAGED, DROP, REMEMBER, STAGE, STAGE_OF_BEGIN

_TABLE: Final = "operations_in_flight"
_Name = tuple[object, ...]


def folded(statements: Sequence[Statement]) -> list[Statement]:
    """The statements without those that a later one of them undoes; what they leave in the tables is the same, but for
    the numbers of rows.

    To begin does nothing where the operation is in flight already. So a stage that follows goes before it, for that
    case, and into it.
    """
    found: list[Statement | None] = []
    begun: dict[_Name, int] = {}  # what nothing but its stages has touched since: where it stands in `found`
    for statement in statements:
        sql, values = statement
        if sql == BEGIN:
            found.append(None)  # room for a stage
            begun[tuple(values[:2])] = len(found)
        elif sql == STAGE and (at := begun.get(tuple(values[1:]))) is not None:
            found[at - 1] = statement
            found[at] = _at_stage(found[at], values[0])
            continue
        elif sql == DROP and (at := begun.pop(tuple(values), None)) is not None:
            found[at - 1] = found[at] = None
        elif sql == REMEMBER:
            begun.pop(tuple(values[-2:]), None)
        elif sql not in (STAGE, DROP) and _touches(sql):
            begun.clear()
        found.append(statement)
    return [each for each in found if each is not None]


def _at_stage(begin: Statement | None, stage: object) -> Statement:
    assert begin is not None  # noqa: S101  # what is gone is in `begun` no more
    _, values = begin
    return BEGIN_UNLESS_STAGED, (*values[:STAGE_OF_BEGIN], stage, *values[STAGE_OF_BEGIN + 1 :])


@lru_cache(maxsize=256)
def _touches(sql: str) -> bool:
    """There are few texts; only their values differ."""
    return _TABLE in sql
