"""Fields of a case file, read one by one: each becomes what it is for, or a fault at its place; none stops another."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, TypeVar

from pydantic_core import PydanticCustomError

from proxy.document import Document, Location, did_you_mean
from proxy.judge.rule import Place
from proxy.judge.tokens import Amount, Tokens, parse_amount
from proxy.rehearsal.case import CaseFault
from proxy.rehearsal.written_sessions import address_named, named_session
from proxy.userop.primitives import Address, Hash32
from proxy.written import fault, kind_of, read_address, read_hash, read_selector, shorten

T = TypeVar("T")
Read = Callable[[object], T]

UINT256: Final = 2**256
_DURATION: Final = re.compile(r"(?:[0-9]{1,9}[smhd])+", re.ASCII)
_PART: Final = re.compile(r"([0-9]+)([smhd])", re.ASCII)
_SECONDS: Final = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
_LONGEST: Final = 400 * 86_400
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,63}", re.ASCII)
_NUMBER: Final = re.compile(r"[0-9][0-9_]{0,99}", re.ASCII)


@dataclass(slots=True)
class Desk:
    """What the reading of one file shares: the text, the names, and the faults found so far."""

    document: Document
    tokens: Tokens
    names: Mapping[str, bytes] = field(default_factory=dict)
    faults: list[CaseFault] = field(default_factory=list)

    def place(self, at: Location) -> Place:
        """Where a value stands, or what is around it."""
        return Place(*self.document.place_of(at))

    def fault(self, at: Location, problem: str, suggestion: str | None = None) -> None:
        """Report what is wrong with the value at a location."""
        if not self.document.is_broken(at):
            self.faults.append(CaseFault(place=self.place(at), problem=problem, suggestion=suggestion))

    def read(self, at: Location, value: object, reader: Read[T], default: T) -> T:
        """The value as `reader` takes it; the default, and a fault, where it does not."""
        try:
            return reader(value)
        except PydanticCustomError as error:
            context = error.context or {}
            self.fault(at, str(context.get("problem")), context.get("suggestion"))
            return default

    def fields(self, at: Location, value: object, known: Collection[str]) -> Fields:
        """The keys of a mapping; those that nobody knows are faults."""
        if not isinstance(value, dict):
            self.fault(at, f"wanted keys and values, got {kind_of(value)}")
            return Fields(self, at, {})
        for key in value:
            if key not in known:
                place = Place(*self.document.keys.get((*at, key), self.place(at)))
                cure = did_you_mean(key, known) or f"known are {', '.join(known)}"
                self.faults.append(CaseFault(place=place, problem=f"unknown key {shorten(key)}", suggestion=cure))
        return Fields(self, at, value)

    def items(self, at: Location, value: object) -> Iterator[tuple[Location, object]]:
        """The items of a list; a single value is a list of one."""
        if not isinstance(value, list):
            yield at, value
            return
        for index, item in enumerate(value):
            yield (*at, index), item

    def address(self, value: object) -> Address:
        """An address, one of the file's names, or any other name, which stands for an address made from it."""
        if isinstance(value, str) and value.startswith(("0x", "0X")):
            return read_address(value)
        name = _name(value)
        known = self.names.get(name)
        if known is not None and len(known) != 20:
            raise fault(f"{name} is no address but a permission id")
        return address_named(name) if known is None else Address(known)

    def permission_id(self, value: object) -> Hash32:
        """A permission id, or the name of a session, which has the id of the one that a grant to that name brings."""
        if isinstance(value, str) and value.startswith(("0x", "0X")):
            return read_hash(value)
        name = _name(value)
        known = self.names.get(name)
        return named_session(name).permission_id if known is None or len(known) != 32 else Hash32(known)

    def session_name(self, value: object) -> str:
        """The name of a session that is granted: a permission id follows from the session, and cannot be chosen."""
        if isinstance(value, str) and value.startswith(("0x", "0X")):
            read_hash(value)
        elif len(self.names.get(name := _name(value), b"")) != 32:
            return name
        raise fault("no session can be granted of which only the permission id is known", "write a name of no id")

    def amount(self, value: object) -> Amount:
        """An amount with its unit."""
        if not isinstance(value, str):
            raise fault(f"wanted an amount such as 500 USDC, got {kind_of(value)}")
        found = parse_amount(value, self.tokens)
        if isinstance(found, str):
            words = value.split()
            raise fault(found, did_you_mean(words[-1], self.tokens.symbols) if len(words) > 1 else None)
        if found.digits < 0:
            raise fault(f"{shorten(value)} is below 0")
        return found

    def coins(self, value: object) -> int:
        """An amount of the native coin in wei, or wei as a plain number."""
        if isinstance(value, str) and _NUMBER.fullmatch(value):
            return read_number(value)
        found = self.amount(value)
        token = self.tokens.named(found.symbol)
        if token is None or not (token.native or token is self.tokens.native):
            raise fault(f"{shorten(str(value))} is no amount of the chain's coin", "write it in ETH, gwei or wei")
        wei = found.on(0, self.tokens)
        if wei is None or wei >= UINT256:
            raise fault(f"{shorten(str(value))} does not fit into 256 bits of wei")
        return wei


@dataclass(frozen=True, slots=True)
class Fields:
    """The fields of one mapping."""

    desk: Desk
    at: Location
    values: Mapping[str, object]

    def has(self, key: str) -> bool:
        """Whether the key is written, with a value."""
        return self.values.get(key) is not None

    def fault(self, problem: str, suggestion: str | None = None) -> None:
        """Report what is wrong with the mapping as a whole."""
        self.desk.fault(self.at, problem, suggestion)

    def get(self, key: str, reader: Read[T], default: T) -> T:
        """A field as `reader` takes it; the default where it is not written."""
        value = self.values.get(key)
        return default if value is None else self.desk.read((*self.at, key), value, reader, default)

    def need(self, key: str, reader: Read[T], default: T) -> T:
        """A field that must be there."""
        if not self.has(key):
            self.desk.fault(self.at, f"{key} is missing")
        return self.get(key, reader, default)

    def items(self, key: str) -> list[tuple[Location, object]]:
        """What a list holds; nothing where it is not written."""
        return list(self.desk.items((*self.at, key), self.values[key])) if self.has(key) else []


def _name(value: object) -> str:
    if not isinstance(value, str) or not _NAME.fullmatch(value):
        raise fault(f"wanted an address or a name, got {shorten(value) if isinstance(value, str) else kind_of(value)}")
    return value


def read_text(value: object) -> str:
    """A text that says something."""
    if not isinstance(value, str) or not value.strip():
        raise fault(f"wanted a text, got {kind_of(value)}")
    return value


def read_flag(value: object) -> bool:
    """`true` or `false`."""
    if value not in ("true", "false"):
        raise fault(f"wanted true or false, got {shorten(value) if isinstance(value, str) else kind_of(value)}")
    return value == "true"


def read_number(value: object) -> int:
    """A whole number of at most 256 bits."""
    if not isinstance(value, str) or not _NUMBER.fullmatch(value) or (number := int(value)) >= UINT256:
        raise fault(f"wanted a whole number, got {shorten(value) if isinstance(value, str) else kind_of(value)}")
    return number


def number_up_to(most: int, least: int = 0) -> Read[int]:
    """A whole number within bounds."""

    def read(value: object) -> int:
        number = read_number(value)
        if not least <= number <= most:
            raise fault(f"wanted a number from {least} to {most}, got {number}")
        return number

    return read


def read_duration(value: object) -> int:
    """`90s`, `23h`, `24h10m`, in seconds."""
    if not isinstance(value, str) or not _DURATION.fullmatch(value):
        got = shorten(value) if isinstance(value, str) else kind_of(value)
        raise fault(f"{got} is no duration", "write it as 90s, 23h or 24h10m")
    seconds = sum(int(number) * _SECONDS[unit] for number, unit in _PART.findall(value))
    if seconds > _LONGEST:
        raise fault(f"{shorten(value)} is longer than 400 days")
    return seconds


def read_moment(value: object) -> int:
    """A time with its offset, in unix seconds."""
    try:
        moment = datetime.fromisoformat(value if isinstance(value, str) else "")
        seconds = int(moment.timestamp()) if moment.tzinfo is not None else -1
    except (ValueError, OverflowError):
        seconds = -1
    if not 0 <= seconds < 2**33:
        raise fault("wanted a time", "write it as 2026-03-02T09:00:00Z")
    return seconds


def one_of(known: Collection[str]) -> Read[str]:
    """One word of a closed set."""

    def read(value: object) -> str:
        if isinstance(value, str) and value in known:
            return value
        got = shorten(value) if isinstance(value, str) else kind_of(value)
        listed = ", ".join(list(known)[:12]) + (", …" if len(known) > 12 else "")
        cure = did_you_mean(value, known) if isinstance(value, str) else None
        raise fault(f"{got} is none of {listed}", cure)

    return read


read_function = read_selector
