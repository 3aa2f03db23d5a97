"""Bodies of any JSON, put together so that they can be changed: what is read before anybody knows whose it is."""

from __future__ import annotations

import gzip
import json
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Final

MOST_BYTES: Final = 500_000

_METHODS: Final = (
    *("eth_chainId", "eth_getUserOperationReceipt", "eth_getUserOperationByHash", "pm_accounts", "eth_subscribe"),
    *("sessiongate_getSession", "eth_sendUserOperation", "eth_estimateUserOperationGas", "pm_sponsorUserOperation"),
    *("pm_getPaymasterData", "zd_sponsorUserOperation", "eth_call", "debug_bundler_sendBundleNow", "ETH_chainid", ""),
)
_SCALARS: Final = (
    *("1", "-0", "1.5", "1e400", "1E-7", "true", "null", '""', '"a"', '"\\ud800"', '"\\u0000"', '"\\ud83d\\ude00"'),
    *('"0x1"', '"0x0000000071727De22E5E9d8BAf0edAc6f37da032"', '"\u00e9"', '"\\/"', "12345678901234567890123"),
    *("[]", "{}", '{"a":1,"a":2}', '{"a":1,"\\u0061":2}', '{"\\ud800":1}', "[[[[[[[[[[]]]]]]]]]]", "01", "tru", "\t1 "),
)


@dataclass(frozen=True)
class PlainBody:
    """These characters."""

    text: str
    signer: str = "body"
    copies: int = 1

    def body(self) -> bytes:
        """As they are sent."""
        return self.text.encode()

    def pack(self) -> bytes:
        """For a file."""
        return gzip.compress(json.dumps({"text": self.text}).encode(), mtime=0)


def plain_seeds() -> list[PlainBody]:
    """Where the search begins."""
    return [PlainBody(_request(method, "[]")) for method in _METHODS] + [PlainBody(each) for each in _SCALARS]


def _request(method: str, params: str, request_id: str = "1") -> str:
    return f'{{"jsonrpc":"2.0","id":{request_id},"method":"{method}","params":{params}}}'


def changed_body(body: PlainBody, others: Sequence[PlainBody], random: Random) -> PlainBody:
    """The body with one thing about it changed, at random."""
    text = random.choice((_grown, _grown, _keyed, _wrapped, _wrapped, _asked, _beside, _spliced, _long, _swapped))(
        body.text, random.choice(others).text, random
    )
    return PlainBody(text) if len(text.encode()) <= MOST_BYTES else body


def _grown(text: str, _other: str, random: Random) -> str:
    """All of it many times over, in a list."""
    return "[" + ",".join([text] * random.choice((1, 2, 10, 50, 1_000, 20_000))) + "]"


def _keyed(text: str, _other: str, random: Random) -> str:
    """All of it many times over, each under a key."""
    key = random.choice(("k%d", "\\u006b%d", "\\ud800%d", "k"))
    times = random.choice((1, 3, 50, 1_000, 20_000))
    keys = (key % number if "%" in key else key for number in range(times))
    return "{" + ",".join(f'"{each}":{text}' for each in keys) + "}"


def _wrapped(text: str, _other: str, random: Random) -> str:
    levels = random.choice((1, 3, 20, 31, 60))
    return random.choice(("[" * levels + text + "]" * levels, '{"a":' * levels + text + "}" * levels))


def _asked(text: str, _other: str, random: Random) -> str:
    """As the params of a request, or as its id."""
    method = random.choice(_METHODS)
    return random.choice(
        (_request(method, text), _request(method, f"[{text}]"), _request(method, f"[{text},{text},{text}]"))
        if random.random() < 0.9
        else (_request(method, "[]", text),)
    )


def _beside(text: str, other: str, _random: Random) -> str:
    return f"[{text},{other}]"


def _spliced(text: str, other: str, random: Random) -> str:
    return text[: random.randrange(len(text) + 1)] + other[random.randrange(len(other) + 1) :]


def _long(_text: str, _other: str, random: Random) -> str:
    """A string, or a number, of many characters."""
    times = random.choice((100, 5_000, 60_000))
    piece = random.choice(("a", "\\n", "\\u0041", "\\ud83d\\ude00", "\\ud800", "\u00e9", "0"))
    return random.choice((f'"{piece * times}"', "1" * times, "0x" + "0" * times, f"1.{'1' * times}", " " * times + "1"))


def _swapped(text: str, _other: str, random: Random) -> str:
    """One of its pieces for another."""
    return text.replace(random.choice(_SCALARS), random.choice(_SCALARS), random.choice((1, -1)))
