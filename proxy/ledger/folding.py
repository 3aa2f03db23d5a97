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
from typing import Any, Final, NamedTuple

from proxy.ledger.ending import COUNT_UNLESS_REMEMBERED, END, REMEMBER_HELD, REMEMBER_NEW, spelled_out
from proxy.ledger.rule_tables import DROP_BY_KEY, SAVE_BY_KEY
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
_MANY: Final = frozenset({REMEMBER_NEW, BEGIN_NEW, ADD_MANY, *SAVE_BY_KEY})
"""What nearly every operation leaves."""

_Values = Sequence[Any]
_Rows = dict[str, tuple[int, int, dict[_Values, _Values]]]
"""By what makes them: how many values name one, how many stay as they were, and the rows by their name."""
Group = tuple[str, list[_Values]]
"""What is executed with each of these values, one after the other."""
_Name = tuple[bytes, str]


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


class _Life:
    """What a batch says of an operation that begins or ends with it: the values of the statements so far."""

    __slots__ = ("begun", "ended", "is_dropped", "is_staged", "name", "place")

    def __init__(self, name: _Name, begun: _Values | None, place: int) -> None:
        self.name = name
        self.begun = begun
        self.place = place
        self.is_staged = self.is_dropped = False
        self.ended: _Values | None = None

    def one_by_one(self) -> list[Statement]:
        """As it came, where the tables may know it. To begin does nothing where it is in flight already: so its stage
        goes before that, for that case, and into it."""
        name, left = self.name, list[Statement]()
        if self.begun is not None:
            if self.is_staged:
                left.append((STAGE, (self.begun[STAGE_OF_BEGIN], *name)))
            left.append((BEGIN_UNLESS_STAGED if self.is_staged else BEGIN, self.begun))
        if self.ended is not None:
            left += spelled_out(self.ended)
        elif self.is_dropped:
            left.append((DROP, name))
        return left

    def as_new(self, sums: _Sums) -> Sequence[Statement]:
        """Where they do not, or know it as in flight alone if it only ends here: what it leaves, but for the sums of
        its session."""
        begun = self.begun
        if self.ended is None:
            return () if begun is None or self.is_dropped else ((BEGIN_NEW, begun),)
        *ended, told, record, reverted, gas, gwei, wei, _ = self.ended
        if gas is not None:
            sums.add(self.ended)
        if begun is not None:
            _, _, accepted_at, record_begun, stage, silent = begun
            how = (accepted_at, stage, silent, told, record_begun if record is None else record)
            return ((REMEMBER_NEW, (*ended, *how, reverted, gas, gwei, wei)),)
        remembered = REMEMBER_HELD, (*ended, told, record, reverted, gas, gwei, wei)
        if gas is None:
            return remembered, (DROP, self.name)
        name = ended[0], without_grant(ended[1])
        counted = COUNT_UNLESS_REMEMBERED, (*name, reverted, gas, gwei, wei, ended[3])
        return remembered, counted, (DROP, self.name)


class _Sums:
    """What is to be added to sessions, by chain and claim."""

    def __init__(self) -> None:
        self._sums: dict[tuple[int, str], list[Any]] = {}

    def add(self, ended: _Values) -> None:
        """What it counts; by the values of its `END`."""
        _, claim, chain_id, *_, reverted, gas, gwei, wei, at = ended
        found = self._sums.get(key := (chain_id, claim))
        if found is None:
            self._sums[key] = [1, reverted, gas, gwei, wei, at]
            return
        found[0] += 1
        found[1] += reverted
        found[2] += gas
        found[3] += gwei
        found[4] += wei
        found[5] = max(found[5], at)

    def take(self) -> Iterator[Statement]:
        """All of it, once."""
        sums, self._sums = self._sums, {}
        for named, sum_ in sums.items():
            session, _ = claim_in_rows(*named)
            yield ADD_MANY, (*(session or ()), *sum_)


class Fold:
    """Takes the statements of a batch, in order; then those are left that `groups` gives."""

    def __init__(self) -> None:
        self._found: list[Statement | _Life | None] = []
        self._lives: dict[_Name, _Life] = {}  # of which everything so far is known
        self._others: set[bytes] = set()  # operations of which more than that was said
        self._ended: set[bytes] = set()
        self._is_over = False  # what comes now is left as it is
        # of rules, by what makes them and what names them, as they are left: nothing else hangs on them
        self._rows: _Rows = {sql: (width, held, {}) for sql, (width, held) in SAVE_BY_KEY.items()}

    def take(self, statements: Iterable[Statement]) -> None:
        """These come next."""
        found, row_of = self._found, self._rows.get
        for statement in statements:
            sql, values = statement
            if (row := row_of(sql)) is not None:  # most
                width, held, of_sql = row
                name = values[:width]
                if held and (before := of_sql.get(name)) is not None:
                    of_sql[name] = (*values[:-held], *before[-held:])
                else:
                    of_sql[name] = values
                continue
            step = _STEPS.get(sql)
            if step is None:
                self._look_at(sql)
            elif step(self, sql, values):
                continue
            found.append(statement)

    def hashes(self) -> list[bytes]:
        """Of which operations it matters whether the tables know them."""
        return list(dict.fromkeys([each.name[0] for each in self._found if isinstance(each, _Life)]))

    def groups(self, known: Known) -> Iterator[Group]:
        """What is to be executed, in order, where the tables know these operations of all that `hashes` names."""
        sums, sql, rows = _Sums(), "", list[_Values]()
        for each in self._found:
            if each is None:
                continue
            for statement in _left_of(each, known, sums):
                if statement[0] != sql or len(rows) >= ALIKE_AT_ONCE or sql not in _MANY:
                    if rows:
                        yield sql, rows
                    sql, rows = statement[0], []
                rows.append(statement[1])
        if rows:
            yield sql, rows
        yield from _alike(ADD_MANY, [values for _, values in sums.take()])
        for sql, (_, _, of_sql) in self._rows.items():
            yield from _alike(sql, list(of_sql.values()))

    # each: whether the statement is in what was found already

    def _begin(self, _sql: str, values: _Values) -> bool:
        name = (values[0], values[1])
        if self._is_over or name in self._lives or values[0] in self._others:
            return self._other(BEGIN, values, name)
        self._live(name, values)
        return True

    def _live(self, name: _Name, begun: _Values | None) -> _Life:
        life = self._lives[name] = _Life(name, begun, len(self._found))
        self._found.append(life)
        return life

    def _stage(self, _sql: str, values: _Values) -> bool:
        life = self._lives.get(name := (values[1], values[2]))
        if life is None:
            return False
        if life.begun is None or life.is_dropped:
            return self._other(STAGE, values, name)
        life.begun = (*life.begun[:STAGE_OF_BEGIN], values[0], *life.begun[STAGE_OF_BEGIN + 1 :])
        life.is_staged = True
        return True

    def _end(self, _sql: str, values: _Values) -> bool:
        life, user_op_hash = self._lives.get(name := (values[0], values[1])), values[0]
        is_first = user_op_hash not in self._ended  # under another claim of its session it counts no more
        if life is None and is_first and not self._is_over and user_op_hash not in self._others:
            life = self._live(name, None)  # of one that ends here, and has begun before
        if life is None or not is_first or life.ended is not None or life.is_dropped:
            return self._other(END, values, name)
        self._ended.add(user_op_hash)
        life.ended = values
        self._drop_life(life)
        return True

    def _drop(self, _sql: str, values: _Values) -> bool:
        life = self._lives.get(name := (values[0], values[1]))
        if life is None or life.is_dropped:
            return self._other(DROP, values, name)
        self._drop_life(life)
        return True

    def _drop_life(self, life: _Life) -> None:
        """It stands where it leaves the flights."""
        life.is_dropped = True
        if life.place != len(self._found) - 1:
            self._found[life.place] = None
            life.place = len(self._found)
            self._found.append(life)

    def _other(self, _sql: str, values: _Values, name: _Name | None = None) -> bool:
        """Something of an operation that is no part of such a life: from here on it is left as it comes."""
        name = (values[-2], values[-1]) if name is None else name
        self._lives.pop(name, None)
        self._others.add(name[0])
        return False

    def _drop_row(self, sql: str, values: _Values) -> bool:
        _, _, of_sql = self._rows[DROP_BY_KEY[sql]]
        of_sql.pop(tuple(values), None)
        return False

    def _look_at(self, sql: str) -> None:
        """Something else: nobody knows whom it concerns."""
        if _touches(sql, _TABLES):
            self._is_over = True
            self._lives.clear()
        if _touches(sql, _RULE_TABLES):
            for saves, (_, _, of_sql) in self._rows.items():
                self._found.extend([(saves, values) for values in of_sql.values()])
                of_sql.clear()


def _left_of(each: Statement | _Life, known: Known, sums: _Sums) -> Sequence[Statement]:
    """What is to be executed for one thing that was found, but for the sums of sessions."""
    if isinstance(each, _Life):
        user_op_hash = each.name[0]
        if user_op_hash in known.ended or (each.begun is not None and user_op_hash in known.in_flight):
            return each.one_by_one()
        return each.as_new(sums)
    sql, values = each
    if sql == END:
        return spelled_out(values)
    if sql not in _STEPS and _touches(sql, _TABLES):
        return [*sums.take(), each]
    return (each,)


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
    **dict.fromkeys(DROP_BY_KEY, Fold._drop_row),
}


@lru_cache(maxsize=512)
def _touches(sql: str, tables: tuple[str, ...]) -> bool:
    """There are few texts; only their values differ."""
    return any(table in sql for table in tables)
