"""The rules asked of a small operation, which nearly all are: all of them in one step, and nothing of it is weighed.

What is asked of one call that moves one thing costs no more than the rules that ops wrote, so that no budget has to be
drawn upon. What they say is what `evaluate.RulesLook` would say.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import Final, NamedTuple

from proxy.errors import StateUnavailable
from proxy.judge.asked import QUIET, Ask, AskedOperation, CheckAnswer, silent
from proxy.judge.facts import Facts
from proxy.judge.finding import UNTOLD, Gathered, Hit, RulesFinding, uncounted
from proxy.judge.match import Test
from proxy.judge.prepared import PreparedRule, concerned, sentence_of, teaches
from proxy.judge.shape import Shape
from proxy.userop.budget import BOTTOMLESS, MOST_HITS

MOST_AT_ONCE: Final = MOST_HITS
"""Of so many rules there are never too many to be asked or told."""

MOST_PLANS: Final = 2_048
_MOST_SEEN: Final = 8_192
"""Shapes that are remembered, with a plan each of ten kilobytes, and by their hash."""
_PASSED_OVER: Final = 8
"""Of so many shapes that want a plan when there is no room one gets it, in place of the oldest: where more of them take
turns than there is room for, nearly none is used again before it goes, and each costs as much as to ask without it."""

_FREE: Final = (BOTTOMLESS,)
_QUIET: Final = CheckAnswer.QUIET
_what_counts: Final = attrgetter("answer", "charges", "lessons", "rows")


def is_small(facts: Facts) -> bool:
    """Whether an operation is no more than one call that moves one thing, none of whose arguments are looked into."""
    calls = facts.calls
    return len(calls) <= 1 and len(facts.moves) <= 1 and not facts.grants and not (calls and calls[0].arguments)


_Due = tuple[int, PreparedRule, Ask, bool, bool]
"""A rule whose check is to be asked, by its position: does the operation concern it, and teach it."""


class Plan(NamedTuple):
    """The rules that may have something to say of operations of one shape: those whose check is asked `always`, made
    ready for the shape, and those of which it has to be asked `first` whether they are concerned."""

    first: tuple[tuple[int, PreparedRule], ...]
    always: tuple[_Due, ...]
    checks: tuple[tuple[Ask, PreparedRule], ...]
    """Those of `always`, without what is the same of all of them: the operation concerns them and teaches them."""


def ask_at_once(
    asked: AskedOperation, rules: Sequence[PreparedRule], tests: Sequence[Test | None], positions: Sequence[int]
) -> RulesFinding:
    """What the rules in these positions say of an operation that `is_small`."""
    facts, gathered = asked.facts, Gathered()
    due: list[_Due] = []
    for position in positions:
        test = tests[position]
        if test is None or test(facts):
            _ask(position, rules[position], facts, gathered, due)
    return _counted(asked, due, gathered)


def ask_planned(asked: AskedOperation, plan: Plan) -> RulesFinding:
    """The same for an operation of the plan's shape."""
    gathered = Gathered()
    if plan.first:
        more: list[_Due] = []
        for position, prepared in plan.first:
            _ask(position, prepared, asked.facts, gathered, more)
        if more:
            return _counted(asked, sorted([*plan.always, *more], key=_position), gathered)
    charged, learnt = gathered.charges, gathered.lessons
    for check, prepared in plan.checks:  # `_counted`, of rules that are concerned and taught
        try:
            outcome = check(asked)
        except StateUnavailable as error:
            gathered.fail(prepared, uncounted(error))
            continue
        if outcome is QUIET:
            continue
        answer, charges, lessons, rows = _what_counts(outcome)
        if answer is not _QUIET or (charges and not prepared.is_limit):
            gathered.count(prepared, outcome, is_concerned=True, is_taught=True)
            continue
        if charges:
            charged += charges
        if lessons:
            learnt += lessons
        if rows:
            gathered.rows += rows
    return gathered.finding()


def plan_of(
    shape: AskedOperation, rules: Sequence[PreparedRule], tests: Sequence[Test | None], positions: Sequence[int]
) -> Plan:
    """The plan for operations of the shape of this one."""
    facts = shape.facts
    first: list[tuple[int, PreparedRule]] = []
    always: list[_Due] = []
    for position in positions:
        test, prepared = tests[position], rules[position]
        if test is not None and not test(facts):
            continue
        if not (prepared.plain and prepared.still):
            first.append((position, prepared))
            continue
        holds = True if prepared.when is None else prepared.when(facts, None, _FREE)
        if holds and prepared.check is not None:
            bound = None if prepared.bind is None else prepared.bind(shape)
            if bound is not silent:
                always.append((position, prepared, bound or prepared.check, True, True))
        elif holds is not False:
            first.append((position, prepared))
    checks = tuple([(check, prepared) for _, prepared, check, _, _ in always])
    return Plan(tuple(first), tuple(always), checks)


def _position(due: _Due) -> int:
    return due[0]


def _ask(position: int, prepared: PreparedRule, facts: Facts, gathered: Gathered, due: list[_Due]) -> None:
    """What a rule says of the operation by itself, and whether its check is to be asked."""
    if prepared.plain:  # nearly all
        is_taught = is_concerned = True if prepared.when is None else prepared.when(facts, None, _FREE)
        about = None
    else:
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
        due.append((position, prepared, prepared.check, bool(is_concerned), bool(is_taught)))


def _counted(asked: AskedOperation, due: Sequence[_Due], gathered: Gathered) -> RulesFinding:
    """All of what they say, with what was counted."""
    charged, learnt = gathered.charges, gathered.lessons
    for _, prepared, check, is_concerned, is_taught in due:
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
                charged += charges
            if lessons:
                learnt += lessons
            if rows:
                gathered.rows += rows
        else:
            gathered.count(prepared, outcome, is_concerned=is_concerned, is_taught=is_taught)
    return gathered.finding()


class Plans:
    """What is asked of operations of the shapes that came lately, made when a shape comes again."""

    def __init__(self, rules: Sequence[PreparedRule], tests: Sequence[Test | None]) -> None:
        self._rules = rules
        self._tests = tests
        self._plans: dict[Shape, Plan] = {}
        self._seen: set[int] = set()  # hashes of shapes that came once
        self._passed_over = 0
        self.get: Callable[[Shape], Plan | None] = self._plans.get
        """The plan for a shape, if there is one."""

    def __len__(self) -> int:
        """Of how many shapes there is one."""
        return len(self._plans)

    def saw(self, shape: Shape, asked: AskedOperation, positions: Sequence[int]) -> None:
        """An operation came for which there was none; `positions` are those of the rules that may concern it."""
        name = hash(shape)
        if name not in self._seen:
            if len(self._seen) >= _MOST_SEEN:
                self._seen.clear()
            self._seen.add(name)
            return
        if len(self._plans) >= MOST_PLANS:
            self._passed_over += 1
            if self._passed_over % _PASSED_OVER:
                return
            del self._plans[next(iter(self._plans))]
        self._plans[shape] = plan_of(asked, self._rules, self._tests, positions)
