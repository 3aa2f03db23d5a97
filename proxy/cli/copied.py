"""What terminals, shells and explorers put around a text or make of it, taken away again."""

from __future__ import annotations

import base64
import binascii
import html
import re
from collections.abc import Iterator
from typing import Final
from urllib.parse import unquote

_UNSEEN: Final = dict.fromkeys(map(ord, "\u200b\u200c\u200d\u2060\ufeff"))
_OF_TYPE: Final = str.maketrans("\u201c\u201d\u201e\u2018\u2019\u00a0", '"""\'\' ')
"""Quotation marks and spaces as word processors and blogs set them."""
_COLOUR: Final = re.compile(r"\x1b\[[0-9;]*m")
_BYTES_OF_JSON: Final = re.compile(r"b'([{\[].*[}\]])'\Z", re.DOTALL)
_CAPITAL: Final = re.compile(r"(?<![0-9A-Za-z])0X(?![G-Zg-z_])")
_BASE64: Final = re.compile(r"[A-Za-z0-9+/]{40,}={0,2}\Z")
_CELL: Final = re.compile(r"</t[dh]>\s*(?=<t[dh])")
_ROW: Final = re.compile(r"</tr>|<br ?/?>")
_TAG: Final = re.compile(r"</?(?:table|thead|tbody|tr|th|td|code|b|strong|span|a|p|div|br)\b[^<>]*>")
_DIGITS: Final = re.compile(r"[0-9a-fA-F]{8,}\Z")
_HASH_IN_ADDRESS: Final = re.compile(r"https?://\S*?(0x[0-9a-fA-F]{64})(?![0-9a-fA-F])\S*\Z")
_JSON_IN_ADDRESS: Final = re.compile(r"https?://[^\s?#]*[?#]\S*?=((?:%7b|%5b)[^\s&#]*)", re.IGNORECASE)
_METHOD: Final = re.compile(r"^MethodID: *(0x[0-9a-fA-F]{8})\s*$", re.MULTILINE)
_WORD: Final = re.compile(r"^\[[0-9]+\]: *([0-9a-fA-F]{64})\s*$", re.MULTILINE)
_INPUT: Final = re.compile(
    r"^ *(?:input|data|input data)[ \t]*[:=]?[ \t]+(0x[0-9a-f]{8,})\s*$", re.MULTILINE | re.IGNORECASE
)


def without_colours(text: str) -> str:
    """The text without what a terminal is coloured by, nor what a web page or a mail made of it."""
    text = _COLOUR.sub("", text).translate(_UNSEEN).translate(_OF_TYPE).strip()
    if len(text.split(None, 1)) == 1 and (carried := _JSON_IN_ADDRESS.match(text)) is not None:
        text = carried[1]
    if text[:3].lower() in ("%7b", "%5b"):
        text = unquote(text.replace("+", " "))
    if "&quot;" in text or "&#34;" in text:
        text = html.unescape(text)
    if "</td>" in text:
        text = html.unescape(_TAG.sub("", _ROW.sub("\n", _CELL.sub("\t", text))))
    text = _CAPITAL.sub("0x", text)
    lines = text.split("\n")
    if len(lines) > 1 and all(line.startswith(">") for line in lines if line.strip()):  # as mails and threads quote
        text = "\n".join(line[1:] for line in lines)
    return text.strip()


def unwrapped(text: str) -> str:
    """JSON as Python prints its bytes, or in base64 as webhooks and queues carry it."""
    if _BASE64.match(text):
        try:
            inside = base64.b64decode(text, validate=True).decode()
        except (binascii.Error, UnicodeDecodeError):
            return text
        return inside if inside.startswith(("{", "[")) else text
    found = _BYTES_OF_JSON.match(text)
    return text if found is None else found[1].replace("\\'", "'").replace("\\\\", "\\")


def bare_hex(text: str) -> str | None:
    """Hex that was copied without its `0x`; `None` for anything else."""
    return f"0x{text}" if _DIGITS.match(text) and len(text) % 2 == 0 else None


def hash_in_address(text: str) -> str | None:
    """The one hash in the address of an explorer's page; `None` for anything else."""
    found = _HASH_IN_ADDRESS.match(text)
    return None if found is None else found[1]


def input_of_transaction(text: str) -> str | None:
    """The input of a transaction as Etherscan shows it, word by word, or as cast lists it; `None` where none stands."""
    if (method := _METHOD.search(text)) is not None:
        return method[1] + "".join(_WORD.findall(text))
    inputs = set() if "sender" in text else set(_INPUT.findall(text))
    return inputs.pop() if len(inputs) == 1 else None


def unquoted(text: str) -> Iterator[str]:
    """The text as it is, then as shells read what browsers copy for them: inside of double quotes by a POSIX one, by
    Windows' and by PowerShell."""
    yield text
    if '\\"' in text:
        yield text.replace('\\"', '"')
    if "^" in text:
        yield text.replace("^", "").replace('\\"', '"')
    if '`"' in text:
        yield text.replace('`"', '"')
