"""The rules held against one operation: every one of them, in one pass, and one finding out of all.

Precedence: reject beats alert beats shadow; among rejections the gravest severity, then the order of the files. The
gate's own mode is a ceiling on the mode of each rule. No rule sees what another said, so the order in which they are
asked changes nothing, but for an operation that describes more work than is done for one, or stands in more counts than
one may: what is not asked for that is not known of it, and each rule's `fail` decides.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from proxy.errors import StateUnavailable
from proxy.judge.asked import Allowed, AskedOperation, CheckOutcome, CheckTerms, SharedQuestions
from proxy.judge.at_once import MOST_AT_ONCE, Plans, ask_at_once, ask_planned, is_small
from proxy.judge.checks import MOST_WEIGHT, Places
from proxy.judge.counts import CountKey, Counts
from proxy.judge.facts import Facts
from proxy.judge.finding import NOTHING, UNTOLD, Gathered, Hit, RulesFinding, uncounted
from proxy.judge.match import Candidates, Index, Search, Test
from proxy.judge.prepared import (
    PreparedRule,
    concerned,
    expressions_of,
    fits,
    lower,
    prepare,
    rank_of,
    sentence_of,
    teaches,
)
from proxy.judge.rule import Rule, Ruleset
from proxy.judge.shape import shape_of
from proxy.judge.tokens import Asset
from proxy.judge.verdict import Mode
from proxy.session.units import Unit
from proxy.userop.budget import BOTTOMLESS, HIT, MOST_COUNTS, STEPS_A_UNIT, UNITS_AT_ONCE, Budget, Overspent
from proxy.userop.primitives import Address, Selector

__all__ = ["NOTHING", "Hit", "Judge", "RuleJudge", "RulesFinding", "RulesLook"]


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


def _nothing_allowed(_rule: str, _mark: bytes, _now: float) -> bool:
    return False


class Judge:
    """Holds one ruleset against operations, under the ceiling of the gate's mode."""

    def __init__(self, ruleset: Ruleset, *, ceiling: Mode = Mode.ENFORCE, allowed: Allowed | None = None) -> None:
        self.ruleset = ruleset
        self._questions = shared = SharedQuestions(ruleset.tokens)
        active = [rule for rule in ruleset.rules if rule.mode is not Mode.OFF and ceiling is not Mode.OFF]
        self._rules = [
            prepare(CheckTerms(rule, lower(rule.mode, ceiling), shared, allowed or _nothing_allowed)) for rule in active
        ]
        self._index = Index([prepared.match for prepared in self._rules])
        self.plans = Plans(self._rules, self._index.tests)
        weights = [prepared.places.weight for prepared in self._rules if prepared.places is not None]
        # where checks look through a great deal, an operation is held to how many of them it may stand in
        self._is_light = sum(weight for weight in weights if weight > 1) <= MOST_COUNTS
        self._asked = frozenset(
            function for rule in active for each in expressions_of(rule) for function in each.functions
        )
        self._by_identity = {rule.identity: rule for rule in active}

    def parts(self) -> list[object]:
        """All of it that is as many as there are rules: who lets go of it can do so piece by piece."""
        return [*self._rules, *self.ruleset.rules, *self._index.parts()]

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
        """What a token that the rules list is called, and its decimals; `None` of one that they do not. An empty
        address is the chain's own coin."""
        tokens = self.ruleset.tokens
        listed = tokens.at(Asset(chain_id, token or None))
        if listed is not None and listed.native and listed.symbol not in tokens.by_symbol:
            return None  # ETH by default: nobody said that the chain's coin is called so
        place = None if listed is None else listed.on(chain_id)
        return None if listed is None or place is None else Unit(listed.symbol, place.decimals)

    def consider(self, facts: Facts, counts: Counts, budget: Budget | None = None) -> RulesFinding:
        """What the rules say. `counts` is bound to the moment of the facts and to the place of the operation's nonce.

        Never raises for what a count or a fact cannot tell, or what `budget` (that of one operation) does not pay for:
        that is what a rule's `fail` is for.
        """
        shape = None
        if self._is_light and is_small(facts):
            shape = shape_of(facts)
            if (plan := self.plans.get(shape)) is not None:  # nearly always
                return ask_planned(AskedOperation(facts, counts, self._questions), plan)
        if shape is None:
            return self.look(facts, budget).finding(counts)
        positions = self._index.candidates(facts).positions
        if not positions:
            return NOTHING
        if len(positions) > MOST_AT_ONCE:
            return self.look(facts, budget).finding(counts)
        asked = AskedOperation(facts, counts, self._questions)
        self.plans.saw(shape, asked, positions)
        return ask_at_once(asked, self._rules, self._index.tests, positions)

    def look(self, facts: Facts, budget: Budget | None = None) -> RulesLook:
        """The same in two steps, the longer of which may be taken piece by piece."""
        budget = Budget() if budget is None else budget
        search = self._index.search(facts)
        return RulesLook(self._rules, self._index.tests, search, facts, budget, questions=self._questions)


class RulesLook:
    """The rules asked of one operation: first what it says by itself, then what was counted.

    They are paid from the operation's budget. What a rule would take of an operation of one call is its own to spend;
    of the rules that come with each of many calls that is divided among the calls. An operation that is no more than
    such a call pays for nothing, and nothing is weighed. Rules that ask what is in flight are asked in the last step,
    which is one piece: it looks at `MOST_COUNTS` of them and of counts, first at those that enforce.
    """

    def __init__(
        self,
        rules: Sequence[PreparedRule],
        tests: Sequence[Test | None],
        search: Search,
        facts: Facts,
        budget: Budget,
        *,
        questions: SharedQuestions,
    ) -> None:
        self.facts = facts
        self._questions = questions
        self._rules = rules
        self._tests = tests
        self._search = search
        self._candidates: Candidates | None = None
        self._asked = 0
        self._budget = budget
        self._is_small = is_small(facts)
        self._purse = BOTTOMLESS if self._is_small else Budget(0)
        self._gathered = Gathered()
        self._due: list[tuple[int, bool, bool]] = []  # rules with a check: are they concerned, and taught
        self._last: list[int] = []  # rules that ask what is in flight
        self._counted = Budget(MOST_COUNTS)

    def go_on(self, rules: int) -> bool:
        """Ask so many rules more what the operation says by itself, fewer where they take long. Whether there is more
        to do, be it to find out which rules concern it at all."""
        if self._candidates is None:
            self._candidates = self._search.go_on()
            return self._candidates is None or bool(self._candidates.positions)
        positions = self._candidates.positions
        upto = self._asked + rules
        if self._is_small:
            self._ask_freely(positions[self._asked : upto])
            self._asked = upto
        elif self._gathered.is_full:
            self._gathered.leave_all(map(self._rules.__getitem__, positions[self._asked :]))
            self._asked = len(positions)
        else:
            self._asked += self._ask_weighing(positions[self._asked : upto])
        if max(len(self._due), len(self._last)) > 2 * MOST_COUNTS:
            self._leave_beyond()
        return self._asked < len(positions)

    def standing(self, *, replaces: bool, lanes: int, limit_used_percent: int | None) -> None:
        """What is in flight beside the operation by now."""
        self.facts = self.facts._replace(replaces=replaces, lanes=lanes, limit_used_percent=limit_used_percent)

    def finding(self, counts: Counts) -> RulesFinding:
        """What all of them say, with what was counted. Nothing gives way here."""
        while self.go_on(len(self._rules)):
            pass
        if self._candidates is None or not self._candidates.positions:
            return NOTHING
        if self._last:
            self._ask_last()
        if len(self._due) > MOST_COUNTS:
            self._leave_beyond()
        asked, gathered, rules = AskedOperation(self.facts, counts, self._questions), self._gathered, self._rules
        # each check of a small one draws little of what is counted, so that nearly always there is enough for all
        is_free = self._is_small and len(self._due) * MOST_WEIGHT <= self._counted.left
        for position, is_concerned, is_taught in self._due:
            prepared = rules[position]
            check, places = prepared.check, prepared.places
            if check is None or places is None:
                continue
            try:
                outcome = None if is_free else self._pay(position, places)
                if outcome is None:
                    outcome = check(asked)
            except Overspent:
                gathered.too_much(prepared)
                continue
            except StateUnavailable as error:
                gathered.fail(prepared, uncounted(error))
                continue
            gathered.count(prepared, outcome, is_concerned=is_concerned, is_taught=is_taught)
        return gathered.finding()

    def _ask_freely(self, positions: Sequence[int]) -> None:
        rules, tests, facts, due, bound = self._rules, self._tests, self.facts, self._due, (self._purse,)
        for position in positions:
            test = tests[position]
            if test is not None and not test(facts):
                continue
            prepared = rules[position]
            if prepared.in_flight:
                self._last.append(position)
            elif prepared.plain and prepared.check is not None:  # nearly all
                holds = True if prepared.when is None else prepared.when(facts, None, bound)
                if holds:
                    due.append((position, True, True))
                elif holds is None:
                    self._gathered.fail(prepared, UNTOLD)
            elif not prepared.plain or prepared.when is None or prepared.when(facts, None, bound) is not False:
                self._ask(position)

    def _ask_weighing(self, positions: Sequence[int]) -> int:
        """Ask these, and stop where what they took is enough for one piece. How many of them were asked."""
        taken = 0
        for number, position in enumerate(positions):
            if taken > UNITS_AT_ONCE or self._gathered.is_full:
                return number
            prepared = self._rules[position]
            filled = self._fill_purse(position)
            try:
                if fits(prepared, self._tests[position], self.facts, self._purse):
                    if prepared.in_flight:
                        self._last.append(position)
                    else:
                        self._ask(position)
            except Overspent:
                self._gathered.too_much(prepared)
            taken += filled - self._purse.left
            self._empty_purse()
        return len(positions)

    def _ask_last(self) -> None:
        """The rules that ask what is in flight, of an operation whose facts have it."""
        if len(self._last) > MOST_COUNTS:
            self._leave_beyond()
        for position in self._last:
            prepared = self._rules[position]
            try:
                self._counted.draw(1 if self._is_small else prepared.allowance // STEPS_A_UNIT)
                if not self._is_small:
                    self._fill_purse(position)
                self._ask(position)
            except Overspent:
                self._gathered.leave(prepared)
            if not self._is_small:
                self._empty_purse()
        self._due.sort()

    def _leave_beyond(self) -> None:
        """Of more rules than may be asked in the last step, those that enforce are."""
        self._due.sort(key=lambda due: -rank_of(self._rules[due[0]].mode))
        self._last.sort(key=lambda position: -rank_of(self._rules[position].mode))
        for position in [*(due[0] for due in self._due[MOST_COUNTS:]), *self._last[MOST_COUNTS:]]:
            self._gathered.leave(self._rules[position])
        del self._due[MOST_COUNTS:], self._last[MOST_COUNTS:]

    def _fill_purse(self, position: int) -> int:
        own, candidates = self._rules[position].allowance, self._candidates
        if candidates is not None and candidates.parts > 1 and position in candidates.filed:
            own //= candidates.parts
        self._purse.left = filled = self._budget.left + own
        return filled

    def _empty_purse(self) -> None:
        self._budget.left = min(self._budget.left, self._purse.left)

    def _ask(self, position: int) -> None:
        prepared = self._rules[position]
        rule = prepared.rule
        is_concerned, about = concerned(prepared, self.facts, self._purse)
        is_taught = is_concerned if rule.learn is None else teaches(prepared, self.facts, self._purse)
        if is_concerned is None:
            self._gathered.fail(prepared, UNTOLD)
        if not (is_concerned or is_taught):
            return
        if rule.check is None:
            self._purse.draw(HIT)
            self._gathered.add(Hit(rule=rule, mode=prepared.mode, sentence=about or sentence_of(rule)))
            return
        self._due.append((position, bool(is_concerned), bool(is_taught)))

    def _pay(self, position: int, places: Places) -> CheckOutcome | None:
        """Draw for what a check looks at; its answer, if it is not to be asked. Raises `Overspent`."""
        if self._is_small:
            self._counted.draw(places.weight)
            return None
        if self._gathered.is_full:
            raise Overspent
        self._fill_purse(position)
        try:
            return places.pay(self.facts, self._purse, self._counted)
        finally:
            self._empty_purse()
