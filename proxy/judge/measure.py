"""How much one operation is, for rules that add up, compare or learn amounts."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from operator import attrgetter
from typing import Final, assert_never

from proxy.judge.expression.amounts import Worth, moved, moved_each, worth_in_token, worth_in_usd
from proxy.judge.facts import Facts, MoveFacts
from proxy.judge.rule import AmountOf, Per, Sum
from proxy.judge.tokens import NATIVE_DECIMALS, USD, USD_DECIMALS, Tokens
from proxy.userop.movement import MovementKind

Grouped = list[tuple[bytes, int]]
"""Amounts by group: a target, a recipient or a token. No bytes at all stand for the native coin, and for nobody."""

NOBODY: Final = b""

MOVED: Final = {Sum.SPEND: MovementKind.SPEND, Sum.EXPOSURE: MovementKind.EXPOSURE}
"""What is added up for the sums of what moves."""


Measure = Callable[[Facts], int | None]


def measure_of(amount_of: AmountOf, tokens: Tokens) -> Measure:
    """Tells the amount of an operation in base units, wei, 10^-18 USD, gas or calls; `None` when it cannot be told."""
    match amount_of.what:
        case Sum.SPEND | Sum.EXPOSURE:
            kind, worth = MOVED[amount_of.what], _worth(amount_of, tokens)
            return _untold if worth is None else lambda facts: moved(facts, kind, worth)
        case Sum.VALUE:
            return _value
        case Sum.GAS:
            return attrgetter("gas")
        case Sum.CALL_GAS:
            return attrgetter("call_gas")
        case Sum.MAX_COST:
            return attrgetter("max_cost")
        case Sum.CALLS:
            return _number_of_calls
        case _:
            assert_never(amount_of.what)


def _untold(_facts: Facts) -> None:
    return None


def _value(facts: Facts) -> int:
    calls = facts.calls
    return calls[0].value if len(calls) == 1 else sum(call.value for call in calls)


def _number_of_calls(facts: Facts) -> int:
    return len(facts.calls)


def measure(facts: Facts, amount_of: AmountOf, tokens: Tokens) -> int | None:
    """The amount of one operation, likewise."""
    return measure_of(amount_of, tokens)(facts)


def measure_moves(facts: Facts, amount_of: AmountOf, tokens: Tokens) -> list[tuple[MoveFacts, int | None]]:
    """Each move that counts for a spend or exposure, and its amount; empty for what no move tells."""
    kind, worth = MOVED.get(amount_of.what), _worth(amount_of, tokens)
    if kind is None:
        return []
    if worth is None:
        return [(move, None) for move in facts.moves if move.kind is kind]
    return [(move, amount) for move, amount in moved_each(facts, kind, worth) if amount != 0]


def measured_by_recipient(facts: Facts, amount_of: AmountOf, tokens: Tokens) -> dict[bytes, int | None]:
    """How much each counterparty gets of a spend or exposure, in order of first appearance; `None` when not told."""
    amounts: dict[bytes, int | None] = {}
    for move, amount in measure_moves(facts, amount_of, tokens):
        if move.counterparty is not None:
            before = amounts.get(move.counterparty, 0)
            amounts[move.counterparty] = None if before is None or amount is None else before + amount
    return amounts


def measured_by(facts: Facts, amount_of: AmountOf, tokens: Tokens, per: Per) -> Grouped | None:
    """The amount of an operation by target, recipient or token, in order of first appearance.

    What no single call causes (gas, cost) counts in full for every group that the operation touches. `None` when any of
    it cannot be told.
    """
    match amount_of.what:
        case Sum.SPEND | Sum.EXPOSURE:
            return _added(
                (_group_of_move(facts, move, per), amount) for move, amount in measure_moves(facts, amount_of, tokens)
            )
        case Sum.VALUE if per is Per.TOKEN:
            return _added((NOBODY, call.value) for call in facts.calls if call.value)
        case Sum.VALUE:
            return _added((call.target, call.value) for call in facts.calls if call.value)
        case Sum.CALLS if per is Per.TARGET:
            return _added((call.target, 1) for call in facts.calls)
        case Sum.CALLS:
            touched = dict.fromkeys((_group_of_move(facts, move, per), move.call) for move in facts.moves)
            return _added((group, 1) for group, _ in touched)
        case Sum.GAS | Sum.CALL_GAS | Sum.MAX_COST:
            whole = measure(facts, amount_of, tokens) or 0
            if per is Per.TARGET:
                return [(target, whole) for target in dict.fromkeys(call.target for call in facts.calls)]
            return [(group, whole) for group in dict.fromkeys(_group_of_move(facts, move, per) for move in facts.moves)]
        case _:
            assert_never(amount_of.what)


def _worth(amount_of: AmountOf, tokens: Tokens) -> Worth | None:
    if amount_of.usd:
        return worth_in_usd(tokens)
    token = None if amount_of.asset is None else tokens.named(amount_of.asset)
    return None if token is None else worth_in_token(token)


def _group_of_move(facts: Facts, move: MoveFacts, per: Per) -> bytes:
    if per is Per.TARGET:
        return facts.calls[move.call].target if 0 <= move.call < len(facts.calls) else NOBODY
    return (move.counterparty if per is Per.RECIPIENT else move.token) or NOBODY


def _added(parts: Iterable[tuple[bytes, int | None]]) -> Grouped | None:
    groups: dict[bytes, int] = {}
    for group, amount in parts:
        if amount is None:
            return None
        groups[group] = groups.get(group, 0) + amount
    return list(groups.items())


def print_measure(amount: int, amount_of: AmountOf, chain_id: int, tokens: Tokens) -> str:
    """An amount in people's units, exactly: `500.25 USDC`, `0.5 ETH`, `21000` of gas."""
    match amount_of.what:
        case Sum.SPEND | Sum.EXPOSURE if amount_of.usd:
            return f"{_decimal(amount, USD_DECIMALS)} {USD}"
        case Sum.SPEND | Sum.EXPOSURE:
            token = None if amount_of.asset is None else tokens.named(amount_of.asset)
            place = None if token is None else token.on(chain_id)
            # where the token is not, only 0 is spent of it
            return f"{_decimal(amount, place.decimals if place else 0)} {amount_of.asset}"
        case Sum.VALUE | Sum.MAX_COST:
            return f"{_decimal(amount, NATIVE_DECIMALS)} {tokens.native.symbol}"
        case Sum.GAS | Sum.CALL_GAS | Sum.CALLS:
            return str(amount)
        case _:
            assert_never(amount_of.what)


def _decimal(amount: int, decimals: int) -> str:
    whole, rest = divmod(abs(amount), 10**decimals)
    fraction = f".{rest:0{decimals}d}".rstrip("0") if rest else ""
    return f"{'-' if amount < 0 else ''}{whole}{fraction}"
