"""The rules held against one operation: every one of them, in one pass, and one finding out of all.

Precedence: reject beats alert beats shadow; among rejections the gravest severity, then the order of the files. The
gate's own mode is a ceiling on the mode of each rule. No rule sees what another said, so the order in which they are
asked changes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final, Protocol

from proxy.errors import Code, Reason, StateUnavailable
from proxy.judge.asked import Allowed, CheckAnswer, CheckOutcome, CheckQuestion
from proxy.judge.checks import answer
from proxy.judge.counts import CountKey, Counts, Lesson, RuleCharge, WindowCharge
from proxy.judge.expression import Expression
from proxy.judge.facts import Facts, GrantFacts
from proxy.judge.match import UNKNOWN_ASSET, Index, Test, matcher
from proxy.judge.rule import Fail, Limit, Match, Rate, Rule, Ruleset
from proxy.judge.tokens import Asset
from proxy.judge.verdict import Mode
from proxy.session.units import Unit
from proxy.userop.primitives import Address, Selector, print_bytes

_RANK: Final = {mode: rank for rank, mode in enumerate((Mode.OFF, Mode.SHADOW, Mode.ALERT, Mode.ENFORCE))}
_REMEDY: Final = "ask the operator of this gate why this rule is there, or change the operation"


def lower(mode: Mode, ceiling: Mode) -> Mode:
    """The weaker of two modes."""
    return min(mode, ceiling, key=_RANK.__getitem__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Hit:
    """A rule that fired. `mode` is the rule's under the gate's ceiling. `unknown` when it fired for want of a fact."""

    rule: Rule
    mode: Mode
    sentence: str
    wanted: str | None = None
    got: str | None = None
    unknown: bool = False
    retryable: bool = False

    def reason(self, *, amounts: bool = True) -> Reason:
        """What a refused caller is told; without `amounts`, nothing of what others have used of a count."""
        check = self.rule.check
        if not amounts and not self.unknown and isinstance(check, Limit | Rate) and check.window is not None:
            sentence = f"rule {self.rule.id}: {_sentence(self.rule)}"
            return replace(self.reason(), sentence=sentence, wanted=None, got=None)
        return Reason(
            code=Code.RATE_LIMITED if isinstance(self.rule.check, Rate) else Code.RULE_REJECTED,
            sentence=f"rule {self.rule.id}: {self.sentence}",
            remedy=self.rule.remedy or _REMEDY,
            rule=self.rule.id,
            wanted=self.wanted,
            got=self.got,
            retryable=self.retryable,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class RulesFinding:
    """What a set of rules says of one operation, and what is to be counted for it.

    `hits` stand in the order of precedence. `charges` and `lessons` are for an operation that goes out, `rates` are
    counted at once whatever becomes of it, `rows` grow when it is refused here and end when it goes out. `opened`
    names the rules that let it pass for want of a fact.
    """

    hits: tuple[Hit, ...] = ()
    charges: tuple[RuleCharge, ...] = ()
    lessons: tuple[Lesson, ...] = ()
    rates: tuple[WindowCharge, ...] = ()
    rows: tuple[CountKey, ...] = ()
    opened: tuple[str, ...] = ()

    @property
    def rejections(self) -> tuple[Hit, ...]:
        """The hits that refuse the operation, the one the caller is told first."""
        return tuple(hit for hit in self.hits if hit.mode is Mode.ENFORCE)

    @property
    def verdict(self) -> str:
        """`reject`, `alert` or `allow`."""
        if not self.hits or self.hits[0].mode is Mode.SHADOW:
            return "allow"
        return "reject" if self.hits[0].mode is Mode.ENFORCE else "alert"


NOTHING: Final = RulesFinding()
"""What no rules say."""


class RuleJudge(Protocol):
    """Whoever holds rules against operations."""

    def consider(self, facts: Facts, counts: Counts) -> RulesFinding:
        """See `Judge`."""

    def rule_of(self, key: CountKey) -> Rule | None:
        """See `Judge`."""

    @property
    def asked(self) -> frozenset[Selector]:
        """See `Judge`."""

    def unit_of(self, chain_id: int, token: Address) -> Unit | None:
        """See `Judge`."""


_UNTOLD: Final = "what it asks for cannot be told of this operation"


def _nothing_allowed(_rule: str, _mark: bytes, _now: float) -> bool:
    return False


@dataclass(slots=True)
class _Prepared:
    """A rule made ready: what is the same for every operation is worked out once.

    `match` and `fits` take in what may be one of the assets that the rule names; `surely` says whether it is one.
    """

    rule: Rule
    mode: Mode
    match: Match
    fits: Test
    surely: Test | None
    exempt: tuple[tuple[Test, Expression | None, float | None], ...]
    per_grant: bool  # it is asked once for each session that is granted


class Judge:
    """Holds one ruleset against operations, under the ceiling of the gate's mode."""

    def __init__(self, ruleset: Ruleset, *, ceiling: Mode = Mode.ENFORCE, allowed: Allowed | None = None) -> None:
        self.ruleset = ruleset
        self._allowed = allowed or _nothing_allowed
        active = [rule for rule in ruleset.rules if rule.mode is not Mode.OFF and ceiling is not Mode.OFF]
        self._rules = [_prepare(rule, ceiling) for rule in active]
        self._index = Index([prepared.match for prepared in self._rules])
        self._asked = frozenset(
            function
            for rule in active
            for each in _expressions(rule)
            if each is not None
            for function in each.functions
        )
        self._by_identity = {rule.identity: rule for rule in active}

    def rule_of(self, key: CountKey) -> Rule | None:
        """The rule that a count is kept for."""
        return self._by_identity.get(key.rule)

    @property
    def asked(self) -> frozenset[Selector]:
        """The functions whose arguments some rule looks into."""
        return self._asked

    def unit_of(self, chain_id: int, token: Address) -> Unit | None:
        """What a token that the rules list is called, and its decimals; `None` of one that they do not."""
        listed = self.ruleset.tokens.at(Asset(chain_id, token))
        place = None if listed is None else listed.on(chain_id)
        return None if listed is None or place is None else Unit(listed.symbol, place.decimals)

    def consider(self, facts: Facts, counts: Counts) -> RulesFinding:
        """What the rules say. `counts` is bound to the moment of the facts and to the place of the operation's nonce.

        Never raises for what a count or a fact cannot tell: that is what a rule's `fail` is for.
        """
        positions = self._index.candidates(facts)
        if not positions:
            return NOTHING
        gathered = _Gathered()
        for position in positions:
            prepared = self._rules[position]
            if prepared.fits(facts):
                self._ask(prepared, facts, counts, gathered)
        return gathered.finding()

    def _ask(self, prepared: _Prepared, facts: Facts, counts: Counts, gathered: _Gathered) -> None:
        rule = prepared.rule
        concerned, about = _concerned(prepared, facts)
        teaches = concerned if rule.learn is None else _teaches(prepared, facts)
        if concerned is None:
            gathered.fail(prepared, _UNTOLD)
        if not (concerned or teaches):
            return
        if rule.check is None:
            gathered.hits.append(Hit(rule=rule, mode=prepared.mode, sentence=about or _sentence(rule)))
            return
        asked = CheckQuestion(rule, facts, counts, self.ruleset.tokens, prepared.mode, self._allowed)
        try:
            outcome = answer(asked, rule.check)
        except StateUnavailable as error:
            gathered.fail(prepared, f"what it counts cannot be told now: {error.what}")
            return
        if concerned:
            gathered.take(prepared, outcome)
        if teaches:
            gathered.learn(outcome)


def _prepare(rule: Rule, ceiling: Mode) -> _Prepared:
    expressions = [rule.when, *(each.when for each in rule.exemptions)]
    match = rule.match
    if rule.check is None and match.moves:
        # it fires because such a token moves: a call of which nobody knows what it moves may move it
        match = replace(match, moves=match.moves | {UNKNOWN_ASSET})
    return _Prepared(
        rule=rule,
        mode=lower(rule.mode, ceiling),
        match=match,
        fits=matcher(match),
        surely=None if match is rule.match else matcher(rule.match),
        exempt=tuple((matcher(each.match), each.when, each.until) for each in rule.exemptions),
        per_grant=any(each is not None and each.per_grant for each in expressions),
    )


def _expressions(rule: Rule) -> tuple[Expression | None, ...]:
    return rule.when, rule.learn, *(each.when for each in rule.exemptions)


def _teaches(prepared: _Prepared, facts: Facts) -> bool:
    """Whether the operation teaches the rule's history; what an exception takes out does not."""
    learn = prepared.rule.learn
    return learn is not None and learn.holds(facts, None) is True and _exempted(prepared, facts, None) is False


def _concerned(prepared: _Prepared, facts: Facts) -> tuple[bool | None, str | None]:
    """Whether the condition holds and no exception does; for a rule on granted sessions, and of which of them."""
    concerned, about = _asked_of(prepared, facts)
    if concerned and prepared.surely is not None and not prepared.surely(facts):
        return None, None
    return concerned, about


def _asked_of(prepared: _Prepared, facts: Facts) -> tuple[bool | None, str | None]:
    if not prepared.per_grant:
        return _applies(prepared, facts, None), None
    unknown = False
    for grant in facts.grants:
        applies = _applies(prepared, facts, grant)
        if applies:
            return True, f"{_sentence(prepared.rule)} (session {print_bytes(grant.permission_id)})"
        unknown = unknown or applies is None
    return (None if unknown else False), None


def _applies(prepared: _Prepared, facts: Facts, grant: GrantFacts | None) -> bool | None:
    when = prepared.rule.when
    holds = True if when is None else when.holds(facts, grant)
    if holds is False:
        return False
    exempt = _exempted(prepared, facts, grant)
    return False if exempt else None if exempt is None else holds


def _exempted(prepared: _Prepared, facts: Facts, grant: GrantFacts | None) -> bool | None:
    """Whether an exception takes the operation out."""
    unknown = False
    for fits, exception, until in prepared.exempt:
        if (until is None or facts.unix_time < until) and fits(facts):
            exempt = True if exception is None else exception.holds(facts, grant)
            if exempt:
                return True
            unknown = unknown or exempt is None
    return None if unknown else False


def _sentence(rule: Rule) -> str:
    return rule.description.rstrip(".")


class _Gathered:
    """What the rules have said so far."""

    def __init__(self) -> None:
        self.hits: list[Hit] = []
        self.charges: list[RuleCharge] = []
        self.lessons: list[Lesson] = []
        self.rates: list[WindowCharge] = []
        self.rows: list[CountKey] = []
        self.opened: list[str] = []

    def fail(self, prepared: _Prepared, sentence: str) -> None:
        """A rule that cannot be answered."""
        rule = prepared.rule
        if rule.fail is Fail.OPEN:
            self.opened.append(rule.id)
            return
        self.hits.append(Hit(rule=rule, mode=prepared.mode, sentence=sentence, unknown=True))

    def take(self, prepared: _Prepared, outcome: CheckOutcome) -> None:
        """A check's answer. Of a rule that fired nothing is charged, as when it enforces; but an alert lets the
        operation out, so what it adds is counted."""
        rule = prepared.rule
        if isinstance(rule.check, Limit):
            self.charges += outcome.charges
        match outcome.answer:
            case CheckAnswer.UNKNOWN:
                self.fail(prepared, outcome.sentence)
            case CheckAnswer.FIRES:
                self.hits.append(
                    Hit(
                        rule=rule,
                        mode=prepared.mode,
                        sentence=outcome.sentence or _sentence(rule),
                        wanted=outcome.wanted,
                        got=outcome.got,
                        retryable=outcome.retryable,
                    )
                )
            case CheckAnswer.QUIET if isinstance(rule.check, Rate):
                self.rates += [each for each in outcome.charges if isinstance(each, WindowCharge)]

    def learn(self, outcome: CheckOutcome) -> None:
        """What the operation teaches, whether the rule has asked about it or not."""
        self.lessons += outcome.lessons
        self.rows += outcome.rows

    def finding(self) -> RulesFinding:
        """All of it, in the order of precedence."""
        if len(self.hits) > 1:
            self.hits.sort(key=lambda hit: (-_RANK[hit.mode], -hit.rule.severity.rank, hit.rule.order))
        return RulesFinding(
            hits=tuple(self.hits),
            charges=tuple(self.charges),
            lessons=tuple(self.lessons),
            rates=tuple(self.rates),
            rows=tuple(self.rows),
            opened=tuple(self.opened),
        )
