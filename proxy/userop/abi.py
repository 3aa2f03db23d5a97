"""Contract ABI encoding, read with the bounds that Solidity's decoder keeps and a budget it does not need.

A type is a value (`ADDRESS`, `list_of(UINT256)`, `tuple_of(ADDRESS, BYTES)`) that reads and writes. Reading refuses
what Solidity refuses: dirty high bytes of an address, a boolean above one, dirty low bytes of a bytesN, offsets and
lengths of 2^64 and more, anything outside the data. It accepts what Solidity accepts: any order, gaps, shared tails
and trailing bytes. Shared tails let a few bytes describe a huge value, so every byte read counts against a budget.

Source: Solidity ABI specification; ABI decoder v2.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from proxy.errors import Undecodable
from proxy.record import record
from proxy.userop.budget import Budget
from proxy.userop.primitives import Address

READ_LIMIT: Final = 1 << 18
"""Bytes one decoding may read in all, shared tails counted each time they are read."""

_OFFSET_LIMIT: Final = 1 << 64


class _Reader:
    """The data, and what may still be read of it."""

    __slots__ = ("budget", "data", "where")

    def __init__(self, data: bytes, where: str, budget: int) -> None:
        self.data = data
        self.where = where
        self.budget = budget

    def take(self, at: int, length: int) -> bytes:
        end = at + length
        if end > len(self.data):
            raise Undecodable(self.where, f"{length} bytes at {at} reach past the end ({len(self.data)} bytes)")
        self.budget -= length + 32
        if self.budget < 0:
            raise Undecodable(self.where, "describes more data than is read at once")
        return self.data[at:end]

    def word(self, at: int) -> int:
        return int.from_bytes(self.take(at, 32), "big")

    def words(self, at: int, count: int) -> tuple[int, ...]:
        """Several words in one go."""
        if count == 0:
            return ()
        self.budget -= 32 * (count - 1)  # as one by one
        data = self.take(at, 32 * count)
        return tuple([int.from_bytes(data[start : start + 32], "big") for start in range(0, len(data), 32)])

    def small(self, at: int) -> int:
        """An offset or a length."""
        number = self.word(at)
        if number >= _OFFSET_LIMIT:
            raise Undecodable(self.where, f"offset or length at {at} is 2^64 or more")
        return number


@record()
class AbiType:
    """One ABI type. `head` is its size in the head of a tuple: 32 for every dynamic type."""

    name: str
    dynamic: bool
    head: int
    read: Callable[[_Reader, int], Any]  # the type's own shape decides what comes out: int, bytes, str, bool, tuple
    write: Callable[[Any], bytes]


def _read_address(reader: _Reader, at: int) -> Address:
    word = reader.take(at, 32)
    if word[:12] != bytes(12):
        raise Undecodable(reader.where, f"address at {at} has dirty high bytes")
    return Address(word[12:])


def _read_bool(reader: _Reader, at: int) -> bool:
    number = reader.word(at)
    if number > 1:
        raise Undecodable(reader.where, f"boolean at {at} is neither 0 nor 1")
    return number == 1


def _read_bytes(reader: _Reader, at: int) -> bytes:
    return reader.take(at + 32, reader.small(at))


def _write_bytes(value: bytes) -> bytes:
    return len(value).to_bytes(32, "big") + value.ljust(-(-len(value) // 32) * 32, b"\0")


def _read_string(reader: _Reader, at: int) -> str:
    try:
        return _read_bytes(reader, at).decode()
    except UnicodeDecodeError:
        raise Undecodable(reader.where, f"string at {at} is not UTF-8") from None


def uint(bits: int) -> AbiType:
    """An unsigned integer of `bits` bits, as an int."""

    def read(reader: _Reader, at: int) -> int:
        number = reader.word(at)
        if number >> bits:
            raise Undecodable(reader.where, f"uint{bits} at {at} is too large")
        return number

    return AbiType(f"uint{bits}", False, 32, read, lambda value: int(value).to_bytes(32, "big"))


def fixed_bytes(size: int) -> AbiType:
    """bytesN, left-aligned in its word."""

    def read(reader: _Reader, at: int) -> bytes:
        word = reader.take(at, 32)
        if word[size:] != bytes(32 - size):
            raise Undecodable(reader.where, f"bytes{size} at {at} has dirty low bytes")
        return word[:size]

    return AbiType(f"bytes{size}", False, 32, read, lambda value: bytes(value).ljust(32, b"\0"))


def integer(bits: int) -> AbiType:
    """A signed integer of `bits` bits in two's complement, as an int."""

    def read(reader: _Reader, at: int) -> int:
        number = int.from_bytes(reader.take(at, 32), "big", signed=True)
        if not -(1 << (bits - 1)) <= number < 1 << (bits - 1):
            raise Undecodable(reader.where, f"int{bits} at {at} is out of its range")
        return number

    return AbiType(f"int{bits}", False, 32, read, lambda value: int(value).to_bytes(32, "big", signed=True))


def array_of(item: AbiType, size: int) -> AbiType:
    """An array of fixed size, as a tuple of items."""
    whole = tuple_of(*(item,) * size)
    return AbiType(f"{item.name}[{size}]", whole.dynamic, whole.head, whole.read, whole.write)


def list_of(item: AbiType) -> AbiType:
    """A dynamic array, as a tuple of items."""

    def read(reader: _Reader, at: int) -> tuple[Any, ...]:
        count = reader.small(at)
        start = at + 32
        if start + count * item.head > len(reader.data):
            raise Undecodable(reader.where, f"array of {count} at {at} reaches past the end")
        if item is UINT256:
            return reader.words(start, count)
        return tuple(_read_member(reader, item, start, start + index * item.head) for index in range(count))

    def write(values: Sequence[Any]) -> bytes:
        return len(values).to_bytes(32, "big") + _write_members([(item, value) for value in values])

    return AbiType(f"{item.name}[]", True, 32, read, write)


def tuple_of(*members: AbiType) -> AbiType:
    """A struct, as a tuple of its members."""
    dynamic = any(member.dynamic for member in members)
    size = sum(member.head for member in members)

    def read(reader: _Reader, at: int) -> tuple[Any, ...]:
        values = []
        slot = at
        for member in members:
            values.append(_read_member(reader, member, at, slot))
            slot += member.head
        return tuple(values)

    def write(values: Sequence[Any]) -> bytes:
        return _write_members(list(zip(members, values, strict=True)))

    name = f"({','.join(member.name for member in members)})"
    return AbiType(name, dynamic, 32 if dynamic else size, read, write)


def _read_member(reader: _Reader, member: AbiType, base: int, slot: int) -> Any:  # see AbiType.read
    return member.read(reader, base + reader.small(slot) if member.dynamic else slot)


def _write_members(members: Sequence[tuple[AbiType, Any]]) -> bytes:
    head, tail = bytearray(), bytearray()
    size = sum(member.head for member, _ in members)
    for member, value in members:
        written = member.write(value)
        if member.dynamic:
            head += (size + len(tail)).to_bytes(32, "big")
            tail += written
        else:
            head += written
    return bytes(head + tail)


ADDRESS: Final = AbiType("address", False, 32, _read_address, lambda value: bytes(value).rjust(32, b"\0"))
BOOL: Final = AbiType("bool", False, 32, _read_bool, lambda value: int(value).to_bytes(32, "big"))
BYTES: Final = AbiType("bytes", True, 32, _read_bytes, _write_bytes)
STRING: Final = AbiType("string", True, 32, _read_string, lambda value: _write_bytes(value.encode()))
UINT8: Final = uint(8)
UINT64: Final = uint(64)
UINT256: Final = uint(256)
BYTES4: Final = fixed_bytes(4)
BYTES32: Final = fixed_bytes(32)


def decode(types: AbiType, data: bytes, where: str, budget: Budget | None = None) -> tuple[Any, ...]:
    """abi.decode of the members of the tuple type `types`.

    Raises `Undecodable` naming `where` for anything Solidity would revert on, and for more bytes than `READ_LIMIT` or
    than `budget`, which pays for them, still has.
    """
    if budget is None:
        return types.read(_Reader(data, where, READ_LIMIT), 0)  # type: ignore[no-any-return]  # a tuple type reads a tuple
    limit = min(READ_LIMIT, budget.readable)
    reader = _Reader(data, where, limit)
    try:
        return types.read(reader, 0)  # type: ignore[no-any-return]  # as above
    finally:
        budget.draw_read(limit - reader.budget)


def encode(types: AbiType, values: Sequence[Any]) -> bytes:
    """abi.encode of `values` as the members of the tuple type `types`."""
    return types.write(values)
