"""A rule made ready, and what it says of an operation by itself, before anything that was counted is looked at."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

from proxy.judge.asked import Ask, Bind, CheckTerms
from proxy.judge.checks import Places, ready
from proxy.judge.expression import Expression
from proxy.judge.expression.closures import Run
from proxy.judge.facts import IN_FLIGHT, Facts, GrantFacts
from proxy.judge.match import UNKNOWN_ASSET, Test, matcher
from proxy.judge.rule import Fail, Limit, Match, Rule
from proxy.judge.shape import OF_SHAPE
from proxy.judge.verdict import Mode
from proxy.userop.budget import RULES, STEPS_A_UNIT, Budget
from proxy.userop.primitives import print_bytes

_RANK: Final = {mode: rank for rank, mode in enumerate((Mode.OFF, Mode.SHADOW, Mode.ALERT, Mode.ENFORCE))}
_STEPS_OF_A_MATCH: Final = 2
_STEPS_OF_A_GRANT: Final = 2


def rank_of(mode: Mode) -> int:
    """The higher, the stronger."""
    return _RANK[mode]


def lower(mode: Mode, ceiling: Mode) -> Mode:
    """The weaker of two modes."""
    return min(mode, ceiling, key=rank_of)


@dataclass(slots=True)
class PreparedRule:
    """What is the same for every operation, worked out once.

    `match` takes in what may be one of the assets that the rule names; `surely` says whether it is one. `plain` rules
    hang on their condition alone: no exception, nothing asked of each grant, no history taught by others.
    """

    rule: Rule
    mode: Mode
    rank: int  # of its mode
    opens: bool  # what it cannot tell lets an operation pass
    match: Match
    when: Run | None
    check: Ask | None
    bind: Bind | None
    still: bool  # its condition hangs on nothing but the shape of a small operation (`proxy.judge.shape`)
    still_without_moves: bool  # the same of one that moves nothing
    places: Places | None
    is_limit: bool
    plain: bool
    surely: Test | None
    exempt: tuple[tuple[Test, Expression | None, float | None], ...]
    per_grant: bool  # it is asked once for each session that is granted
    in_flight: bool  # it asks what else is in flight, which is known in the last step only
    walks: int  # how often its matches look at all calls or moves
    parts: int  # of its expressions
    allowance: int  # units that asking it of an operation of one call may take


def prepare(terms: CheckTerms) -> PreparedRule:
    """A rule made ready."""
    rule, check = terms.rule, terms.rule.check
    expressions = [rule.when, *(each.when for each in rule.exemptions)]
    match = rule.match
    if rule.check is None and match.moves:
        # it fires because such a token moves: a call of which nobody knows what it moves may move it
        match = replace(match, moves=match.moves | {UNKNOWN_ASSET})
    surely = None if match is rule.match else matcher(rule.match)
    per_grant = any(each is not None and each.per_grant for each in expressions)
    parts = sum(each.parts for each in expressions_of(rule))
    made_ready = None if check is None else ready(terms, check)
    return PreparedRule(
        rule=rule,
        mode=terms.mode,
        rank=rank_of(terms.mode),
        opens=rule.fail is Fail.OPEN,
        match=match,
        when=None if rule.when is None else rule.when.ask,
        check=None if made_ready is None else made_ready.ask,
        bind=None if made_ready is None else made_ready.bind,
        still=rule.when is None or (rule.when.fields <= OF_SHAPE and not rule.when.functions),
        still_without_moves=rule.when is None
        or (not rule.when.functions and all(each.startswith("move.") for each in rule.when.fields - OF_SHAPE)),
        places=None if check is None else Places(check),
        is_limit=isinstance(check, Limit),
        plain=surely is None and not per_grant and not rule.exemptions and rule.learn is None,
        surely=surely,
        exempt=tuple((matcher(each.match), each.when, each.until) for each in rule.exemptions),
        per_grant=per_grant,
        in_flight=any(not each.fields.isdisjoint(IN_FLIGHT) for each in expressions_of(rule)),
        walks=sum(map(_walks, [match, rule.match, *(each.match for each in rule.exemptions)])),
        parts=parts,
        allowance=RULES + 2 * parts // STEPS_A_UNIT,
    )


def expressions_of(rule: Rule) -> Iterator[Expression]:
    """All that a rule asks in words."""
    for each in (rule.when, rule.learn, *(each.when for each in rule.exemptions)):
        if each is not None:
            yield each


def _walks(match: Match) -> int:
    return (match.targets is not None or match.selectors is not None) + (match.moves is not None)


def fits(prepared: PreparedRule, test: Test | None, facts: Facts, budget: Budget) -> bool:
    """Whether the operation is of the structure that the rule concerns, of which `test` is left to ask. Raises
    `Overspent`."""
    if prepared.walks:
        budget.draw_steps(_STEPS_OF_A_MATCH * prepared.walks * (len(facts.calls) + len(facts.moves)))
    return test is None or test(facts)


def teaches(prepared: PreparedRule, facts: Facts, budget: Budget) -> bool:
    """Whether the operation teaches the rule's history; what an exception takes out does not. Raises `Overspent`."""
    learn = prepared.rule.learn
    if learn is None or learn.holds(facts, None, budget) is not True:
        return False
    return _exempted(prepared, facts, None, budget) is False


def concerned(prepared: PreparedRule, facts: Facts, budget: Budget) -> tuple[bool | None, str | None]:
    """Whether the condition holds and no exception does; for a rule on granted sessions, and of which of them. Raises
    `Overspent`."""
    is_concerned, about = _asked_of(prepared, facts, budget)
    if is_concerned and prepared.surely is not None and not prepared.surely(facts):
        return None, None
    return is_concerned, about


def _asked_of(prepared: PreparedRule, facts: Facts, budget: Budget) -> tuple[bool | None, str | None]:
    if not prepared.per_grant:
        return _applies(prepared, facts, None, budget), None
    budget.draw_steps((prepared.parts + _STEPS_OF_A_GRANT) * len(facts.grants))
    unknown = False
    for grant in facts.grants:
        applies = _applies(prepared, facts, grant, budget)
        if applies:
            return True, f"{sentence_of(prepared.rule)} (session {print_bytes(grant.permission_id)})"
        unknown = unknown or applies is None
    return (None if unknown else False), None


def _applies(prepared: PreparedRule, facts: Facts, grant: GrantFacts | None, budget: Budget) -> bool | None:
    when = prepared.rule.when
    holds = True if when is None else when.holds(facts, grant, budget)
    if holds is False:
        return False
    exempt = _exempted(prepared, facts, grant, budget)
    return False if exempt else None if exempt is None else holds


def _exempted(prepared: PreparedRule, facts: Facts, grant: GrantFacts | None, budget: Budget) -> bool | None:
    """Whether an exception takes the operation out."""
    unknown = False
    for fitting, exception, until in prepared.exempt:
        if (until is None or facts.unix_time < until) and fitting(facts):
            exempt = True if exception is None else exception.holds(facts, grant, budget)
            if exempt:
                return True
            unknown = unknown or exempt is None
    return None if unknown else False


def sentence_of(rule: Rule) -> str:
    """What it is for, to go on from."""
    return rule.description.rstrip(".")
