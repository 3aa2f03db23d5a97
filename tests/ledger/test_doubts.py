"""Doubts come back from disk until they are read, and those that were read until the chain cannot take them back."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Sequence

import pytest

from proxy.errors import StateUnavailable
from proxy.ledger import doubts
from proxy.ledger.doubts import Doubt
from proxy.ledger.statement import Statement
from proxy.userop.primitives import Hash32
from tests.chain.settlement.builders import KEY
from tests.session.builders import STRANGER

OTHER = KEY._replace(permission_id=Hash32(b"\x1e" * 32))


@pytest.fixture
def database() -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    for statement in (*doubts.TABLES, *doubts.READ_IN_ORDER):
        connection.execute(statement)
    yield connection
    connection.close()


def write(database: sqlite3.Connection, *statements: Statement) -> tuple[Doubt, ...]:
    for statement in statements:
        database.execute(*statement)
    return tuple(doubts.doubts(database))


def test_what_is_in_doubt_comes_back_by_block_until_it_was_read(database: sqlite3.Connection) -> None:
    assert write(database, *doubts.doubt([Doubt(OTHER, 9), Doubt(KEY, 7), Doubt(KEY, 8)])) == (
        Doubt(KEY, 7),
        Doubt(KEY, 8),
        Doubt(OTHER, 9),
    )
    read = write(database, *doubts.read([KEY, KEY._replace(account=STRANGER)]))
    assert read == (Doubt(KEY, 7, True), Doubt(KEY, 8, True), Doubt(OTHER, 9))
    assert Doubt(KEY, 8) in write(database, *doubts.doubt([Doubt(KEY, 8)])), "told of it again"


def test_what_was_read_is_forgotten_with_its_block_and_what_was_not_is_never(database: sqlite3.Connection) -> None:
    write(database, *doubts.doubt([Doubt(KEY, 5), Doubt(KEY, 9), Doubt(OTHER, 5), Doubt(OTHER, 9)]))
    write(database, *doubts.read([KEY]))
    assert set(write(database, doubts.cut(KEY.chain_id, 8))) == {Doubt(KEY, 5, True), Doubt(OTHER, 5), Doubt(OTHER, 9)}
    assert write(database, doubts.prune(KEY.chain_id, 6)) == (Doubt(OTHER, 5), Doubt(OTHER, 9))
    assert write(database, doubts.prune(99, 6)) == (Doubt(OTHER, 5), Doubt(OTHER, 9))


@pytest.mark.parametrize("block", [0, 7])
def test_that_a_session_was_read_is_written_in_as_many_steps_however_many_others_are_in_doubt(
    database: sqlite3.Connection, block: int
) -> None:
    took = [steps_to_read(database, number, block) for number in (1, 3_000)]
    assert took[1] <= 2 * took[0]


def steps_to_read(database: sqlite3.Connection, others: int, block: int) -> int:
    """Of SQLite's machine, when beside the session so many others are in doubt."""
    names = [Hash32(number.to_bytes(32, "big")) for number in range(others)]
    write(database, *doubts.doubt([Doubt(KEY._replace(permission_id=name), block) for name in names]))
    write(database, *doubts.doubt([Doubt(KEY, block)]))
    ((statement, values),) = doubts.read([KEY])
    took = steps_of(database, statement, values)
    assert Doubt(KEY, block, True) in tuple(doubts.doubts(database))
    return took


@pytest.mark.parametrize("forget", [lambda: doubts.prune(KEY.chain_id, 8), lambda: doubts.cut(KEY.chain_id, 6)])
def test_what_was_read_is_forgotten_in_as_many_steps_however_many_others_are_in_doubt(
    database: sqlite3.Connection, forget: Callable[[], Statement]
) -> None:
    took = []
    for number in (1, 3_000):
        names = [Hash32(each.to_bytes(32, "big")) for each in range(number)]
        write(database, *doubts.doubt([Doubt(KEY._replace(permission_id=name), 7) for name in names]))
        write(database, *doubts.doubt([Doubt(KEY, 7)]), *doubts.read([KEY]))
        took.append(steps_of(database, *forget()))
        assert KEY not in {each.key for each in doubts.doubts(database)}
    assert took[1] <= 2 * took[0]


def steps_of(database: sqlite3.Connection, statement: str, values: Sequence[object]) -> int:
    """Of SQLite's machine."""
    steps = 0

    def count() -> int:
        nonlocal steps
        steps += 1
        return 0

    database.set_progress_handler(count, 1)
    database.execute(statement, tuple(values))
    database.set_progress_handler(None, 1)
    return steps


def test_a_doubt_that_cannot_be_read_is_not_passed_over(database: sqlite3.Connection) -> None:
    database.execute("INSERT INTO doubts VALUES (1, 'x', x'00', x'00', x'00', 0)")
    with pytest.raises(StateUnavailable, match="doubt"):
        tuple(doubts.doubts(database))
