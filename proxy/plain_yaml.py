"""YAML as nearly all of it is written: a thing a line, lists and mappings by indentation, `[…]` and `{…}` on one line.

Ten thousand rules are some hundred thousand lines. libyaml makes an object of each word of them and two of its places;
here a line is one match of one expression. What is read here means the same to every reader of YAML, or is left to one
that knows all of it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Final, NamedTuple

NULLS: Final = frozenset({"", "~", "null"})
"""What YAML takes for nothing where it stands without quotes."""


class WrittenAt(NamedTuple):
    """Where one value stands in a file, by lines and columns from 0: its key (of the value itself where it has none),
    itself, and what is inside. `text` is the column of the first letter of a text on one line, -1 of anything else."""

    key_line: int
    key_column: int
    line: int
    column: int
    text: int = -1
    inside: Mapping[str, WrittenAt] | Sequence[WrittenAt] = ()


class NotPlainError(Exception):
    """A file has something that a more careful reader has to look at."""


_KEY: Final = r"([A-Za-z0-9_][A-Za-z0-9_./-]{0,99}):"
_FIRST: Final = r"""[^\s\-?:,\[\]{}#&*!|>'"%@`]"""  # of a text without quotes
_ODD: Final = re.compile("[^\n -~\xa0-\u2027\u202a-\ud7ff]")  # tabs, other ends of lines, what is not printed
_LINE: Final = re.compile(rf"^( *)(- +)?(?:{_KEY}(?: +|$))?([^\n]*)$", re.MULTILINE)
_ENDED: Final = re.compile(r" *(?: #[^\n]*)?$")  # and a comment
_QUOTED: Final = r""""([^"\\]*)"|'([^']*)'"""
_SCALAR: Final = re.compile(rf"{_QUOTED}|({_FIRST}[^:#]*(?::(?=[^ ])[^:#]*)*)")
_FLOW_KEY: Final = re.compile(rf" *{_KEY} +")
_IN_FLOW: Final = rf"{_QUOTED}|({_FIRST}[^:#?,\[\]{{}}]*(?::(?=[^ ,\[\]{{}}])[^:#?,\[\]{{}}]*)*)"
_FLOW_ITEM: Final = re.compile(rf" *(?:{_IN_FLOW}) *([,\]])")
_FLOW_FIELD: Final = re.compile(rf" *{_KEY} +(?:{_IN_FLOW}) *([,}}])")
_FLOW_MARK: Final = re.compile(r" *([,\[\]{}])")

_Line = tuple[int, int, int, str | None, int, str]
"""Its number, its indentation, where what follows the dash stands (-1 without one), key, and where and what follows."""

_made = tuple.__new__


def read_lines(text: str, deepest: int) -> tuple[object, WrittenAt] | None:
    """What YAML makes of a text, every scalar as it was written, and where it stands; `None` of one with anything else
    in it than what is read here, and of one that is nested deeper than `deepest`."""
    if _ODD.search(text):
        return None
    try:
        reader = _Reader(text)
        value, inside = reader.block(deepest)
        if reader.line is not None:
            return None
    except NotPlainError:
        return None
    return value, WrittenAt(0, 0, 0, 0, -1, inside)


_Inside = dict[str, WrittenAt] | list[WrittenAt]


class _Reader:
    """Goes through the lines of a text; `line` is the one to be read next."""

    __slots__ = ("_lines", "line")

    def __init__(self, text: str) -> None:
        self._lines = _lines_of(text)
        self.line = next(self._lines, None)

    def block(self, deeper: int) -> tuple[object, _Inside]:
        """The list or mapping that begins with this line."""
        if self.line is None or not deeper:
            raise NotPlainError
        return self.items(deeper) if self.line[2] >= 0 else self.fields(self.line[1], deeper)

    def items(self, deeper: int) -> tuple[list[object], list[WrittenAt]]:
        """The entries of a list, one after each dash in the column of the first."""
        values: list[object] = []
        spots: list[WrittenAt] = []
        line = self.line
        assert line is not None  # noqa: S101  # `block` has looked
        column = line[1]
        while line is not None and line[1] == column and (first := line[2]) >= 0:
            number = line[0]
            if line[3] is not None:
                self.line = (number, first, -1, *line[3:])
                fields, inside = self.fields(first, deeper - 1)
                values.append(fields)
                spots.append(_made(WrittenAt, (number, first, number, first, -1, inside)))
            else:
                value, spot = _read_rest(number, first, line, deeper)
                values.append(value)
                spots.append(spot)
                self.line = next(self._lines, None)
            line = self.line
        if line is not None and line[1] > column:
            raise NotPlainError
        return values, spots

    def fields(self, column: int, deeper: int) -> tuple[dict[str, object], dict[str, WrittenAt]]:
        """The keys of a mapping in one column, and what stands under each."""
        if not deeper:
            raise NotPlainError
        values: dict[str, object] = {}
        spots: dict[str, WrittenAt] = {}
        line = self.line
        while line is not None and line[1] == column and line[2] < 0 and (key := line[3]) is not None:
            if key in values:
                raise NotPlainError
            if line[5]:
                values[key], spots[key] = _read_rest(line[0], column, line, deeper)
                self.line = following = next(self._lines, None)
            else:
                self.line = below = next(self._lines, None)
                if below is None or below[1] < column or (below[1] == column and below[2] < 0):
                    raise NotPlainError  # nothing stands under it
                values[key], inside = self.block(deeper - 1)
                spots[key] = _made(WrittenAt, (line[0], column, below[0], below[1], -1, inside))
                following = self.line
            line = following
        if line is not None and (line[1] > column or (line[1] == column and line[3] is None) or not values):
            raise NotPlainError
        return values, spots


def _lines_of(text: str) -> Iterator[_Line]:
    """The lines that say something."""
    for number, match in enumerate(_LINE.finditer(text)):
        indent, dash, key, rest = match.groups()
        start = match.start(4) - match.start()
        if not rest or rest[0] == "#":
            if key is not None:
                if rest and match.string[match.start(4) - 1] != " ":
                    raise NotPlainError
                yield number, len(indent), -1 if dash is None else len(indent) + len(dash), key, start, ""
            elif dash is not None or (not rest and not match.group().isspace() and match.group()):
                raise NotPlainError
            continue
        yield number, len(indent), -1 if dash is None else len(indent) + len(dash), key, start, rest


def _read_rest(number: int, key_column: int, line: _Line, deeper: int) -> tuple[object, WrittenAt]:
    """A value that stands on one line, after its key or dash; `key_column` is where the one or the value stands."""
    column, rest = line[4], line[5]
    if rest[0] in "[{":
        value, spot, end = _read_flow(rest, 0, (number, column), key_column, deeper - 1)
        if not _ENDED.match(rest, end):
            raise NotPlainError
        return value, spot
    match = _SCALAR.match(rest)
    if match is None:
        raise NotPlainError
    end = match.end()
    if match.lastindex != 3:
        if end < len(rest) and not _ENDED.match(rest, end):
            raise NotPlainError
        quoted = match[match.lastindex or 0]
        return quoted, _made(WrittenAt, (number, key_column, number, column, column + 1, ()))
    if end < len(rest) and (rest[end] != "#" or rest[end - 1] != " "):
        raise NotPlainError
    plain = match[3].rstrip(" ")
    value = None if plain in NULLS else plain
    return value, _made(WrittenAt, (number, key_column, number, column, column, ()))


def _read_flow(
    text: str, at: int, place: tuple[int, int], key_column: int, deeper: int
) -> tuple[object, WrittenAt, int]:
    """`[…]` or `{…}`, where it stands, and where it ends; `place` is where the text begins, `key_column` -1 without a
    key."""
    number, before = place
    opening = _FLOW_MARK.match(text, at)
    if opening is None or opening[1] not in "[{" or not deeper:
        raise NotPlainError
    column = before + opening.start(1)
    start = column if key_column < 0 else key_column
    inside: _Inside
    if opening[1] == "[":
        value, inside, at = _read_flow_items(text, opening.end(), place, deeper)
    else:
        value, inside, at = _read_flow_fields(text, opening.end(), place, deeper)
    return value, _made(WrittenAt, (number, start, number, column, -1, inside)), at


def _read_flow_items(text: str, at: int, place: tuple[int, int], deeper: int) -> tuple[object, list[WrittenAt], int]:
    number, before = place
    values: list[object] = []
    spots: list[WrittenAt] = []
    mark = _FLOW_MARK.match(text, at)
    if mark is not None and mark[1] == "]":
        return values, spots, mark.end()
    while True:
        scalar = _FLOW_ITEM.match(text, at)
        if scalar is not None:
            value, column, letter = _scalar(scalar, before, 1)
            spot = _made(WrittenAt, (number, column, number, column, letter, ()))
            mark, delimiter = scalar, scalar[4]
        else:
            value, spot, at = _read_flow(text, at, place, -1, deeper - 1)
            mark = _FLOW_MARK.match(text, at)
            if mark is None or mark[1] not in ",]":
                raise NotPlainError
            delimiter = mark[1]
        values.append(value)
        spots.append(spot)
        at = mark.end()
        if delimiter == "]":
            return values, spots, at


def _read_flow_fields(
    text: str, at: int, place: tuple[int, int], deeper: int
) -> tuple[object, dict[str, WrittenAt], int]:
    number, before = place
    values: dict[str, object] = {}
    spots: dict[str, WrittenAt] = {}
    mark = _FLOW_MARK.match(text, at)
    if mark is not None and mark[1] == "}":
        return values, spots, mark.end()
    while True:
        scalar = _FLOW_FIELD.match(text, at)
        if scalar is not None:
            key, delimiter = scalar[1], scalar[5]
            value, column, letter = _scalar(scalar, before, 2)
            spot = _made(WrittenAt, (number, before + scalar.start(1), number, column, letter, ()))
            mark = scalar
        else:
            named = _FLOW_KEY.match(text, at)
            if named is None:
                raise NotPlainError
            key = named[1]
            value, spot, at = _read_flow(text, named.end(), place, before + named.start(1), deeper - 1)
            mark = _FLOW_MARK.match(text, at)
            if mark is None or mark[1] not in ",}":
                raise NotPlainError
            delimiter = mark[1]
        if key in values:
            raise NotPlainError
        values[key], spots[key] = value, spot
        at = mark.end()
        if delimiter == "}":
            return values, spots, at


def _scalar(match: re.Match[str], before: int, group: int) -> tuple[object, int, int]:
    """A text in `[…]` or `{…}`, its column, and that of its first letter: the groups of a match from `group` on."""
    plain = match[group + 2]
    if plain is None:
        group += match[group] is None
        column = before + match.start(group)
        return match[group], column - 1, column
    plain, column = plain.rstrip(" "), before + match.start(group + 2)
    return None if plain in NULLS else plain, column, column
