"""What a new set of rules changes about the one before: told field by field, for the log and for whoever reloaded."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from fractions import Fraction
from typing import Final
from zoneinfo import ZoneInfo

from proxy.judge.expression import Expression
from proxy.judge.measure import print_measure
from proxy.judge.rule import Limit, Place, Rule, Ruleset
from proxy.judge.tokens import Asset, Tokens
from proxy.judge.verdict import Mode
from proxy.record import record
from proxy.userop.primitives import print_bytes

_NOT_CONTENT: Final = frozenset({"place", "order", "identity"})
_MOST_SHOWN: Final = 8
_LONGEST: Final = 120


@record()
class FieldChange:
    """One field of a rule, before and after, in words. `field` is a path: `match.targets`, `check.maximum`."""

    field: str
    before: str
    after: str

    def __str__(self) -> str:
        return f"{self.field} {self.before} → {self.after}"


@record()
class RuleChange:
    """A rule that is in both sets and not the same. `counts_anew` when what it counts is no longer what it was."""

    rule: str
    changes: tuple[FieldChange, ...]
    counts_anew: bool
    inherits: bool = False  # it refuses from now on, by a count in which there is what was over the limit

    def __str__(self) -> str:
        told = ", ".join(str(change) for change in self.changes)
        anew = "; it counts anew" if self.counts_anew else ""
        return f"{self.rule}: {told or 'what it counts'}{anew}{f'; {INHERITS}' if self.inherits else ''}"


@record(kw_only=True)
class Difference:
    """Ids of rules added and removed, rules changed, symbols of tokens that changed in any way.

    `reordered` when rules of both sets stand in another order, which decides between rejections of one severity.
    """

    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    changed: tuple[RuleChange, ...] = ()
    tokens: tuple[str, ...] = ()
    reordered: bool = False

    def __bool__(self) -> bool:
        return bool(self.added or self.removed or self.changed or self.tokens or self.reordered)

    def lines(self, after: Ruleset) -> Iterator[str]:
        """One sentence for each thing that changed."""
        modes = {rule.id: rule.mode for rule in after.rules}
        yield from (f"added {rule} in mode {modes[rule]}" for rule in self.added)
        yield from (f"removed {rule}" for rule in self.removed)
        yield from (f"changed {change}" for change in self.changed)
        if self.tokens:
            yield f"changed tokens {', '.join(self.tokens)}"
        if self.reordered:
            yield "rules stand in another order"

    def as_json(self) -> dict[str, object]:
        """The same, ready to print."""
        return {
            "added": list(self.added),
            "removed": list(self.removed),
            "changed": [
                {
                    "rule": change.rule,
                    "countsAnew": change.counts_anew,
                    "inherits": change.inherits,
                    "fields": [
                        {"field": each.field, "before": each.before, "after": each.after} for each in change.changes
                    ],
                }
                for change in self.changed
            ],
            "tokens": list(self.tokens),
            "reordered": self.reordered,
        }


INHERITS: Final = "it inherits what it has counted, and refuses at once where that is over its limit"
"""Said of a rule that only alerted and is to enforce."""

NO_DIFFERENCE: Final = Difference()
"""Two sets that say the same."""


def difference(before: Ruleset, after: Ruleset) -> Difference:
    """What `after` changes. Where a rule is written does not matter, only what it says."""
    old = {rule.id: rule for rule in before.rules}
    new = {rule.id: rule for rule in after.rules}
    both = [(old[name], new[name]) for name in new if name in old]
    symbols = {**before.tokens.by_symbol, **after.tokens.by_symbol}
    return Difference(
        added=tuple(name for name in new if name not in old),
        removed=tuple(name for name in old if name not in new),
        changed=tuple(
            change for one, other in both if (change := _change(one, before.tokens, other, after.tokens)) is not None
        ),
        tokens=tuple(
            symbol
            for symbol in sorted(symbols)
            if before.tokens.by_symbol.get(symbol) != after.tokens.by_symbol.get(symbol)
        ),
        reordered=[name for name in old if name in new] != [name for name in new if name in old],
    )


def _change(before: Rule, old_tokens: Tokens, after: Rule, new_tokens: Tokens) -> RuleChange | None:
    changes = tuple(
        FieldChange(each.field, _maximum(before, old_tokens, each.before), _maximum(after, new_tokens, each.after))
        if each.field == "check.maximum"
        else each
        for each in _changes(before, after, "")
    )
    counts_anew = before.identity != after.identity
    enforces = before.mode is Mode.ALERT and after.mode is Mode.ENFORCE
    inherits = enforces and not counts_anew and isinstance(after.check, Limit) and after.check.window is not None
    return RuleChange(after.id, changes, counts_anew, inherits) if changes or counts_anew else None


def _maximum(rule: Rule, tokens: Tokens, otherwise: str) -> str:
    """The most that a limit allows in people's units, which are the same on nearly every chain."""
    limit = rule.check
    if not isinstance(limit, Limit):
        return otherwise
    printed = [
        str(most) if limit.amount is None else print_measure(most, limit.amount, chain_id, tokens)
        for chain_id, most in limit.maximum.items()
    ]
    return _shorten(", ".join(dict.fromkeys(printed)))


def _changes(before: object, after: object, path: str) -> Iterator[FieldChange]:
    for each in fields(before):  # type: ignore[arg-type]  # two records of one class, as the callers see to
        if each.name in _NOT_CONTENT:
            continue
        one, other = getattr(before, each.name), getattr(after, each.name)
        if one == other:
            continue
        name = f"{path}{each.name}"
        if is_dataclass(one) and type(one) is type(other) and not isinstance(one, Expression):
            yield from _changes(one, other, f"{name}.")
        else:
            yield FieldChange(name, _shorten(_show(one)), _shorten(_show(other)))


def _shorten(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"


def _show(value: object) -> str:
    match value:
        case None:
            return "none"
        case bool():
            return "true" if value else "false"
        case Enum():
            return str(value.value)
        case Expression():
            return repr(value.source)
        case str():
            return repr(value)
        case bytes():
            return print_bytes(value)
        case int() | Fraction() | ZoneInfo():
            return str(value)
        case Asset():
            return f"{'coin' if value.address is None else print_bytes(value.address)} on {value.chain_id}"
        case Place():
            return f"{value.path}:{value.line}"
        case Mapping():
            return _listed([f"{_show(key)}: {_show(item)}" for key, item in value.items()], "{}")
        case frozenset():
            return _listed(sorted(_show(item) for item in value), "{}")
        case tuple():
            return _listed([_show(item) for item in value], "[]")
        case _:
            return _show_record(value)


def _show_record(value: object) -> str:
    if not is_dataclass(value):
        return type(value).__name__
    told = [f"{each.name} {_show(item)}" for each in fields(value) if (item := getattr(value, each.name)) is not None]
    return f"{type(value).__name__.lower()}({', '.join(told)})"


def _listed(items: list[str], brackets: str) -> str:
    more = f", … {len(items) - _MOST_SHOWN} more" if len(items) > _MOST_SHOWN else ""
    return f"{brackets[0]}{', '.join(items[:_MOST_SHOWN])}{more}{brackets[1]}"
