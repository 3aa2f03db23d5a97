"""The rules asked of a small operation, which nearly all are: all of them in one step, and nothing of it is weighed.

What is asked of one call that moves one thing costs no more than the rules that ops wrote, so that no budget has to be
drawn upon. What they say is what `evaluate.RulesLook` would say.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from proxy.errors import StateUnavailable
from proxy.judge.asked import QUIET, Ask, AskedOperation, CheckAnswer
from proxy.judge.facts import Facts
from proxy.judge.finding import UNTOLD, Gathered, Hit, RulesFinding, uncounted
from proxy.judge.match import Test
from proxy.judge.prepared import PreparedRule, concerned, sentence_of, teaches
from proxy.userop.budget import BOTTOMLESS, MOST_HITS

MOST_AT_ONCE: Final = MOST_HITS
"""Of so many rules there are never too many to be asked or told."""

_FREE: Final = (BOTTOMLESS,)
_QUIET: Final = CheckAnswer.QUIET


def is_small(facts: Facts) -> bool:
    """Whether an operation is no more than one call that moves one thing, none of whose arguments are looked into."""
    calls = facts.calls
    return len(calls) <= 1 and len(facts.moves) <= 1 and not facts.grants and not (calls and calls[0].arguments)


def ask_at_once(
    asked: AskedOperation, rules: Sequence[PreparedRule], tests: Sequence[Test | None], positions: Sequence[int]
) -> RulesFinding:
    """What the rules in these positions say of an operation that `is_small`."""
    facts, gathered = asked.facts, Gathered()
    due: list[tuple[PreparedRule, Ask, bool, bool]] = []  # with a check: does the operation concern it, and teach it
    for position in positions:
        test = tests[position]
        if test is not None and not test(facts):
            continue
        prepared = rules[position]
        if prepared.plain:  # nearly all
            when, check = prepared.when, prepared.check
            holds = True if when is None else when(facts, None, _FREE)
            if holds:
                if check is not None:
                    due.append((prepared, check, True, True))
                else:
                    gathered.add(Hit(rule=prepared.rule, mode=prepared.mode, sentence=sentence_of(prepared.rule)))
            elif holds is None:
                gathered.fail(prepared, UNTOLD)
        else:
            _ask_fully(prepared, facts, gathered, due)
    counted, learnt = gathered.charges, gathered.lessons
    for prepared, check, is_concerned, is_taught in due:
        try:
            outcome = check(asked)
        except StateUnavailable as error:
            gathered.fail(prepared, uncounted(error))
            continue
        if outcome is QUIET:
            continue
        answer, _, _, _, _, charges, lessons, rows = outcome
        if answer is _QUIET and is_concerned and is_taught and (not charges or prepared.is_limit):  # nearly always
            if charges:
                counted += charges
            if lessons:
                learnt += lessons
            if rows:
                gathered.rows += rows
        else:
            gathered.count(prepared, outcome, is_concerned=is_concerned, is_taught=is_taught)
    return gathered.finding()


def _ask_fully(
    prepared: PreparedRule, facts: Facts, gathered: Gathered, due: list[tuple[PreparedRule, Ask, bool, bool]]
) -> None:
    """A rule with exceptions, with a history that others teach, or that looks closer at what moves."""
    is_concerned, about = concerned(prepared, facts, BOTTOMLESS)
    is_taught = is_concerned if prepared.rule.learn is None else teaches(prepared, facts, BOTTOMLESS)
    if is_concerned is None:
        gathered.fail(prepared, UNTOLD)
    if not (is_concerned or is_taught):
        return
    if prepared.check is None:
        sentence = about or sentence_of(prepared.rule)
        gathered.add(Hit(rule=prepared.rule, mode=prepared.mode, sentence=sentence))
    else:
        due.append((prepared, prepared.check, bool(is_concerned), bool(is_taught)))
