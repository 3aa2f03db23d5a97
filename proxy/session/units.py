"""Amounts of tokens in their own units: `10 USDC, 4 left of 100` beside the base units that the chain counts in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

from proxy.errors import Reason, TokenLimit
from proxy.userop.primitives import Address, print_checksummed


class Unit(NamedTuple):
    """What a whole token is called, and how many decimals its base unit is below it."""

    symbol: str
    decimals: int


UnitOf = Callable[[Address], Unit | None]
"""The unit of a token on one chain; `None` of a token that nobody listed."""


def no_units(_token: Address) -> Unit | None:
    """Where no token is listed."""
    return None


def in_unit(amount: int, unit: Unit) -> str:
    """An amount of base units in whole tokens, exactly: `12.5`. Without the symbol."""
    whole, rest = divmod(amount, 10**unit.decimals)
    return f"{whole}.{rest:0{unit.decimals}d}".rstrip("0") if rest else str(whole)


def reason_in_units(reason: Reason, unit_of: UnitOf) -> Reason:
    """The same reason, a token's limit told in the token's own unit where it is known, base units beside."""
    told = reason.token_limit
    if told is None or (unit := unit_of(Address(told.token))) is None:
        return reason
    return replace(reason, sentence=reason.sentence.replace(told.said, _sentence(told, unit)))


def _sentence(told: TokenLimit, unit: Unit) -> str:
    sentence = (
        f"{told.verb} of {in_unit(told.amount, unit)} {unit.symbol}, "
        f"{in_unit(told.left, unit)} left of {in_unit(told.limit, unit)} in this session"
    )
    if told.in_flight:
        sentence += f"; {in_unit(told.in_flight, unit)} of it in flight"
    if told.this_operation:
        sentence += f"; {in_unit(told.this_operation, unit)} used by earlier calls of this operation"
    base = f"base units of {print_checksummed(Address(told.token))}" if told.token else "wei"
    return f"{sentence} (in {base}: {told.amount}, {told.left} left of {told.limit})"
