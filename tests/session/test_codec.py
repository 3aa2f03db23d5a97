from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.session.addresses import SMART_SESSION
from proxy.session.codec import state_from_json, state_to_json
from proxy.session.counters import Counter, SessionKey
from proxy.session.granted import GrantedAction
from proxy.session.policies.arg import ArgNode, ArgRules, NodeType
from proxy.session.policies.contract_whitelist import AllowedTargets
from proxy.session.policies.erc20_spending_limit import SpendingLimits
from proxy.session.policies.parameter_rules import Condition, ParameterRule
from proxy.session.policies.policy import PolicyConfig
from proxy.session.policies.simple_gas import GasLimits
from proxy.session.policies.sudo import Sudo
from proxy.session.policies.time_frame import TimeFrame
from proxy.session.policies.universal_action import ActionRules
from proxy.session.policies.usage_limit import UsageLimit
from proxy.session.policies.value_limit import ValueLimit
from proxy.session.state import ConfigId, SessionState, SessionStatus, ToldAt
from proxy.userop.declared_acts import GrantedTerms
from proxy.userop.primitives import UINT256_MAX, Address, Hash32, Selector
from tests.session.builders import ACCOUNT, TOKEN, TRANSFER, action, enabled, session, spending, time_frame

addresses = st.binary(min_size=20, max_size=20).map(Address)
hashes = st.binary(min_size=32, max_size=32).map(Hash32)
numbers = st.integers(0, UINT256_MAX)
bytes_of_index = st.integers(0, 255)
rules = st.builds(ParameterRule, st.sampled_from(Condition), numbers, st.booleans(), numbers, numbers)
nodes = st.builds(ArgNode, st.sampled_from(NodeType), bytes_of_index, bytes_of_index, bytes_of_index)
rule_lists = st.lists(rules, max_size=3).map(tuple)
limits = st.none() | numbers
bounds = dict.fromkeys(("max_value", "max_total", "max_uses"), limits)
times = dict.fromkeys(("valid_after", "valid_until"), numbers)
terms = st.builds(GrantedTerms, **bounds, per_operation=st.booleans(), **times)
selectors = st.binary(min_size=4, max_size=4).map(Selector)
address_sets = st.frozensets(addresses, max_size=3)
configs: st.SearchStrategy[PolicyConfig] = st.one_of(
    st.just(Sudo()),
    st.builds(UsageLimit, numbers),
    st.builds(ValueLimit, numbers),
    st.builds(GasLimits, numbers, numbers),
    st.builds(TimeFrame, numbers, numbers),
    st.builds(SpendingLimits, st.dictionaries(addresses, numbers, max_size=3), st.booleans()),
    st.builds(AllowedTargets, address_sets, address_sets, st.booleans()),
    st.builds(ActionRules, numbers, rule_lists),
    st.builds(GrantedAction, st.none() | addresses, st.none() | selectors, terms),
    st.builds(ArgRules, numbers, rule_lists, st.lists(nodes, max_size=3).map(tuple), bytes_of_index),
)
address_lists = st.lists(addresses, max_size=3).map(tuple)


@st.composite
def states(draw: st.DrawFn) -> SessionState:
    key = SessionKey(draw(numbers), draw(addresses), draw(addresses), draw(hashes))
    counters = st.builds(Counter, st.just(key.module), st.just(key.account), addresses, hashes, st.binary(max_size=20))
    return SessionState(
        key=key,
        status=draw(st.sampled_from(SessionStatus)),
        session_validator=draw(st.none() | addresses),
        session_validator_init_data=draw(st.binary(max_size=40)),
        user_op_policies=draw(address_lists),
        actions=draw(st.dictionaries(hashes, address_lists, max_size=3)),
        erc1271_policies=draw(address_lists),
        permits_paymaster=draw(st.none() | st.booleans()),
        enable_nonce=draw(st.none() | numbers),
        configs=draw(st.dictionaries(st.builds(ConfigId, addresses, hashes), configs, max_size=3)),
        used=draw(st.dictionaries(counters, numbers, max_size=3)),
        told_at=draw(st.none() | st.builds(ToldAt, numbers, numbers)),
        targets=draw(
            st.dictionaries(hashes, st.tuples(addresses, st.binary(min_size=4, max_size=4).map(Selector)), max_size=2)
        ),
    )


@given(states())
def test_what_is_written_is_read_back_exactly(state: SessionState) -> None:
    again = state_from_json(json.loads(json.dumps(state_to_json(state))))
    assert again == state
    assert list(again.actions) == list(state.actions)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
GOOD = state_to_json(enabled(session(action(TOKEN, TRANSFER, spending((TOKEN, 5))), user_op=[time_frame(9)])))


@given(st.sampled_from(sorted(GOOD)), json_values)
def test_anything_else_in_place_of_a_field_is_a_value_error_or_means_itself(name: str, value: object) -> None:
    try:
        state = state_from_json({**GOOD, name: value})
    except ValueError:
        return
    assert state_from_json(state_to_json(state)) == state


@given(st.dictionaries(st.text(max_size=8), json_values, max_size=4))
def test_arbitrary_json_is_a_value_error(value: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="not a session state"):
        state_from_json(value)


@pytest.mark.parametrize("number", ["5", "0x05", "0X5", "0xAB", 5, True, "0x", "0x" + "1" * 65])
def test_numbers_are_minimal_hex_text_and_nothing_else(number: object) -> None:
    with pytest.raises(ValueError, match="minimal hex"):
        state_from_json({**GOOD, "enableNonce": number})


ADDRESS = "0x" + "ab" * 20


@pytest.mark.parametrize(
    "account",
    [
        *(ADDRESS.upper(), "0X" + ADDRESS[2:], ADDRESS[2:], ADDRESS[:-1], ADDRESS[:-2], ADDRESS + "ab", ADDRESS + " "),
        *(
            "0x" + "AB" * 20,
            f"0x{'ab' * 19} b",
            f"0x{'ab' * 19}_b",
            f"0x{'ab' * 19}\u0661b",
            "",
            "0x",
            5,
            True,
            None,
            [],
            {},
        ),
    ],
)
def test_bytes_are_hex_text_as_it_is_written_and_nothing_else(account: object) -> None:
    with pytest.raises(ValueError, match=r"wanted|not a session state"):
        state_from_json({**GOOD, "key": {**GOOD["key"], "account": account}})
    with pytest.raises(ValueError, match=r"wanted|not a session state"):
        state_from_json({**GOOD, "userOpPolicies": [account]})


def test_a_slot_of_each_policy_survives() -> None:
    state = enabled(session(action(TOKEN, TRANSFER, spending((TOKEN, 5)))))
    key = SessionKey(1, SMART_SESSION, ACCOUNT, state.key.permission_id)
    assert state.key == key
    counter = Counter(*state.config_key(TOKEN, Hash32(bytes(32))), b"cost")
    marked = replace(state, used={counter: 2**200})
    assert state_from_json(state_to_json(marked)).used == {counter: 2**200}
