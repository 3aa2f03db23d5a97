"""The rules asked of a small operation, which nearly all are: all of them in one step, and nothing of it is weighed.

What is asked of one call that moves one thing costs no more than the rules that ops wrote, so that no budget has to be
drawn upon. What they say is what `evaluate.RulesLook` would say.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final, NamedTuple

from proxy.errors import StateUnavailable
from proxy.judge.asked import QUIET, SILENT, Ask, AskedOperation, CheckAnswer, CheckOutcome, ShapedAsk
from proxy.judge.expression.closures import Run
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


def is_small(facts: Facts) -> bool:
    """Whether an operation is no more than one call that moves one thing, none of whose arguments are looked into."""
    calls = facts.calls
    return len(calls) <= 1 and len(facts.moves) <= 1 and not facts.grants and not (calls and calls[0].arguments)


_Due = tuple[int, PreparedRule, Ask, bool, bool]
"""A rule whose check is to be asked, by its position: does the operation concern it, and teach it."""


class Plan(NamedTuple):
    """The rules that may have something to say of operations of one shape: those of which it has to be asked `first`
    whether they are concerned, each with its condition where that alone tells, and those whose check is asked `always`,
    made ready for the shape.

    `checks` are these checks: first those that have a `usual` answer. Where all of these give it nothing fires, and
    what they want counted is put together already: what stands `before` the first of the others, in the order of the
    rules, and what stands behind each of those. `places` says for each of `always` which of the `checks` it is.
    """

    first: tuple[tuple[int, PreparedRule, Run | None], ...]
    always: tuple[_Due, ...]
    checks: tuple[Ask, ...]
    places: tuple[int, ...]
    usual: list[CheckOutcome]
    before: RulesFinding
    behind: tuple[tuple[bool, RulesFinding], ...]  # with whether the one before it is a limit


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
    facts, gathered = asked.facts, None
    more: list[_Due] = []
    for position, prepared, when in plan.first:
        if when is None or when(facts, None, _FREE) is not False:  # hardly ever
            gathered = gathered or Gathered()
            _ask(position, prepared, facts, gathered, more)
    if more:
        return _counted(asked, sorted([*plan.always, *more], key=_position), gathered or Gathered())
    try:
        outcomes = [check(asked) for check in plan.checks]
    except StateUnavailable:  # each says for itself what it cannot tell
        return _counted(asked, plan.always, gathered or Gathered())
    if gathered is None and (finding := _as_usual(plan, outcomes)) is not None:
        return finding
    gathered = gathered or Gathered()
    for (_, prepared, *_), place in zip(plan.always, plan.places, strict=True):
        gathered.count(prepared, outcomes[place], is_concerned=True, is_taught=True)
    return gathered.finding()


def _as_usual(plan: Plan, outcomes: list[CheckOutcome]) -> RulesFinding | None:
    """The finding where nothing fires; `None` where something may."""
    many, found = len(plan.usual), plan.before
    if outcomes[:many] != plan.usual:
        return None
    if not plan.behind:
        return found
    charged, learnt = [*found.charges], [*found.lessons]
    for (is_limit, behind), outcome in zip(plan.behind, outcomes[many:], strict=True):
        if outcome is not QUIET:
            answer, _, _, _, _, charges, lessons, rows = outcome
            if answer is not _QUIET or rows or (charges and not is_limit):
                return None
            charged += charges
            learnt += lessons
        charged += behind.charges
        learnt += behind.lessons
    return RulesFinding(charges=tuple(charged), lessons=tuple(learnt), rates=found.rates, rows=found.rows)


def plan_of(
    shape: AskedOperation, rules: Sequence[PreparedRule], tests: Sequence[Test | None], positions: Sequence[int]
) -> Plan:
    """The plan for operations of the shape of this one."""
    facts = shape.facts
    first: list[tuple[int, PreparedRule, Run | None]] = []
    always: list[tuple[int, PreparedRule, ShapedAsk]] = []
    for position in positions:
        test, prepared = tests[position], rules[position]
        if test is not None and not test(facts):
            continue
        if not (prepared.plain and (prepared.still if facts.moves else prepared.still_without_moves)):
            first.append((position, prepared, prepared.when if prepared.plain else None))
            continue
        holds = True if prepared.when is None else prepared.when(facts, None, _FREE)
        if holds and prepared.check is not None:
            shaped = None if prepared.bind is None else prepared.bind(shape)
            if shaped is not SILENT:
                always.append((position, prepared, shaped or ShapedAsk(prepared.check)))
        elif holds is not False:
            first.append((position, prepared, None))
    return _planned(tuple(first), always)


def _planned(
    first: tuple[tuple[int, PreparedRule, Run | None], ...], always: Sequence[tuple[int, PreparedRule, ShapedAsk]]
) -> Plan:
    parts: list[tuple[bool, list[tuple[PreparedRule, CheckOutcome]]]] = [(False, [])]
    steady: list[Ask] = []
    others: list[Ask] = []
    for _, prepared, (ask, usual) in always:
        if usual is None:
            parts.append((prepared.is_limit, []))
            others.append(ask)
        else:
            parts[-1][1].append((prepared, usual))
            steady.append(ask)
    of_steady, of_others = iter(range(len(steady))), iter(range(len(steady), len(always)))
    # requests and rows are counted in no order among the others
    every = [each for _, part in parts for each in part]
    whole = _together(every)
    return Plan(
        first=first,
        always=tuple([(position, prepared, shaped.ask, True, True) for position, prepared, shaped in always]),
        checks=(*steady, *others),
        places=tuple([next(of_others if shaped.usual is None else of_steady) for _, _, shaped in always]),
        usual=[outcome for _, outcome in every],
        before=replace(_together(parts[0][1]), rates=whole.rates, rows=whole.rows),
        behind=tuple([(is_limit, _together(part)) for is_limit, part in parts[1:]]),
    )


def _together(said: Sequence[tuple[PreparedRule, CheckOutcome]]) -> RulesFinding:
    """What quiet answers want counted, in this order."""
    gathered = Gathered()
    for prepared, outcome in said:
        gathered.count(prepared, outcome, is_concerned=True, is_taught=True)
    return gathered.finding()


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
