"""Files that rules name and somebody else keeps: lists of values, and prices."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import datetime
from fractions import Fraction
from typing import Final

from proxy.document import Place
from proxy.judge.parse.faults import Beside, ReadBeside
from proxy.judge.parse.windows import read_duration
from proxy.judge.parse.written import Written
from proxy.judge.tokens import MAX_DIGITS, Price
from proxy.written import shorten

_PRICE: Final = re.compile(r"[0-9]+(?:\.[0-9]+)?\Z", re.ASCII)


class FeedShelf:
    """The files that were asked for. Each is read once."""

    def __init__(self, read: ReadBeside) -> None:
        self._read = read
        self._files: dict[tuple[str, str], Beside] = {}

    @property
    def paths(self) -> tuple[str, ...]:
        """Every file that was asked for, found or not."""
        return tuple(dict.fromkeys(each.path for each in self._files.values()))

    def text(self, written: Written) -> tuple[str, str] | None:
        """The path and text of the file that a value names; reported when it cannot be read."""
        name = written.text()
        if name is None:
            return None
        asked = written.place.path, name
        found = self._files.get(asked) or self._files.setdefault(asked, self._read(*asked))
        if found.text is None:
            written.fault(f"{found.path}: {found.problem}", "paths start at the folder of this file")
            return None
        return found.path, found.text


def lines_of(text: str, path: str) -> list[tuple[Place, str]]:
    """The values of a list file: one a line; what follows a # is a remark."""
    values = ((number, line.partition("#")[0].strip()) for number, line in enumerate(text.splitlines(), 1))
    return [(Place(path, number), value) for number, value in values if value]


def read_prices(written: Written, shelf: FeedShelf) -> Mapping[str, Price]:
    """`prices: {file: prices.json, max_age: 1h}` of a token file, by symbol.

    The file: `{"updated": 1772442000, "prices": {"USDC": "1.00"}}`, the time in unix seconds or as
    2026-03-02T09:00:00Z, prices in USD of one whole token, as text or numbers.
    """
    fields = written.fields(("file", "max_age"), "prices", ("file", "max_age"))
    age = read_duration(fields["max_age"]) if "max_age" in fields else None
    found = shelf.text(fields["file"]) if "file" in fields else None
    if age is None or found is None:
        return {}
    path, text = found
    try:
        feed = json.loads(text, parse_float=str, parse_int=str)
    except (ValueError, RecursionError):
        feed = None
    updated = _moment(feed.get("updated")) if isinstance(feed, dict) else None
    prices = feed.get("prices") if isinstance(feed, dict) else None
    if updated is None or not isinstance(prices, dict):
        cure = 'it holds {"updated": unix seconds, "prices": {"USDC": "1.00"}}'
        fields["file"].fault(f"{path} is no file of prices", cure)
        return {}
    read = {}
    for symbol, price in prices.items():
        if not isinstance(price, str) or len(price) > MAX_DIGITS or not _PRICE.match(price) or not Fraction(price):
            fields["file"].fault(f"{path}: the price of {shorten(symbol)} is no number above 0")
            continue
        read[symbol] = Price(Fraction(price), updated + age)
    return read


def _moment(written: object) -> float | None:
    if not isinstance(written, str):
        return None
    try:
        return float(written)
    except ValueError:
        pass
    try:
        moment = datetime.fromisoformat(written)
    except ValueError:
        return None
    return None if moment.tzinfo is None else moment.timestamp()
