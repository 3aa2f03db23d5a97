"""Arguments of a contract call, read word by word the way the EVM hands them to a contract.

Reading never fails on fixed-size words: past the end there are zeros, and whatever made the reading doubtful is
remembered, because tokens exist that accept what an ABI decoder refuses. Dynamic parts (bytes, arrays) are bounded
and raise `Undecodable` when they point outside the data.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from proxy.errors import Undecodable
from proxy.userop.budget import ITEM, Budget
from proxy.userop.primitives import Address, Selector, keccak256

_OFFSET_LIMIT: Final = 1 << 32


def selector(signature: str) -> Selector:
    """The selector of a function signature: the first four bytes of its hash (Solidity ABI specification)."""
    return Selector(keccak256(signature.encode())[:4])


class Arguments:
    """A region of call data without its selector; index n is the 32-byte word n of the region.

    `dirty` is true once a word was cut off by the end of the data or had bits outside its type. `overlong` is true
    while there are bytes that no reader has asked for. Regions made by `tail` and `array` report to their root.
    """

    __slots__ = ("_base", "_root", "budget", "data", "dirty", "end")

    def __init__(self, data: bytes, budget: Budget, base: int = 0, root: Arguments | None = None) -> None:
        self.data = data
        self.budget = budget
        self.dirty = False
        self.end = 0
        self._base = base
        self._root = root  # `None` for the root itself, which then goes away with its last use

    @property
    def overlong(self) -> bool:
        """Whether bytes remain behind the last word that was read, padding to a full word aside."""
        return len(self.data) > -(-self.end // 32) * 32

    @property
    def exact(self) -> bool:
        """Whether every contract reads these arguments as they were read here."""
        return not self.dirty and not self.overlong

    def uint(self, index: int, bits: int = 256) -> int:
        """Word `index` as an unsigned integer of `bits` bits; higher bits are dropped and remembered as dirt."""
        start = self._base + 32 * index
        word = self.data[start : start + 32]
        root = self._root or self
        if len(word) < 32:
            root.dirty = True
            word = word.ljust(32, b"\0")
        root.end = max(root.end, start + 32)
        number = int.from_bytes(word, "big")
        if number >> bits:
            root.dirty = True
            number &= (1 << bits) - 1
        return number

    def address(self, index: int) -> Address:
        """Word `index` as an address."""
        return Address(self.uint(index, 160).to_bytes(20, "big"))

    def flag(self, index: int) -> bool:
        """Word `index` as a boolean; every value but zero is true, above one it is dirt as well."""
        number = self.uint(index)
        if number > 1:
            (self._root or self).dirty = True
        return number != 0

    def head(self, words: int) -> None:
        """Say that the function takes `words` head words, read or not."""
        self.uint(words - 1)

    def tail(self, index: int) -> Arguments:
        """The region that the offset in word `index` points to."""
        return self._at(self._base + self._offset(index))

    def blob(self, index: int) -> bytes:
        """The `bytes` that the offset in word `index` points to."""
        start = self._base + self._offset(index)
        size = self._length_at(start)
        end = start + 32 + size
        if end > len(self.data):
            raise Undecodable("callData", f"argument {index} runs past the end of the data")
        self._reach(end)
        return self.data[start + 32 : end]

    def mark_blob(self, index: int) -> None:
        """Note `bytes` whose content does not matter; one that points outside is dirt."""
        try:
            self.blob(index)
        except Undecodable:
            (self._root or self).dirty = True

    def array(self, index: int, words: int) -> tuple[int, Arguments]:
        """The count and the items of the array at word `index`, each item of `words` head words."""
        start = self._base + self._offset(index)
        count = self._length_at(start)
        self.budget.draw(ITEM * count)
        if start + 32 + 32 * words * count > len(self.data):
            raise Undecodable("callData", f"array at argument {index} runs past the end of the data")
        self._reach(start + 32 + 32 * words * count)
        return count, self._at(start + 32)

    def blobs(self, index: int) -> Iterator[bytes]:
        """The items of the `bytes[]` at word `index`."""
        count, items = self.array(index, 1)
        self.budget.draw(ITEM * count)  # each is a call, read in turn
        return (items.blob(item) for item in range(count))

    def tuples(self, index: int) -> Iterator[Arguments]:
        """The items of an array of dynamic tuples at word `index`."""
        count, items = self.array(index, 1)
        self.budget.draw(ITEM * count)
        return (items.tail(item) for item in range(count))

    def _at(self, base: int) -> Arguments:
        return Arguments(self.data, self.budget, base, self._root or self)

    def _reach(self, end: int) -> None:
        root = self._root or self
        root.end = max(root.end, end)

    def _offset(self, index: int) -> int:
        start = self._base + 32 * index
        if start + 32 > len(self.data):
            raise Undecodable("callData", f"argument {index} is missing")
        offset = self.uint(index)
        if offset >= _OFFSET_LIMIT:
            raise Undecodable("callData", f"argument {index} points outside the data")
        return offset

    def _length_at(self, start: int) -> int:
        if start + 32 > len(self.data):
            raise Undecodable("callData", "a dynamic argument starts past the end of the data")
        self._reach(start + 32)
        return int.from_bytes(self.data[start : start + 32], "big")
