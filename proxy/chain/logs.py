"""Event logs as a node gives them (`eth_getLogs`), read strictly."""

from __future__ import annotations

import struct
from binascii import unhexlify
from collections.abc import Callable, Mapping, Sequence
from operator import itemgetter
from typing import Any, Final, NamedTuple

from proxy.errors import InvalidParams
from proxy.userop.primitives import Address, Hash32, json_type, parse_address, parse_bytes, parse_hash, parse_uint

_MOST_TOPICS: Final = 4  # LOG4
_PARTS: Final = ("address", "blockNumber", "blockHash", "transactionHash", "topics", "data", "logIndex", "removed")


class Log(NamedTuple):
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


_made: Final = tuple.__new__
_LENGTHS: Final = {66}
"""Of a topic's text."""
_WORDS: Final[Sequence[Callable[[bytes], tuple[Any, ...]]]] = [  # Any: as many hashes as there are
    struct.Struct("32s" * number).unpack for number in range(_MOST_TOPICS + 1)
]
"""By the number of topics, what takes their bytes apart."""
_NAMES: Final = ("address", "blockNumber", "blockHash", "transactionHash")
_names_of: Final = itemgetter(*_NAMES)
_Place = tuple[Address, int, Hash32, Hash32]


class LogReader:
    """Reads the logs of one answer, in which most of what names a place is said again and again; `field` is what a
    fault names."""

    def __init__(self, field: str) -> None:
        self._field = field
        of_place = [f"{field}.{name}" for name in _PARTS]
        *self._of_place, self._topics, self._data, self._log_index, self._removed = of_place
        self._places: dict[object, _Place] = {}  # by the texts that name one

    def read(self, value: object) -> Log:
        """The log of a JSON value. Raises `InvalidParams`, also for a log of a block not mined yet."""
        if type(value) is not dict and not isinstance(value, Mapping):
            raise InvalidParams(self._field, f"wanted an object, got {json_type(value)}")
        get = value.get
        try:
            named, topics, data, index = _names_of(value), value["topics"], value["data"], value["logIndex"]
            address, block, block_hash, transaction_hash = self._places[named]
        except (KeyError, TypeError):  # the first of its transaction, or what is not there, or no text
            address, block, block_hash, transaction_hash = self._place(*map(get, _NAMES))
            topics, data, index = get("topics"), get("data"), get("logIndex")
        removed = get("removed", False)
        if not isinstance(topics, list) or len(topics) > _MOST_TOPICS:
            raise InvalidParams(self._topics, f"wanted an array of at most {_MOST_TOPICS}")
        if removed is not False and removed is not True:
            raise InvalidParams(self._removed, f"wanted a boolean, got {json_type(removed)}")
        found = _read_together(topics) or tuple([parse_hash(topic, self._topics) for topic in topics])
        said, place = parse_bytes(data, self._data), parse_uint(index, self._log_index, 64)
        return _made(Log, (address, found, said, block, block_hash, transaction_hash, place, removed))

    def _place(self, address: object, block: object, block_hash: object, transaction_hash: object) -> _Place:
        of_address, of_block, of_block_hash, of_transaction = self._of_place
        place = self._places[address, block, block_hash, transaction_hash] = (
            parse_address(address, of_address),
            parse_uint(block, of_block, 64),
            parse_hash(block_hash, of_block_hash),
            parse_hash(transaction_hash, of_transaction),
        )
        return place


def _read_together(topics: list[object]) -> tuple[Hash32, ...] | None:
    """All topics, at once; `None` where there are none, or where one may not be 32 bytes in hex: what is wrong with it
    is told by who reads it alone."""
    number = len(topics)
    try:
        text = "".join(topics)  # type: ignore[arg-type]  # or it raises
        if set(map(len, topics)) != _LENGTHS or text[::66] != "0" * number or text[1::66] != "x" * number:  # type: ignore[arg-type]  # likewise
            return None
        return _WORDS[number](unhexlify(text.replace("0x", "")))
    except (TypeError, ValueError, struct.error):
        return None
