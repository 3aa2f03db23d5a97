"""What rules are written with: tokens, named lists and macros, and the names a deployment knows."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Any, Final

from pydantic_core import PydanticCustomError

from proxy.document import Place, did_you_mean
from proxy.judge.expression import RESERVED_NAMES, Expression, ExpressionScope, NamedList, compile_expression
from proxy.judge.parse.feeds import FeedShelf, lines_of, read_prices
from proxy.judge.parse.identity import Normal
from proxy.judge.parse.written import Value, Written
from proxy.judge.tokens import NATIVE, RESERVED_SYMBOLS, USD, Asset, Price, Token, TokenPlace, Tokens, parse_amount
from proxy.written import read_address, read_hash, read_selector, shorten

KINDS: Final = ("address", "selector", "permission_id", "text", "client")
_READERS: Final = {"address": read_address, "selector": read_selector, "permission_id": read_hash}
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,63}\Z", re.ASCII)
_MACRO: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}\Z", re.ASCII)
_NO_MACROS: Final = RESERVED_NAMES | {"and", "or", "not", "in", "for", "if", "true", "false", "none"}
_SYMBOL: Final = re.compile(r"[A-Za-z][A-Za-z0-9]{0,31}\Z", re.ASCII)
_CHAIN: Final = re.compile(r"[1-9][0-9]{0,19}\Z", re.ASCII)
_WORD: Final = re.compile(r"\$([A-Za-z_][A-Za-z0-9_-]*)|([A-Za-z_][A-Za-z0-9_]*)", re.ASCII)
MOST_CHAIN: Final = 2**64 - 1
MOST_DECIMALS: Final = 77


@dataclass(slots=True)
class RuleTerms:
    """Everything a rule may name. `used` gathers the names of lists (`$name`) and macros that something names."""

    scope: ExpressionScope
    chains: Mapping[str, int] | None
    clients: Collection[str] | None
    used: set[str] = field(default_factory=set)
    normal: Normal = field(default_factory=Normal)
    _compiled: dict[str, Expression] = field(default_factory=dict)
    _once: dict[tuple[str, str], object] = field(default_factory=dict)

    def once(self, kind: str, written: Written, read: Callable[[], Value]) -> Value:
        """What comes of a value, read once however many rules have the same one: thousands differ in little. Nothing
        of it may hang on its place; what has a fault is read, and told, each time."""
        name, found = (kind, repr(written.value)), written.reading.found
        known: Any = self._once.get(name)
        if known is not None:
            return known  # type: ignore[no-any-return]  # what was kept under this name came of `read`
        before = len(found)
        value = read()
        if len(found) == before:
            self._once[name] = value
        return value

    def members(self, written: Written, kind: str) -> Iterable[bytes | str]:
        """The values of one entry: itself, or all of the list it names."""
        value = written.value
        if isinstance(value, str) and value.startswith("$"):
            named = self.scope.lists.get(value[1:])
            self.used.add(value)
            if named is None:
                written.fault(f"there is no list {shorten(value)}", did_you_mean(value[1:], self.scope.lists))
            elif named.of != kind and {named.of, kind} != {"text", "client"}:
                written.fault(f"{value} is a list of {named.of}, wanted {kind}")
            else:
                return named.values
            return ()
        return read_member(written, kind)

    def expression(self, written: Written) -> Expression | None:
        """A condition; its faults are told at their columns."""
        if (text := written.text()) is None:
            return None
        if (known := self._compiled.get(text)) is not None:
            return known
        self.used.update(self.meanings(text))
        outcome = compile_expression(text, self.scope)
        if isinstance(outcome, Expression):
            self._compiled[text] = outcome
            return outcome
        for each in outcome:
            written.reading.fault(written.place_in(each.offset), each.problem, each.suggestion)
        return None

    def meanings(self, text: str) -> Mapping[str, object]:
        """What stands behind every list (`$name`) and macro that a text names, also by way of macros."""
        found: dict[str, object] = {}
        if not self.scope.macros and "$" not in text:
            return found
        waiting = [text]
        while waiting:
            for listed, word in _WORD.findall(waiting.pop()):
                if listed:
                    named = self.scope.lists.get(listed)
                    # what stands in a file of its own is refreshed, and the rule stays the one it was
                    found[f"${listed}"] = named if named is None or named.file is None else (named.of, named.file)
                elif word in self.scope.macros and word not in found:
                    found[word] = self.scope.macros[word]
                    waiting.append(self.scope.macros[word])
        return found

    def assets(self, symbol: str) -> Iterable[Asset] | None:
        """A token on all its chains; `None` for a symbol nobody listed."""
        token = self.scope.tokens.named(symbol)
        if token is None:
            return None
        if token.native:
            return [Asset(0, None)]
        return [Asset(chain_id, place.address) for chain_id, place in token.places.items()]


def read_member(written: Written, kind: str) -> Iterable[bytes | str]:
    """One value of a kind, or none when it is faulty."""
    member: bytes | str | None = written.read(_READERS[kind]) if kind in _READERS else written.text()
    return () if member is None else (member,)


def read_list(written: Written, shelf: FeedShelf) -> NamedList | None:
    """A named list: its values written here, or in a file of their own."""
    fields = written.fields(("of", "values", "file"), "a list", ("of",))
    kind = fields["of"].one_of({each: each for each in KINDS}) if "of" in fields else None
    if isinstance(written.value, dict) and ("values" in fields) == ("file" in fields):
        written.fault("a list has either values or a file", "add values: [a, b], or file: names.txt")
        return None
    if kind is None:
        return None
    if "file" in fields:
        return _list_from_file(fields["file"], kind, shelf)
    members = [member for each in fields["values"].each() for member in read_member(each, kind)]
    return NamedList(kind, frozenset(members))  # type: ignore[arg-type]  # one kind is of one type


def _list_from_file(written: Written, kind: str, shelf: FeedShelf) -> NamedList | None:
    found = shelf.text(written)
    if found is None:
        return None
    path, text = found
    members: set[bytes | str] = set()
    for place, value in lines_of(text, path):
        try:
            members.add(_READERS[kind](value) if kind in _READERS else value)
        except PydanticCustomError as error:
            context = error.context or {}
            written.reading.fault(place, str(context.get("problem")), context.get("suggestion"))
    return NamedList(kind, frozenset(members), file=path)  # type: ignore[arg-type]  # one kind is of one type


def is_list_name(written: Written, name: str) -> bool:
    """Whether a list may be called so; reported when not."""
    if _NAME.match(name):
        return True
    written.fault_at_key(f"{shorten(name)} is no name", "begin with a letter; letters, digits, _ and - follow")
    return False


def is_macro_name(written: Written, name: str) -> bool:
    """Whether a macro may be called so, and expressions can name it; reported when not."""
    if name in _NO_MACROS:
        written.fault_at_key(f"{name} means something already", "give the macro another name")
        return False
    if _MACRO.match(name):
        return True
    cure = "begin with a letter; letters, digits and _ follow"
    plain = name.replace("-", "_")
    written.fault_at_key(f"{shorten(name)} is no name of a macro", f"write {plain}" if _MACRO.match(plain) else cure)
    return False


def read_tokens(files: Iterable[Written], shelf: FeedShelf) -> Tokens:
    """The tokens of all token files, with the prices of the feeds that these name."""
    fed: dict[str, Price] = {}
    found: dict[str, Token] = {}
    first: dict[str, Written] = {}
    addresses: dict[tuple[int, bytes | None], tuple[str, Place]] = {}
    for file in files:
        fields = {} if file.value is None else file.fields(("tokens", "prices"), "a token file", ("tokens",))
        if "prices" in fields:
            fed |= read_prices(fields["prices"], shelf)
        if "tokens" not in fields:
            continue
        for symbol, written in fields["tokens"].items():
            if symbol in first:
                place = first[symbol].key_place
                written.fault_at_key(f"{symbol} is listed twice, first at {_at(place)}", "keep one")
                continue
            first[symbol] = written
            token = _read_token(written, symbol)
            if token is None:
                continue
            if token.native and (other := next((each for each in found.values() if each.native), None)) is not None:
                place = first[other.symbol].key_place
                problem = f"{symbol} is a second native coin, {other.symbol} is one already at {_at(place)}"
                written.fault_at_key(problem, "every chain has one coin under one name here: keep one")
                continue
            _claim(written, token, addresses)
            found[symbol] = token
    return Tokens({symbol: _priced(token, fed.get(symbol)) for symbol, token in found.items()})


def _priced(token: Token, fed: Price | None) -> Token:
    """A price of a feed stands in place of one that is written, also when it is too old to be used."""
    return token if fed is None else replace(token, price=fed.usd, price_until=fed.until)


def _claim(written: Written, token: Token, taken: dict[tuple[int, bytes | None], tuple[str, Place]]) -> None:
    """Two tokens at one address could not be told apart in what an operation moves."""
    for chain_id, place in token.places.items():
        asset = (chain_id, place.address)
        where = written.child("on").child(str(chain_id)).child("address")
        if asset in taken:
            symbol, first = taken[asset]
            problem = f"{token.symbol} is at the address of {symbol} on chain {chain_id}, listed at {_at(first)}"
            where.fault(problem, "keep one of the two")
        taken.setdefault(asset, (token.symbol, where.place))


def _at(place: Place) -> str:
    return f"{place.path}:{place.line}"


def _read_token(written: Written, symbol: str) -> Token | None:
    fields = written.fields(("native", "price", "on"), f"token {shorten(symbol)}")
    native = "native" in fields and fields["native"].truth() is True
    if not _SYMBOL.match(symbol) or (symbol in RESERVED_SYMBOLS and not (native and symbol == NATIVE)):
        written.fault_at_key(f"{shorten(symbol)} cannot name a token", "letters and digits, and no unit such as USD")
        return None
    if native and "on" in fields:
        fields["on"].fault_at_key(f"{symbol} is native, so it is on every chain", "leave out on")
    if not native and "on" not in fields:
        written.fault_at_key(f"token {symbol} needs on", "add on: {1868: {address: 0x…, decimals: 6}}")
    price = _read_price(fields["price"]) if "price" in fields else None
    places = {} if native or "on" not in fields else _read_places(fields["on"])
    return Token(symbol, places, price, native)


def _read_price(written: Written) -> Fraction | None:
    if (text := written.text()) is None:
        return None
    amount = parse_amount(text, Tokens())
    if isinstance(amount, str):
        written.fault(amount, "write 3000 USD")
        return None
    if amount.symbol != USD or amount.digits <= 0:
        written.fault(f"{shorten(text)} is no price above 0 in USD", "write 3000 USD")
        return None
    return amount.digits


def _read_places(written: Written) -> dict[int, TokenPlace]:
    places = {}
    for chain, each in written.items():
        fields = each.fields(("address", "decimals"), "a token's chain", ("address", "decimals"))
        address = fields["address"].read(read_address) if "address" in fields else None
        decimals = fields["decimals"].integer(0, MOST_DECIMALS) if "decimals" in fields else None
        if not _CHAIN.match(chain) or int(chain) > MOST_CHAIN:
            each.fault_at_key(f"{shorten(chain)} is no chain id", "write its number, such as 1868")
        elif address is not None and decimals is not None:
            places[int(chain)] = TokenPlace(address, decimals)
    return places
