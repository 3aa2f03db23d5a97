"""A checked part of an expression, and what the checks share."""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction
from typing import Final

from proxy.judge.expression import tree
from proxy.judge.expression.closures import Run, constant
from proxy.judge.expression.faults import ExpressionFault
from proxy.judge.expression.types import BROKEN, Sort, Type
from proxy.record import record
from proxy.userop.primitives import Selector

MAX_PARTS: Final = 1_000
"""Of one expression, macros written out."""


@record(kw_only=True)
class Typed:
    """A part with its type and its closure.

    `literal`: written as a number, text or bytes. `fixed` is the value of a literal where it is the same on all
    chains. `known` is the answer of a condition that is the same for every operation.
    """

    node: tree.ExpressionNode
    type: Type
    run: Run
    literal: bool = False
    fixed: object = None
    known: bool | None = None

    @property
    def broken(self) -> bool:
        """Whether this part has already been complained of."""
        return self.type.sort is Sort.BROKEN

    @property
    def is_none(self) -> bool:
        """Whether this is the word none."""
        return self.type.sort is Sort.NONE


@record(kw_only=True)
class Variable:
    """What a quantifier calls each part: its type, and how deep the quantifier stands."""

    type: Type
    depth: int


def broken(node: tree.ExpressionNode) -> Typed:
    """A part that has been complained of: it fits everywhere, so that one mistake makes one fault."""
    return Typed(node=node, type=BROKEN, run=constant(None))


@dataclass(slots=True)
class Notes:
    """What the checks write down on their way: faults, fields read, and how much there is."""

    source: str
    faults: list[ExpressionFault] = field(default_factory=list)
    fields: set[str] = field(default_factory=set)
    functions: set[Selector] = field(default_factory=set)  # whose arguments are read
    per_grant: bool = False
    parts: int = 0
    macro: str | None = None  # the outermost macro that is being read, and where it was named
    macro_node: tree.ExpressionNode | None = None

    def complain(self, node: tree.ExpressionNode, problem: str, suggestion: str | None = None) -> Typed:
        """Write down a fault; the part that has it fits everywhere from now on."""
        if self.macro is not None and self.macro_node is not None:
            node, problem = self.macro_node, f"in macro {self.macro}: {problem}"
        fault = ExpressionFault(node.offset, max(node.end - node.offset, 1), problem, suggestion)
        if fault not in self.faults:
            self.faults.append(fault)
        return broken(node)

    def shown(self, node: tree.ExpressionNode) -> str:
        """The part as it was written, shortened, in ASCII."""
        text = " ".join(self.source[node.offset : node.end].split())
        return ascii(text if len(text) <= 60 else f"{text[:57]}...")[1:-1]


def number_shown(number: Fraction, kind: Type) -> str:
    """A bound in the words of its type: `0`, `23`, `0.5 ETH`."""
    text = str(number.numerator) if number.denominator == 1 else f"{number.numerator}/{number.denominator}"
    if len(text) > 60:
        text = f"a number of {len(text)} digits"
    return f"{text} {kind.unit}" if kind.sort is Sort.AMOUNT and number != 0 else text
