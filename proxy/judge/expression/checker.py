"""From the tree to closures: what each name means, whether the types fit, and what it may cost."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from fractions import Fraction
from typing import Final, NamedTuple

from proxy.judge.expression import closures, tree
from proxy.judge.expression.amounts import moved, worth_in_token, worth_in_usd
from proxy.judge.expression.argument import argument
from proxy.judge.expression.arithmetic import calculate, negate
from proxy.judge.expression.comparisons import adapted, comparable, compare, contains, misfit
from proxy.judge.expression.faults import UnreadableExpression, did_you_mean
from proxy.judge.expression.fields import Field, fields_of
from proxy.judge.expression.literals import literal, number
from proxy.judge.expression.parser import MAX_DEPTH, parse
from proxy.judge.expression.scope import ExpressionScope
from proxy.judge.expression.typed import MAX_PARTS, Notes, Typed, Variable, broken
from proxy.judge.expression.types import (
    ADDRESS,
    BOOL,
    HASH,
    SELECTOR,
    TEXT,
    UNSIGNED,
    Sort,
    Type,
    amount,
    list_of,
    one_of,
    optional,
    truth,
)
from proxy.judge.facts import Facts
from proxy.judge.tokens import NATIVE, USD
from proxy.userop.movement import MovementKind

MAX_QUANTIFIERS: Final = 2
"""How many may stand inside each other."""

_MOVED: Final = {"spend": MovementKind.SPEND, "exposure": MovementKind.EXPOSURE}
FUNCTIONS: Final = frozenset({"arg", "len", *_MOVED, *closures.QUANTIFIERS})
RESERVED_NAMES: Final = frozenset({"op", "grant", "value", *FUNCTIONS})
"""No macro and no variable may be called so."""

_LISTS: Final[Mapping[str, Type]] = {
    "address": ADDRESS,
    "selector": SELECTOR,
    "permission_id": HASH,
    "text": TEXT,
    "client": TEXT,
}


class _Place(NamedTuple):
    """Where the checker stands: variables in sight, quantifiers around, nesting, macros being read."""

    variables: Mapping[str, Variable]
    quantifiers: int = 0
    level: int = 0
    macros: tuple[str, ...] = ()


def check(source: str, scope: ExpressionScope, notes: Notes) -> Typed:
    """The whole of an expression, compiled; faults are in `notes`."""
    try:
        node = parse(source)
    except UnreadableExpression as unreadable:
        notes.faults.append(unreadable.fault)
        return broken(tree.ExpressionNode(offset=0, end=len(source)))
    return _Checker(scope, notes).condition(node, _Place(variables={}))


class _Checker:
    """One walk over the tree; every part is counted, so that macros cannot grow without end."""

    def __init__(self, scope: ExpressionScope, notes: Notes) -> None:
        self._scope = scope
        self._notes = notes
        self._parsed: dict[str, tree.ExpressionNode | UnreadableExpression] = {}

    def condition(self, node: tree.ExpressionNode, place: _Place) -> Typed:
        """A part that has to be true or false."""
        part = self.part(node, place)
        if part.broken or part.type.sort is Sort.BOOL:
            return part
        shown = self._notes.shown(node)
        return self._notes.complain(node, f"{shown} is {part.type.words}, no condition", "compare it with something")

    def part(self, node: tree.ExpressionNode, place: _Place) -> Typed:
        """Any part."""
        variables, quantifiers, level, macros = place
        place = _Place(variables, quantifiers, level + 1, macros)
        self._notes.parts += 1
        if place.level > MAX_DEPTH:
            return self._notes.complain(node, f"with its macros this nests deeper than {MAX_DEPTH}")
        if self._notes.parts > MAX_PARTS:
            # said once; every part that is left over is then not looked at
            if self._notes.parts > MAX_PARTS + 1:
                return broken(node)
            return self._notes.complain(node, f"with its macros this has more than {MAX_PARTS} parts", "use a list")
        match node:
            case tree.Number():
                return number(self._notes, node, self._scope.tokens)
            case tree.Constant():
                return literal(node)
            case tree.Name():
                return self._name(node, place)
            case tree.Attribute():
                return self._attribute(node, place)
            case tree.ListName():
                return self._named_list(node)
            case tree.ListOf():
                return self._list(node, place)
            case tree.Every():
                return self._every(node, place)
            case tree.Not():
                inner = self.condition(node.part, place)
                known = None if inner.known is None else not inner.known
                return Typed(node=node, type=inner.type, run=closures.negation(inner.run), known=known)
            case tree.Negative():
                return negate(self._notes, node, self.part(node.part, place))
            case tree.Arithmetic():
                return calculate(self._notes, node, self.part(node.left, place), self.part(node.right, place))
            case tree.Comparison():
                judge = contains if node.sign in ("in", "not in") else compare
                return judge(self._notes, node, self.part(node.left, place), self.part(node.right, place))
            case tree.FunctionCall():
                return self._call(node, place)
            case tree.Quantifier():
                return self._quantifier(node, place)
            case _:
                raise AssertionError(node)

    # names

    def _name(self, node: tree.Name, place: _Place) -> Typed:
        name = node.name
        if (variable := place.variables.get(name)) is not None:
            return Typed(node=node, type=variable.type, run=closures.part(variable.depth))
        if name == "value":
            return self._read(node, fields_of("op")["value"], place, "op")
        if name in ("op", "grant"):
            return self._notes.complain(
                node, f"{name} is not a value", f"name one of its fields, such as {_SUCH[name]}"
            )
        if name in FUNCTIONS:
            return self._notes.complain(node, f"{name} is a function", f"write {name}(…)")
        if name in self._scope.macros:
            return self._macro(node, place)
        known = {*place.variables, *self._scope.macros, "value", *(f"op.{own}" for own in fields_of("op"))}
        suggestion = f"did you mean op.{name}?" if name in fields_of("op") else did_you_mean(name, known)
        return self._notes.complain(node, f"{_shown(name)} is not a name that means something here", suggestion)

    def _macro(self, node: tree.Name, place: _Place) -> Typed:
        notes, name = self._notes, node.name
        if name in place.macros:
            return notes.complain(node, f"macro {name} names itself: {' > '.join((*place.macros, name))}")
        outside = (notes.source, notes.macro, notes.macro_node)
        # what is wrong inside is shown where the expression itself names the macro
        if notes.macro is None:
            notes.macro, notes.macro_node = name, node
        else:
            notes.macro = f"{notes.macro} > {name}"
        notes.source = self._scope.macros[name]
        inner = self._body(name)
        if isinstance(inner, UnreadableExpression):
            fault = inner.fault
            part = notes.complain(node, f"{fault.problem} (column {fault.offset + 1} of it)", fault.suggestion)
        else:
            # a macro is a whole: it sees no variable of where it is used
            part = self.part(inner, place._replace(variables={}, macros=(*place.macros, name)))
        notes.source, notes.macro, notes.macro_node = outside
        return replace(part, node=node)

    def _body(self, name: str) -> tree.ExpressionNode | UnreadableExpression:
        if name not in self._parsed:
            try:
                self._parsed[name] = parse(self._scope.macros[name])
            except UnreadableExpression as unreadable:
                self._parsed[name] = unreadable
        return self._parsed[name]

    def _attribute(self, node: tree.Attribute, place: _Place) -> Typed:
        variable = place.variables.get(node.base)
        record = node.base if variable is None else variable.type.unit
        if variable is None and node.base not in ("op", "grant"):
            cure = "op has fields, and so has what a loop calls its parts: any(c.value > 1 ETH for c in op.calls)"
            return self._notes.complain(node, f"{_shown(node.base)} is nothing that has fields", cure)
        if variable is not None and variable.type.sort is not Sort.RECORD:
            return self._notes.complain(node, f"{node.base} is {variable.type.words} and has no fields")
        fields = fields_of(record)
        field = fields.get(node.name)
        if field is not None:
            return self._read(node, field, place, node.base)
        first = fields.get(node.name.partition(".")[0])
        if first is not None:
            shown = f"{node.base}.{node.name.partition('.')[0]}"
            looped = f"ask any(… for c in {shown})" if first.type.sort is Sort.LIST else None
            return self._notes.complain(node, f"{shown} is {first.type.words} and has no fields", looped)
        nearest = did_you_mean(node.name, fields)
        return self._notes.complain(
            node,
            f"{_shown(f'{node.base}.{node.name}')} is not a field",
            nearest and nearest.replace("mean ", f"mean {node.base}."),
        )

    def _read(self, node: tree.ExpressionNode, field: Field, place: _Place, base: str) -> Typed:
        self._notes.fields.add(field.name)
        kind = field.type
        named = self._scope.chains if field.name == "op.chain" else None
        named = self._scope.clients if field.name == "op.client" else named
        if named is not None:
            # a name that is misspelt would make a question that is never answered with yes
            kind = one_of(*sorted(named))
        if kind.sort is Sort.AMOUNT and kind.unit == NATIVE and (coin := self._scope.tokens.native.symbol) != NATIVE:
            kind = replace(kind, unit=coin)
        if (variable := place.variables.get(base)) is not None:
            run = closures.of_part(field.read, variable.depth)
        elif base == "grant":
            self._notes.per_grant = True
            run = closures.of_grant(field.read)
        else:
            run = closures.of_operation(field.read)
            run = closures.walking(run) if field.walks else run
        return Typed(node=node, type=kind, run=run)

    # lists

    def _named_list(self, node: tree.ListName) -> Typed:
        named = self._scope.lists.get(node.name)
        if named is None:
            cure = did_you_mean(node.name, self._scope.lists)
            return self._notes.complain(
                node, f"${_shown(node.name)} is not a list", cure and cure.replace("mean ", "mean $")
            )
        element = _LISTS[named.of]
        if element is TEXT:
            # a list of texts is closed: compared with another closed set it has to share a text with it
            element = one_of(*sorted(text for text in named.values if isinstance(text, str)))
        values = frozenset(named.values)
        return Typed(node=node, type=list_of(element), run=closures.constant(values), literal=True, fixed=values)

    def _list(self, node: tree.ListOf, place: _Place) -> Typed:
        items = [self.part(item, place) for item in node.items]
        if any(item.broken for item in items):
            return broken(node)
        wanted = next((item for item in items if item.type.sort is not Sort.NUMBER), items[0])
        items = [adapted(item, wanted.type) for item in items]
        for item in items:
            if item.is_none or not comparable(wanted.type, item.type):
                return misfit(self._notes, node, wanted, item)
        element = replace(wanted.type, low=None, high=None, nullable=any(item.type.nullable for item in items))
        if element.sort is Sort.TEXT:
            open_ended = any(item.type.values is None for item in items)
            texts = (text for item in items for text in item.type.values or ())
            element = replace(element, values=None if open_ended else tuple(dict.fromkeys(texts)))
        run = closures.gathered(tuple(item.run for item in items))
        fixed = frozenset(item.fixed for item in items) if all(item.fixed is not None for item in items) else None
        return Typed(node=node, type=list_of(element), run=run, literal=fixed is not None, fixed=fixed)

    # logic

    def _every(self, node: tree.Every, place: _Place) -> Typed:
        parts = [self.condition(part, place) for part in node.parts]
        if any(part.broken for part in parts):
            return broken(node)
        known = [part.known for part in parts]
        answer: bool | None = None
        if node.disjunction in known:
            answer = node.disjunction
        elif None not in known:
            answer = not node.disjunction
        run = closures.joined(tuple(part.run for part in parts), disjunction=node.disjunction)
        nullable = any(part.type.nullable for part in parts)
        return Typed(node=node, type=truth(nullable=nullable), run=run, known=answer)

    # functions

    def _call(self, node: tree.FunctionCall, place: _Place) -> Typed:
        name = node.function
        if name not in FUNCTIONS:
            return self._notes.complain(node, f"{_shown(name)} is not a function", did_you_mean(name, FUNCTIONS))
        if name in closures.QUANTIFIERS:
            return self._notes.complain(
                node, f"{name} looks at each part of a list", f"write {name}(… for c in op.calls)"
            )
        if name == "arg":
            return argument(self._notes, node, place.variables)
        if len(node.arguments) != 1:
            return self._notes.complain(node, f"{name} takes one thing, not {len(node.arguments)}")
        inside = node.arguments[0]
        if name in _MOVED:
            return self._moved(node, inside)
        inner = self.part(inside, place)
        if inner.broken:
            return inner
        if inner.type.sort is not Sort.LIST:
            return self._notes.complain(
                node, f"{self._notes.shown(inside)} is {inner.type.words}; len counts the parts of a list"
            )
        return Typed(node=node, type=UNSIGNED, run=closures.length(inner.run))

    def _moved(self, node: tree.FunctionCall, argument: tree.ExpressionNode) -> Typed:
        match argument:
            case tree.Name(name=symbol):
                pass
            case tree.Attribute(base=base, name=rest):
                symbol = f"{base}.{rest}"
            case tree.Constant(value=str(symbol)):
                pass
            case _:
                return self._notes.complain(
                    argument, f"{node.function} takes the symbol of a token", "write spend(USDC)"
                )
        tokens, kind = self._scope.tokens, _MOVED[node.function]
        token = tokens.named(symbol)
        if symbol == USD:
            worth, unit = worth_in_usd(tokens), USD
        elif token is not None:
            worth, unit = worth_in_token(token), token.symbol
        else:
            cure = did_you_mean(symbol, {*tokens.by_symbol, NATIVE, USD}) or "list it in tokens.yaml"
            return self._notes.complain(argument, f"{_shown(symbol)} is not a token that the rules list", cure)
        self._notes.fields |= {"op.moves", "move.amount"}

        def run(facts: Facts, _grant: object, _bound: object) -> int | None:
            return moved(facts, kind, worth)

        return Typed(node=node, type=optional(amount(unit)), run=closures.walking(run))

    def _quantifier(self, node: tree.Quantifier, place: _Place) -> Typed:
        notes = self._notes
        if node.function not in closures.QUANTIFIERS:
            cure = did_you_mean(node.function, closures.QUANTIFIERS) or "use any, all, count or sum"
            return notes.complain(node, f"{_shown(node.function)} does not look at each part of a list", cure)
        if node.variable in RESERVED_NAMES or node.variable in place.variables:
            return notes.complain(node, f"{node.variable} already means something here", "take another name")
        if place.quantifiers == MAX_QUANTIFIERS:
            return notes.complain(node, f"more than {MAX_QUANTIFIERS} of any, all, count, sum inside each other")
        over = self.part(node.over, place)
        if over.broken:
            return over
        if over.type.element is None:
            return notes.complain(node.over, f"{notes.shown(node.over)} is {over.type.words}, no list")
        variable = Variable(type=over.type.element, depth=place.quantifiers)
        inside = place._replace(
            variables={**place.variables, node.variable: variable}, quantifiers=place.quantifiers + 1
        )
        before = notes.parts
        condition = None if node.condition is None else self.condition(node.condition, inside)
        part = self.part(node.part, inside) if node.function == "sum" else self.condition(node.part, inside)
        if part.broken or (condition is not None and condition.broken):
            return broken(node)
        if node.function == "sum" and part.type.sort not in (Sort.NUMBER, Sort.AMOUNT, Sort.DURATION):
            return notes.complain(node.part, f"{notes.shown(node.part)} is {part.type.words} and cannot be added up")
        asked = None if condition is None else condition.run
        run = closures.quantified(node.function, part.run, over.run, asked, weight=notes.parts - before)
        nullable = part.type.nullable or over.type.nullable or (condition is not None and condition.type.nullable)
        return Typed(
            node=node,
            type=replace(_counted(node.function, part), nullable=nullable),
            run=run,
            known=_known(node.function, part),
        )


def _counted(function: str, part: Typed) -> Type:
    if function == "count":
        return UNSIGNED
    if function == "sum":
        never_negative = part.type.low is not None and part.type.low >= 0
        return part.type.within(Fraction(0) if never_negative else None, None)
    return BOOL


def _known(function: str, part: Typed) -> bool | None:
    """What is false of every part is true of none, and what is true of every part is so of all."""
    return part.known if part.known is (function == "all") and function in ("any", "all") else None


def _shown(name: str) -> str:
    return name if len(name) <= 60 else f"{name[:57]}..."


_SUCH: Final = {"op": "op.value", "grant": "grant.how"}
