"""`arg` in an expression: what is written, and what it comes to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from proxy.judge.expression import closures, tree
from proxy.judge.expression.arguments import Misread, parse_function
from proxy.judge.expression.faults import did_you_mean
from proxy.judge.expression.typed import Notes, Typed, Variable
from proxy.judge.expression.types import CALL, optional

_USUAL: Final = 'write arg("swap(uint256 minOut)", "minOut")'
_IN_A_LOOP: Final = "write any(arg(c, …) … for c in op.calls)"


def argument(notes: Notes, node: tree.FunctionCall, variables: Mapping[str, Variable]) -> Typed:
    """`arg("swap(uint256 minOut)", "minOut")`, or `arg(c, …)` of one call in a loop over calls."""
    texts = [part.value for part in node.arguments if isinstance(part, tree.Constant) and type(part.value) is str]
    variable = None
    if len(node.arguments) == 3 and isinstance(first := node.arguments[0], tree.Name):
        variable = variables.get(first.name)
        if variable is None or variable.type is not CALL:
            return notes.complain(first, f"{_shown(first.name)} is no call", _IN_A_LOOP)
    if len(texts) != 2 or len(node.arguments) != 2 + (variable is not None):
        return notes.complain(node, "arg takes a function and the name of one of its arguments", _USUAL)
    try:
        function = parse_function(texts[0])
    except Misread as error:
        return notes.complain(node.arguments[-2], f"{_shown(texts[0])}: {error}", _USUAL)
    parameter = function.parameters.get(texts[1])
    if parameter is None:
        cure = did_you_mean(texts[1], function.parameters) or _USUAL
        return notes.complain(node.arguments[-1], f"no argument of the function is called {_shown(texts[1])}", cure)
    if parameter.type is None:
        return notes.complain(node.arguments[-1], f"nothing can be asked of {_shown(parameter.written)}")
    notes.functions.add(function.selector)
    notes.fields.add("call.selector")
    if variable is not None:
        run = closures.of_this_call(lambda call, budget: function.value(call, parameter, budget), variable.depth)
    else:
        run = closures.of_one_call(lambda facts, budget: function.only_value(facts, parameter, budget))
    return Typed(node=node, type=optional(parameter.type), run=run)


def _shown(name: str) -> str:
    return name if len(name) <= 60 else f"{name[:57]}..."
