"""Expressions: what a rule asks beyond its match, as one typed question about the facts of an operation.

An expression is read once (`lexer`, `parser`), checked and compiled to closures (`checker`), and then only called. It
reaches the fields of the table in `fields` and nothing else; it has no loops but those over the parts of an
operation, no exponents and no recursion, so what it may cost is known before it runs: one loop inside another is not
run on operations of many parts.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from proxy.judge.expression.checker import RESERVED_NAMES, check
from proxy.judge.expression.faults import ExpressionFault
from proxy.judge.expression.fields import FIELDS, Field
from proxy.judge.expression.scope import ExpressionScope, NamedList
from proxy.judge.expression.typed import Notes
from proxy.judge.facts import Facts, GrantFacts
from proxy.userop.primitives import Selector

__all__ = [
    "FIELDS",
    "MOST_PARTS",
    "RESERVED_NAMES",
    "Expression",
    "ExpressionFault",
    "ExpressionScope",
    "Field",
    "NamedList",
    "compile_expression",
]


MOST_PARTS: Final = 256
"""Calls or moves of an operation that a loop inside another looks at; of one that has more, its answer is unknown."""


@dataclass(frozen=True, slots=True)
class Expression:
    """A question about an operation. Two of the same text are equal.

    `fields` are the names in `FIELDS` of all that is read, `functions` those whose arguments are; `per_grant` says that
    the rule is judged once for each session the operation grants; `const` is the answer where it is the same for every
    operation.
    """

    source: str
    fields: frozenset[str] = field(compare=False)
    functions: frozenset[Selector] = field(compare=False)
    per_grant: bool = field(compare=False)
    const: bool | None = field(compare=False, repr=False)
    _nested: bool = field(compare=False, repr=False)
    _run: Callable[[Facts, GrantFacts | None, tuple[object, ...]], bool | None] = field(compare=False, repr=False)

    def holds(self, facts: Facts, grant: GrantFacts | None = None) -> bool | None:
        """The answer; `None` when a fact it hangs on is missing, or finding out takes too long. Never raises."""
        if grant is None and self.per_grant:
            return None
        if self._nested and (len(facts.calls) > MOST_PARTS or len(facts.moves) > MOST_PARTS):
            return None
        return self._run(facts, grant, ())


def compile_expression(source: str, scope: ExpressionScope) -> Expression | tuple[ExpressionFault, ...]:
    """The expression that `source` is, or everything that is wrong with it."""
    notes = Notes(source)
    part = check(source, scope, notes)
    if notes.faults:
        return tuple(sorted(notes.faults, key=lambda fault: (fault.offset, fault.length)))
    fields, functions = frozenset(notes.fields), frozenset(notes.functions)
    return Expression(source, fields, functions, notes.per_grant, part.known, notes.nested, part.run)
