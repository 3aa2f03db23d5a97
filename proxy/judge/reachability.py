"""Rules that can never fire, and rules whose rejection can never be the one that counts.

Only what follows from the rules themselves is said here; nothing is guessed about operations.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import fields
from functools import lru_cache
from operator import attrgetter
from typing import Final

from proxy.judge.everyday import is_untold, unknown_of_most
from proxy.judge.expression import Expression
from proxy.judge.facts import ALLOWED
from proxy.judge.match import Widest
from proxy.judge.rule import REJECTED, Deviation, Fail, Hours, Limit, Match, Rule, Schedule
from proxy.judge.tokens import Tokens
from proxy.judge.verdict import Mode

_NAMES: Final = tuple(each.name for each in fields(Match))
_VALUES: Final = attrgetter(*_NAMES)
_NOTHING: Final = frozenset[object]()
_WEEK: Final = 7
_DAY_MINUTES: Final = 24 * 60
_OF_SESSIONS: Final = {"permission_ids": "permission_id", "session_modes": "mode", "modules": "module"}
_IMPLIED: Final = {"any_paymaster": "paymasters", "any_act": "acts", "any_move": "moves"}


def never_fires(rule: Rule, tokens: Tokens, chains: Mapping[str, int] | None) -> str | None:
    """Why a rule can never fire; `None` when it can, as far as the rules tell.

    `chains` are those of the settings; `None` when they are not known.
    """
    return next(_reasons(rule, tokens, chains), None)


def _reasons(rule: Rule, tokens: Tokens, chains: Mapping[str, int] | None) -> Iterator[str]:
    match, when = rule.match, rule.when
    if when is not None and when.const is False:
        yield "its condition holds for no operation"
    if match.session is False:
        for name, key in _OF_SESSIONS.items():
            if getattr(match, name) is not None:
                yield f"match asks for {key}, which only an operation of a session has, and for session: false"
    if match.grant is False and any(each is not None and each.per_grant for each in _conditions(rule)):
        yield "it asks about grant, and its match for operations that grant nothing"
    if _NOTHING in (values := _VALUES(match)):
        for name, value in zip(_NAMES, values, strict=True):
            if value == _NOTHING:
                yield f"match lists no {name.replace('_', ' ')}"
    for exemption in rule.exemptions:
        constant = True if exemption.when is None else exemption.when.const
        if exemption.until is None and constant is True and is_wider(exemption.match, match):
            yield "an exception of its own covers all of it"
    yield from _check_reasons(rule, tokens, chains)


def _conditions(rule: Rule) -> Iterator[Expression | None]:
    yield rule.when
    yield from (each.when for each in rule.exemptions)


def _check_reasons(rule: Rule, tokens: Tokens, chains: Mapping[str, int] | None) -> Iterator[str]:
    check, here = rule.check, _chain_ids(rule.match, chains)
    moves = rule.match.moves
    if moves and here is not None and all(each.chain_id not in (0, *here) for each in moves):
        yield "what match.moves names is on none of the chains this rule is for"
    if isinstance(check, Schedule) and not check.within and _covers_the_week(check.hours):
        yield "its hours leave no time outside of them"
    if not isinstance(check, Limit | Deviation) or check.amount is None or check.amount.asset is None:
        return
    token = tokens.named(check.amount.asset)
    if token is None or token.native:
        return
    if not token.places:
        yield f"{token.symbol} is listed on no chain"
    elif here is not None and here.isdisjoint(token.places):
        yield f"{token.symbol} is on none of the chains this rule is for"


def _chain_ids(match: Match, chains: Mapping[str, int] | None) -> frozenset[int] | None:
    if chains is None:
        return None
    return frozenset(chain_id for name, chain_id in chains.items() if match.chains is None or name in match.chains)


@lru_cache(maxsize=64)
def _covers_the_week(hours: tuple[Hours, ...]) -> bool:
    minutes: set[int] = set()
    for each in hours:
        length = (each.end - each.start) % _DAY_MINUTES or _DAY_MINUTES
        for day in each.days:
            start = day * _DAY_MINUTES + each.start
            minutes.update(minute % (_WEEK * _DAY_MINUTES) for minute in range(start, start + length))
    return len(minutes) == _WEEK * _DAY_MINUTES


_UNTOLD: Final = frozenset({"move.token", "move.amount", "move.counterparty"})


def refuses_unknown(rule: Rule) -> str | None:
    """Which operations a rule that fails closed refuses because nobody can tell what they do; `None` for few."""
    if rule.fail is not Fail.CLOSED:
        return None
    such = ", such as one of an unknown function" if rule.when is None or is_untold(rule.match, rule.when) else ""
    if rule.check is None and rule.match.moves is not None:
        return f"operations with a call of which nobody can tell what it moves{such}"
    if rule.when is not None and rule.when.fields & _UNTOLD:
        return f"operations with a move that call data does not tell in full{such}"
    if rule.when is not None and (most := unknown_of_most(rule.match, rule.when)) is not None:
        return most
    check = rule.check
    if isinstance(check, Limit) and check.amount is not None and check.amount.usd:
        return "operations that move a token without a price"
    return None


def shadowing(rules: Sequence[Rule]) -> Iterator[tuple[Rule, Rule]]:
    """Each enforcing rule whose rejection never counts, and the rule that always comes before it.

    That one enforces, asks nothing beyond its match, takes in all that the other does, and is graver, or as grave and
    written earlier.
    """
    first: dict[Match, Rule] = {}  # of each match, the one that comes before all others
    for rule in rules:
        if _refuses_all_it_matches(rule):
            known = first.get(rule.match)
            first[rule.match] = rule if known is None or _comes_before(rule, known) else known
    widest, plain = Widest(tuple(first)), list(first.values())
    for rule in rules:
        if rule.mode is Mode.ENFORCE:
            wider = (plain[position] for position in widest.candidates(rule.match))
            over = next(
                (each for each in wider if _comes_before(each, rule) and is_wider(each.match, rule.match)), None
            )
            if over is not None:
                yield rule, over


def _refuses_all_it_matches(rule: Rule) -> bool:
    return rule.mode is Mode.ENFORCE and rule.check is None and rule.when is None and not rule.exemptions


def _comes_before(first: Rule, second: Rule) -> bool:
    return (-first.severity.rank, first.order) < (-second.severity.rank, second.order)


def is_wider(wide: Match, narrow: Match) -> bool:
    """Whether every operation that fits `narrow` fits `wide`. No when that cannot be told."""
    return all(_field_is_wider(name, wide, narrow) for name in _NAMES)


def _field_is_wider(name: str, wide: Match, narrow: Match) -> bool:
    wanted, given = getattr(wide, name), getattr(narrow, name)
    if wanted is None or wanted == given:
        return True
    if name == "verdicts":
        return _verdicts_are_wider(wanted, given)
    if isinstance(wanted, bool):
        # whoever names paymasters, acts or tokens asks for one to be there
        return wanted and name in _IMPLIED and getattr(narrow, _IMPLIED[name]) is not None
    return given is not None and given <= wanted


def _verdicts_are_wider(wanted: Collection[str], given: Collection[str] | None) -> bool:
    if given is None:
        return ALLOWED in wanted and REJECTED in wanted
    return all(each in wanted or (each != ALLOWED and REJECTED in wanted) for each in given)
