"""An operation in flight is read back as it was, whether the short form can say all of it or not."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.edge.storage.database import MIGRATIONS
from proxy.errors import StateUnavailable
from proxy.judge.counts import CountKey, OutcomeLesson, WindowCharge
from proxy.judge.rule import Sliding
from proxy.ledger import records, sqlite
from proxy.ledger.held_records import print_held
from proxy.ledger.operations import AcceptedOperation
from proxy.ledger.records import record_from_json, record_to_json
from proxy.ledger.reservation import NonceSlot, Reservation
from proxy.ledger.rule_records import print_counted
from proxy.session.changes import Changes
from proxy.session.counters import Charge, Counter, SessionKey
from proxy.session.policies.simple_gas import GasPrice
from proxy.userop.acts import SessionRemoved
from proxy.userop.primitives import Address, Hash32

ADDRESSES = st.sampled_from([Address(bytes([number]) * 20) for number in range(1, 4)])
HASHES = st.sampled_from([Hash32(bytes([number]) * 32) for number in range(1, 4)])
UINTS = st.integers(0, 2**256 - 1)
TIMES = st.floats(0, 4e9) | st.integers(0, 2**40).map(float)
SESSIONS = st.builds(SessionKey, st.sampled_from([1, 1946]), ADDRESSES, ADDRESSES, HASHES)
RULE_CHARGE = WindowCharge(
    key=CountKey(b"r" * 16, b"g" * 16), window=Sliding(60), amount=5, limit=9, binding=True, lasting=False
)
LESSON = OutcomeLesson(key=CountKey(b"r" * 16, b"g" * 16))


@st.composite
def operations(draw: st.DrawFn) -> AcceptedOperation:
    """One that uses its session, or is a little more than that in any of its parts."""
    session, name = draw(SESSIONS), draw(HASHES)
    module, account = session.module, session.account
    if draw(st.integers(0, 5)) == 0:
        module, account = draw(ADDRESSES), draw(ADDRESSES)
    counters = st.builds(Counter, st.just(module), st.just(account), ADDRESSES, HASHES, st.binary(max_size=20))
    charges = draw(st.lists(st.builds(Charge, counters, UINTS, UINTS), max_size=3))
    sender = draw(st.sampled_from([account, session.account]))
    more: dict[str, Any] = draw(
        st.fixed_dictionaries(
            {},
            optional={
                "grant": st.integers(-1, 5),
                "gas_price": st.builds(GasPrice, UINTS, UINTS),
                "rule_charges": st.just((RULE_CHARGE,)),
                "lessons": st.just((LESSON,)),
            },
        )
        if draw(st.booleans())
        else st.just({})
    )
    held = Reservation(
        user_op_hash=name,
        slot=NonceSlot(draw(st.sampled_from([session.chain_id, 7])), draw(ADDRESSES), sender, draw(UINTS)),
        session=draw(st.sampled_from([session, session, session, None])),
        charges=tuple(charges),
        valid_until=draw(st.none() | st.integers(0, 2**48)),
        **more,
    )
    changes = Changes(user_op_hash=name, chain_id=held.slot.chain_id, account=sender)
    if draw(st.integers(0, 5)) == 0:
        changes = replace(changes, on_success=(SessionRemoved(module, session.permission_id),))
    return AcceptedOperation(
        reservation=held, changes=changes, accepted_at=draw(TIMES), known_at=draw(TIMES), bundler=draw(st.text())
    )


@given(operations())
def test_every_operation_is_read_back_as_it_was_in_whichever_form(operation: AcceptedOperation) -> None:
    assert record_from_json(record_to_json(operation), AcceptedOperation) == operation
    as_before = records._print_labelled(AcceptedOperation, operation)  # as earlier releases wrote it
    assert record_from_json(as_before, AcceptedOperation) == operation


def test_what_an_earlier_release_kept_apart_is_read() -> None:
    session = SessionKey(1, Address(b"\1" * 20), Address(b"\2" * 20), Hash32(b"\3" * 32))
    name, place = Hash32(b"\4" * 32), NonceSlot(1, Address(b"\5" * 20), session.account, 6)
    held = Reservation(
        user_op_hash=name,
        slot=place,
        session=session,
        charges=(),
        valid_until=None,
        rule_charges=(RULE_CHARGE,),
        lessons=(LESSON,),
    )
    changes = Changes(user_op_hash=name, chain_id=1, account=session.account)
    operation = AcceptedOperation(reservation=held, changes=changes, accepted_at=7.0, known_at=8.0, bundler="b")
    written = json.loads(record_to_json(operation))
    *of, _, accepted_at, known_at = written["of"]
    for rules, lessons in (
        (print_counted((RULE_CHARGE,)), print_counted((LESSON,))),
        (print_counted((RULE_CHARGE,)), "null"),
        ("null", print_counted((LESSON,))),
        ("null", "null"),
    ):
        written["of"] = [*of, json.loads(rules), json.loads(lessons), accepted_at, known_at]
        wanted = replace(
            held,
            rule_charges=() if rules == "null" else held.rule_charges,
            lessons=() if lessons == "null" else held.lessons,
        )
        again = record_from_json(json.dumps(written), AcceptedOperation)
        assert again == replace(operation, reservation=wanted)


@given(operations())
def test_the_short_form_is_json_and_less_than_half_of_the_long_one(operation: AcceptedOperation) -> None:
    if (short := print_held(operation)) is not None:
        assert json.loads(short)["type"] == "held"
        assert len(short) < len(records._print_labelled(AcceptedOperation, operation)) / 2 + len(operation.bundler) * 12


@given(operations(), st.text(max_size=20))
def test_an_operation_that_moves_to_another_bundler_is_read_back_as_moved(
    operation: AcceptedOperation, bundler: str
) -> None:
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as database:
        for statement in MIGRATIONS:
            database.execute(statement)
        for sql, values in (sqlite.begin(operation), sqlite.move(operation.name, bundler)):
            database.execute(sql, values)
        (flight,) = sqlite.in_flight(database)
    assert flight.operation == replace(operation, bundler=bundler)


@pytest.mark.parametrize("of", [[], ["00"], [1] * 13, {}, None, "short", [["00"]] * 13])
def test_what_is_no_short_form_is_refused(of: object) -> None:
    with pytest.raises(StateUnavailable):
        record_from_json(json.dumps({"type": "held", "bundler": {"text": ""}, "of": of}), AcceptedOperation)
