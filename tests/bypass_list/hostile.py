"""Ten thousand bodies that two readers may understand differently, the same ones every time."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from random import Random
from typing import Any, Final

from proxy.userop.user_operation import print_user_operation
from tests.bypass_list.desk import OWNER_NONCE, V07, an_operation, single
from tests.session.builders import transfer

HOW_MANY: Final = 12_000
_OPERATION: Final = print_user_operation(an_operation(single(transfer(1)), signature=b"\0" * 98))
_OTHER: Final = print_user_operation(an_operation(single(transfer(2)), nonce=OWNER_NONCE, signature=b"\x0e" * 65))
_ENTRY_POINT: Final = "0x" + V07.address.hex()

Change = Callable[[bytes, Random], bytes]


def _request(method: str, *params: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": 1, "method": method, "params": list(params)}


_GOOD: Final = [
    json.dumps(value, separators=(",", ":")).encode()
    for value in (
        _request("eth_sendUserOperation", _OPERATION, _ENTRY_POINT),
        _request("eth_estimateUserOperationGas", _OPERATION, _ENTRY_POINT),
        _request("eth_chainId"),
        _request("eth_getUserOperationReceipt", "0x" + "11" * 32),
        _request("eth_call", {"to": _ENTRY_POINT, "data": "0x"}, "latest", {"a": [1, 2.5, -3e2, {"b": None}]}),
        [_request("eth_chainId"), _request("eth_sendUserOperation", _OTHER, _ENTRY_POINT)],
    )
]


def bodies() -> Iterator[bytes]:
    """All of them: good ones changed once to four times."""
    random = Random(2026)
    for _ in range(HOW_MANY):
        body = random.choice(_GOOD)
        for _ in range(random.choice((1, 1, 2, 2, 3, 4))):
            body = random.choice(_CHANGES)(body, random)
        yield body


_KEY: Final = re.compile(rb'"([A-Za-z0-9_]+)":')
_TEXT: Final = re.compile(rb'"(0x[0-9a-f]*|[A-Za-z_]+)"')
_PLACE: Final = re.compile(rb"[\[\]{},:]")


def _at(pattern: re.Pattern[bytes], body: bytes, random: Random) -> re.Match[bytes] | None:
    found = list(pattern.finditer(body))
    return random.choice(found) if found else None


def _twice(body: bytes, random: Random) -> bytes:
    """A member once more, with another value, before or behind the one that is there."""
    at = _at(_KEY, body, random)
    if at is None:
        return body
    value = random.choice(
        (b'"0x2"', b"null", b"{}", b"[]", b'"eth_chainId"', b'"eth_sendUserOperation"', b"1", b'"2.0"')
    )
    key = _spelt(at[1], random) if random.random() < 0.5 else at[1]
    member = b'"' + key + b'":' + value
    if random.random() < 0.5:
        return body[: at.start()] + member + b"," + body[at.start() :]
    end = body.rfind(b"}")
    return body[:end] + b"," + member + body[end:]


def _spelt(word: bytes, random: Random) -> bytes:
    """A word in another spelling: escapes, letters of other size or other alphabets, characters nobody sees."""
    if not word:
        return word
    at = random.randrange(len(word))
    letter = word[at : at + 1]
    others = (
        b"\\u%04x" % letter[0],
        b"\\u%04X" % letter[0],
        letter.swapcase(),
        b"\xc5\xbf" if letter in b"sS" else b"\xe2\x84\xaa",  # fold to s and k
        letter + b"\\u0000",
        letter + "\u200b".encode(),
        letter + b"\\ud800",
        letter + b"\xed\xa0\x80",
        letter + b"\\/",
        b"\xc1\xa1",
        letter + b" ",
    )
    return word[:at] + random.choice(others) + word[at + 1 :]


def _respelt_key(body: bytes, random: Random) -> bytes:
    at = _at(_KEY, body, random)
    return body if at is None else body[: at.start(1)] + _spelt(at[1], random) + body[at.end(1) :]


def _respelt_text(body: bytes, random: Random) -> bytes:
    at = _at(_TEXT, body, random)
    return body if at is None else body[: at.start(1)] + _spelt(at[1], random) + body[at.end(1) :]


def _other_value(body: bytes, random: Random) -> bytes:
    """A number, a constant or a container where a text was."""
    values = b"1 -0 0 1.0 1e2 1E400 -1e-999 0x1 01 +1 .5 1. 18446744073709551616 9007199254740993 NaN null true [] {}"
    at = _at(_TEXT, body, random)
    return body if at is None else body[: at.start()] + random.choice(values.split()) + body[at.end() :]


def _junk(body: bytes, random: Random) -> bytes:
    """Something between two parts that some readers step over."""
    between = (
        *(b" ", b"\t", b"\n", b"\r", b"\x0b", b"\x0c", b"\0", b"\x1e", b",", b":", b"'", b"//\n", b"/**/", b"#\n"),
        *("\u00a0\u2028\ufeff\u3000"[index].encode() for index in range(4)),
        *(b"\xff", b"\xc0\x80", b"\xef\xbb\xbf", b"\\", b'"', b"{", b"}", b"[", b"]", b"null,"),
    )
    at = _at(_PLACE, body, random)
    place = len(body) if at is None else random.choice((0, at.start(), at.end(), len(body)))
    return body[:place] + random.choice(between) + body[place:]


def _two(body: bytes, random: Random) -> bytes:
    """Two texts in one, or one inside another."""
    other = random.choice(_GOOD)
    return random.choice(
        (
            body + other,
            body + b"\n" + other,
            b"[" + body + b"," + other + b"]",
            b"[" + body + b"]",
            b"[[" + body + b"]]",
        )
    )


def _encoded(body: bytes, random: Random) -> bytes:
    text = body.decode("latin-1")
    return random.choice(
        (
            b"\xef\xbb\xbf" + body,
            text.encode("utf-16"),
            text.encode("utf-16-le"),
            text.encode("utf-32"),
            body[:-1],
            body[1:],
            b"",
        )
    )


def _cut(body: bytes, random: Random) -> bytes:
    if not body:
        return body
    start = random.randrange(len(body))
    return body[:start] + body[start + random.choice((1, 1, 2, 30)) :]


def _deeper(body: bytes, random: Random) -> bytes:
    levels = random.choice((1, 10, 31, 40, 200))
    end = body.rfind(b"]")
    return body if end < 0 else body[:end] + b"," + b"[" * levels + b"]" * levels + body[end:]


def _flipped(body: bytes, random: Random) -> bytes:
    if not body:
        return body
    at = random.randrange(len(body))
    return body[:at] + bytes((body[at] ^ 1 << random.randrange(8),)) + body[at + 1 :]


_CHANGES: Final[tuple[Change, ...]] = (
    *(_twice, _twice, _twice, _respelt_key, _respelt_key, _respelt_text, _other_value, _other_value),
    *(_junk, _junk, _two, _encoded, _cut, _deeper, _flipped),
)
