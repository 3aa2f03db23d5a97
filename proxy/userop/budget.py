"""What may be spent on one operation, whoever walks it: a few bytes of it can describe a great deal of work.

One budget an operation is drawn from by all that read it: wrappers opened, calls, array items, administration,
policies asked, grants reviewed, rules. What is drawn is drawn before the work is done, so that past the budget an
operation costs no more.
"""

from __future__ import annotations

from typing import Final

from proxy.errors import Undecodable

UNITS: Final = 4992
"""Work on one operation. A unit is about a microsecond; a transfer by a session key takes 30 of them."""

ITEM: Final = 10
"""Units of one call opened, or one array item read: all that is later made of it included."""
ITEM_BUDGET: Final = UNITS // ITEM
"""Calls and array items that one operation may describe in all."""
MENTION: Final = 16
"""Units of one place in a factory's data that names a session module."""
POLICY: Final = 5
"""Units of one policy asked about one call; whatever it looks at beyond that it draws itself."""
RULE: Final = 4
"""Units of one comparison that a policy makes, with the words for what fails it."""
STEP: Final = 2
"""Units of one step of a policy through an expression."""
GRANT: Final = 128
"""Units of one session granted or edited: what reviews it reads it several times."""
REVIEWED_ACTION: Final = 16
"""Units of each action of it, and"""
REVIEWED_POLICY: Final = 10
"""of each policy, with one more for"""
REVIEWED_BYTES: Final = 48
"""so many bytes of its configuration."""
HIT: Final = 4
"""Units of one rule that fires, with the words for it."""
COUNT: Final = 5
"""Units of one count of a rule that an operation stands in: looked up, held, written down."""
RULES: Final = 32
"""Units that a rule may use beyond the budget, if any operation is asked it: what ops wrote is no caller's doing."""

MOST_COUNTS: Final = 384
"""In so many counts of rules one operation may stand. They are looked up and held in one step, in which nobody else is
let on: this bounds it, and what is held and written down."""
MOST_HITS: Final = 128
"""Of so many rules that fire on one operation it is told that they did."""

STEPS_A_UNIT: Final = 8
"""Small steps: one part of an expression asked of one call, one move looked at."""

UNITS_AT_ONCE: Final = 512
"""When rules have taken so many of an operation, others are let on before more of them are asked."""

_BYTES_A_UNIT: Final = 32
_LIGHT: Final = 512


class Overspent(Undecodable):
    """The operation describes more work than is done for one."""

    def __init__(self) -> None:
        super().__init__("operation", "describes more work than is done for one operation")


class Budget:
    """How much more may be spent. Units that cannot be drawn in full are not drawn at all."""

    __slots__ = ("left",)

    def __init__(self, left: int = UNITS) -> None:
        self.left = left

    @property
    def is_drawn_upon(self) -> bool:
        """Whether so much has been spent that others should be let on before there is more."""
        return self.left < UNITS - _LIGHT

    @property
    def readable(self) -> int:
        """Bytes that may be read with what is left."""
        return self.left * _BYTES_A_UNIT

    def draw(self, units: int) -> None:
        """Spend `units`. Raises `Overspent` when there are fewer left; what was left stays."""
        if units > self.left:
            raise Overspent
        self.left -= units

    def draw_steps(self, steps: int) -> None:
        """Spend so many small steps, rounded up. Raises `Overspent`."""
        self.draw(-(-steps // STEPS_A_UNIT))

    def draw_read(self, size: int) -> None:
        """Spend what reading `size` bytes took, at most all there is."""
        self.left = max(self.left - size // _BYTES_A_UNIT, 0)


class _Bottomless(Budget):
    """What may be spent without counting."""

    __slots__ = ()

    def draw(self, units: int) -> None:
        pass

    def draw_steps(self, steps: int) -> None:
        pass

    def draw_read(self, size: int) -> None:
        pass


BOTTOMLESS: Final[Budget] = _Bottomless()
"""For work that is bounded without it."""
