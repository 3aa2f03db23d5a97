"""A ledger of an older release, with operations in flight, is taken over whole: nothing is lost and nothing doubled."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from proxy.chain.settlement.outcome import Outcome
from proxy.edge.storage.store import Store
from proxy.ledger.hindrance import Hindered
from proxy.ledger.operations import Cause, Stage
from proxy.ledger.reservation import NOTHING_USED
from proxy.session.counters import HoldName
from proxy.session.known import Status
from tests.chain.settlement.builders import KEY, USES, Scene, name

RECORDED = Path(__file__).parent / "recorded" / "ledger_with_operations_in_flight.sql"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    path = tmp_path / "gate.db"
    with closing(sqlite3.connect(path)) as recorded:
        recorded.executescript(RECORDED.read_text())
    with closing(Store(path)) as opened:
        yield opened


def test_every_operation_in_flight_is_there_under_its_claim_and_as_far_as_it_had_come(store: Store) -> None:
    flights = {flight.operation.name: flight.stage for flight in store.flights()}
    assert flights == {
        HoldName(name(1), KEY): Stage.ACCEPTED,
        HoldName(name(2), KEY): Stage.FORWARDED,
        HoldName(name(3), KEY, 4): Stage.UNKNOWN,  # a grant
        HoldName(name(4), None): Stage.ACCEPTED,  # the owner's
    }


def test_what_had_ended_is_remembered_with_its_cause_and_block(store: Store) -> None:
    ended = {each.name.user_op_hash: each for each in store.ended_names()}
    assert (ended[name(5)].cause, ended[name(5)].block) == (Cause.MINED, 195)
    assert ended[name(6)].cause is Cause.NONCE_USED
    whole = {each.operation.user_op_hash: each for each in store.operations_ended()}
    assert whole[name(5)].mined is not None
    assert (whole[name(5)].counted_at, whole[name(5)].added) == (950, True)


def test_the_sessions_and_what_was_counted_of_them_and_by_rules_are_what_they_were(store: Store) -> None:
    (session,) = store.sessions()
    assert (session.key, session.status) == (KEY, Status.IN_FORCE)
    assert session.state is not None
    assert list(store.declared_uses().values()) == [2]
    (bucket,) = store.rule_rows().buckets
    assert (bucket.key.rule, bucket.start, bucket.amount) == (b"r" * 16, 900, 2**200 + 1)


def test_a_settlement_that_takes_it_up_holds_what_was_held_and_knows_the_grant(store: Store) -> None:
    scene = Scene()
    scene.settlement.restore(store.flights(), store.ended_names())
    assert scene.ledger.in_flight(USES) == 3
    assert len(scene.settlement) == 4
    with_grant = [each for each in scene.ledger.of_session(KEY) if each.grant is not None]
    assert [each.grant for each in with_grant] == [4]
    (grant,) = with_grant
    refused = scene.ledger.reserve(
        type(grant)(
            user_op_hash=name(9),
            slot=grant.slot._replace(nonce=99),
            session=KEY,
            charges=(),
            valid_until=None,
            grant=4,
        ),
        NOTHING_USED,
        1_000.0,
    )
    assert isinstance(refused, Hindered)


async def test_a_grant_of_it_that_ends_is_over(store: Store) -> None:
    await store.keep(Outcome(ended=(HoldName(name(3), KEY, 4),)))
    assert name(3) not in {flight.operation.user_op_hash for flight in store.flights()}


def test_it_may_be_opened_again(store: Store, tmp_path: Path) -> None:
    with closing(Store(tmp_path / "gate.db")) as again:
        assert again.flights() == store.flights()
