"""Any session whatsoever, made of contracts that mean something and bytes that often do not."""

from __future__ import annotations

from hypothesis import strategies as st

from proxy.session.addresses import POLICIES, SESSION_MODULES, VALIDATOR_KINDS
from proxy.session.lint.tokens import TOKEN_FUNCTIONS
from proxy.userop.primitives import ZERO_ADDRESS, Address, Hash32, Selector
from proxy.userop.session_data import (
    FALLBACK_SELECTOR,
    FLAG_TARGET,
    SMART_SESSION_CALL_SELECTOR,
    VALUE_SELECTOR,
    ActionData,
    ERC7739Context,
    ERC7739Data,
    PolicyData,
    SessionData,
)
from tests.session.builders import (
    ACCOUNT,
    APPROVE,
    FRIEND,
    TOKEN,
    TRANSFER,
    UNKNOWN_POLICY,
    arg,
    gas,
    node,
    only,
    rule,
    spending,
    sudo,
    time_frame,
    uni_action,
    usage,
    value_limit,
)

words = st.sampled_from([0, 1, 5, 2**128, 2**255 - 1, 2**255, 2**256 - 1]) | st.integers(0, 2**256 - 1)
rules = st.builds(rule, st.integers(0, 6), st.sampled_from([0, 32, 64, 5]), words, limit=st.none() | words)
nodes = st.lists(
    st.builds(
        node,
        st.sampled_from(["rule", "not", "and", "or"]),
        index=st.integers(0, 2),
        left=st.integers(0, 4),
        right=st.integers(0, 4),
    ),
    min_size=1,
    max_size=5,
)
trees = st.builds(arg, st.lists(rules, max_size=3), nodes, root=st.integers(0, 4), value=words)
sensible = st.one_of(
    st.just(sudo),
    st.builds(lambda limit: spending((TOKEN, limit)), words),
    st.builds(usage, st.integers(0, 2**128 - 1)),
    st.builds(value_limit, words),
    st.builds(time_frame, st.integers(0, 2**48 - 1), st.integers(0, 2**48 - 1)),
    st.builds(gas, st.integers(0, 2**128 - 1), st.integers(0, 2**128 - 1)),
    st.just(only(FRIEND)),
    st.builds(lambda some, value: uni_action(*some, value=value), st.lists(rules, max_size=4), words),
    trees,
)
known = st.sampled_from([*POLICIES, UNKNOWN_POLICY, ZERO_ADDRESS])
policies = sensible | st.builds(PolicyData, known, st.binary(max_size=100))
targets = st.sampled_from([TOKEN, ACCOUNT, FLAG_TARGET, ZERO_ADDRESS, FRIEND, *SESSION_MODULES])
selectors = st.sampled_from(
    [FALLBACK_SELECTOR, SMART_SESSION_CALL_SELECTOR, VALUE_SELECTOR, TRANSFER, APPROVE, *TOKEN_FUNCTIONS]
) | st.builds(Selector, st.binary(min_size=4, max_size=4))
some_policies = st.lists(policies, max_size=4).map(tuple)
hashes = st.sampled_from([bytes(32), b"\x01" * 32]).map(Hash32)
contexts = st.builds(ERC7739Context, hashes, st.lists(st.text(max_size=12), max_size=3).map(tuple))
validators = st.sampled_from([*VALIDATOR_KINDS, *POLICIES, ZERO_ADDRESS]) | st.builds(
    Address, st.binary(min_size=20, max_size=20)
)


def sessions() -> st.SearchStrategy[SessionData]:
    return st.builds(
        SessionData,
        session_validator=validators,
        session_validator_init_data=st.binary(max_size=100),
        salt=hashes,
        user_op_policies=some_policies,
        erc7739_policies=st.builds(ERC7739Data, st.lists(contexts, max_size=2).map(tuple), some_policies),
        actions=st.lists(st.builds(ActionData, selectors, targets, some_policies), max_size=4).map(tuple),
        permit_erc4337_paymaster=st.booleans(),
    )
