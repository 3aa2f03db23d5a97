"""The bounds of an argument hold for every call that the policy itself lets through."""

from __future__ import annotations

from hypothesis import assume, example, given
from hypothesis import strategies as st

from proxy.session.addresses import POLICIES
from proxy.session.counters import ConfigKey, Meter
from proxy.session.lint.argument_bounds import Bounds, bounds_of_rules
from proxy.session.policies.arg import ArgRules
from proxy.session.policies.policy import Initialised, Passed
from proxy.session.policies.universal_action import ActionRules
from proxy.userop.execution import Call
from proxy.userop.primitives import Hash32
from proxy.userop.session_data import PolicyData
from tests.session.builders import ACCOUNT, ARG, TOKEN, TRANSFER, arg, node, rule, uni_action, word
from tests.session.lint.builders import AT_LEAST, AT_MOST, EQUAL, GREATER, IN_RANGE, LESS, UNEQUAL

KEY = ConfigKey(TOKEN, ACCOUNT, ARG, Hash32(bytes(32)))
few = st.integers(0, 6)
rules = st.builds(rule, st.integers(0, 5), st.sampled_from([0, 32]), few, limit=st.none() | few) | st.builds(
    lambda low, high: rule(IN_RANGE, 0, low << 128 | high), few, few
)
kinds = st.sampled_from(["rule", "not", "and", "or"])
nodes = st.lists(
    st.builds(node, kinds, index=st.integers(0, 3), left=st.integers(0, 5), right=st.integers(0, 5)), min_size=6
)


def config_of(data: PolicyData) -> ActionRules | ArgRules | None:
    initialised = POLICIES[data.policy].policy.initialise(data.init_data, KEY)
    if not isinstance(initialised, Initialised):
        return None
    assert isinstance(initialised.config, ActionRules | ArgRules)
    return initialised.config


def bounds_of(data: PolicyData) -> Bounds | None:
    config = config_of(data)
    assert config is not None
    return bounds_of_rules(config)


def passes(data: PolicyData, *arguments: int) -> bool:
    contract = POLICIES[data.policy]
    assert contract.action is not None
    call = Call(TOKEN, 0, TRANSFER + b"".join(word(argument) for argument in arguments))
    outcome = contract.action.check_action(config_of(data), call, Meter(KEY, {}), KEY)
    return isinstance(outcome, Passed)


def holds(data: PolicyData, first: int, second: int) -> None:
    """Nothing that passes is outside of the bounds."""
    if not passes(data, first, second):
        return
    bounds = bounds_of(data)
    assert bounds is not None
    for offset, each in bounds.items():
        value = (first, second)[offset // 32]
        assert each.lowest <= value <= each.highest
        assert each.values is None or value in each.values
        assert each.total is None or value <= each.total


@given(st.lists(rules, min_size=1, max_size=4), few, few)
def test_no_call_that_passes_the_rules_is_out_of_bounds(some: list[tuple[int, ...]], first: int, second: int) -> None:
    holds(uni_action(*some), first, second)


@given(st.lists(rules, min_size=4, max_size=4), nodes, few, few)
@example([rule(LESS, 0, 3)] * 4, [node("not", left=1), *[node("rule")] * 5], 4, 0)
def test_no_call_that_passes_a_tree_is_out_of_bounds(
    some: list[tuple[int, ...]], tree: list[int], first: int, second: int
) -> None:
    data = arg(some, tree)
    assume(config_of(data) is not None)
    holds(data, first, second)


def test_reads_every_comparison() -> None:
    wanted = {
        EQUAL: (7, 7),
        GREATER: (8, 2**256 - 1),
        LESS: (0, 6),
        AT_LEAST: (7, 2**256 - 1),
        AT_MOST: (0, 7),
    }
    for condition, edges in wanted.items():
        bounds = bounds_of(uni_action(rule(condition, 32, 7)))
        assert bounds is not None
        assert (bounds[32].lowest, bounds[32].highest) == edges
    assert bounds_of(uni_action(rule(UNEQUAL, 32, 7))) == {}


def test_lists_the_values_between_which_a_call_may_choose_and_those_two_conditions_share() -> None:
    rules = [rule(EQUAL, 0, 7), rule(EQUAL, 0, 9), rule(AT_MOST, 0, 8)]
    either = [node("or", left=1, right=2), node("rule"), node("rule", index=1)]
    bounds = bounds_of(arg(rules, either))
    assert bounds is not None
    assert bounds[0].values == {7, 9}
    bounds = bounds_of(arg(rules, [*either, node("rule", index=2), node("and", left=0, right=3)], root=4))
    assert bounds is not None
    assert bounds[0].values == {7}


def test_turns_a_comparison_round_behind_a_not() -> None:
    bounds = bounds_of(arg([rule(GREATER, 0, 7)], [node("not", left=1), node("rule")]))
    assert bounds is not None
    assert bounds[0].highest == 7


def test_says_nothing_of_a_tree_that_never_ends() -> None:
    assert bounds_of(arg([rule(EQUAL, 0, 7)], [node("and", left=0, right=1), node("rule")])) == {}


def test_reads_a_tree_whose_nodes_are_shared_in_no_time() -> None:
    depth = 200
    tree = [node("and", left=index + 1, right=index + 1) for index in range(depth)]
    bounds = bounds_of(arg([rule(EQUAL, 0, 7)], [*tree, node("rule")]))
    assert bounds is not None
    assert bounds[0].values == {7}
