"""Block headers as a node gives them, read strictly, and the bloom filter in them: which logs a block cannot hold."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from proxy.chain.logs import Log
from proxy.errors import InvalidParams
from proxy.userop.primitives import Hash32, json_type, keccak256, parse_bytes, parse_hash, parse_uint

_BLOOM_BYTES: Final = 256  # 2048 bits, of which each item sets three (Yellow Paper, 4.3.1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """A block. `base_fee` is in wei per gas, `None` on a chain without EIP-1559.

    `bloom` is the filter over addresses and topics of all logs of the block; zero where there are none, and on chains
    that keep none.
    """

    number: int
    hash: Hash32
    parent: Hash32
    timestamp: int  # unix seconds
    base_fee: int | None = None
    bloom: int = 0


def parse_header(value: object, field: str) -> Header:
    """The header of a JSON value. Raises `InvalidParams` naming `field`, also for a block not mined yet."""
    if not isinstance(value, Mapping):
        raise InvalidParams(field, f"wanted an object, got {json_type(value)}")
    base_fee, bloom = value.get("baseFeePerGas"), value.get("logsBloom")
    return Header(
        number=parse_uint(value.get("number"), f"{field}.number", 64),
        hash=parse_hash(value.get("hash"), f"{field}.hash"),
        parent=parse_hash(value.get("parentHash"), f"{field}.parentHash"),
        timestamp=parse_uint(value.get("timestamp"), f"{field}.timestamp", 64),
        base_fee=None if base_fee is None else parse_uint(base_fee, f"{field}.baseFeePerGas"),
        bloom=0 if bloom is None else _parse_bloom(bloom, f"{field}.logsBloom"),
    )


def _parse_bloom(value: object, field: str) -> int:
    data = parse_bytes(value, field)
    if len(data) not in (0, _BLOOM_BYTES):
        raise InvalidParams(field, f"wanted {_BLOOM_BYTES} bytes, got {len(data)}")
    return int.from_bytes(data, "big")


@lru_cache(maxsize=8_192)
def bloom_of_item(item: bytes) -> int:
    """The three bits of an address or a topic."""
    digest = keccak256(item)
    bits = 0
    for at in (0, 2, 4):
        bits |= 1 << (int.from_bytes(digest[at : at + 2], "big") & 0x7FF)
    return bits


def may_hold(bloom: int, *items: bytes) -> bool:
    """Whether a block can have a log with all of these, each an address or a topic; `False` is certain."""
    return all(bloom & (bits := bloom_of_item(item)) == bits for item in items)


def covers(logs: Iterable[Log], bloom: int) -> bool:
    """Whether these logs set every bit of a block's filter. Those of a node that has not got the block do not."""
    found = 0
    for log in logs:
        found |= bloom_of_item(log.address)
        for topic in log.topics:
            found |= bloom_of_item(topic)
    return bloom & ~found == 0
