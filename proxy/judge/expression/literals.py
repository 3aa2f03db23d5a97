"""What is written out: numbers with and without a unit, texts, bytes, true, false and none."""

from __future__ import annotations

from typing import Final

from proxy.judge.expression import closures, tree
from proxy.judge.expression.faults import did_you_mean
from proxy.judge.expression.typed import Notes, Typed
from proxy.judge.expression.types import BOOL, DURATION, NONE, NUMBER, Sort, Type, amount, one_of
from proxy.judge.tokens import NATIVE_DECIMALS, USD, Amount, Tokens, amount_of

SECONDS: Final = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
"""Units of durations."""


def literal(node: tree.Constant) -> Typed:
    """A text, bytes, true, false or none."""
    value = node.value
    match value:
        case bool():
            return Typed(node=node, type=BOOL, run=closures.constant(value), literal=True, fixed=value, known=value)
        case str():
            kind = one_of(value)
        case bytes():
            kind = Type(Sort.BYTES, width=len(value))
        case None:
            kind = NONE
    return Typed(node=node, type=kind, run=closures.constant(value), literal=True, fixed=value)


def number(notes: Notes, node: tree.Number, tokens: Tokens) -> Typed:
    """A plain number, a duration, or an amount in base units of the operation's chain."""
    digits, unit = node.digits, node.unit
    if unit is None or unit in SECONDS:
        seconds = digits if unit is None else digits * SECONDS[unit]
        if seconds.denominator != 1:
            cure = "write it in a smaller unit" if unit else "only amounts have fractions: write 0.5 ETH"
            return notes.complain(node, f"{notes.shown(node)} is not a whole number", cure)
        fixed = seconds.numerator
        kind = (NUMBER if unit is None else DURATION).within(seconds, seconds)
        return Typed(node=node, type=kind, run=closures.constant(fixed), literal=True, fixed=fixed)
    known = amount_of(digits, unit, tokens)
    if isinstance(known, str):
        return notes.complain(
            node, known, did_you_mean(unit, {*tokens.symbols, *SECONDS}) if "decimals" not in known else None
        )
    kind = amount(known.symbol).within(known.digits, known.digits)
    per_chain, otherwise = _in_base_units(known, tokens)
    if set(per_chain.values()) <= {otherwise}:
        return Typed(node=node, type=kind, run=closures.constant(otherwise), literal=True, fixed=otherwise)
    return Typed(node=node, type=kind, run=closures.by_chain(per_chain, otherwise), literal=True)


def _in_base_units(known: Amount, tokens: Tokens) -> tuple[dict[int, int], int]:
    """By chain, and for chains where the token is not: nothing is spent of it there, so any exact scale will do."""
    token = None if known.symbol == USD else tokens.named(known.symbol)
    decimals = NATIVE_DECIMALS if token is None else max(token.decimals, default=NATIVE_DECIMALS)
    places = {} if token is None or token.native else token.places
    per_chain = {chain_id: known.digits * 10**place.decimals for chain_id, place in places.items()}
    return {chain_id: units.numerator for chain_id, units in per_chain.items()}, (known.digits * 10**decimals).numerator
