from __future__ import annotations

import pytest

from proxy.session.policies.arg import ArgPolicy
from proxy.session.policies.parameter_rules import Condition
from proxy.session.policies.policy import Failed, Passed, PolicyReverted
from proxy.session.revert import BARE, STACK_OVERFLOW
from proxy.userop.execution import Call
from proxy.userop.session_data import PolicyData
from tests.session.builders import ARG, TOKEN, TRANSFER, arg, node, rule, word
from tests.session.policies.builders import Deployed, deploy, error_of, passes, reason_of, refused_init

ONE = rule(Condition.EQUAL, 0, 1)
TWO = rule(Condition.EQUAL, 32, 2)
OUT_OF_RANGE = rule(Condition.EQUAL, 320, 0)
LIMITED = rule(Condition.LESS_THAN, 0, 1000, limit=100)
BOTH = [node("rule", index=0), node("rule", index=1)]


def with_words(*words: int, value: int = 0) -> Call:
    return Call(TOKEN, value, TRANSFER + b"".join(word(each) for each in words))


@pytest.mark.parametrize(
    ("kind", "expected"), [("and", [True, False, False, False]), ("or", [True, True, True, False])]
)
def test_combines_two_rules(kind: str, expected: list[bool]) -> None:
    contract = deploy(arg([ONE, TWO], [*BOTH, node(kind, left=0, right=1)], root=2))
    cases = [(1, 2), (1, 9), (9, 2), (9, 9)]
    assert [passes(contract.call(with_words(*case))[0]) for case in cases] == expected


def test_not_turns_a_rule_round() -> None:
    contract = deploy(arg([ONE], [node("rule"), node("not", left=0)], root=1))
    assert not passes(contract.call(with_words(1))[0])
    assert passes(contract.call(with_words(2))[0])
    assert "condition that this session excludes" in reason_of(contract.call(with_words(1))[0])


def test_the_right_side_is_not_looked_at_when_the_left_decides() -> None:
    either = deploy(arg([ONE, OUT_OF_RANGE], [*BOTH, node("or", left=0, right=1)], root=2))
    assert passes(either.call(with_words(1))[0])
    assert error_of(either.call(with_words(9))[0]) is None
    both = deploy(arg([ONE, OUT_OF_RANGE], [*BOTH, node("and", left=0, right=1)], root=2))
    assert isinstance(both.call(with_words(9))[0], Failed)


@pytest.mark.parametrize(("amount", "allowed"), [(39, True), (40, True), (41, False)])
def test_a_limited_rule_allows_what_is_left_and_not_one_more(amount: int, allowed: bool) -> None:
    _, contract = deploy(arg([LIMITED], [node("rule")])).call(with_words(60))
    outcome, _ = contract.call(with_words(amount))
    assert passes(outcome) is allowed


def test_a_skipped_limited_rule_is_not_charged() -> None:
    contract = deploy(arg([TWO, LIMITED], [*BOTH, node("or", left=0, right=1)], root=2))
    assert contract.call(with_words(7, 2))[1].total(b"\1") == 0
    assert contract.call(with_words(7, 9))[1].total(b"\1") == 7


def test_a_charge_made_in_a_branch_that_fails_stays() -> None:
    nodes = [
        node("rule", index=0),
        node("rule", index=1),
        node("and", left=0, right=1),
        node("rule", index=2),
        node("or", left=2, right=3),
    ]
    contract = deploy(arg([LIMITED, TWO, rule(Condition.EQUAL, 64, 3)], nodes, root=4))
    outcome, after = contract.call(with_words(7, 9, 3))
    assert passes(outcome)
    assert after.total(b"\0") == 7


def test_a_rule_reached_twice_is_charged_twice() -> None:
    contract = deploy(arg([LIMITED], [node("rule"), node("and", left=0, right=0)], root=1))
    assert contract.call(with_words(50))[1].total(b"\0") == 100
    assert not passes(contract.call(with_words(51))[0])


def test_what_is_in_flight_never_makes_an_expression_hold() -> None:
    data = arg([LIMITED], [node("rule"), node("not", left=0)], root=1)
    deployed = deploy(data)
    in_flight = Deployed(ARG, deployed.config, deployed.used, in_flight=lambda counter: 100)
    assert isinstance(in_flight.call(with_words(1))[0], Failed)
    mined = Deployed(ARG, deployed.config, {in_flight.meter.counter(b"\0"): 100})
    assert isinstance(mined.call(with_words(1))[0], Passed)


@pytest.mark.parametrize(
    "nodes", [[node("not", left=0)], [node("and", left=1), node("or", left=0)]], ids=["itself", "each other"]
)
def test_a_cycle_initialises_and_never_ends(nodes: list[int]) -> None:
    outcome, _ = deploy(arg([ONE], nodes)).call(with_words(1))
    assert isinstance(outcome, PolicyReverted)
    assert outcome.revert == STACK_OVERFLOW


def test_an_expression_that_doubles_at_every_level_is_given_up() -> None:
    levels = [node("rule"), *[node("and", left=level, right=level) for level in range(40)]]
    outcome, _ = deploy(arg([ONE], levels, root=40)).call(with_words(1))
    assert isinstance(outcome, PolicyReverted)
    assert outcome.revert == STACK_OVERFLOW


def nested(path: str) -> PolicyData:
    """A rule under these nodes, outermost first: `!` not, `<` and with the rest on its left, `>` on its right, `/` or
    with the rest on its left, `|` on its right. The rule is that the first argument is one; what stands beside the rest
    lets the evaluation go on."""
    nodes, inner = [node("rule"), node("rule", index=1), node("rule", index=2)], 0
    for kind in reversed(path):
        nodes.append(
            {
                "!": node("not", left=inner),
                "<": node("and", left=inner, right=1),
                ">": node("and", left=1, right=inner),
                "/": node("or", left=inner, right=1),
                "|": node("or", left=2, right=inner),
            }[kind]
        )
        inner = len(nodes) - 1
    always, never = rule(Condition.GREATER_THAN_OR_EQUAL, 0, 0), rule(Condition.LESS_THAN, 0, 0)
    return arg([ONE, always, never], nodes, root=inner)


MEASURED = [
    ("!" * 97, True),
    ("!" * 98, False),
    ("<" * 88, True),  # the other side of the innermost is asked as well
    ("<" * 89, False),
    (">" * 81, True),
    (">" * 82, False),
    ("/" * 89, True),
    ("/" * 90, False),
    ("|" * 81, True),
    ("|" * 82, False),
    ("<!!" + ">" * 79, True),
    ("<<!" + ">" * 79, False),
    ("!" * 250, False),
    (">" * 200, False),
]
"""What the released contract takes of trees whose rule holds, and what it halts at, having run out of stack."""


@pytest.mark.parametrize(("path", "taken"), MEASURED)
def test_a_tree_is_asked_as_deep_as_the_chains_stack_was_measured_to_take_and_refused_beyond(
    path: str, taken: bool
) -> None:
    outcome, _ = deploy(nested(path)).call(with_words(1))
    if taken:
        assert passes(outcome) is (path.count("!") % 2 == 0)
        return
    assert isinstance(outcome, PolicyReverted)
    assert outcome.revert == BARE
    assert "deeper than the chain's stack takes" in outcome.reason.sentence


def test_the_other_side_of_an_or_takes_stack_only_where_it_is_asked() -> None:
    contract = deploy(nested("/" * 89))
    assert passes(contract.call(with_words(1))[0])
    outcome, _ = contract.call(with_words(2))
    assert isinstance(outcome, PolicyReverted)
    assert outcome.revert == BARE


def test_depth_that_is_never_gone_into_does_not_count() -> None:
    deep = [node("rule"), *[node("not", left=level) for level in range(100)]]
    tree = [*deep, node("or", left=0, right=100)]
    assert passes(deploy(arg([ONE], tree, root=101)).call(with_words(1))[0])
    outcome, _ = deploy(arg([ONE], tree, root=101)).call(with_words(2))
    assert isinstance(outcome, PolicyReverted)
    assert outcome.revert == BARE


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (arg([ONE], []), "EmptyExpressionTree"),
        (arg([ONE], [node("rule")], root=1), "RootNodeIndexOutOfBounds"),
        (arg([ONE], [node("rule", index=1)]), "RuleIndexOutOfBounds"),
        (arg([ONE], [node("not", left=1)]), "NodeChildIndexOutOfBounds"),
        (arg([ONE], [node("rule"), node("and", left=0, right=2)]), "NodeChildIndexOutOfBounds"),
        (arg([ONE] * 129, [node("rule")]), "TooManyRules"),
        (arg([ONE], [node("rule")] * 257), "TooManyNodes"),
        (arg([ONE], [node("rule")] * 256), "Panic"),
    ],
)
def test_refuses_expressions_that_the_contract_refuses(data: PolicyData, error: str) -> None:
    assert refused_init(data).error == error


def test_takes_as_many_rules_and_nodes_as_the_contract_does() -> None:
    data = arg([ONE] * 128, [node("rule", index=127)] * 255)
    assert passes(deploy(data).call(with_words(1))[0])


def test_bits_above_the_right_child_and_the_right_child_of_a_not_are_ignored() -> None:
    nodes = [node("rule") | 1 << 26 | 1 << 255, node("not", left=0, right=200), node("not", left=1)]
    assert passes(deploy(arg([ONE], nodes, root=2)).call(with_words(1))[0])


def test_refuses_truncated_init_data_and_an_unknown_condition() -> None:
    good = arg([ONE], [node("rule")])
    assert refused_init(PolicyData(ARG, good.init_data[:-1])) == BARE
    assert refused_init(PolicyData(ARG, b"")) == BARE
    assert refused_init(arg([rule(7)], [node("rule")])) == BARE


@pytest.mark.parametrize(("value", "allowed"), [(4, True), (5, True), (6, False)])
def test_allows_value_per_use_up_to_the_limit(value: int, allowed: bool) -> None:
    outcome, _ = deploy(arg([ONE], [node("rule")], value=5)).call(with_words(1, value=value))
    assert passes(outcome) is allowed


def test_no_rules_at_check_time_revert() -> None:
    assert error_of(Deployed(ARG).call(with_words(1))[0]) == "PolicyNotInitialized"
    assert error_of(deploy(arg([], [node("not", left=0)])).call(with_words(1))[0]) == "PolicyNotInitialized"


def test_names_the_first_rule_that_refused_and_how_many_more() -> None:
    contract = deploy(arg([ONE, TWO], [*BOTH, node("or", left=0, right=1)], root=2))
    sentence = reason_of(contract.call(with_words(9, 9))[0])
    assert sentence == "argument 0 must be equal to 1, got 9 (1 more rules refused)"


def test_reads_configuration_and_counters_from_the_getter() -> None:
    data = arg([LIMITED, TWO], [*BOTH, node("or", left=0, right=1)], root=2, value=9)
    read = ArgPolicy.from_getters(data.init_data[32:])  # the getter returns the members, not one tuple
    assert read.config == deploy(data).config
    assert read.used == {b"\0": 0}
