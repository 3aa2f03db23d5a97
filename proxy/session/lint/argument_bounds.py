"""What the rules of a policy make of each argument of a call: every value that can still pass lies within bounds.

Bounds err on the wide side: an argument may be narrower than told, never wider.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from proxy.session.policies.arg import ArgNode, ArgRules, NodeType
from proxy.session.policies.parameter_rules import Condition, ParameterRule
from proxy.session.policies.universal_action import ActionRules
from proxy.userop.primitives import UINT256_MAX

_LOW_128: Final = 2**128 - 1
_MOST_VALUES: Final = 64
_MOST_OFFSETS: Final = 24
"""Arguments that bounds are told of; what is further back may hold anything."""

_NEGATED: Final = {
    Condition.EQUAL: Condition.NOT_EQUAL,
    Condition.NOT_EQUAL: Condition.EQUAL,
    Condition.GREATER_THAN: Condition.LESS_THAN_OR_EQUAL,
    Condition.LESS_THAN_OR_EQUAL: Condition.GREATER_THAN,
    Condition.LESS_THAN: Condition.GREATER_THAN_OR_EQUAL,
    Condition.GREATER_THAN_OR_EQUAL: Condition.LESS_THAN,
}


@dataclass(frozen=True, slots=True)
class ArgumentBounds:
    """Of one word: lowest and highest value, the values if they are listed, and how much may pass in all."""

    lowest: int = 0
    highest: int = UINT256_MAX
    values: frozenset[int] | None = None
    total: int | None = None

    @property
    def is_empty(self) -> bool:
        """No value passes."""
        exceeds = self.total is not None and self.lowest > self.total
        return exceeds or self.lowest > self.highest or self.values == frozenset()

    @property
    def is_listed(self) -> bool:
        """Whether only values named one by one pass."""
        return self.values is not None or self.lowest == self.highest


Bounds = Mapping[int, ArgumentBounds]
"""By byte offset after the selector. An offset that is not named may hold anything."""

ANYTHING: Final = ArgumentBounds()
"""What holds of an argument that no rule speaks of."""


def bounds_of_rules(config: ActionRules | ArgRules) -> Bounds | None:
    """What every call that passes satisfies; `None` when none can pass."""
    if isinstance(config, ArgRules):
        return _Tree(config).bounds(config.root) if _is_tree(config) else {}
    return both(bounds_of_rule(rule) for rule in config.rules)


def bounds_of_rule(rule: ParameterRule) -> Bounds | None:
    """Of one rule; empty when it rules nothing out, but for a single value."""
    total = rule.limit if rule.is_limited and rule.limit < UINT256_MAX else None
    bounds = replace(_compared(rule.condition, rule.reference), total=total)
    if bounds.is_empty:
        return None
    return {} if bounds == ANYTHING else {rule.offset: bounds}


def _compared(condition: Condition, reference: int) -> ArgumentBounds:
    match condition:
        case Condition.EQUAL:
            return ArgumentBounds(reference, reference, frozenset({reference}))
        case Condition.GREATER_THAN:
            return ArgumentBounds(lowest=reference + 1)
        case Condition.GREATER_THAN_OR_EQUAL:
            return ArgumentBounds(lowest=reference)
        case Condition.LESS_THAN:
            return ArgumentBounds(highest=reference - 1)
        case Condition.LESS_THAN_OR_EQUAL:
            return ArgumentBounds(highest=reference)
        case Condition.IN_RANGE:
            return ArgumentBounds(reference >> 128, reference & _LOW_128)
        case Condition.NOT_EQUAL:
            return ANYTHING


def both(parts: Iterable[Bounds | None]) -> Bounds | None:
    """All of them hold."""
    merged: dict[int, ArgumentBounds] = {}
    for part in parts:
        if part is None:
            return None
        if not merged:
            merged.update(part)
            continue
        for offset, bounds in part.items():
            if offset in merged:
                merged[offset] = _intersection(merged[offset], bounds)
                if merged[offset].is_empty:
                    return None
            elif len(merged) < _MOST_OFFSETS:
                merged[offset] = bounds
    return merged


def either(left: Bounds | None, right: Bounds | None) -> Bounds | None:
    """One of two holds: only what both speak of is bounded."""
    if left is None:
        return right
    if right is None:
        return left
    merged = {offset: _union(left[offset], right[offset]) for offset in left if offset in right}
    return {offset: bounds for offset, bounds in merged.items() if bounds != ANYTHING}


def _intersection(one: ArgumentBounds, other: ArgumentBounds) -> ArgumentBounds:
    lowest, highest = max(one.lowest, other.lowest), min(one.highest, other.highest)
    values = other.values if one.values is None else one.values
    if values is not None:
        if one.values is not None and other.values is not None:
            values = one.values & other.values
        values = frozenset(value for value in values if lowest <= value <= highest)
    totals = [total for total in (one.total, other.total) if total is not None]
    return ArgumentBounds(lowest, highest, values, min(totals, default=None))


def _union(one: ArgumentBounds, other: ArgumentBounds) -> ArgumentBounds:
    values = None
    if one.values is not None and other.values is not None and len(one.values | other.values) <= _MOST_VALUES:
        values = one.values | other.values
    # two rules have a counter each, and a call may choose which of them it is charged to
    total = None if one.total is None or other.total is None else one.total + other.total
    return ArgumentBounds(min(one.lowest, other.lowest), max(one.highest, other.highest), values, total)


class _Tree:
    """One walk over an expression; each node is looked at once, though trees may share them."""

    __slots__ = ("_config", "_known")

    def __init__(self, config: ArgRules) -> None:
        self._config = config
        self._known: dict[int, Bounds | None] = {}

    def bounds(self, index: int) -> Bounds | None:
        if index not in self._known:
            self._known[index] = self._bounds_of(self._config.nodes[index])
        return self._known[index]

    def _bounds_of(self, node: ArgNode) -> Bounds | None:
        match node.type:
            case NodeType.RULE:
                return bounds_of_rule(self._config.rules[node.rule])
            case NodeType.AND:
                return both((self.bounds(node.left), self.bounds(node.right)))
            case NodeType.OR:
                return either(self.bounds(node.left), self.bounds(node.right))
            case NodeType.NOT:
                return self._negation(self._config.nodes[node.left])

    def _negation(self, node: ArgNode) -> Bounds | None:
        """Of a single comparison only; what else a `not` stands before may hold or not."""
        if node.type is not NodeType.RULE:
            return {}
        rule = self._config.rules[node.rule]
        if rule.is_limited or rule.condition not in _NEGATED:
            return {}
        return bounds_of_rule(replace(rule, condition=_NEGATED[rule.condition]))


def _is_tree(config: ArgRules) -> bool:
    """Whether every path from the root ends; the contract refuses indexes out of range, but no cycle."""
    done: set[int] = set()
    above: set[int] = set()
    stack = [(config.root, False)]
    while stack:
        index, left_behind = stack.pop()
        if left_behind:
            above.discard(index)
            done.add(index)
            continue
        if index in above or not 0 <= index < len(config.nodes):
            return False
        if index in done:
            continue
        node = config.nodes[index]
        if node.type is NodeType.RULE and not 0 <= node.rule < len(config.rules):
            return False
        above.add(index)
        stack.append((index, True))
        stack += [(child, False) for child in _children(node)]
    return True


def _children(node: ArgNode) -> tuple[int, ...]:
    match node.type:
        case NodeType.RULE:
            return ()
        case NodeType.NOT:
            return (node.left,)
        case _:
            return (node.left, node.right)
