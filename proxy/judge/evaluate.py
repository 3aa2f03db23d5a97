"""The rules held against one operation: every one of them, in one pass, and one finding out of all.

Precedence: reject beats alert beats shadow; among rejections the gravest severity, then the order of the files. The
gate's own mode is a ceiling on the mode of each rule. No rule sees what another said, so the order in which they are
asked changes nothing, but for an operation that describes more work than is done for one: what its budget does not pay
for is not known of it, and each rule's `fail` decides.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final, Protocol

from proxy.errors import Code, Reason, StateUnavailable
from proxy.judge.asked import Allowed, CheckAnswer, CheckOutcome, CheckQuestion
from proxy.judge.checks import answer
from proxy.judge.counts import CountKey, Counts, Lesson, RuleCharge, WindowCharge
from proxy.judge.facts import Facts
from proxy.judge.match import Candidates, Index
from proxy.judge.prepared import PreparedRule, concerned, expressions_of, fits, prepare, rank_of, sentence_of, teaches
from proxy.judge.rule import Check, Fail, Limit, Rate, Rule, Ruleset
from proxy.judge.tokens import Asset
from proxy.judge.verdict import Mode
from proxy.session.units import Unit
from proxy.userop.budget import HIT, Budget, Overspent
from proxy.userop.primitives import Address, Selector

_REMEDY: Final = "ask the operator of this gate why this rule is there, or change the operation"


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
            sentence = f"rule {self.rule.id}: {sentence_of(self.rule)}"
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

    @property
    def size(self) -> int:
        """See `Judge`."""

    def look(self, facts: Facts, budget: Budget | None = None) -> RulesLook:
        """See `Judge`."""

    def consider(self, facts: Facts, counts: Counts, budget: Budget | None = None) -> RulesFinding:
        """See `Judge`."""

    def rule_of(self, key: CountKey) -> Rule | None:
        """See `Judge`."""

    @property
    def asked(self) -> frozenset[Selector]:
        """See `Judge`."""

    def unit_of(self, chain_id: int, token: Address) -> Unit | None:
        """See `Judge`."""


_UNTOLD: Final = "what it asks for cannot be told of this operation"
_TOO_DEAR: Final = "finding out takes more work than is done for one operation"
_MOST_TOO_DEAR: Final = 32
"""After so many rules that an operation's budget did not pay for none is asked any more, and no more are told."""


def _nothing_allowed(_rule: str, _mark: bytes, _now: float) -> bool:
    return False


class Judge:
    """Holds one ruleset against operations, under the ceiling of the gate's mode."""

    def __init__(self, ruleset: Ruleset, *, ceiling: Mode = Mode.ENFORCE, allowed: Allowed | None = None) -> None:
        self.ruleset = ruleset
        self.allowed = allowed or _nothing_allowed
        active = [rule for rule in ruleset.rules if rule.mode is not Mode.OFF and ceiling is not Mode.OFF]
        self._rules = [prepare(rule, ceiling) for rule in active]
        self._index = Index([prepared.match for prepared in self._rules])
        self._asked = frozenset(
            function for rule in active for each in expressions_of(rule) for function in each.functions
        )
        self._by_identity = {rule.identity: rule for rule in active}

    @property
    def size(self) -> int:
        """How many rules are in force."""
        return len(self._rules)

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

    def consider(self, facts: Facts, counts: Counts, budget: Budget | None = None) -> RulesFinding:
        """What the rules say. `counts` is bound to the moment of the facts and to the place of the operation's nonce.

        Never raises for what a count or a fact cannot tell, or what `budget` (that of one operation) does not pay for:
        that is what a rule's `fail` is for.
        """
        return self.look(facts, budget).finding(counts)

    def look(self, facts: Facts, budget: Budget | None = None) -> RulesLook:
        """The same in two steps, the longer of which may be taken piece by piece."""
        return RulesLook(
            self, self._rules, self._index.candidates(facts), facts, Budget() if budget is None else budget
        )


class RulesLook:
    """The rules asked of one operation: first what it says by itself, then what was counted.

    They are paid from the operation's budget. What a rule would take of an operation of one call is its own to spend;
    of the rules that come with each of many calls that is divided among the calls.
    """

    def __init__(
        self, judge: Judge, rules: Sequence[PreparedRule], candidates: Candidates, facts: Facts, budget: Budget
    ) -> None:
        self.facts = facts
        self._judge = judge
        self._rules = rules
        self._candidates = candidates
        self._asked = 0
        self._budget = budget
        self._purse = Budget(0)
        self._gathered = _Gathered()
        self._due: list[tuple[int, Check, bool, bool]] = []  # rules with a check: are they concerned, and taught

    def go_on(self, rules: int) -> bool:
        """Ask so many rules more what the operation says by itself. Whether some are left."""
        positions = self._candidates.positions
        upto = self._asked + rules
        for position in positions[self._asked : upto]:
            prepared = self._rules[position]
            if self._gathered.too_dear > _MOST_TOO_DEAR:
                self._gathered.leave(prepared)
                continue
            self._fill_purse(position)
            try:
                if fits(prepared, self.facts, self._purse):
                    self._ask(position)
            except Overspent:
                self._gathered.leave(prepared)
            self._empty_purse()
        self._asked = upto
        return upto < len(positions)

    def finding(self, counts: Counts) -> RulesFinding:
        """What all of them say, with what was counted. Nothing gives way here."""
        if not self._candidates.positions:
            return NOTHING
        self.go_on(len(self._candidates.positions))
        for position, check, is_concerned, is_taught in self._due:
            if (outcome := self._ask_counts(position, check, counts)) is None:
                continue
            if is_concerned:
                self._gathered.take(self._rules[position], outcome)
            if is_taught:
                self._gathered.learn(outcome)
        return self._gathered.finding()

    def _fill_purse(self, position: int) -> None:
        own = self._rules[position].allowance
        if self._candidates.parts > 1 and position in self._candidates.filed:
            own //= self._candidates.parts
        self._purse.left = self._budget.left + own

    def _empty_purse(self) -> None:
        self._budget.left = min(self._budget.left, self._purse.left)

    def _ask(self, position: int) -> None:
        prepared = self._rules[position]
        rule = prepared.rule
        is_concerned, about = concerned(prepared, self.facts, self._purse)
        is_taught = is_concerned if rule.learn is None else teaches(prepared, self.facts, self._purse)
        if is_concerned is None:
            self._gathered.fail(prepared, _UNTOLD)
        if not (is_concerned or is_taught):
            return
        if rule.check is None:
            self._purse.draw(HIT)
            self._gathered.hits.append(Hit(rule=rule, mode=prepared.mode, sentence=about or sentence_of(rule)))
            return
        self._due.append((position, rule.check, bool(is_concerned), bool(is_taught)))

    def _ask_counts(self, position: int, check: Check, counts: Counts) -> CheckOutcome | None:
        """A check's answer, unless it cannot be told."""
        judge, prepared = self._judge, self._rules[position]
        if self._gathered.too_dear > _MOST_TOO_DEAR:
            self._gathered.leave(prepared)
            return None
        asked = CheckQuestion(prepared.rule, self.facts, counts, judge.ruleset.tokens, prepared.mode, judge.allowed)
        self._fill_purse(position)
        try:
            return answer(asked, check, self._purse)
        except Overspent:
            self._gathered.leave(prepared)
        except StateUnavailable as error:
            self._gathered.fail(prepared, f"what it counts cannot be told now: {error.what}")
        finally:
            self._empty_purse()
        return None


class _Gathered:
    """What the rules have said so far."""

    def __init__(self) -> None:
        self.hits: list[Hit] = []
        self.charges: list[RuleCharge] = []
        self.lessons: list[Lesson] = []
        self.rates: list[WindowCharge] = []
        self.rows: list[CountKey] = []
        self.opened: list[str] = []
        self.too_dear = 0
        self._gravest_left = -1

    def leave(self, prepared: PreparedRule) -> None:
        """A rule that the operation's budget does not pay for. Of many only those are told that weigh more than what
        is told already."""
        self.too_dear += 1
        rank = rank_of(prepared.mode)
        if self.too_dear <= _MOST_TOO_DEAR or prepared.rule.fail is Fail.OPEN or rank > self._gravest_left:
            self.fail(prepared, _TOO_DEAR)
            if prepared.rule.fail is not Fail.OPEN:
                self._gravest_left = max(self._gravest_left, rank)

    def fail(self, prepared: PreparedRule, sentence: str) -> None:
        """A rule that cannot be answered."""
        rule = prepared.rule
        if rule.fail is Fail.OPEN:
            self.opened.append(rule.id)
            return
        self.hits.append(Hit(rule=rule, mode=prepared.mode, sentence=sentence, unknown=True))

    def take(self, prepared: PreparedRule, outcome: CheckOutcome) -> None:
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
                        sentence=outcome.sentence or sentence_of(rule),
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
            self.hits.sort(key=lambda hit: (-rank_of(hit.mode), -hit.rule.severity.rank, hit.rule.order))
        return RulesFinding(
            hits=tuple(self.hits),
            charges=tuple(self.charges),
            lessons=tuple(self.lessons),
            rates=tuple(self.rates),
            rows=tuple(self.rows),
            opened=tuple(self.opened),
        )
