"""What became of a session's operations is counted once for each that is mined, and for none that is not."""

from __future__ import annotations

import sqlite3

from hypothesis import given
from hypothesis import strategies as st

from proxy.edge.storage.database import open_database
from proxy.ledger import ending, session_uses
from proxy.ledger.operations import Ended, Mined
from proxy.ledger.transactions import transact
from proxy.session.use import SessionUse
from tests.chain.builders import accepted
from tests.session.builders import ACCOUNT, TOKEN, TRANSFER, action, key_of, session, usage

KEY = key_of(session(action(TOKEN, TRANSFER, usage(3))))
assert KEY.account == ACCOUNT


def ended(number: int, *, success: bool = True, gas: int = 0, cost: int = 0, at: int = 0) -> Ended:
    operation = accepted(number, KEY)
    mined = Mined(
        user_op_hash=operation.user_op_hash, success=success, block=1, timestamp=at, gas_used=gas, gas_cost=cost
    )
    return Ended(operation=operation, ended_at=float(at), mined=mined)


class Book:
    """The tables, in memory."""

    def __init__(self) -> None:
        self.connection: sqlite3.Connection = open_database(":memory:")

    def count(self, *operations: Ended) -> None:
        transact(self.connection, ending.end([each.name for each in operations], operations), None)

    def take_back(self, operation: Ended) -> None:
        transact(self.connection, session_uses.take_back(operation.name), None)

    @property
    def use(self) -> SessionUse:
        return session_uses.use_of(self.connection, KEY) or SessionUse()


STEPS = st.lists(
    st.tuples(st.integers(0, 4), st.booleans(), st.booleans(), st.integers(0, 2**40), st.integers(0, 2**63 + 10**18)),
    max_size=30,
)


@given(STEPS)
def test_the_count_is_that_of_the_operations_that_stand(steps: list[tuple[int, bool, bool, int, int]]) -> None:
    book, standing = Book(), dict[int, Ended]()
    for number, mined, success, gas, cost in steps:
        operation = ended(number, success=success, gas=gas, cost=cost)
        if mined:
            book.count(operation)
            standing.setdefault(number, operation)
        else:
            book.take_back(operation)
            standing.pop(number, None)
    told = [each.mined for each in standing.values() if each.mined is not None]
    use = book.use
    assert (use.mined, use.reverted) == (len(told), sum(not each.success for each in told))
    assert use.gas == sum(each.gas_used or 0 for each in told)
    assert use.cost == sum(each.gas_cost or 0 for each in told)
    book.connection.close()


def test_the_last_use_is_the_newest_ones() -> None:
    book = Book()
    book.count(ended(1, at=50), ended(2, at=40))
    assert book.use.last_used == 50


def test_what_was_not_mined_or_is_no_sessions_counts_for_nobody() -> None:
    book = Book()
    book.count(ended(1)._replace(mined=None))
    assert book.use == SessionUse()
