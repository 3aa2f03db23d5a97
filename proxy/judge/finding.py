"""What a set of rules says of one operation, and how that is put together."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Final

from proxy.errors import Code, Reason, StateUnavailable
from proxy.judge.asked import CheckAnswer, CheckOutcome
from proxy.judge.counts import CountKey, Lesson, RuleCharge, WindowCharge
from proxy.judge.prepared import PreparedRule, rank_of, sentence_of
from proxy.judge.rule import Fail, Limit, Rate, Rule
from proxy.judge.verdict import Mode
from proxy.record import record
from proxy.session.lint.findings import Severity
from proxy.userop.budget import MOST_HITS

_REMEDY: Final = "ask the operator of this gate why this rule is there, or change the operation"


@record(kw_only=True)
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


@record(kw_only=True)
class RulesFinding:
    """What a set of rules says of one operation, and what is to be counted for it.

    `hits` stand in the order of precedence. `charges` and `lessons` are for an operation that goes out, `rates` are
    counted at once whatever becomes of it, `rows` grow when it is refused here and end when it goes out. `opened`
    names the rules that let it pass for want of a fact. Of very many hits only the gravest are there.
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
        return tuple(hit for hit in self.hits if hit.mode is Mode.ENFORCE) if self.hits else ()

    @property
    def verdict(self) -> str:
        """`reject`, `alert` or `allow`."""
        if not self.hits or self.hits[0].mode is Mode.SHADOW:
            return "allow"
        return "reject" if self.hits[0].mode is Mode.ENFORCE else "alert"


NOTHING: Final = RulesFinding()
"""What no rules say."""


UNTOLD: Final = "what it asks for cannot be told of this operation"
_TOO_DEAR: Final = "finding out takes more work than is done for one operation"
_MOST_TOO_DEAR: Final = 32
"""After so many rules that an operation's budget did not pay for none is asked any more, and no more are told."""


def uncounted(error: StateUnavailable) -> str:
    """What is said of a rule whose count nobody can tell."""
    return f"what it counts cannot be told now: {error.what}"


_WEIGHTS: Final = {(mode, severity): (rank_of(mode), severity.rank) for mode in Mode for severity in Severity}
"""How much a hit weighs, by its mode and its rule's severity."""


def _precedence(hit: Hit) -> tuple[int, int, int]:
    mode, severity = _WEIGHTS[hit.mode, hit.rule.severity]
    return -mode, -severity, hit.rule.order


class Gathered:
    """What the rules have said so far."""

    __slots__ = (
        "_gravest",
        "_gravest_left",
        "_left",
        "charges",
        "hits",
        "lessons",
        "opened",
        "rates",
        "rows",
        "too_dear",
    )

    def __init__(self) -> None:
        self.hits: list[Hit] = []
        self.charges: list[RuleCharge] = []
        self.lessons: list[Lesson] = []
        self.rates: list[WindowCharge] = []
        self.rows: list[CountKey] = []
        self.opened: list[Rule] = []
        self.too_dear = 0
        self._left = 0
        self._gravest_left = -1
        self._gravest = (-1, -1)

    @property
    def is_full(self) -> bool:
        """Whether so many rules were left that none is asked any more."""
        return self.too_dear > _MOST_TOO_DEAR

    def too_much(self, prepared: PreparedRule) -> None:
        """A rule that the operation's budget does not pay for."""
        self.too_dear += 1
        self.leave(prepared)

    def leave(self, prepared: PreparedRule) -> None:
        """A rule that is not asked, since so much is asked already. Of many only those are told that weigh more than
        what is told already."""
        self._left += 1
        if self._left <= _MOST_TOO_DEAR or prepared.opens or prepared.rank > self._gravest_left:
            self.fail(prepared, _TOO_DEAR)
            if not prepared.opens:
                self._gravest_left = max(self._gravest_left, prepared.rank)

    def leave_all(self, left: Iterable[PreparedRule]) -> None:
        """The same of all these, when it is full."""
        gravest = self._gravest_left
        for prepared in [each for each in left if each.rank > gravest or each.opens]:  # of thousands a few
            if prepared.rank > self._gravest_left or (prepared.opens and len(self.opened) < MOST_HITS):
                self.leave(prepared)

    def fail(self, prepared: PreparedRule, sentence: str) -> None:
        """A rule that cannot be answered."""
        rule = prepared.rule
        if rule.fail is not Fail.OPEN:
            self.add(Hit(rule=rule, mode=prepared.mode, sentence=sentence, unknown=True))
        elif len(self.opened) < MOST_HITS:
            self.opened.append(rule)

    def add(self, hit: Hit) -> None:
        """A rule that fired. Of very many only those are told that weigh more than all that is told already."""
        weight = _WEIGHTS[hit.mode, hit.rule.severity]
        if len(self.hits) < MOST_HITS or weight > self._gravest:
            self.hits.append(hit)
            self._gravest = max(self._gravest, weight)

    def count(self, prepared: PreparedRule, outcome: CheckOutcome, *, is_concerned: bool, is_taught: bool) -> None:
        """What a check says, of a rule that the operation concerns, or teaches, or both."""
        answer, charges = outcome.answer, outcome.charges
        if is_concerned and charges and answer is CheckAnswer.QUIET and prepared.is_limit:
            self.charges += charges
        elif is_concerned and (charges or answer is not CheckAnswer.QUIET):
            self.take(prepared, outcome)
        if is_taught and outcome.lessons:
            self.lessons += outcome.lessons
        if is_taught and outcome.rows:
            self.rows += outcome.rows

    def take(self, prepared: PreparedRule, outcome: CheckOutcome) -> None:
        """A check's answer. Of a rule that fired nothing is charged, as when it enforces; but an alert lets the
        operation out, so what it adds is counted."""
        rule = prepared.rule
        if outcome.charges and isinstance(rule.check, Limit):
            self.charges += outcome.charges
        if outcome.answer is CheckAnswer.UNKNOWN:
            self.fail(prepared, outcome.sentence)
        elif outcome.answer is CheckAnswer.FIRES:
            self.add(
                Hit(
                    rule=rule,
                    mode=prepared.mode,
                    sentence=outcome.sentence or sentence_of(rule),
                    wanted=outcome.wanted,
                    got=outcome.got,
                    retryable=outcome.retryable,
                )
            )
        elif isinstance(rule.check, Rate):
            self.rates += [each for each in outcome.charges if isinstance(each, WindowCharge)]

    def finding(self) -> RulesFinding:
        """All of it, in the order of precedence."""
        if len(self.hits) > 1:
            self.hits.sort(key=_precedence)
        if len(self.opened) > 1:
            self.opened.sort(key=lambda rule: rule.order)
        return RulesFinding(
            hits=tuple(self.hits),
            charges=tuple(self.charges),
            lessons=tuple(self.lessons),
            rates=tuple(self.rates),
            rows=tuple(self.rows),
            opened=tuple([rule.id for rule in self.opened]),
        )
