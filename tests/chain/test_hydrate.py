"""A session read from the chain is the session that was granted there."""

from __future__ import annotations

from dataclasses import replace

import pytest

from proxy.chain import contract_abi, views
from proxy.chain.hydrate import MOST_ACTIONS, Reading, hydrate, permits_paymaster_of
from proxy.chain.node import Node
from proxy.chain.settlement.slices import BlockName
from proxy.errors import StateUnavailable
from proxy.session.counters import Counter
from proxy.session.policies.erc20_spending_limit import SpendingLimits
from proxy.session.policies.simple_gas import COST_SLOT, GAS_SLOT
from proxy.session.state import ConfigId, SessionState
from proxy.userop.emissary_abi import EMISSARY
from proxy.userop.primitives import Address, Hash32, print_bytes
from tests.chain.builders import FakeNode, Reverts, hash_of_block
from tests.session.builders import (
    ACCOUNT,
    APPROVE,
    ARG,
    GAS,
    SMART_SESSION,
    SPENDING,
    TIME,
    TOKEN,
    TRANSFER,
    UNI_ACTION,
    UNKNOWN_POLICY,
    USAGE,
    VALUE,
    PolicyData,
    action,
    arg,
    enabled,
    fallback,
    gas,
    key_of,
    rule,
    session,
    spending,
    sudo,
    time_frame,
    uni_action,
    usage,
    value_limit,
)
from tests.session.builders import (
    node as tree_node,
)

GRANT = session(
    action(TOKEN, TRANSFER, uni_action(rule(0, 0, 5), rule(4, 32, 100, limit=900, used=12)), usage(3), value_limit(70)),
    action(TOKEN, APPROVE, arg([rule(0, 0, 5, limit=50, used=7)], [tree_node("rule")], value=4), spending((TOKEN, 50))),
    fallback(sudo),
    user_op=(time_frame(2_000_000_000, 1_600_000_000), gas(10**6, 10**15)),
    paymaster=True,
)
KEY = key_of(GRANT)
STATE = enabled(GRANT)
NOT_ENABLED = bytes.fromhex("526d0da5") + KEY.permission_id
NO_PAYMASTER = bytes.fromhex("d5dc9fa4") + KEY.permission_id
NAMES = (KEY.account, KEY.permission_id)
PROBE = (KEY.account, 0, b"", b"", bytes(32), 0, bytes(32), bytes(52), b"\0" + KEY.permission_id + b"\0")


def put_session(chain: FakeNode, state: SessionState = STATE) -> None:
    """Let the module answer for the session, everything but its policies' configurations."""
    chain.view(SMART_SESSION, views.IS_PERMISSION_ENABLED, KEY.permission_id, KEY.account, returns=(True,))
    chain.view(SMART_SESSION, views.GET_NONCE, KEY.permission_id, KEY.account, returns=(4,))
    chain.view(
        SMART_SESSION,
        views.GET_SESSION_VALIDATOR,
        *NAMES,
        returns=(state.session_validator, state.session_validator_init_data),
    )
    chain.view(SMART_SESSION, views.GET_USER_OP_POLICIES, *NAMES, returns=(state.user_op_policies,))
    chain.view(SMART_SESSION, views.GET_ERC1271_POLICIES, *NAMES, returns=(state.erc1271_policies,))
    chain.view(SMART_SESSION, views.GET_ENABLED_ACTIONS, *NAMES, returns=(tuple(state.actions),))
    for action_id, policies in state.actions.items():
        chain.view(SMART_SESSION, views.GET_ACTION_POLICIES, *NAMES, action_id, returns=(policies,))
    chain.view(SMART_SESSION, views.VALIDATE_USER_OP, PROBE, bytes(32), returns=Reverts())


def names(state: SessionState, config_id: Hash32) -> tuple[Hash32, Address, Address]:
    return config_id, state.key.module, state.key.account


def put_policies(chain: FakeNode) -> None:
    """Let every policy of STATE answer its getters."""
    ids = dict.fromkeys(config_id for _, config_id in STATE.listed_configs())
    user_op, transfers, approvals, _ = ids
    chain.view(TIME, views.GET_TIME_FRAME, *names(STATE, user_op), returns=(2_000_000_000 << 48 | 1_600_000_000,))
    chain.view(GAS, views.GET_GAS_CONFIG, *names(STATE, user_op), returns=(10**6, 5, 10**15, 6))
    chain.view(USAGE, views.GET_USAGE_LIMIT, *names(STATE, transfers), returns=(3,))
    chain.view(USAGE, views.GET_USED, *names(STATE, transfers), returns=(1,))
    chain.view(VALUE, views.GET_VALUE_LIMIT, *names(STATE, transfers), returns=(70,))
    chain.view(VALUE, views.GET_USED, *names(STATE, transfers), returns=(69,))
    uni = GRANT.actions[0].policies[0].init_data
    chain.view(UNI_ACTION, views.ACTION_CONFIGS, *names(STATE, transfers), returns=uni)
    # the getter returns the members of the struct, the init data wraps them in one tuple more
    wrapped = GRANT.actions[1].policies[0].init_data[32:]
    chain.view(ARG, views.ACTION_CONFIGS, *names(STATE, approvals), returns=wrapped)


def counter(policy: Address, config_id: Hash32, slot: bytes = b"") -> Counter:
    return Counter(SMART_SESSION, ACCOUNT, policy, config_id, slot)


async def test_reads_the_session_that_was_granted(node: Node, chain: FakeNode) -> None:
    put_session(chain)
    put_policies(chain)
    reading = await hydrate(node, KEY)
    user_op, transfers, approvals, _ = dict.fromkeys(config_id for _, config_id in STATE.listed_configs())
    spent = ConfigId(SPENDING, approvals)
    wanted = replace(
        STATE,
        enable_nonce=4,
        configs={**STATE.configs, spent: SpendingLimits(complete=False)},
        used={
            counter(GAS, user_op, GAS_SLOT): 5,
            counter(GAS, user_op, COST_SLOT): 6,
            counter(UNI_ACTION, transfers, b"\x01"): 12,
            counter(USAGE, transfers): 1,
            counter(VALUE, transfers): 69,
            counter(ARG, approvals, b"\x00"): 7,
        },
        # what is behind an action id cannot be read back
        targets={},
    )
    assert reading == Reading(wanted, BlockName(100, hash_of_block(100)))


async def test_everything_is_read_at_one_block(node: Node, chain: FakeNode) -> None:
    put_session(chain)
    put_policies(chain)
    await hydrate(node, KEY)
    at = {"blockHash": print_bytes(hash_of_block(100)), "requireCanonical": True}
    assert all(params[1] == at for params in chain.calls_asked())


async def test_the_order_of_actions_and_policies_is_the_chains(node: Node, chain: FakeNode) -> None:
    put_session(chain)
    put_policies(chain)
    reading = await hydrate(node, KEY)
    assert list(reading.state.actions.items()) == list(STATE.actions.items())


async def test_a_session_that_is_not_enabled_has_its_enable_nonce_and_nothing_else(node: Node, chain: FakeNode) -> None:
    chain.view(SMART_SESSION, views.IS_PERMISSION_ENABLED, KEY.permission_id, KEY.account, returns=(False,))
    chain.view(SMART_SESSION, views.GET_NONCE, KEY.permission_id, KEY.account, returns=(4,))
    read = await hydrate(node, KEY)
    assert read == Reading(SessionState(key=KEY, enable_nonce=4), BlockName(100, hash_of_block(100)))
    assert len(chain.calls_asked()) == 2


@pytest.mark.parametrize(
    "view",
    [
        views.IS_PERMISSION_ENABLED,
        views.GET_NONCE,
        views.GET_SESSION_VALIDATOR,
        views.GET_USER_OP_POLICIES,
        views.GET_ERC1271_POLICIES,
        views.GET_ENABLED_ACTIONS,
        views.GET_ACTION_POLICIES,
        views.GET_TIME_FRAME,
        views.GET_GAS_CONFIG,
        views.GET_USED,
        views.ACTION_CONFIGS,
    ],
    ids=lambda view: view.name,
)
@pytest.mark.parametrize("answer", [b"", Reverts(), b"\x01" * 31, b"\xff" * 32], ids=["none", "revert", "short", "odd"])
async def test_half_a_session_is_none_and_the_missing_view_is_named(
    node: Node, chain: FakeNode, view: views.View, answer: bytes | Reverts
) -> None:
    put_session(chain)
    put_policies(chain)
    one_word_is_any_number = view in (views.GET_NONCE, views.GET_TIME_FRAME, views.GET_USED)
    if answer == b"\xff" * 32 and one_word_is_any_number:
        answer = b"\xff" * 30
    for at, data in chain.calls:
        if data.startswith(view.selector):
            chain.calls[at, data] = answer
    with pytest.raises(StateUnavailable, match=view.name):
        await hydrate(node, KEY)


async def test_an_unknown_policy_is_listed_without_a_configuration(node: Node, chain: FakeNode) -> None:
    state = enabled(session(action(TOKEN, TRANSFER, PolicyData(UNKNOWN_POLICY, b"\x01"))))
    put_session(chain, state)
    reading = await hydrate(node, KEY)
    assert list(reading.state.actions.values()) == [(UNKNOWN_POLICY,)]
    assert reading.state.configs == {}


@pytest.mark.parametrize(
    ("answer", "permits"),
    [
        (Reverts(), True),  # the empty call data, after the flag
        (Reverts(bytes.fromhex("1c792c05") + KEY.permission_id), True),  # NoPoliciesSet, after the flag
        (Reverts(NO_PAYMASTER), False),
        (Reverts(NOT_ENABLED), None),  # before the flag
        (bytes(32), None),
    ],
    ids=["bare", "no policies", "not permitted", "not enabled", "no revert"],
)
async def test_the_paymaster_flag_is_told_by_how_far_an_empty_operation_gets(
    node: Node, chain: FakeNode, answer: bytes | Reverts, permits: bool | None
) -> None:
    chain.view(SMART_SESSION, views.VALIDATE_USER_OP, PROBE, bytes(32), returns=answer)
    assert await permits_paymaster_of(node, KEY) is permits
    (asked,) = chain.calls_asked()
    assert asked[0]["from"] == "0x" + ACCOUNT.hex()


async def test_a_session_of_too_many_actions_is_not_read(node: Node, chain: FakeNode) -> None:
    put_session(chain)
    many = tuple(Hash32(number.to_bytes(32, "big")) for number in range(MOST_ACTIONS + 1))
    chain.view(SMART_SESSION, views.GET_ENABLED_ACTIONS, *NAMES, returns=(many,))
    with pytest.raises(StateUnavailable, match=f"{MOST_ACTIONS + 1} actions"):
        await hydrate(node, KEY)


EMISSARY_NAMES = (KEY.account, KEY.permission_id)


async def test_of_the_emissary_it_can_be_read_that_a_session_is_not_enabled(node: Node, chain: FakeNode) -> None:
    chain.view(EMISSARY, views.EMISSARY_IS_PERMISSION_ENABLED, *EMISSARY_NAMES, returns=(False,))
    reading = await hydrate(node, KEY._replace(module=EMISSARY))
    assert reading.state == SessionState(key=KEY._replace(module=EMISSARY))


async def test_what_an_enabled_session_of_the_emissary_may_do_is_not_guessed(node: Node, chain: FakeNode) -> None:
    chain.view(EMISSARY, views.EMISSARY_IS_PERMISSION_ENABLED, *EMISSARY_NAMES, returns=(True,))
    with pytest.raises(StateUnavailable, match="does not tell what it may do"):
        await hydrate(node, KEY._replace(module=EMISSARY))


async def test_a_node_too_slow_for_the_whole_is_a_missing_fact(node: Node) -> None:
    with pytest.raises(StateUnavailable, match="could not be read"):
        await hydrate(node, KEY, timeout_seconds=0.0)


def test_views_have_the_published_selectors() -> None:
    published = {
        "isPermissionEnabled": "adbc532f",
        "getNonce": "795f9269",
        "getSessionValidatorAndConfig": "496c8a91",
        "getUserOpPolicies": "44d1628c",
        "getERC1271Policies": "a67c714e",
        "getEnabledActions": "a9fa4b44",
        "getActionPolicies": "d527ed6e",
        "getPolicyData": "f33fa13a",
        "getValueLimit": "856334b2",
        "getUsed": "831b65a5",
        "getUsageLimit": "59eac90d",
        "getTimeFrameConfig": "60feedad",
        "getGasConfig": "703c59c0",
        "actionConfigs": "cc39a985",
        "isValidSignature": "1626ba7e",
        "validateUserOp": "97003203",
    }
    of_the_emissary = {("isPermissionEnabled", "27f65402"), ("getNonce", "b73f6902")}
    ours = {(view.name, view.selector.hex()) for view in vars(views).values() if isinstance(view, views.View)}
    assert of_the_emissary | set(published.items()) <= ours


def test_call_data_is_the_abi_encoding_of_the_arguments() -> None:
    data = views.GET_ACTION_POLICIES.call_data(ACCOUNT, KEY.permission_id, bytes(32))
    assert data == views.GET_ACTION_POLICIES.selector + bytes(12) + ACCOUNT + KEY.permission_id + bytes(32)
    assert contract_abi.decode(views.GET_ACTION_POLICIES.arguments, data[4:], "") == (
        ACCOUNT,
        KEY.permission_id,
        bytes(32),
    )
