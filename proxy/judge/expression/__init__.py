"""Expressions: what a rule asks beyond its match, as one typed question about the facts of an operation.

An expression is read once (`lexer`, `parser`), checked and compiled to closures (`checker`), and then only called. It
reaches the fields of the table in `fields` and nothing else; it has no loops but those over the parts of an
operation, which the operation's budget pays for, no exponents and no recursion.
"""

from __future__ import annotations

from dataclasses import field

from proxy.judge.expression.checker import RESERVED_NAMES, check
from proxy.judge.expression.closures import Run
from proxy.judge.expression.faults import ExpressionFault
from proxy.judge.expression.fields import FIELDS, Field
from proxy.judge.expression.scope import ExpressionScope, NamedList
from proxy.judge.expression.typed import Notes
from proxy.judge.facts import Facts, GrantFacts
from proxy.record import record
from proxy.userop.budget import Budget
from proxy.userop.primitives import Selector

__all__ = [
    "FIELDS",
    "RESERVED_NAMES",
    "Expression",
    "ExpressionFault",
    "ExpressionScope",
    "Field",
    "NamedList",
    "compile_expression",
]


@record()
class Expression:
    """A question about an operation. Two of the same text are equal.

    `fields` are the names in `FIELDS` of all that is read, `functions` those whose arguments are; `per_grant` says that
    the rule is judged once for each session the operation grants; `const` is the answer where it is the same for every
    operation; `parts` is how much there is to it, macros written out.
    """

    source: str
    fields: frozenset[str] = field(compare=False)
    functions: frozenset[Selector] = field(compare=False)
    per_grant: bool = field(compare=False)
    const: bool | None = field(compare=False, repr=False)
    parts: int = field(compare=False, repr=False)
    _run: Run = field(compare=False, repr=False)

    def holds(self, facts: Facts, grant: GrantFacts | None = None, budget: Budget | None = None) -> bool | None:
        """The answer; `None` when a fact it hangs on is missing. Raises `Overspent`, nothing else, when finding out
        takes more work than `budget` pays for: that of one operation where none is given."""
        if grant is None and self.per_grant:
            return None
        answer: bool | None = self._run(facts, grant, (Budget() if budget is None else budget,))
        return answer

    @property
    def ask(self) -> Run:
        """The same with nothing between: to be called with the facts, the grant, and the budget in a tuple."""
        return (lambda facts, grant, bound: self.holds(facts, grant, bound[0])) if self.per_grant else self._run


def compile_expression(source: str, scope: ExpressionScope) -> Expression | tuple[ExpressionFault, ...]:
    """The expression that `source` is, or everything that is wrong with it."""
    notes = Notes(source)
    part = check(source, scope, notes)
    if notes.faults:
        return tuple(sorted(notes.faults, key=lambda fault: (fault.offset, fault.length)))
    fields, functions = frozenset(notes.fields), frozenset(notes.functions)
    return Expression(source, fields, functions, notes.per_grant, part.known, notes.parts, part.run)
