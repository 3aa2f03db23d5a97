"""What an operation makes the account do: ERC-7579 `execute(bytes32 mode, bytes executionCalldata)`.

Read exactly as the Smart Sessions module reads it (erc7579/smartsessions `SmartSession._enforcePolicies`,
`ExecutionLib`): any order, gaps and shared tails are accepted, and every bound it keeps is kept.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final, NamedTuple

from proxy.errors import Undecodable
from proxy.record import record
from proxy.userop.budget import ITEM, Budget
from proxy.userop.primitives import Address, Selector
from proxy.userop.session_data import VALUE_SELECTOR

EXECUTE: Final = Selector(bytes.fromhex("e9ae5c53"))
"""execute(bytes32,bytes), ERC-7579."""
EXECUTE_USER_OP: Final = Selector(bytes.fromhex("8dd7712f"))
"""executeUserOp(PackedUserOperation,bytes32), ERC-4337 `IAccountExecute`; accounts put it before another call."""

BATCH_LIMIT: Final = 1 << 20
"""Bytes the calls of one batch may hold in all. Entries may share their call data, so a few bytes can describe many."""

_WHERE: Final = "callData"
_OFFSET_LIMIT: Final = 1 << 64
_NO_HIGH_BYTES: Final = bytes(12)


class CallType(IntEnum):
    """The first byte of the ERC-7579 mode."""

    SINGLE = 0x00
    BATCH = 0x01
    STATIC = 0xFE
    DELEGATECALL = 0xFF


class ExecType(IntEnum):
    """The second byte of the ERC-7579 mode."""

    DEFAULT = 0x00  # a failing call reverts the whole execution
    TRY = 0x01


class DecodingError(Undecodable):
    """Where the module reverts with DecodingError(); a plain `Undecodable` is where it reverts without data."""


@record()
class Call:
    """One call the account makes. `value` is in wei."""

    target: Address
    value: int
    data: bytes

    @property
    def selector(self) -> Selector:
        """The first four bytes, or VALUE_SELECTOR when there are fewer."""
        data = self.data  # as `selector_of`: it is asked for again and again
        return Selector(data[:4]) if len(data) >= 4 else VALUE_SELECTOR


class Execution(NamedTuple):
    """The outer call of an operation.

    `call_type`, `exec_type` and `calls` are read for `execute` only; `calls` for single and batch calls only.
    """

    selector: Selector | None  # None: fewer than four bytes of call data
    call_type: int | None = None
    exec_type: int | None = None
    calls: tuple[Call, ...] = ()

    @property
    def is_execute(self) -> bool:
        """Whether the account is asked to `execute(bytes32,bytes)`."""
        return self.selector == EXECUTE


def decode_execution(call_data: bytes, budget: Budget | None = None) -> Execution:
    """Read an operation's call data.

    Raises `DecodingError` where the module reverts with that error, `Undecodable` where it reverts bare, `Overspent`
    where `budget` does not pay for so many calls. A dirty high byte in the target of any entry of a batch refuses the
    whole batch, though the chain notices it entry by entry.
    """
    if len(call_data) < 4:
        return Execution(None)
    if not call_data.startswith(EXECUTE):
        return Execution(Selector(call_data[:4]))
    if len(call_data) < 36:
        raise Undecodable(_WHERE, "execute without its mode word")
    call_type, exec_type = call_data[4], call_data[5]
    calls: tuple[Call, ...]
    if call_type == CallType.SINGLE:
        calls = (decode_single(execution_calldata(call_data)),)
    elif call_type == CallType.BATCH:
        calls = decode_batch(execution_calldata(call_data), budget)
    else:
        calls = ()
    return Execution(EXECUTE, call_type, exec_type, calls)


def execution_calldata(call_data: bytes) -> bytes:
    """The bytes argument of `execute`, wherever its offset word points. Raises `Undecodable`."""
    if len(call_data) < 68:
        raise Undecodable(_WHERE, "execute with fewer than 68 bytes")
    offset = int.from_bytes(call_data[36:68], "big")
    start = 36 + offset
    if offset >= _OFFSET_LIMIT or start > len(call_data):
        raise Undecodable(_WHERE, "the offset of the execution calldata points outside")
    end = start + int.from_bytes(call_data[start - 32 : start], "big")
    if end > len(call_data):
        raise Undecodable(_WHERE, "the execution calldata reaches past the end")
    return call_data[start:end]


def decode_single(data: bytes) -> Call:
    """target(20) ‖ value(32) ‖ call data. Raises `Undecodable` for fewer than 52 bytes."""
    if len(data) < 52:
        raise Undecodable(_WHERE, "a single execution has at least 52 bytes")
    return Call(Address(data[:20]), int.from_bytes(data[20:52], "big"), data[52:])


def decode_batch(data: bytes, budget: Budget | None = None) -> tuple[Call, ...]:
    """abi.encode(Execution[]), entries of (address target, uint256 value, bytes callData).

    All offsets and lengths are checked before any target is looked at. Raises `DecodingError` and `Undecodable`, among
    it `Overspent`.
    """
    last_word = len(data) - 32
    array = _offset(data, 0, last_word)
    if array > last_word:
        raise DecodingError(_WHERE, "the batch's array points outside")
    count = _offset(data, array, last_word)
    heads = array + 32
    if array + 32 * count > last_word:
        raise DecodingError(_WHERE, "the batch has fewer entries than it says")
    if budget is not None:
        budget.draw(ITEM * count)
    entries = []
    total = 64 * count
    for index in reversed(range(count)):
        entry = heads + _offset(data, heads + 32 * index, last_word)
        if entry + 64 > last_word:
            raise DecodingError(_WHERE, f"entry {index} of the batch points outside")
        length_at = entry + _offset(data, entry + 64, last_word)
        if length_at > last_word:
            raise DecodingError(_WHERE, f"call data of entry {index} points outside")
        length = _offset(data, length_at, last_word)
        if length_at + length > last_word:
            raise DecodingError(_WHERE, f"call data of entry {index} reaches past the end")
        total += length
        if total > BATCH_LIMIT:
            raise Undecodable(_WHERE, "the batch describes more data than is read at once")
        entries.append((entry, length_at + 32, length))
    return tuple(_entry(data, *entry) for entry in reversed(entries))


def _offset(data: bytes, at: int, last_word: int) -> int:
    """An offset or length word of a batch."""
    if at > last_word:
        raise DecodingError(_WHERE, "the batch ends inside a word")
    number = int.from_bytes(data[at : at + 32], "big")
    if number >= _OFFSET_LIMIT:
        raise DecodingError(_WHERE, "an offset or length of the batch is 2^64 or more")
    return number


def _entry(data: bytes, at: int, start: int, length: int) -> Call:
    if data[at : at + 12] != _NO_HIGH_BYTES:
        raise Undecodable(_WHERE, "a batch entry's target has dirty high bytes")
    return Call(
        Address(data[at + 12 : at + 32]),
        int.from_bytes(data[at + 32 : at + 64], "big"),
        data[start : start + length],
    )
