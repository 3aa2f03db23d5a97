"""Fewer rows written for what is entered together: the same tables in the end, as if one statement after the other had
been executed.

Nearly every operation is answered a few milliseconds after it has begun, and many are mined some seconds later, in the
same batch: one that has ended by then is written once, as what has ended, and one that its bundler refused, or that was
never sent, not at all. What such operations have used is added to their sessions' sums once for each session, and of
counts of rules, which are written as they stand, the last is.

That is so of an operation that begins with the batch; of one that only ends with it, its session's sums are. Whether it
is new the tables know (`look_up`): one that is in them already is written statement by statement. So is whatever comes
behind a statement of which nobody here knows what it does to these tables.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import chain, groupby
from operator import itemgetter
from typing import Any, Final, NamedTuple, final

from proxy.ledger import rule_tables
from proxy.ledger.ending import COUNT_UNLESS_REMEMBERED, END, REMEMBER_HELD, REMEMBER_NEW, spelled_out
from proxy.ledger.session_uses import ADD_MANY
from proxy.ledger.sqlite import (
    BEGIN,
    BEGIN_NEW,
    BEGIN_UNLESS_STAGED,
    DROP,
    FORGET,
    MOVE,
    PREFIX,
    PRUNE_SOME,
    SILENT,
    STAGE,
    STAGE_OF_BEGIN,
    claim_in_rows,
    without_grant,
)
from proxy.ledger.statement import Statement

_TABLES: Final = ("operations_in_flight", "operations_ended", "operations_counted", "session_uses")
_RULE_TABLES: Final = ("rule_windows", "rule_marks", "rule_histories")
HASHES_AT_ONCE: Final = 128
_LOOKS: Final = tuple(
    f"SELECT user_op_hash FROM {table} WHERE {names} IN ({','.join('?' * HASHES_AT_ONCE)})"  # noqa: S608  # ours
    for table, names in zip(_TABLES[:3], ("user_op_hash", PREFIX, PREFIX), strict=True)
)

ALIKE_AT_ONCE: Final = 32
"""Of what is executed again and again with other values."""
_MANY: Final = frozenset({REMEMBER_NEW, BEGIN_NEW, ADD_MANY})
"""What nearly every operation leaves."""

_Values = Sequence[Any]
Group = tuple[str, list[_Values]]
"""What is executed with each of these values, one after the other."""
_Name = tuple[bytes, str]
# where in the values of an `END` what is of it
_CHAIN, _ENDED_AT, _TOLD, _RECORD, _GAS = 2, 3, 10, 11, 13
_COUNTS, _COUNTS_AND_WHEN = slice(12, 16), slice(12, 17)


class Known(NamedTuple):
    """Operations that the tables know: those in flight, and those that have ended or were counted."""

    in_flight: set[bytes]
    ended: set[bytes]


def look_up(connection: sqlite3.Connection, hashes: Sequence[bytes], known: Known) -> None:
    """Add to what is `known` which of these, `HASHES_AT_ONCE` at most, the tables know."""
    padding = [None] * (HASHES_AT_ONCE - len(hashes))
    whole, prefixes = (*hashes, *padding), (*[each[:8] for each in hashes], *padding)
    for look, names, found in zip(
        _LOOKS, (whole, prefixes, prefixes), (known.in_flight, known.ended, known.ended), strict=True
    ):
        found.update([user_op_hash for (user_op_hash,) in connection.execute(look, names)])


@final
class _Life:
    """What a batch says of an operation that begins or ends with it: the values of the statements so far."""

    __slots__ = ("begun", "ended", "is_dropped", "name", "stage")

    def __init__(self, name: _Name, begun: _Values | None) -> None:
        self.name = name
        self.begun = begun
        self.stage: object = None  # of what has begun, where more was said of it
        self.ended: _Values | None = None
        self.is_dropped = False  # in flight no more, and for no end

    def begun_as_staged(self) -> _Values | None:
        """Its begin, as far as it has come since."""
        begun, stage = self.begun, self.stage
        if begun is None or stage is None:
            return begun
        return (*begun[:STAGE_OF_BEGIN], stage, *begun[STAGE_OF_BEGIN + 1 :])

    def one_by_one(self) -> list[Statement]:
        """As it came, where the tables may know it. To begin does nothing where it is in flight already: so its stage
        goes before that, for that case, and into it."""
        name, begun, left = self.name, self.begun_as_staged(), list[Statement]()
        if begun is not None and self.stage is not None:
            left += [(STAGE, (self.stage, *name)), (BEGIN_UNLESS_STAGED, begun)]
        elif begun is not None:
            left.append((BEGIN, begun))
        if self.ended is not None:
            left += spelled_out(self.ended)
        elif self.is_dropped:
            left.append((DROP, name))
        return left

    def left(self, known: Known, sums: _Sums) -> Sequence[Statement]:
        """What is to be executed for it, but for what is added to the sums of its session."""
        user_op_hash, begun, values = self.name[0], self.begun, self.ended
        if user_op_hash in known.ended or (user_op_hash in known.in_flight and begun is not None):
            return self.one_by_one()
        # the tables do not know it, or know it as in flight alone if it only ends here
        if values is None:
            staged = self.begun_as_staged()
            return () if staged is None or self.is_dropped else ((BEGIN_NEW, staged),)
        if is_counted := values[_GAS] is not None:
            sums.add(values)
        if begun is not None:
            _, _, accepted_at, record, stage, silent = begun
            how = (accepted_at, self.stage or stage, silent, values[_TOLD], values[_RECORD] or record)
            return ((REMEMBER_NEW, (*values[:_TOLD], *how, *values[_COUNTS])),)
        remembered = REMEMBER_HELD, values[:-1]
        if not is_counted:
            return remembered, (DROP, self.name)
        counted = COUNT_UNLESS_REMEMBERED, (values[0], without_grant(values[1]), *values[_COUNTS], values[_ENDED_AT])
        return remembered, counted, (DROP, self.name)


class _Sums:
    """What is to be added to sessions: the ends that count for each, by chain and claim."""

    def __init__(self) -> None:
        self._counted: dict[tuple[int, str], list[_Values]] = {}

    def add(self, ended: _Values) -> None:
        """What it counts; by the values of its `END`."""
        self._counted.setdefault((ended[_CHAIN], ended[1]), []).append(ended[_COUNTS_AND_WHEN])

    def take(self) -> list[_Values]:
        """All of it, once: the values of `ADD_MANY`."""
        counted, self._counted = self._counted, {}
        left: list[_Values] = []
        for named, each in counted.items():
            session, _ = claim_in_rows(*named)
            reverted, gas, gwei, wei, at = zip(*each, strict=True)
            left.append((*(session or ()), len(each), sum(reverted), sum(gas), sum(gwei), sum(wei), max(at)))
        return left


class Fold:
    """Takes the statements of a batch, in order; then those are left that `groups` gives."""

    def __init__(self) -> None:
        self._found: list[Statement | _Life] = []  # lives where they leave the flights, or where more is said of them
        self._lives: dict[_Name, _Life] = {}  # in flight, and everything so far is known of them
        self._told: set[bytes] = set()  # operations that have left the flights, or of which more was said
        self._is_over = False  # what comes now is left as it is
        self._rules = rule_tables.FoldedRows()  # nothing else hangs on them

    def take(self, statements: Iterable[Statement]) -> None:
        """These come next."""
        found, step_of = self._found, _STEPS.get
        for statement in statements:
            sql, values = statement
            step = step_of(sql)
            if step is None:
                self._look_at(sql)
            elif step(self, sql, values):
                continue
            found.append(statement)

    def hashes(self) -> list[bytes]:
        """Of which operations it matters whether the tables know them. Nothing more is taken after that."""
        self._put_down()
        return list(dict.fromkeys([each.name[0] for each in self._found if type(each) is _Life]))

    def groups(self, known: Known) -> Iterator[Group]:
        """What is to be executed, in order, where the tables know these operations of all that `hashes` names."""
        sums, last, rows, most = _Sums(), "", list[_Values](), 0
        for each in self._found:
            for sql, values in each.left(known, sums) if type(each) is _Life else _left_of(each, sums):
                if sql == last and len(rows) < most:
                    rows.append(values)
                    continue
                if rows:
                    yield last, rows
                last, rows, most = sql, [values], ALIKE_AT_ONCE if sql in _MANY else 1
        if rows:
            yield last, rows
        yield from _alike(ADD_MANY, sums.take())
        for statements in self._rules.take(ALIKE_AT_ONCE):
            for sql, alike in groupby(statements, itemgetter(0)):
                yield sql, [values for _, values in alike]

    # each: whether the statement is in what was found already, or will be

    def _begin(self, _sql: str, values: _Values) -> bool:
        name = (values[0], values[1])
        if self._is_over or name in self._lives or values[0] in self._told:
            return self._other(BEGIN, values, name)
        self._lives[name] = _Life(name, values)
        return True

    def _stage(self, _sql: str, values: _Values) -> bool:
        life = self._lives.get((values[1], values[2]))
        if life is None:
            return False
        life.stage = values[0]
        return True

    def _end(self, _sql: str, values: _Values) -> bool:
        user_op_hash = values[0]
        name = user_op_hash, values[1]
        # under another claim of its session it counts no more: so only what ends for the first time is folded
        if user_op_hash in self._told or self._is_over:
            return self._other(END, values, name)
        life = self._lives.pop(name, None) or _Life(name, None)  # of one that ends here, and has begun before
        life.ended = values
        self._told.add(user_op_hash)
        self._found.append(life)
        return True

    def _drop(self, _sql: str, values: _Values) -> bool:
        life = self._lives.pop(name := (values[0], values[1]), None)
        if life is None:
            return self._other(DROP, values, name)
        life.is_dropped = True
        self._told.add(name[0])
        self._found.append(life)
        return True

    def _other(self, _sql: str, values: _Values, name: _Name | None = None) -> bool:
        """Something of an operation that is no part of such a life: from here on it is left as it comes."""
        name = (values[-2], values[-1]) if name is None else name
        if (life := self._lives.pop(name, None)) is not None:
            self._found.append(life)
        self._told.add(name[0])
        return False

    def _put_down(self) -> None:
        """Nothing more is known of those that are in flight."""
        self._found += self._lives.values()
        self._lives.clear()

    def _rows_of_rules(self, _sql: str, values: _Values) -> bool:
        self._rules.add(values)
        return True

    def _look_at(self, sql: str) -> None:
        """Something else: nobody knows whom it concerns."""
        if _touches(sql, _TABLES):
            self._is_over = True
            self._put_down()
        if _touches(sql, _RULE_TABLES):
            self._found += chain.from_iterable(self._rules.take(ALIKE_AT_ONCE))


def _left_of(statement: Statement, sums: _Sums) -> Sequence[Statement]:
    """What is to be executed for a statement of no such life; behind all sums of sessions where it may look at them."""
    sql, values = statement
    if sql == END:
        return spelled_out(values)
    if sql not in _STEPS and _touches(sql, _TABLES):
        return [*[(ADD_MANY, counted) for counted in sums.take()], statement]
    return (statement,)


def _alike(sql: str, rows: Sequence[_Values]) -> Iterator[Group]:
    for first in range(0, len(rows), ALIKE_AT_ONCE):
        yield sql, [*rows[first : first + ALIKE_AT_ONCE]]


def _as_it_is(_fold: Fold, _sql: str, _values: _Values) -> bool:
    return False


# of the class, not of each fold: one that held its own methods would wait for the collector, with all that it found
_STEPS: Final[Mapping[str, Callable[[Fold, str, _Values], bool]]] = {
    BEGIN: Fold._begin,
    STAGE: Fold._stage,
    FORGET: Fold._other,
    END: Fold._end,
    DROP: Fold._drop,
    MOVE: Fold._other,
    SILENT: Fold._other,
    PRUNE_SOME: _as_it_is,
    rule_tables.ROWS: Fold._rows_of_rules,
}


@lru_cache(maxsize=512)
def _touches(sql: str, tables: tuple[str, ...]) -> bool:
    """There are few texts; only their values differ."""
    return any(table in sql for table in tables)
