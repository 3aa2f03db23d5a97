"""However many rules there are, they are asked in small pieces, and to find out which of them are is one too."""

from __future__ import annotations

import pytest

from proxy.judge.checks import MOST_WEIGHT
from proxy.judge.counts import Counts, MarksLesson
from proxy.judge.facts import Facts
from proxy.judge.group import mark_of
from proxy.judge.history import MOST_MARKS
from proxy.ledger.memory import MemoryLedger
from proxy.ledger.reservation import NonceSlot
from proxy.userop.budget import MOST_COUNTS
from proxy.userop.primitives import Address
from tests.cost.units import units_of
from tests.judge.builders import ACCOUNT, START, Scene, facts, judge_of, spend

_MANY = 2_000
_LITTLE = 500  # units, where to ask each rule anything takes twice `_MANY` and more


def _rules(number: int, match: str, more: str = "") -> str:
    return "\n".join(
        f"- {{id: r{each}, description: d, mode: alert, match: {match}{more % each if '%' in more else more}}}"
        for each in range(number)
    )


def _uncounted() -> Counts:
    return MemoryLedger().counts(NonceSlot(1, ACCOUNT, ACCOUNT, 0), facts().unix_time)


def _calls(number: int) -> Facts:
    """An operation of so many calls of which none is like another."""
    (call,) = facts().calls
    calls = (call._replace(target=Address(each.to_bytes(20, "big"))) for each in range(1, number + 1))
    return facts(calls=tuple(calls))


@pytest.mark.parametrize(
    "change", [{}, {"preview": True}, {"verdict": "session_scope"}, {"mode": "enable"}, {"method": "eth_other"}]
)
def test_the_first_operation_of_its_kind_costs_no_question_to_each_rule(change: dict[str, object]) -> None:
    look = judge_of(_rules(_MANY, "{session: true}")).look
    asked = facts(**change)
    assert units_of(lambda: look(asked).go_on(0)) < _LITTLE


def test_rules_that_are_filed_in_many_places_are_looked_up_piece_by_piece() -> None:
    targets = ", ".join(f'"0x{each:040x}"' for each in range(1, 401))
    judge = judge_of(_rules(200, f"{{target: [{targets}]}}"))
    look, pieces = judge.look(_calls(400)), 1
    while look.go_on(1_000):
        pieces += 1
    assert pieces > 400 * 200 // 20_000
    assert look.finding(_uncounted()).hits


def test_of_a_place_that_many_calls_go_to_the_rules_are_looked_up_once() -> None:
    judge = judge_of(_rules(_MANY, '{target: "0x%040x"}' % 1))  # noqa: UP031  # braces are YAML's here
    (one,) = _calls(1).calls
    many, few = facts(calls=(one,) * 500), facts(calls=(one,) * 2)
    pieces = []
    for asked in (many, few):
        look, count = judge.look(asked), 1
        while look.go_on(_MANY):
            count += 1
        pieces.append(count)
    assert pieces[0] <= pieces[1] + 20


def test_rules_that_take_long_are_fewer_in_one_piece() -> None:
    judge = judge_of(_rules(200, "{session: true}", ", when: 'any(c.value > %d ETH for c in op.calls)'"))
    look, pieces = judge.look(_calls(50)), 1
    while look.go_on(100):
        pieces += 1
    assert pieces > 4
    assert not look.finding(_uncounted()).hits


def test_what_a_rule_remembers_costs_no_more_however_much_it_is() -> None:
    sights = "first_seen: {of: recipient, per: session, after: %d ops}"
    rules = "\n".join(
        f"- {{id: r{each}, description: d, mode: alert, match: {{session: true}}, {sights % (each + 1)}}}"
        for each in range(40)
    )
    units, paid = [], facts(moves=(spend(5),))
    for known in (1, MOST_MARKS):
        scene = Scene(judge_of(rules))
        people = tuple(mark_of(each.to_bytes(20, "big")) for each in range(1, known + 1))
        for lesson in scene.look(paid).lessons:
            assert isinstance(lesson, MarksLesson)
            for _ in range(50):
                scene.ledger.learn_now(MarksLesson(lesson.key, people), START, success=True)
        units.append(units_of(lambda scene=scene: scene.look(paid)))  # type: ignore[misc]  # bound to this one
        assert len(scene.look(paid).hits) == 40
    assert units[1] < 1.2 * units[0]


def test_one_operation_stands_in_fewer_counts_of_a_thousand_different_things() -> None:
    for most, told in ((5, 40), (1_000, MOST_COUNTS // MOST_WEIGHT)):
        limit = f"limit: {{distinct: recipient, max: {most}, per: session, window: 24h}}"
        rules = "\n".join(
            f"- {{id: r{each}, description: d, mode: enforce, match: {{session: true}}, {limit}}}" for each in range(40)
        )
        finding = Scene(judge_of(rules)).look(facts(moves=(spend(5),)))
        assert len(finding.charges) == told
        assert len(finding.rejections) == 40 - told


def test_rules_that_nobody_asks_any_more_are_left_with_hardly_a_word() -> None:
    """What an operation of many calls leaves unasked of thousands of rules that name one of its targets."""
    targets = ", ".join(f'"0x{each:040x}"' for each in range(1, 101))
    units = []
    for many in (200, 1_200):
        look = judge_of(_rules(many, f"{{target: [{targets}]}}").replace("alert", "enforce")).look(_calls(100))
        units.append(units_of(lambda look=look: look.finding(_uncounted())))  # type: ignore[misc]  # bound to this one
    assert units[1] - units[0] < 5 * 1_000
