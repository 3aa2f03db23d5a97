"""How much an operation is: all of it, by move, and by target, recipient or token."""

from __future__ import annotations

from fractions import Fraction

import pytest

from proxy.judge.measure import NOBODY, measure, measure_moves, measured_by, print_measure
from proxy.judge.rule import AmountOf, Per, Sum
from proxy.judge.tokens import Token, TokenPlace, Tokens
from proxy.userop.movement import AssetKind, MovementKind
from tests.judge.expression.samples import GOOD, HERE, NOWHERE, ROUTER, SHOP, TOKENS, USDC_HERE, facts, move, native

USDC = AmountOf(Sum.SPEND, "USDC")
USD = AmountOf(Sum.SPEND, usd=True)


@pytest.mark.parametrize(
    ("amount_of", "amount"),
    [
        (USDC, 100 * 10**6),
        (AmountOf(Sum.SPEND, "ETH"), 10**18),
        (USD, 3_100 * 10**18),
        (AmountOf(Sum.EXPOSURE, "USDC"), 0),
        (AmountOf(Sum.VALUE), 10**18),
        (AmountOf(Sum.GAS), 500_000),
        (AmountOf(Sum.CALL_GAS), 100_000),
        (AmountOf(Sum.MAX_COST), 10**15),
        (AmountOf(Sum.CALLS), 2),
    ],
)
def test_each_amount_of_the_good_operation(amount_of: AmountOf, amount: int) -> None:
    assert measure(GOOD, amount_of, TOKENS) == amount


@pytest.mark.parametrize("kind", sorted(set(MovementKind) - {MovementKind.SPEND}))
def test_only_spends_are_spent(kind: MovementKind) -> None:
    assert measure(facts(moves=(move(kind, amount=None),)), USDC, TOKENS) == 0


def test_the_use_of_an_allowance_is_a_spend_too() -> None:
    assert measure(facts(moves=(move(holder=SHOP),)), USDC, TOKENS) == 100 * 10**6


def test_an_allowance_without_end_counts_as_it_is_given_and_nothing_lowers_it() -> None:
    moves = (move(MovementKind.EXPOSURE, amount=2**256 - 1, unlimited=True), move(MovementKind.RELEASE))
    assert measure(facts(moves=moves), AmountOf(Sum.EXPOSURE, "USDC"), TOKENS) == 2**256 - 1


def test_what_is_not_told_is_unknown_and_not_zero() -> None:
    assert measure(facts(moves=(move(), move(amount=None))), USDC, TOKENS) is None
    assert measure(facts(moves=(move(token=SHOP, amount=None),)), USDC, TOKENS) == 0
    assert measure(facts(moves=(move(asset=AssetKind.UNKNOWN, token=None),)), USD, TOKENS) is None
    assert measure(GOOD, AmountOf(Sum.SPEND, "NONE"), TOKENS) is None


def test_usd_is_rounded_up() -> None:
    third = Tokens({"T": Token("T", {HERE: TokenPlace(USDC_HERE, 18)}, Fraction(1, 3))})
    assert measure(facts(moves=(move(amount=1),)), USD, third) == 1
    assert measure(facts(moves=(move(amount=3),)), USD, third) == 1
    assert measure(facts(moves=(move(amount=4),)), USD, third) == 2


@pytest.mark.parametrize(
    ("amount_of", "per", "groups"),
    [
        (USD, Per.TARGET, [(USDC_HERE, 100 * 10**18), (ROUTER, 3_000 * 10**18)]),
        (USD, Per.RECIPIENT, [(SHOP, 100 * 10**18), (ROUTER, 3_000 * 10**18)]),
        (USD, Per.TOKEN, [(USDC_HERE, 100 * 10**18), (NOBODY, 3_000 * 10**18)]),
        (USDC, Per.RECIPIENT, [(SHOP, 100 * 10**6)]),
        (AmountOf(Sum.VALUE), Per.TARGET, [(ROUTER, 10**18)]),
        (AmountOf(Sum.VALUE), Per.RECIPIENT, [(ROUTER, 10**18)]),
        (AmountOf(Sum.VALUE), Per.TOKEN, [(NOBODY, 10**18)]),
        (AmountOf(Sum.CALLS), Per.TARGET, [(USDC_HERE, 1), (ROUTER, 1)]),
        (AmountOf(Sum.CALLS), Per.RECIPIENT, [(SHOP, 1), (ROUTER, 1)]),
        (AmountOf(Sum.GAS), Per.TARGET, [(USDC_HERE, 500_000), (ROUTER, 500_000)]),
        (AmountOf(Sum.MAX_COST), Per.TOKEN, [(USDC_HERE, 10**15), (NOBODY, 10**15)]),
    ],
)
def test_amounts_fall_into_groups(amount_of: AmountOf, per: Per, groups: list[tuple[bytes, int]]) -> None:
    assert measured_by(GOOD, amount_of, TOKENS, per) == groups


def test_a_group_adds_up_and_one_unknown_part_makes_all_unknown() -> None:
    assert measured_by(facts(moves=(move(), move())), USDC, TOKENS, Per.RECIPIENT) == [(SHOP, 200 * 10**6)]
    assert measured_by(facts(moves=(move(), move(amount=None))), USDC, TOKENS, Per.RECIPIENT) is None


def test_a_burn_has_no_recipient_and_a_stray_move_no_target() -> None:
    stray = facts(moves=(move(counterparty=None, call=9),))
    assert measured_by(stray, USDC, TOKENS, Per.RECIPIENT) == [(NOBODY, 100 * 10**6)]
    assert measured_by(stray, USDC, TOKENS, Per.TARGET) == [(NOBODY, 100 * 10**6)]


def test_moves_that_count_are_told_one_by_one() -> None:
    assert measure_moves(GOOD, USDC, TOKENS) == [(GOOD.moves[0], 100 * 10**6)]
    assert measure_moves(facts(moves=(native(None),)), AmountOf(Sum.SPEND, "ETH"), TOKENS) == [(native(None), None)]
    assert measure_moves(GOOD, AmountOf(Sum.SPEND, "NONE"), TOKENS) == [(each, None) for each in GOOD.moves]
    assert measure_moves(GOOD, AmountOf(Sum.GAS), TOKENS) == []


@pytest.mark.parametrize(
    ("amount", "amount_of", "chain_id", "text"),
    [
        (500_250_000, USDC, HERE, "500.25 USDC"),
        (0, USDC, NOWHERE, "0 USDC"),
        (1, AmountOf(Sum.VALUE), HERE, "0.000000000000000001 ETH"),
        (5 * 10**18, USD, HERE, "5 USD"),
        (21_000, AmountOf(Sum.GAS), HERE, "21000"),
    ],
)
def test_amounts_are_printed_in_peoples_units(amount: int, amount_of: AmountOf, chain_id: int, text: str) -> None:
    assert print_measure(amount, amount_of, chain_id, TOKENS) == text
