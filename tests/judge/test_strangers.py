"""Who is a stranger: what a history learns from, and what it takes to be known."""

from __future__ import annotations

from dataclasses import replace

import pytest

from proxy.judge.allowance import Allowance, Allowances
from proxy.judge.evaluate import Judge
from proxy.judge.facts import Facts
from proxy.judge.group import mark_of
from proxy.userop.movement import AssetKind, MovementKind
from proxy.userop.primitives import Address
from tests.judge.builders import ALICE, SHOP, START, USDC, Scene, facts, ids, judge_of, spend

BOB = Address(b"\xb0" * 20)
DAY = 86_400.0
UNPRICED = Address(bytes(19) + b"\x0f")

STRANGER = """
- id: stranger
  description: Somebody gets 250 USD or more who is not known.
  mode: enforce
  match: {session: true, moves: any}
  first_seen:
    of: recipient
    per: session
    after: 20 ops
    at_least: 250 USD
    known: {times: 3, over: 1d, at_least: 10 USD}
"""


def paid(usdc: int, to: Address, at: float = START) -> Facts:
    return facts(unix_time=at, moves=(spend(usdc * 10**6, to=to),))


def months_of_bob() -> Scene:
    """Bob gets 100 USDC every day, sixty times."""
    scene = Scene(judge_of(STRANGER))
    for day in range(60):
        assert ids(scene.send(paid(100, BOB, START + day * DAY))) == []
    return scene


LATER = START + 60 * DAY


def test_sixty_small_payments_to_one_make_a_large_one_to_another_stand_out() -> None:
    assert ids(months_of_bob().send(paid(2_000, ALICE, LATER))) == ["stranger"]


def test_who_is_paid_often_is_no_stranger_when_the_payment_is_large_for_once() -> None:
    assert ids(months_of_bob().send(paid(2_000, BOB, LATER))) == []


def test_less_than_the_floor_is_asked_of_nobody() -> None:
    assert ids(months_of_bob().send(paid(249, ALICE, LATER))) == []


def test_dust_makes_nobody_known_not_even_beside_a_payment_to_a_friend() -> None:
    scene = months_of_bob()
    for step in range(30):
        both = facts(unix_time=LATER + step * DAY, moves=(spend(100 * 10**6, to=BOB), spend(9 * 10**6, to=ALICE)))
        scene.send(both)
    assert ids(scene.send(paid(250, ALICE, LATER + 31 * DAY))) == ["stranger"]


def test_three_payments_make_somebody_known_once_the_first_is_a_day_old() -> None:
    scene = months_of_bob()
    for minute in range(5):
        scene.send(paid(10, ALICE, LATER + minute * 60))
    (hit,) = scene.send(paid(250, ALICE, LATER + 600)).hits
    assert hit.sentence == "a recipient seen in 5 of 65 operations, which is not enough to be known"
    assert ids(scene.send(paid(250, ALICE, LATER + DAY))) == []


@pytest.mark.parametrize("then", ["dropped", "reverted", "in flight"])
def test_what_was_never_paid_teaches_nothing(then: str) -> None:
    scene = months_of_bob()
    for step in range(5):
        scene.send(paid(100, ALICE, LATER + step * DAY), then=then)
    assert ids(scene.send(paid(250, ALICE, LATER + 6 * DAY))) == ["stranger"]


def test_what_was_refused_teaches_nothing() -> None:
    scene = months_of_bob()
    attempts = [ids(scene.send(paid(2_000, ALICE, LATER + step * DAY))) for step in range(5)]
    assert attempts == [["stranger"]] * 5


def test_an_amount_that_cannot_be_told_obeys_fail_where_the_recipient_is_not_known() -> None:
    scene = months_of_bob()
    to_bob, to_alice = (facts(unix_time=LATER, moves=(spend(1, UNPRICED, to=to),)) for to in (BOB, ALICE))
    assert ids(scene.look(to_bob)) == []
    (hit,) = scene.look(to_alice).hits
    assert hit.unknown


def test_whom_ops_allow_by_hand_is_no_stranger_until_they_said_so() -> None:
    scene = months_of_bob()
    allowances = Allowances()
    scene.judge = Judge(scene.judge.ruleset, allowed=allowances.covers)
    by_hand = Allowance(
        rule="stranger", mark=mark_of(ALICE), thing="alice", since=LATER, until=LATER + 10, reason="payroll"
    )
    allowances.put(by_hand)
    allowances.put(replace(by_hand, rule="another", mark=mark_of(SHOP), until=None))
    assert ids(scene.look(paid(2_000, ALICE, LATER))) == []
    assert ids(scene.look(paid(2_000, ALICE, LATER + 9.9))) == []
    assert ids(scene.look(paid(2_000, SHOP, LATER))) == ["stranger"]
    assert ids(scene.look(paid(2_000, ALICE, LATER + 10))) == ["stranger"]
    allowances.put(replace(by_hand, until=None))
    assert ids(scene.look(paid(2_000, ALICE, LATER + 365 * DAY))) == []
    allowances.drop("stranger", mark_of(ALICE))
    assert ids(scene.look(paid(2_000, ALICE, LATER))) == ["stranger"]


# learn apart from when

LEARNS = """
- id: dear
  description: Far more than usual.
  mode: enforce
  match: {session: true}
  when: spend(USDC) >= 250 USDC
  %s
  deviation: {of: spend, token: USDC, per: session, factor: 5, after: 20 ops}
"""


@pytest.mark.parametrize(("learn", "fires"), [("", []), ("learn: spend(USDC) > 0 USDC", ["dear"])])
def test_a_history_learns_from_what_learn_says_and_the_rule_asks_about_what_when_says(
    learn: str, fires: list[str]
) -> None:
    scene = Scene(judge_of(LEARNS % learn))
    for _ in range(30):
        assert ids(scene.send(paid(100, BOB))) == []
    assert ids(scene.send(paid(2_000, BOB))) == fires


def test_what_an_exception_takes_out_neither_fires_nor_teaches() -> None:
    scene = Scene(
        judge_of(LEARNS % "learn: spend(USDC) > 0 USDC" + '  except: [{when: op.client == "payroll", reason: known}]\n')
    )
    for _ in range(30):
        scene.send(paid(100, BOB)._replace(client="payroll"))
    assert ids(scene.send(paid(2_000, BOB))) == []


# killing a token

WRITTEN = [
    f"match: {{session: true, moves: 0x{USDC.hex()}}}",
    "match: {session: true, moves: USDC}",
    f"when: any(m.token == 0x{USDC.hex()} for m in op.moves)",
    f"when: not all(m.token != 0x{USDC.hex()} for m in op.moves)",
]


def _unknown_router() -> Facts:
    unattributed = spend(None, None, to=SHOP)._replace(kind=MovementKind.UNATTRIBUTED, asset=AssetKind.UNKNOWN)
    return facts(moves=(unattributed,))


@pytest.mark.parametrize("written", WRITTEN)
def test_a_token_that_is_killed_is_refused_and_a_plain_transfer_of_another_passes(written: str) -> None:
    judge = judge_of(f"- {{id: killed, description: No more of it., mode: enforce, fail: open, {written}}}")
    look = Scene(judge).look
    assert ids(look(facts(moves=(spend(1),)))) == ["killed"]
    assert ids(look(facts(moves=(spend(1, UNPRICED),)))) == []
    coin = look(facts(moves=(spend(10**18, None),)))
    assert (ids(coin), coin.opened) == ([], ())
    nothing = look(facts(moves=()))
    assert (ids(nothing), nothing.opened) == ([], ())


@pytest.mark.parametrize("written", WRITTEN)
@pytest.mark.parametrize(("fail", "fires"), [("closed", True), ("open", False)])
def test_through_a_router_that_nobody_can_read_a_killed_token_goes_as_fail_says(
    written: str, fail: str, fires: bool
) -> None:
    judge = judge_of(f"- {{id: killed, description: No more of it., mode: enforce, fail: {fail}, {written}}}")
    finding = Scene(judge).look(_unknown_router())
    assert [hit.unknown for hit in finding.hits] == [True] * fires
    assert finding.opened == (() if fires else ("killed",))


def test_the_native_coin_has_no_token_and_an_unknown_asset_may_have_one() -> None:
    judge = judge_of("- {id: none, description: d, mode: enforce, when: any(m.token == none for m in op.moves)}")
    assert ids(Scene(judge).look(facts(moves=(spend(1, None),)))) == ["none"]
    assert ids(Scene(judge).look(_unknown_router())) == ["none"]
    assert ids(Scene(judge).look(facts(moves=(spend(1),)))) == []
