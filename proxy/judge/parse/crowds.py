"""How many rules with a count may concern one operation: more than are looked up for one are left to their `fail`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Final

from proxy.judge.rule import Match, Rule
from proxy.judge.verdict import Mode

_ONE_OF: Final = (
    *("session", "preview", "grant", "any_move", "any_act", "any_paymaster", "verdicts"),
    *("chains", "clients", "accounts", "permission_ids", "session_modes", "modules", "paymasters", "methods"),
    *("targets", "selectors"),
)
"""What an operation of one call has one of, as `Match` calls it."""


def counts_of_one(rules: Iterable[Rule]) -> int:
    """At most so many rules that are not off count one operation of one call, as far as their matches tell."""
    matches = [rule.match for rule in rules if rule.check is not None and rule.mode is not Mode.OFF]
    return min(_in_one_place(matches, name) for name in _ONE_OF)


def _in_one_place(matches: Sequence[Match], name: str) -> int:
    """The same, by what they ask of this alone."""
    anywhere, by_value = 0, Counter[object]()
    for match in matches:
        wanted = getattr(match, name)
        if wanted is None:
            anywhere += 1
        else:
            by_value.update(wanted if isinstance(wanted, frozenset) else (wanted,))
    return anywhere + max(by_value.values(), default=0)
