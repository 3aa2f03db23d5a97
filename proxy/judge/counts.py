"""What rules count and remember: the names of counts, what one operation adds, and what a judge may ask of them.

The ledger keeps them (`proxy.ledger`), so that one step holds everything an operation uses. A window's amount is held
while the operation is in flight and counted in the window once it is mined; a history learns from what was mined.
"""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from proxy.judge.rule import Window
from proxy.record import record


class CountKey(NamedTuple):
    """One count of one rule: the rule's identity (16 bytes) and the group it is for, such as a session's name."""

    rule: bytes
    group: bytes


class WindowCharge(NamedTuple):
    """An operation adds `amount` to a window: what is there, what is in flight and this must stay within `limit`.

    One that is not `binding` belongs to a rule that refuses nobody: past the limit it is held all the same where it
    `overflows`, and otherwise it is not. `lasting` amounts stay when the operation reverts on chain, as uses do; value
    that moved does not.
    """

    key: CountKey
    window: Window
    amount: int
    limit: int
    binding: bool
    lasting: bool
    overflows: bool = False


class DistinctCharge(NamedTuple):
    """An operation brings `mark` (8 bytes, of a hash) into a window of at most `limit` different ones; `binding` and
    `overflows` as above."""

    key: CountKey
    window: Window
    mark: bytes
    limit: int
    binding: bool
    overflows: bool = False


RuleCharge = WindowCharge | DistinctCharge


class MarksLesson(NamedTuple):
    """What a mined operation teaches a history of things seen: `marks` of 8 bytes each."""

    key: CountKey
    marks: tuple[bytes, ...]


class ValueLesson(NamedTuple):
    """What a mined operation teaches a history of amounts."""

    key: CountKey
    value: int


class OutcomeLesson(NamedTuple):
    """A row of operations grows by one when the operation reverted on chain, and ends when it succeeded."""

    key: CountKey


Lesson = MarksLesson | ValueLesson | OutcomeLesson


class Sight(NamedTuple):
    """One thing that a history has seen: in how many operations, and when first (unix seconds)."""

    mark: bytes
    times: int
    first: float


@dataclass(slots=True, kw_only=True)
class Seen:
    """What a history of things remembers: how many operations since when, and the things by their mark, the latest seen
    last."""

    operations: int
    since: float  # unix seconds
    sights: dict[bytes, Sight]


@dataclass(slots=True, kw_only=True)
class Amounts:
    """What a history of amounts remembers: how many operations, and the latest amounts, oldest first; and the same in
    the order of their size, for whoever asks what is usual."""

    operations: int
    recent: tuple[int, ...]
    ordered: list[int] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        self.ordered = sorted(self.recent)


@record(kw_only=True)
class Row:
    """How many operations in a row have ended in the outcome that is counted."""

    length: int


History = Seen | Amounts | Row
"""Things and amounts change as they are learnt: an operation costs the same however many are remembered."""


class Counts(Protocol):
    """What has been counted, as it stands for one operation at one moment: operations in its nonce's place are left
    out, for only one of them can be mined. Raises `StateUnavailable` where the ledger cannot tell."""

    def total(self, key: CountKey, window: Window) -> int:
        """The amounts in the window and in flight."""

    def marks(self, key: CountKey, window: Window) -> Set[bytes]:
        """The different marks in the window, of which a limit's `max` + 1 are kept, and in flight; as they change."""

    def history(self, key: CountKey) -> History | None:
        """What was learnt so far, as it changes."""
