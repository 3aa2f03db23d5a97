"""No request costs much more than a good one of its size, counted in work that is the same on every machine."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from proxy.errors import Code
from proxy.judge.verdict import Reject
from proxy.userop.budget import UNITS
from tests.admission.builders import Room, enabling
from tests.bypass_list.desk import STRANGERS_KEY, single, use
from tests.cost.bodies import NAMED, execute, many_of, padded_use, submission
from tests.cost.counter import FREE, LIMITED, Counter
from tests.cost.search import MOST
from tests.cost.units import units_of
from tests.session.builders import transfer


@pytest.fixture(scope="module")
def counter() -> Iterator[Counter]:
    there = Counter()
    there.serve(padded_use(0))  # imports and caches are nobody's work
    yield there
    there.close()


@pytest.mark.parametrize("name", NAMED)
def test_what_was_found_to_cost_much_costs_little(counter: Counter, name: str) -> None:
    body = NAMED[name]
    assert units_of(counter.prepare(body)) <= MOST * units_of(counter.prepare(padded_use(len(body))))


def test_the_yardstick_is_an_operation_that_goes_through(counter: Counter) -> None:
    for size in (0, 100_000):
        assert counter.serve(padded_use(size)) == [{"jsonrpc": "2.0", "id": 1, "result": "taken"}]


@pytest.mark.parametrize("grant", [FREE, LIMITED], ids=["sudo", "four policies"])
def test_a_batch_that_sdks_build_is_paid_for(counter: Counter, grant: object) -> None:
    calls = 100 if grant is FREE else 40
    (reply,) = counter.serve(submission(use(grant, execute(many_of(transfer(1), calls)))))  # type: ignore[arg-type]  # a session
    assert reply["result"] == "taken"


async def test_nothing_is_spent_on_an_operation_that_its_session_did_not_sign() -> None:
    forged = use(FREE, execute(many_of(transfer(1), 500)), key=STRANGERS_KEY)
    judgement = await Room(FREE).judge(forged)
    assert isinstance(judgement.verdict, Reject)
    assert judgement.verdict.first.code is Code.SESSION_SCOPE
    assert "signature" in judgement.verdict.first.sentence
    assert judgement.operation is not None
    assert (judgement.operation.budget.left, judgement.operation.calls) == (UNITS, ())


def test_a_forged_operation_is_less_work_than_a_good_one(counter: Counter) -> None:
    forged = submission(use(FREE, execute(many_of(transfer(1), 500)), key=STRANGERS_KEY))
    assert units_of(counter.prepare(forged)) < units_of(counter.prepare(padded_use(len(forged))))


async def test_past_its_budget_an_operation_is_refused_with_the_reason() -> None:
    reason = await Room(FREE).refusal(use(FREE, execute(many_of(transfer(1), 2_000))))
    assert reason.code is Code.UNDECODABLE
    assert "describes more work than is done for one operation" in reason.sentence


async def test_policies_draw_from_the_same_budget() -> None:
    judgement = await Room(LIMITED).judge(use(LIMITED, execute(many_of(transfer(1), 500))))
    assert isinstance(judgement.verdict, Reject)
    assert judgement.verdict.first.code is Code.UNDECODABLE
    assert judgement.operation is not None
    assert judgement.operation.budget.left < UNITS // 2


async def test_the_signature_of_a_grant_is_unpacked_within_the_budget() -> None:
    grant = enabling(FREE, single(transfer(1)))
    endless = replace(grant, signature=b"\x01" + b"\x00A" * 30_000)  # literal runs of one byte each
    reason = await Room().refusal(endless)
    assert reason.code is Code.UNDECODABLE
    assert "describes more work" in reason.sentence
