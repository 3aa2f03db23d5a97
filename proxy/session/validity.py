"""Validation data: the window in which an operation is valid, and its intersection (ValidationDataLib, ERC-4337).

Layout of the word: validAfter (48 bits) << 208 | validUntil (48 bits) << 160 | aggregator or failure (160 bits).
"""

from __future__ import annotations

from typing import Final, NamedTuple

from proxy.userop.entry_point import EntryPointVersion

UINT48_MAX: Final = 2**48 - 1
VALIDATION_SUCCESS: Final = 0
VALIDATION_FAILED: Final = 1
_LOW_160: Final = 2**160 - 1
_BLOCK_NUMBER_FLAG: Final = 1 << 47


class Window(NamedTuple):
    """When an operation is valid, in unix seconds, both ends as the entry point reads them. Never ends: 2^48-1."""

    valid_after: int
    valid_until: int

    def holds(self, now: int, version: EntryPointVersion = EntryPointVersion.V07) -> bool:
        """Whether the entry point takes the operation at block time `now` (EntryPoint._getValidationData).

        `valid_until` is inclusive. `valid_after` is inclusive up to v0.7 and exclusive from v0.8 on.
        """
        if now > self.valid_until:
            return False
        if version in _INCLUSIVE_START:
            return now >= self.valid_after
        return now > self.valid_after

    def counts_blocks(self, version: EntryPointVersion) -> bool:
        """Whether the bounds are block numbers: entry point v0.9, bit 47 set in both."""
        both = self.valid_after & self.valid_until & _BLOCK_NUMBER_FLAG
        return version is EntryPointVersion.V09 and both != 0


_INCLUSIVE_START: Final = frozenset({EntryPointVersion.V06, EntryPointVersion.V07})
ALWAYS: Final = Window(0, UINT48_MAX)


def intersect(first: int, second: int) -> int:
    """The validation data that satisfies both words, or exactly 1 (ValidationDataLib.intersectValidationData).

    A validUntil of zero reads as 2^48-1, so that even two zero words give a word that is not zero.
    """
    low, other = first & _LOW_160, second & _LOW_160
    if low != other and low and other:
        return VALIDATION_FAILED
    until = min((first >> 160 & UINT48_MAX) or UINT48_MAX, (second >> 160 & UINT48_MAX) or UINT48_MAX)
    return max(first >> 208, second >> 208) << 208 | until << 160 | low | other


def window_of(validation_data: int) -> Window:
    """The window inside a word of validation data; a validUntil of zero means that it never ends."""
    return Window(validation_data >> 208, (validation_data >> 160 & UINT48_MAX) or UINT48_MAX)


def failed(validation_data: int) -> bool:
    """Whether the low 160 bits name a failure (or an aggregator, which the module takes for one)."""
    return validation_data & _LOW_160 != 0


def pack(valid_after: int, valid_until: int) -> int:
    """The word for a window, as the time frame policy returns it."""
    return valid_after << 208 | valid_until << 160
