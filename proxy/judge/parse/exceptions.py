"""What is warned of in `except`: an exception that frees more than it names, and one that has ended."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Final

from proxy.judge.everyday import batches_with
from proxy.judge.expression import Expression
from proxy.judge.parse.faults import RuleFault
from proxy.judge.reachability import is_wider
from proxy.judge.rule import Exemption, Match, Rule
from proxy.judge.verdict import Mode
from proxy.userop.budget import Budget, Overspent

_OF_ONE_PART: Final = {
    "targets": "target",
    "selectors": "selector",
    "moves": "moves",
    "any_move": "moves",
    "acts": "act",
    "any_act": "act",
}
"""Keys of a match that one call, one move or one act of an operation is enough for, as they are written."""
_PARTS: Final = frozenset({"op.calls", "op.moves", "op.acts"})
_UNITS_TO_TRY: Final = 1_000
_EVERYTHING: Final = Match(preview=None, verdicts=None)


def freeing(rules: Iterable[Rule]) -> Iterator[RuleFault]:
    """Exceptions that free an operation of whatever else is in it, once one call of it is what they name."""
    for rule in rules:
        if not rule.exemptions or rule.mode is Mode.OFF:
            continue
        named = [_named_by_one_part(each, rule) for each in rule.exemptions]
        for keys in filter(None, named):
            keys_written = " and ".join(keys)
            problem = (
                f"rule {rule.id} has an exception whose {keys_written} one call alone can meet: whatever else is"
                " in the same operation is exempt with it"
            )
            cure = "say in its when what all must be: all(c.target in $name for c in op.calls), or len(op.calls) == 1"
            yield RuleFault(place=rule.place, problem=problem, suggestion=cure, rule=rule.id)


def _named_by_one_part(exemption: Exemption, rule: Rule) -> list[str]:
    """The keys by which one part of an operation frees all of it; none where its condition asks about the others."""
    match, when = exemption.match, exemption.when
    narrowing = {name: value for name in _OF_ONE_PART if (value := getattr(match, name)) not in (None, False)}
    if not narrowing or is_wider(replace(_EVERYTHING, **narrowing), rule.match):
        return []  # what the rule itself asks for is no exception
    if when is not None and when.fields & _PARTS:
        calls = match.targets is not None or match.selectors is not None
        if not calls or not _holds_of_a_batch(when, match):
            return []
    return list(dict.fromkeys(_OF_ONE_PART[name] for name in narrowing))


def _holds_of_a_batch(when: Expression, match: Match) -> bool:
    """Whether it may hold for an operation with one call that `match` names and others that it does not."""
    try:
        return any(when.holds(facts, budget=Budget(_UNITS_TO_TRY)) is not False for facts in batches_with(match))
    except Overspent:
        return True


def ended(rules: Iterable[Rule], now: float) -> Iterator[RuleFault]:
    """Exceptions that are over at `now`, unix seconds: their rule has come back."""
    for rule in rules:
        for exemption in rule.exemptions:
            if exemption.until is not None and exemption.until <= now:
                # what is written with an offset may lie before the first year of UTC
                since = datetime.fromtimestamp(max(exemption.until, 0.0), UTC).strftime("%Y-%m-%d %H:%M UTC")
                why = "" if exemption.reason is None else f" ({exemption.reason})"
                problem = f"rule {rule.id} has an exception{why} that ended {since} and exempts nothing any more"
                yield RuleFault(
                    place=rule.place, problem=problem, suggestion="remove it, or set until anew", rule=rule.id
                )
