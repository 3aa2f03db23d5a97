"""Tokens by symbol, and amounts in people's units turned exactly into base units."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import field
from fractions import Fraction
from typing import Final, NamedTuple

from proxy.record import record
from proxy.userop.primitives import Address

NATIVE_DECIMALS: Final = 18
USD_DECIMALS: Final = 18
"""Amounts in USD are integers of 10^-18 USD."""

USD: Final = "USD"
NATIVE: Final = "ETH"
"""Always understood as the chain's own coin, whatever ops call it."""

SUBUNITS: Final[Mapping[str, Fraction]] = {"gwei": Fraction(1, 10**9), "wei": Fraction(1, 10**18)}
"""Parts of the native coin that have names."""

RESERVED_SYMBOLS: Final = frozenset({USD, NATIVE, *SUBUNITS, "s", "m", "h", "d"})
"""No token may be called so, but for the native coin that may be called ETH: amounts and durations are written so."""

MAX_DIGITS: Final = 100
"""Of a number that people write: far above 2^256, far below what costs time to read."""

_AMOUNT: Final = re.compile(r"(-?)([0-9][0-9_]*)(?:\.([0-9]+))?\s*(\S.*)?", re.ASCII)


class Asset(NamedTuple):
    """A token on a chain; `address` is `None` for the chain's own coin."""

    chain_id: int
    address: Address | None


@record()
class TokenPlace:
    """A token on one chain."""

    address: Address | None
    decimals: int


_NATIVE_PLACE: Final = TokenPlace(None, NATIVE_DECIMALS)


class Price(NamedTuple):
    """What one whole token is worth in USD, and until when (unix seconds) that may be relied on."""

    usd: Fraction
    until: float


@record()
class Token:
    """A token by its symbol. `price` is the reference price in USD of one whole token, where ops gave one.

    A price of a feed may be relied on until `price_until` (unix seconds); a fixed one for ever. The native coin has no
    `places`: it is on every chain, with 18 decimals.
    """

    symbol: str
    places: Mapping[int, TokenPlace] = field(default_factory=dict)
    price: Fraction | None = None
    native: bool = False
    price_until: float | None = None

    def price_at(self, unix_time: float) -> Fraction | None:
        """The price, `None` where there is none that may be relied on at that time."""
        return None if self.price_until is not None and unix_time > self.price_until else self.price

    def on(self, chain_id: int) -> TokenPlace | None:
        """Where the token is on a chain; `None` when it is not there."""
        return _NATIVE_PLACE if self.native else self.places.get(chain_id)

    @property
    def decimals(self) -> frozenset[int]:
        """All the decimals the token has on one chain or another."""
        return frozenset({NATIVE_DECIMALS} if self.native else {place.decimals for place in self.places.values()})


@record()
class Tokens:
    """All tokens that rules may name."""

    by_symbol: Mapping[str, Token] = field(default_factory=dict)
    _by_asset: Mapping[Asset, Token] = field(init=False, repr=False, compare=False)
    _native: Token = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Index the tokens once: every move of every operation is looked up."""
        by_asset = {
            Asset(chain_id, place.address): token
            for token in self.by_symbol.values()
            if not token.native
            for chain_id, place in token.places.items()
        }
        natives = [token for token in self.by_symbol.values() if token.native]
        # of two native coins nobody can say which one a chain has, so neither gives a price
        native = natives[0] if len(natives) == 1 else Token(NATIVE, native=True)
        object.__setattr__(self, "_by_asset", by_asset)
        object.__setattr__(self, "_native", native)

    @property
    def native(self) -> Token:
        """The coin of every chain: the one ops listed, or ETH without a price."""
        return self._native

    def at(self, asset: Asset) -> Token | None:
        """The token that an asset is; `None` when ops did not list it. The native coin is always known."""
        return self._native if asset.address is None else self._by_asset.get(asset)

    def named(self, symbol: str) -> Token | None:
        """The token of a symbol; ETH is the native coin whether it is listed or not. USD is none."""
        if symbol == NATIVE:
            return self._native
        if symbol == USD:
            return None
        token = self.by_symbol.get(symbol)
        return self._native if token is not None and token.native else token

    @property
    def symbols(self) -> frozenset[str]:
        """Every symbol that an amount may have."""
        return frozenset({*self.by_symbol, NATIVE, USD, *SUBUNITS})


@record()
class Amount:
    """So many whole units of a token, or of USD. `symbol` is that of the token; gwei and wei become the native coin."""

    digits: Fraction
    symbol: str

    def on(self, chain_id: int, tokens: Tokens) -> int | None:
        """In base units on a chain, exactly; `None` where the token is not, or where it has too few decimals."""
        if self.symbol == USD:
            return _exact(self.digits, USD_DECIMALS)
        token = tokens.named(self.symbol)
        place = None if token is None else token.on(chain_id)
        return None if place is None else _exact(self.digits, place.decimals)


def parse_amount(text: str, tokens: Tokens) -> Amount | str:
    """An amount such as `500 USDC`, `0.5 ETH`, `20 gwei` or `1000 USD`; otherwise what is wrong with the text."""
    written = _AMOUNT.fullmatch(text.strip())
    if written is None:
        return f"{_shown(text)} is no amount: write a number and a unit, such as 500 USDC"
    sign, whole, fraction, symbol = written.groups()
    if symbol is None:
        return f"{_shown(text)} has no unit: write a number and a unit, such as 500 USDC"
    digits = whole.replace("_", "")
    if whole.endswith("_") or "__" in whole:
        return f"{_shown(text)} is no amount: _ stands between digits"
    if len(digits) + len(fraction or "") > MAX_DIGITS:
        return f"{_shown(text)} has more than {MAX_DIGITS} digits"
    number = Fraction(int(digits + (fraction or "")), 10 ** len(fraction or ""))
    return amount_of(-number if sign else number, symbol, tokens)


def amount_of(digits: Fraction, symbol: str, tokens: Tokens) -> Amount | str:
    """So many of a unit, exact on every chain where the token is; otherwise what is wrong."""
    if symbol in SUBUNITS:
        digits, symbol = digits * SUBUNITS[symbol], NATIVE
    if symbol == USD:
        decimals = {USD_DECIMALS}
    else:
        token = tokens.named(symbol)
        if token is None:
            return f"{_shown(symbol)[1:-1]} is not a token that the rules list"
        decimals, symbol = set(token.decimals), token.symbol
    # exact everywhere, not only on one chain: a limit that is rounded on another would not be the one that was written
    fewest = min(decimals, default=NATIVE_DECIMALS)
    if _exact(digits, fewest) is None:
        return f"{symbol} has {fewest} decimals, and this amount has more"
    return Amount(digits, symbol)


def _exact(digits: Fraction, decimals: int) -> int | None:
    units: Fraction = digits * 10**decimals
    return units.numerator if units.denominator == 1 else None


def _shown(text: str) -> str:
    return ascii(text if len(text) <= 40 else f"{text[:37]}...")
