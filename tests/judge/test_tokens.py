"""Amounts in people's units are exact, or they are refused."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.judge.tokens import Amount, Asset, Token, Tokens, parse_amount
from tests.judge.expression.samples import HERE, NOWHERE, SHOP, THERE, TOKENS, USDC_HERE


@pytest.mark.parametrize(
    ("text", "amount"),
    [
        ("500 USDC", Amount(Fraction(500), "USDC")),
        ("500USDC", Amount(Fraction(500), "USDC")),
        ("0.000001 USDC", Amount(Fraction(1, 10**6), "USDC")),
        ("20 gwei", Amount(Fraction(20, 10**9), "ETH")),
        ("1_000 USD", Amount(Fraction(1000), "USD")),
        ("1 wei", Amount(Fraction(1, 10**18), "ETH")),
    ],
)
def test_an_amount_is_read_exactly(text: str, amount: Amount) -> None:
    assert parse_amount(text, TOKENS) == amount


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("0.0000001 USDC", "USDC has 6 decimals, and this amount has more"),
        ("0.1 wei", "ETH has 18 decimals, and this amount has more"),
        ("5 USDT", "USDT is not a token that the rules list"),
        ("500", "'500' has no unit: write a number and a unit, such as 500 USDC"),
        ("USDC", "'USDC' is no amount: write a number and a unit, such as 500 USDC"),
        ("1__0 USDC", "'1__0 USDC' is no amount: _ stands between digits"),
        ("٣ USDC", "'\\u0663 USDC' is no amount: write a number and a unit, such as 500 USDC"),
    ],
)
def test_what_is_not_exact_is_refused(text: str, problem: str) -> None:
    assert parse_amount(text, TOKENS) == problem


def test_a_number_of_too_many_digits_is_refused() -> None:
    assert isinstance(parse_amount("9" * 100 + " ETH", TOKENS), Amount)
    assert parse_amount("9" * 101 + " ETH", TOKENS) == "'" + "9" * 37 + "...' has more than 100 digits"


def test_an_amount_has_the_decimals_of_each_chain() -> None:
    amount = Amount(Fraction(1, 2), "USDC")
    assert amount.on(HERE, TOKENS) == 500_000
    assert amount.on(THERE, TOKENS) == 5 * 10**17
    assert amount.on(NOWHERE, TOKENS) is None
    assert Amount(Fraction(1, 10**9), "USDC").on(HERE, TOKENS) is None
    assert Amount(Fraction(1), "USD").on(NOWHERE, TOKENS) == 10**18
    assert Amount(Fraction(1), "ETH").on(NOWHERE, TOKENS) == 10**18


def test_a_token_is_found_by_chain_and_address() -> None:
    assert TOKENS.at(Asset(HERE, USDC_HERE)) == TOKENS.by_symbol["USDC"]
    assert TOKENS.at(Asset(THERE, USDC_HERE)) is None
    assert TOKENS.at(Asset(HERE, SHOP)) is None
    assert TOKENS.at(Asset(NOWHERE, None)) == TOKENS.by_symbol["ETH"]


def test_of_two_native_coins_none_gives_a_price() -> None:
    both = Tokens(
        {"ETH": Token("ETH", native=True, price=Fraction(3000)), "POL": Token("POL", native=True, price=Fraction(1))}
    )
    native = both.at(Asset(1, None))
    assert native is not None
    assert native.price is None


@given(st.text(max_size=60))
def test_no_text_breaks_the_reading_of_amounts(text: str) -> None:
    assert isinstance(parse_amount(text, TOKENS), Amount | str)


@given(st.integers(0, 2**256), st.integers(0, 10**6 - 1))
def test_whole_and_fraction_come_back_as_base_units(whole: int, fraction: int) -> None:
    amount = parse_amount(f"{whole}.{fraction:06d} USDC", TOKENS)
    assert isinstance(amount, Amount)
    assert amount.on(HERE, TOKENS) == whole * 10**6 + fraction
