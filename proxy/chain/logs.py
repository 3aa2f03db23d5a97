"""Event logs as a node gives them (`eth_getLogs`), read strictly."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from proxy.errors import InvalidParams
from proxy.record import record
from proxy.userop.primitives import Address, Hash32, json_type, parse_address, parse_bytes, parse_hash, parse_uint

_MOST_TOPICS: Final = 4  # LOG4
_PARTS: Final = (
    *("address", "topics", "data", "blockNumber", "blockHash", "transactionHash", "logIndex"),
    "removed",
)


@record(kw_only=True)
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


class LogReader:
    """Reads the logs of one answer, in which most of what names a place is said again and again; `field` is what a
    fault names."""

    def __init__(self, field: str) -> None:
        self._field = field
        self._names = tuple(f"{field}.{name}" for name in _PARTS)
        self._hashes: dict[object, Hash32] = {}
        self._addresses: dict[object, Address] = {}
        self._blocks: dict[object, int] = {}

    def read(self, value: object) -> Log:
        """The log of a JSON value. Raises `InvalidParams`, also for a log of a block not mined yet."""
        if not isinstance(value, Mapping):
            raise InvalidParams(self._field, f"wanted an object, got {json_type(value)}")
        get = value.get
        address, of_topics, data, block, block_hash, transaction_hash, log_index, of_removed = self._names
        topics, removed, known = get("topics"), get("removed", False), self._hashes.get
        if not isinstance(topics, list) or len(topics) > _MOST_TOPICS:
            raise InvalidParams(of_topics, f"wanted an array of at most {_MOST_TOPICS}")
        if not isinstance(removed, bool):
            raise InvalidParams(of_removed, f"wanted a boolean, got {json_type(removed)}")
        return Log(
            address=self._address(get("address"), address),
            topics=tuple([(type(topic) is str and known(topic)) or self._hash(topic, of_topics) for topic in topics]),
            data=parse_bytes(get("data"), data),
            block=self._block(get("blockNumber"), block),
            block_hash=self._hash(get("blockHash"), block_hash),
            transaction_hash=self._hash(get("transactionHash"), transaction_hash),
            log_index=parse_uint(get("logIndex"), log_index, 64),
            removed=removed,
        )

    def _hash(self, text: object, field: str) -> Hash32:
        found = self._hashes.get(text) if type(text) is str else None
        if found is None:
            found = self._hashes[text] = parse_hash(text, field)
        return found

    def _block(self, text: object, field: str) -> int:
        found = self._blocks.get(text) if type(text) is str else None
        if found is None:
            found = self._blocks[text] = parse_uint(text, field, 64)
        return found

    def _address(self, text: object, field: str) -> Address:
        found = self._addresses.get(text) if type(text) is str else None
        if found is None:
            found = self._addresses[text] = parse_address(text, field)
        return found
