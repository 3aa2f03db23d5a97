"""One value of a rule file with its place, and the readers of plain kinds: each gives the value, or reports a fault."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cache
from typing import Any, NamedTuple, TypeVar

from pydantic_core import PydanticCustomError

from proxy.document import Document, Location, Place, did_you_mean
from proxy.judge.parse.faults import RuleFault
from proxy.plain_yaml import WrittenAt
from proxy.written import kind_of, shorten

Value = TypeVar("Value")
Word = TypeVar("Word", bound=StrEnum)

_INTEGER = re.compile(r"[0-9](?:_?[0-9])*\Z", re.ASCII)
_LONGEST_NUMBER = 100


@dataclass(slots=True)
class FileReading(Document):
    """A file being read. Its faults go into one list for all files."""

    path: str = ""
    found: list[RuleFault] = field(default_factory=list)

    def fault(self, place: Place, problem: str, suggestion: str | None = None) -> None:
        """Report what is wrong at `place`."""
        self.found.append(RuleFault(place=place, problem=problem, suggestion=suggestion))


@cache
def _words(known: type[Word]) -> dict[str, Word]:
    return {word.value: word for word in known}


class Written(NamedTuple):
    """A value of a file and where it stands; `around` is what it is part of, under the key or index `step`."""

    reading: FileReading
    value: object
    spot: WrittenAt
    around: Written | None = None
    step: str | int = ""

    @property
    def at(self) -> Location:
        """The way to the value."""
        return () if self.around is None else (*self.around.at, self.step)

    @property
    def place(self) -> Place:
        """Where the value stands."""
        return Place(self.reading.path, self.spot.line + 1, self.spot.column + 1)

    @property
    def key_place(self) -> Place:
        """Where the key of the value stands."""
        return Place(self.reading.path, self.spot.key_line + 1, self.spot.key_column + 1)

    def place_in(self, offset: int) -> Place:
        """Where a letter of the text stands, as far as that can be told."""
        first = self.spot.text
        return self.place if first < 0 else Place(self.reading.path, self.spot.line + 1, first + 1 + offset)

    def fault(self, problem: str, suggestion: str | None = None) -> None:
        """Report what is wrong with the value, unless it is reported already."""
        if not self.reading.is_broken(self.at):
            self.reading.fault(self.place, problem, suggestion)

    def fault_at_key(self, problem: str, suggestion: str | None = None) -> None:
        """Report what is wrong with the key."""
        self.reading.fault(self.key_place, problem, suggestion)

    def child(self, step: str | int) -> Written:
        """The value under a key or an index."""
        value: Any = self.value
        spots: Any = self.spot.inside
        return Written(self.reading, value[step], spots[step], self, step)

    def items(self) -> list[tuple[str, Written]]:
        """What a mapping holds; anything else is a fault and holds nothing."""
        value, inside = self.value, self.spot.inside
        if isinstance(value, dict) and isinstance(inside, dict):
            return [(key, Written(self.reading, each, inside[key], self, key)) for key, each in value.items()]
        self.fault(f"wanted a mapping, got {kind_of(value)}", "write key: value")
        return []

    def fields(self, known: Collection[str], where: str, needed: Iterable[str] = ()) -> dict[str, Written]:
        """The known keys of a mapping; the others are reported, and those that are needed and missing."""
        found = dict(self.items())
        unknown = [key for key in found if key not in known]
        for key in unknown:
            cure = did_you_mean(key, known) or f"known are {', '.join(known)}"
            found.pop(key).fault_at_key(f"unknown key {shorten(key)} in {where}", cure)
        for key in needed if isinstance(self.value, dict) else ():
            if key not in found and not any(did_you_mean(each, [key]) for each in unknown):
                self.fault(f"{where} needs {key}", f"add {key}: …")
        return found

    def each(self) -> list[Written]:
        """The entries of a list, or the value itself where one alone is written."""
        value = self.value
        if isinstance(value, list):
            return [self.child(index) for index in range(len(value))]
        return [self]

    def text(self) -> str | None:
        """A text that is not empty."""
        value = self.value
        if isinstance(value, str) and value.strip():
            return value
        self.fault(f"wanted a text, got {'nothing' if value == '' else kind_of(value)}")
        return None

    def truth(self) -> bool | None:
        """True or false."""
        return self.one_of({"true": True, "false": False})

    def one_of(self, known: dict[str, Value]) -> Value | None:
        """One of a closed set of words."""
        value = self.value
        if isinstance(value, str) and value in known:
            return known[value]
        cure = did_you_mean(value, known) if isinstance(value, str) else None
        self.fault(f"{kind_of(value)} is none of {', '.join(known)}", cure)
        return None

    def word(self, known: type[Word]) -> Word | None:
        """A word of an enumeration."""
        return self.one_of(_words(known))

    def integer(self, low: int = 1, high: int = 2**256) -> int | None:
        """A whole number within bounds."""
        value = self.value
        if not isinstance(value, str) or len(value) > _LONGEST_NUMBER or not _INTEGER.match(value):
            self.fault(f"wanted a whole number, got {kind_of(value)}")
            return None
        number = int(value.replace("_", ""))
        if low <= number <= high:
            return number
        self.fault(f"{shorten(value)} is not from {low} to {high if high < 2**64 else '2^256'}")
        return None

    def read(self, reader: Callable[[object], Value]) -> Value | None:
        """What one of the readers of `proxy.written` makes of it."""
        try:
            return reader(self.value)
        except PydanticCustomError as error:
            context = error.context or {}
            self.fault(str(context.get("problem")), context.get("suggestion"))
            return None
