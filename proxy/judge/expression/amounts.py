"""What an operation spends and exposes: of one asset, or of all priced assets in USD."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

from proxy.judge.facts import Facts, MoveFacts
from proxy.judge.tokens import USD_DECIMALS, Asset, Token, Tokens
from proxy.userop.movement import AssetKind, MovementKind

Worth = Callable[[Facts, MoveFacts], int | None]
"""From an operation and a move of it to how much it is; `None` when that cannot be told."""

# the asset is decided by a contract at run time: it may be any, also the one that is asked for
_UNNAMED: Final = frozenset({AssetKind.UNKNOWN, AssetKind.VAULT_ASSET})


def worth_in_token(token: Token) -> Worth:
    """How much of `token` a move is, in base units: 0 for another asset and where the token is not."""

    def worth(facts: Facts, move: MoveFacts) -> int | None:
        place = token.on(facts.chain_id)
        if place is None:
            return 0
        if move.asset in _UNNAMED:
            return 0 if move.amount == 0 else None
        if place.address is None:
            return move.amount if move.asset is AssetKind.NATIVE else 0
        return move.amount if move.token == place.address else 0

    return worth


def worth_in_usd(tokens: Tokens) -> Worth:
    """How much a move is worth at the reference prices of its time, in 10^-18 USD, rounded up."""
    rates: dict[Asset, tuple[Token, int, int]] = {}  # of tokens that ops listed with a price, and of no other

    def worth(facts: Facts, move: MoveFacts) -> int | None:
        if move.amount == 0:
            return 0
        if move.amount is None or move.asset in _UNNAMED:
            return None
        if move.token is None and move.asset is not AssetKind.NATIVE:
            return None
        asset = Asset(facts.chain_id, None if move.asset is AssetKind.NATIVE else move.token)
        found = rates.get(asset)
        if found is None:
            found = _rate(tokens, asset)
            if found is None:
                return None
            rates[asset] = found
        token, numerator, denominator = found
        if token.price_at(facts.unix_time) is None:
            return None
        return -(-move.amount * numerator // denominator)

    return worth


def _rate(tokens: Tokens, asset: Asset) -> tuple[Token, int, int] | None:
    """The token that an asset is, and what one base unit of it is worth in 10^-18 USD; `None` without a price."""
    token = tokens.at(asset)
    place = None if token is None else token.on(asset.chain_id)
    if token is None or place is None or token.price is None:
        return None
    return token, token.price.numerator * 10**USD_DECIMALS, token.price.denominator * 10**place.decimals


def moved(facts: Facts, kind: MovementKind, worth: Worth) -> int | None:
    """All moves of a kind added up; `None` as soon as one of them cannot be told."""
    total = 0
    for move in facts.moves:
        if move.kind is kind:
            amount = worth(facts, move)
            if amount is None:
                return None
            total += amount
    return total


def moved_each(facts: Facts, kind: MovementKind, worth: Worth) -> Iterable[tuple[MoveFacts, int | None]]:
    """Each move of a kind, and how much it is; moves of other assets are 0."""
    return ((move, worth(facts, move)) for move in facts.moves if move.kind is kind)
