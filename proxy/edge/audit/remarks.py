"""What a verification finds, and a record of the trail as the file has it."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

import orjson

from proxy.edge.audit.schema import CONTENT


class Tampering(StrEnum):
    """What may be found. The last three are no tampering."""

    EDIT = "edit"
    DELETION = "deletion"
    INSERTION = "insertion"
    SWAP = "swap"
    TRUNCATION = "truncation"
    REPLACED = "replaced"  # the trail, or its end, is another than the one whose head was told
    KEY = "key"  # written without the key, or with one that is not at hand
    INDEX = "index"  # what leads to records by rule disagrees with them
    PRUNE = "prune"
    GAP = "gap"
    CRASH = "crash"


HARMLESS: Final = frozenset({Tampering.PRUNE, Tampering.GAP, Tampering.CRASH})


@dataclass(frozen=True, slots=True)
class Remark:
    """One thing found: what, at which records (ids), and in words."""

    what: Tampering
    first: int
    last: int
    sentence: str


@dataclass(slots=True)
class Audited:
    """What a verification found: of `records` from `first` to `last`, and whether they were written with a key."""

    records: int = 0
    first: int = 0
    last: int = 0
    keyed: bool = False
    remarks: list[Remark] = field(default_factory=list)

    @property
    def intact(self) -> bool:
        """Whether nothing but pruning, gaps and crashes was found."""
        return all(remark.what in HARMLESS for remark in self.remarks)

    @property
    def unheld(self) -> bool:
        """Whether nothing was found but that runs could not be held against a key, or were written without one."""
        return not self.intact and all(each.what in {*HARMLESS, Tampering.KEY} for each in self.remarks)

    def remark(self, what: Tampering, first: int, last: int, sentence: str) -> None:
        """Put a finding down."""
        self.remarks.append(Remark(what, first, last, sentence))


@dataclass(frozen=True, slots=True)
class StoredRecord:
    """A record as the file has it, at the place it says it has in the chain."""

    content: tuple[Any, ...]
    hash: bytes

    @property
    def id(self) -> int:
        return int(self.content[0])

    def at(self, place: int) -> tuple[Any, ...]:
        """Its content as though it stood elsewhere."""
        return (place, *self.content[1:])

    def moved(self, by: int) -> StoredRecord:
        return StoredRecord(self.at(self.id + by), self.hash)

    def of(self, name: str) -> Any:
        """One of its columns."""
        return self.content[CONTENT.index(name)]


def detail_of(text: object) -> dict[str, Any]:
    """The `detail` of a record; nothing of what is none."""
    try:
        detail = orjson.loads(str(text))
    except orjson.JSONDecodeError:
        return {}
    return detail if isinstance(detail, dict) else {}
