"""Event logs as a node gives them (`eth_getLogs`), read strictly."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from proxy.errors import InvalidParams
from proxy.userop.primitives import Address, Hash32, json_type, parse_address, parse_bytes, parse_hash, parse_uint

_MOST_TOPICS: Final = 4  # LOG4


@dataclass(frozen=True, slots=True, kw_only=True)
class Log:
    """One log of a mined block.

    `block_hash` and `log_index` together name it, whatever happens to the chain. `removed`: a reorganisation took it
    off the chain again.
    """

    address: Address
    topics: tuple[Hash32, ...]
    data: bytes
    block: int
    block_hash: Hash32
    transaction_hash: Hash32
    log_index: int
    removed: bool = False


def parse_log(value: object, field: str) -> Log:
    """The log of a JSON value. Raises `InvalidParams` naming `field`, also for a log of a block not mined yet."""
    if not isinstance(value, Mapping):
        raise InvalidParams(field, f"wanted an object, got {json_type(value)}")
    topics = value.get("topics")
    if not isinstance(topics, list) or len(topics) > _MOST_TOPICS:
        raise InvalidParams(f"{field}.topics", f"wanted an array of at most {_MOST_TOPICS}")
    removed = value.get("removed", False)
    if not isinstance(removed, bool):
        raise InvalidParams(f"{field}.removed", f"wanted a boolean, got {json_type(removed)}")
    return Log(
        address=parse_address(value.get("address"), f"{field}.address"),
        topics=tuple(parse_hash(topic, f"{field}.topics") for topic in topics),
        data=parse_bytes(value.get("data"), f"{field}.data"),
        block=parse_uint(value.get("blockNumber"), f"{field}.blockNumber", 64),
        block_hash=parse_hash(value.get("blockHash"), f"{field}.blockHash"),
        transaction_hash=parse_hash(value.get("transactionHash"), f"{field}.transactionHash"),
        log_index=parse_uint(value.get("logIndex"), f"{field}.logIndex", 64),
        removed=removed,
    )
