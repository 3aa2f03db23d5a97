"""From text to words: numbers, names, texts, 0x bytes, lists and signs, each with its place."""

from __future__ import annotations

import re
from enum import Enum, auto
from typing import Final, NamedTuple

from proxy.judge.expression.faults import UnreadableExpression
from proxy.judge.tokens import MAX_DIGITS

MAX_LENGTH: Final = 10_000
"""Characters of one expression."""

KEYWORDS: Final = frozenset({"and", "or", "not", "in", "for", "if", "true", "false", "none"})


class Word(Enum):
    """What a piece of text is."""

    NUMBER = auto()
    NAME = auto()
    KEYWORD = auto()
    BYTES = auto()
    TEXT = auto()
    LIST = auto()  # $name
    SIGN = auto()
    END = auto()


class Piece(NamedTuple):
    """One word of an expression. The `text` of a text is without its quotes, that of a list without its $."""

    word: Word
    text: str
    offset: int
    end: int


_MEANT: Final = re.compile(r"0x(?:[0-9a-fA-F]{8}|[0-9a-fA-F]{40}|[0-9a-fA-F]{64})")
_SPACE: Final = " \t\r\n"
_PIECE: Final = re.compile(
    r"""(?P<SPACE>[ \t\r\n]*)
    (?: (?P<BYTES>0[xX][0-9A-Za-z_]*)
      | (?P<NUMBER>[0-9][0-9_]*(?:\.[0-9]+)?)
      | (?P<NAME>[A-Za-z_][A-Za-z0-9_]*)
      | \$(?P<LIST>[A-Za-z_][A-Za-z0-9_-]*)
      | "(?P<TEXT>[^"\\\n]*)"
      | '(?P<TEXT2>[^'\\\n]*)'
      | (?P<SIGN>==|!=|<=|>=|//|\*\*|&&|\|\||[-+*/%<>=!()\[\],.]))""",
    re.VERBOSE | re.ASCII,
)
_WORDS: Final = {word.name: word for word in Word}
_CAPITALISED: Final = {"True": "true", "False": "false", "None": "none", "null": "none", "AND": "and", "OR": "or"}
_FOREIGN: Final = {
    "=": "to compare, write ==",
    "!": "write not",
    "&&": "write and",
    "||": "write or",
    "/": "division is //, and rounds down",
    "**": "powers are not calculated: write the number out",
}


def read_pieces(source: str) -> list[Piece]:
    """All words of an expression and an END behind them. Raises `UnreadableExpression` at the first that is none."""
    if len(source) > MAX_LENGTH:
        raise UnreadableExpression(0, 1, f"this is longer than {MAX_LENGTH} characters", "use a list or a macro")
    pieces: list[Piece] = []
    position, end = 0, len(source.rstrip(_SPACE))
    while position < end:
        found = _PIECE.match(source, position)
        if found is None:
            raise _unreadable(source, len(source) - len(source[position:].lstrip(_SPACE)))
        pieces.append(_piece(found))
        position = found.end()
    pieces.append(Piece(Word.END, "", len(source), len(source)))
    return pieces


def _unreadable(source: str, position: int) -> UnreadableExpression:
    character = source[position]
    if character in "\"'":
        return UnreadableExpression(
            position, len(source) - position, "this text does not end", "texts hold no line breaks, \\ or quotes"
        )
    return UnreadableExpression(position, 1, f"{character!a} has no meaning here")


def _piece(found: re.Match[str]) -> Piece:
    kind = found.lastgroup or "SIGN"
    text = found.group(kind)
    offset, end = found.end("SPACE"), found.end()
    if kind == "TEXT2":
        kind = "TEXT"
    if kind == "NAME":
        if text in _CAPITALISED:
            raise UnreadableExpression(
                offset, end - offset, f"{text} has no meaning here", f"write {_CAPITALISED[text]}"
            )
        return Piece(Word.KEYWORD if text in KEYWORDS else Word.NAME, text, offset, end)
    if kind == "SIGN" and text in _FOREIGN:
        raise UnreadableExpression(offset, end - offset, f"{text} has no meaning here", _FOREIGN[text])
    if kind == "BYTES" and not _MEANT.fullmatch(text):
        raise UnreadableExpression(
            offset,
            end - offset,
            "these are no bytes that mean something here",
            "write 0x and 8 hex digits (a selector), 40 (an address) or 64 (a permission id)",
        )
    if kind == "NUMBER":
        _check_number(text, offset, end)
    return Piece(_WORDS[kind], text, offset, end)


def _check_number(text: str, offset: int, end: int) -> None:
    if "__" in text or text.endswith("_") or "_." in text:
        raise UnreadableExpression(offset, end - offset, "_ stands between digits")
    if len(text) > MAX_DIGITS:
        raise UnreadableExpression(offset, end - offset, f"this number has more than {MAX_DIGITS} digits")
