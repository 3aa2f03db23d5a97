"""The rules walked one after another, nothing worked out before and nothing shared: what the compiled table has to say.

Slow and plain, as the reference that it is held against.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from proxy.errors import StateUnavailable
from proxy.judge.asked import CheckAnswer
from proxy.judge.counts import CountKey, Counts, Lesson, RuleCharge, WindowCharge
from proxy.judge.evaluate import Hit, RulesFinding
from proxy.judge.facts import Facts, GrantFacts
from proxy.judge.match import UNKNOWN_ASSET, matcher
from proxy.judge.prepared import lower
from proxy.judge.rule import Fail, Limit, Rate, Rule, Ruleset
from proxy.judge.verdict import Mode
from proxy.userop.primitives import print_bytes
from tests.judge.plain_checks import Allowed, PlainOutcome, PlainQuestion, answer


@dataclass
class PlainGathering:
    hits: list[Hit] = field(default_factory=list)
    charges: list[RuleCharge] = field(default_factory=list)
    lessons: list[Lesson] = field(default_factory=list)
    rates: list[WindowCharge] = field(default_factory=list)
    rows: list[CountKey] = field(default_factory=list)
    opened: list[str] = field(default_factory=list)

    def fail(self, rule: Rule, mode: Mode, sentence: str) -> None:
        if rule.fail is Fail.OPEN:
            self.opened.append(rule.id)
        else:
            self.hits.append(Hit(rule=rule, mode=mode, sentence=sentence, unknown=True))


def walk(
    ruleset: Ruleset, facts: Facts, counts: Counts, *, ceiling: Mode = Mode.ENFORCE, allowed: Allowed | None = None
) -> RulesFinding:
    """What all the rules say of an operation."""
    gathered = PlainGathering()
    due = []
    for rule in ruleset.rules:
        mode = lower(rule.mode, ceiling)
        if mode is not Mode.OFF:
            question = PlainQuestion(rule, facts, counts, ruleset.tokens, mode, allowed or (lambda *_: False))
            due += [(question, *how) for how in _walk_one(question, gathered)]
    for question, concerned, teaches in due:
        _count_one(question, gathered, concerned=concerned, teaches=teaches)
    ranks = (Mode.OFF, Mode.SHADOW, Mode.ALERT, Mode.ENFORCE)
    order = {rule.id: rule.order for rule in ruleset.rules}
    gathered.opened.sort(key=lambda name: order[name])
    gathered.hits.sort(key=lambda hit: (-ranks.index(hit.mode), -hit.rule.severity.rank, hit.rule.order))
    return RulesFinding(**{name: tuple(each) for name, each in vars(gathered).items()})


def _walk_one(question: PlainQuestion, gathered: PlainGathering) -> Iterator[tuple[bool, bool]]:
    """What it says of the operation by itself; whether it is concerned and taught, where its check is to be asked."""
    rule, mode, facts = question.rule, question.mode, question.facts
    concerned, about = _concerned(rule, facts)
    taught = rule.learn is not None and _may_fit(rule, facts) and rule.learn.holds(facts, None) is True
    teaches = concerned if rule.learn is None else taught and _exempted(rule, facts, None) is False
    if concerned is None:
        gathered.fail(rule, mode, "what it asks for cannot be told of this operation")
    if not (concerned or teaches):
        return
    if rule.check is None:
        gathered.hits.append(Hit(rule=rule, mode=mode, sentence=about or rule.description.rstrip(".")))
        return
    yield bool(concerned), bool(teaches)


def _count_one(question: PlainQuestion, gathered: PlainGathering, *, concerned: bool, teaches: bool) -> None:
    rule, mode = question.rule, question.mode
    assert rule.check is not None
    try:
        outcome = answer(question, rule.check)
    except StateUnavailable as error:
        gathered.fail(rule, mode, f"what it counts cannot be told now: {error.what}")
        return
    if concerned:
        _take(rule, mode, outcome, gathered)
    if teaches:
        gathered.lessons += outcome.lessons
        gathered.rows += outcome.rows


def _take(rule: Rule, mode: Mode, outcome: PlainOutcome, gathered: PlainGathering) -> None:
    if isinstance(rule.check, Limit):
        gathered.charges += outcome.charges
    if outcome.answer is CheckAnswer.UNKNOWN:
        gathered.fail(rule, mode, outcome.sentence)
    elif outcome.answer is CheckAnswer.FIRES:
        sentence = outcome.sentence or rule.description.rstrip(".")
        wanted, got, retryable = outcome.wanted, outcome.got, outcome.retryable
        gathered.hits.append(Hit(rule=rule, mode=mode, sentence=sentence, wanted=wanted, got=got, retryable=retryable))
    elif isinstance(rule.check, Rate):
        gathered.rates += [each for each in outcome.charges if isinstance(each, WindowCharge)]


def _may_fit(rule: Rule, facts: Facts) -> bool:
    """Whether the match fits; one that fires because a token moves may fit where nobody knows what moves."""
    match = rule.match
    if rule.check is None and match.moves:
        match = replace(match, moves=match.moves | {UNKNOWN_ASSET})
    return matcher(match)(facts)


def _concerned(rule: Rule, facts: Facts) -> tuple[bool | None, str | None]:
    if not _may_fit(rule, facts):
        return False, None
    concerned, about = _asked_of(rule, facts)
    return (None, None) if concerned and not matcher(rule.match)(facts) else (concerned, about)


def _asked_of(rule: Rule, facts: Facts) -> tuple[bool | None, str | None]:
    expressions = [rule.when, *(each.when for each in rule.exemptions)]
    if not any(each is not None and each.per_grant for each in expressions):
        return _applies(rule, facts, None), None
    unknown = False
    for grant in facts.grants:
        applies = _applies(rule, facts, grant)
        if applies:
            return True, f"{rule.description.rstrip('.')} (session {print_bytes(grant.permission_id)})"
        unknown = unknown or applies is None
    return (None if unknown else False), None


def _applies(rule: Rule, facts: Facts, grant: GrantFacts | None) -> bool | None:
    holds = True if rule.when is None else rule.when.holds(facts, grant)
    if holds is False:
        return False
    exempt = _exempted(rule, facts, grant)
    return False if exempt else None if exempt is None else holds


def _exempted(rule: Rule, facts: Facts, grant: GrantFacts | None) -> bool | None:
    unknown = False
    for each in rule.exemptions:
        if (each.until is None or facts.unix_time < each.until) and matcher(each.match)(facts):
            exempt = True if each.when is None else each.when.holds(facts, grant)
            if exempt:
                return True
            unknown = unknown or exempt is None
    return None if unknown else False
