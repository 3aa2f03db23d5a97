"""The kinds of text that settings are written in, and what each becomes inside; see also `proxy.written`."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Annotated

from pydantic import BeforeValidator

from proxy.userop.entry_point import ENTRY_POINT_BY_ADDRESS, ENTRY_POINTS, EntryPoint
from proxy.userop.primitives import UINT256_MAX, Address, Hash32, Selector, print_checksummed
from proxy.written import FAULT_TYPE, fault, kind_of, read_address, read_hash, read_selector, shorten

__all__ = [
    "FAULT_TYPE",
    "AddressText",
    "Amount",
    "EntryPointText",
    "HashText",
    "SelectorText",
    "UnixSeconds",
    "fault",
    "kind_of",
    "read_address",
    "read_amount",
    "read_entry_point",
    "read_hash",
    "read_selector",
    "read_time",
    "shorten",
]


def read_amount(value: object) -> int:
    """An amount in base units (wei): decimal digits, or a hex quantity."""
    if isinstance(value, str):
        digits = value.replace("_", "")
        if digits.isascii() and digits.isdigit():
            number = int(digits[:100])  # cut, it is still far too large
        elif re.fullmatch(r"0x[0-9a-fA-F]{1,64}", value):
            number = int(value, 16)
        else:
            raise fault(f"{shorten(value)} is no amount", "write whole base units (wei) in digits, without a unit")
        if number <= UINT256_MAX:
            return number
        raise fault("the amount is above 2^256-1", "no contract can count that far")
    raise fault(f"wanted an amount, got {kind_of(value)}", "write whole base units (wei) in digits")


_MILLISECONDS_FROM = 10**11  # as seconds this is the year 5138; JavaScript's Date.now() passed it in 1973


def read_time(value: object) -> int:
    """A moment in unix seconds: the number itself, or a date with its offset (RFC 3339)."""
    if isinstance(value, str) and value.isascii() and value.isdigit():
        seconds = int(value[:100])
        if seconds >= _MILLISECONDS_FROM:
            raise fault(f"{shorten(value)} looks like milliseconds", f"write seconds: {seconds // 1000}")
        return seconds
    if not isinstance(value, str):
        raise fault(f"wanted a time, got {kind_of(value)}", "write unix seconds, or 2027-01-31T00:00:00Z")
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        raise fault(f"{shorten(value)} is no time", "write unix seconds, or 2027-01-31T00:00:00Z") from None
    if moment.tzinfo is None:
        raise fault(f"{shorten(value)} does not say which time zone", f"write {value}Z for UTC")
    if moment.timestamp() < 0:
        raise fault(f"{shorten(value)} is before 1970", "the chain counts from 1970")
    return int(moment.timestamp())


def read_entry_point(value: object) -> EntryPoint:
    """An entry point by its version, `v0.7`, or by its address; only the published ones are known."""
    versions = ", ".join(entry_point.version for entry_point in ENTRY_POINTS)
    if isinstance(value, str) and not value.startswith(("0x", "0X")):
        wanted = value if value.startswith("v") else f"v{value}"
        found = next((entry_point for entry_point in ENTRY_POINTS if entry_point.version == wanted), None)
        if found is not None:
            return found
        raise fault(f"{shorten(value)} is no entry point this gate can read", f"known are {versions}")
    address = read_address(value)
    if (known := ENTRY_POINT_BY_ADDRESS.get(address)) is not None:
        return known
    raise fault(f"{print_checksummed(address)} is no entry point this gate can read", f"known are {versions}")


AddressText = Annotated[Address, BeforeValidator(read_address)]
HashText = Annotated[Hash32, BeforeValidator(read_hash)]
SelectorText = Annotated[Selector, BeforeValidator(read_selector)]
Amount = Annotated[int, BeforeValidator(read_amount)]
UnixSeconds = Annotated[int, BeforeValidator(read_time)]
EntryPointText = Annotated[EntryPoint, BeforeValidator(read_entry_point)]
