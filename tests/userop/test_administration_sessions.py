"""Writes to a session module: each function, read exactly or not at all."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from eth_abi.abi import encode
from hypothesis import given
from hypothesis import strategies as st

from proxy.errors import Undecodable
from proxy.userop.acts import (
    Act,
    ActionDisabled,
    ActionPoliciesDisabled,
    ActionPoliciesEnabled,
    EmissaryConfigRemoved,
    EmissaryConfigSet,
    EmissaryNonceRevoked,
    EnableSignatureRevoked,
    Erc1271PoliciesDisabled,
    Erc1271PoliciesEnabled,
    PaymasterPermitted,
    SessionRemoved,
    SessionsCleared,
    SessionsEnabled,
    Unreadable,
    UserOpPoliciesDisabled,
    UserOpPoliciesEnabled,
)
from proxy.userop.administration_sessions import (
    _EMISSARY_READERS,
    _READERS,
    session_module_acts,
    sessions_in_init_data,
)
from proxy.userop.emissary_abi import EMISSARY, EmissaryConfig, EmissaryEnable
from proxy.userop.execution import Call
from proxy.userop.primitives import Hash32, Selector
from proxy.userop.session_data import ActionData, ChainDigest, ERC7739Context, ERC7739Data, PolicyData, SessionData
from tests.userop.calldata import ALICE, BOB, MODULE, TOKEN, call

PERMISSION = Hash32(b"\x50" * 32)
ACTION_ID = Hash32(b"\xac" * 32)
POLICIES = "(address,bytes)[]"
ACTIONS = f"(bytes4,address,{POLICIES})[]"
CONTEXTS = "(bytes32,string[])[]"
ERC7739 = f"({CONTEXTS},{POLICIES})"
SESSION = f"(address,bytes,bytes32,{POLICIES},{ERC7739},{ACTIONS},bool)"
EMISSARY_CONFIG = "(uint8,uint8,address,bytes32)"
EMISSARY_ENABLE = (
    f"(bytes,bytes,uint256,(uint8,(uint64,bytes32)[],(address,bytes,bytes32,{ACTIONS},{POLICIES},{ERC7739})))"
)
EMISSARY_DISABLE = "(bytes,bytes,uint256,(uint8,(uint64,bytes32)[]))"

SESSION_VALUE = (
    ALICE,
    b"key",
    b"\x01" * 32,
    [(BOB, b"op")],
    ([(b"\x02" * 32, ["Mail", "Permit"])], [(BOB, b"1271")]),
    [(b"\xa9\x05\x9c\xbb", TOKEN, [(BOB, b"action"), (ALICE, b"")])],
    True,
)
SESSION_DATA = SessionData(
    session_validator=ALICE,
    session_validator_init_data=b"key",
    salt=Hash32(b"\x01" * 32),
    user_op_policies=(PolicyData(BOB, b"op"),),
    erc7739_policies=ERC7739Data(
        contexts=(ERC7739Context(Hash32(b"\x02" * 32), ("Mail", "Permit")),),
        erc1271_policies=(PolicyData(BOB, b"1271"),),
    ),
    actions=(ActionData(Selector(b"\xa9\x05\x9c\xbb"), TOKEN, (PolicyData(BOB, b"action"), PolicyData(ALICE, b""))),),
    permit_erc4337_paymaster=True,
)

WRITES: list[tuple[str, tuple[Any, ...], Act]] = [
    (f"enableSessions({SESSION}[])", ([SESSION_VALUE] * 2,), SessionsEnabled(MODULE, (SESSION_DATA,) * 2)),
    ("removeSession(bytes32)", (PERMISSION,), SessionRemoved(MODULE, PERMISSION)),
    (
        f"enableUserOpPolicies(bytes32,{POLICIES})",
        (PERMISSION, [(ALICE, b"a"), (BOB, b"")]),
        UserOpPoliciesEnabled(MODULE, PERMISSION, (PolicyData(ALICE, b"a"), PolicyData(BOB, b""))),
    ),
    (
        "disableUserOpPolicies(bytes32,address[])",
        (PERMISSION, [ALICE, BOB]),
        UserOpPoliciesDisabled(MODULE, PERMISSION, (ALICE, BOB)),
    ),
    (
        f"enableActionPolicies(bytes32,{ACTIONS})",
        (PERMISSION, SESSION_VALUE[5]),
        ActionPoliciesEnabled(MODULE, PERMISSION, SESSION_DATA.actions),
    ),
    (
        "disableActionPolicies(bytes32,bytes32,address[])",
        (PERMISSION, ACTION_ID, [ALICE]),
        ActionPoliciesDisabled(MODULE, PERMISSION, ACTION_ID, (ALICE,)),
    ),
    (
        "disableActionId(bytes32,bytes32)",
        (PERMISSION, ACTION_ID),
        ActionDisabled(MODULE, PERMISSION, ACTION_ID),
    ),
    (
        f"enableERC1271Policies(bytes32,{ERC7739})",
        (PERMISSION, SESSION_VALUE[4]),
        Erc1271PoliciesEnabled(MODULE, PERMISSION, SESSION_DATA.erc7739_policies),
    ),
    (
        f"disableERC1271Policies(bytes32,address[],{CONTEXTS})",
        (PERMISSION, [ALICE], [(b"\x02" * 32, ["Mail", "Permit"])]),
        Erc1271PoliciesDisabled(MODULE, PERMISSION, (ALICE,), SESSION_DATA.erc7739_policies.contexts),
    ),
    ("revokeEnableSignature(bytes32)", (PERMISSION,), EnableSignatureRevoked(MODULE, PERMISSION)),
    ("setPermit4337Paymaster(bytes32,bool)", (PERMISSION, True), PaymasterPermitted(MODULE, PERMISSION, True)),
    ("setPermit4337Paymaster(bytes32,bool)", (PERMISSION, False), PaymasterPermitted(MODULE, PERMISSION, False)),
    (
        "onInstall(bytes)",
        (b"\x01" + encode([f"{SESSION}[]"], [[SESSION_VALUE]]),),
        SessionsEnabled(MODULE, (SESSION_DATA,)),
    ),
    ("onUninstall(bytes)", (b"",), SessionsCleared(MODULE)),
]


def test_every_write_of_the_table_is_known() -> None:
    wanted = (
        "21712407 f867b08e 454c9d82 d056b06d 4e33ad2e 6e79eee0 96e72962 f5297b77 02a1a4cd f9b80369 2e644d8d 6d61fe70 "
        "8a91b0e3"
    )
    assert {key.hex() for key in _READERS} == set(wanted.split())


def test_every_write_of_the_emissary_is_known() -> None:
    assert {key.hex() for key in _EMISSARY_READERS} == {"a45edb84", "60e637cc", "226f44c0", "8a91b0e3"}


@pytest.mark.parametrize(("signature", "arguments", "act"), WRITES, ids=[write[0].split("(")[0] for write in WRITES])
def test_a_write_is_read_exactly(signature: str, arguments: tuple[Any, ...], act: Act) -> None:
    assert session_module_acts(call(MODULE, signature, *arguments)) == (act,)


@pytest.mark.parametrize(("signature", "arguments", "act"), WRITES, ids=[write[0].split("(")[0] for write in WRITES])
def test_a_write_that_ends_inside_its_first_argument_is_unreadable(
    signature: str, arguments: tuple[Any, ...], act: Act
) -> None:
    whole = call(MODULE, signature, *arguments)
    cut = Call(MODULE, 0, whole.data[: 4 + 31])
    (unreadable,) = session_module_acts(cut)
    assert isinstance(unreadable, Unreadable)
    assert (unreadable.module, unreadable.selector) == (MODULE, whole.selector)


@pytest.mark.parametrize(("signature", "arguments", "act"), WRITES, ids=[write[0].split("(")[0] for write in WRITES])
def test_bytes_after_a_write_change_nothing_as_on_chain(signature: str, arguments: tuple[Any, ...], act: Act) -> None:
    whole = call(MODULE, signature, *arguments)
    assert session_module_acts(Call(MODULE, 0, whole.data + b"\xff" * 7)) == (act,)


def test_a_boolean_that_the_chain_would_refuse_is_unreadable() -> None:
    data = bytearray(call(MODULE, "setPermit4337Paymaster(bytes32,bool)", PERMISSION, True).data)
    data[-1] = 2
    (act,) = session_module_acts(Call(MODULE, 0, bytes(data)))
    assert isinstance(act, Unreadable)


@pytest.mark.parametrize("data", [b"", b"\x01\x02\x03", bytes.fromhex("97003203") + bytes(64), b"\xff\xff\xff\xff"])
def test_a_call_that_is_no_known_function_of_the_module_is_unreadable(data: bytes) -> None:
    (act,) = session_module_acts(Call(MODULE, 0, data))
    assert isinstance(act, Unreadable)


def test_looking_something_up_is_no_act() -> None:
    assert session_module_acts(call(MODULE, "getNonce(bytes32,address)", PERMISSION, ALICE)) == ()


SET_CONFIG = f"setConfig(address,{EMISSARY_CONFIG},{EMISSARY_ENABLE})"
REMOVE_CONFIG = f"removeConfig(address,{EMISSARY_CONFIG},{EMISSARY_DISABLE})"
GRANTED = replace(SESSION_DATA, user_op_policies=(), permit_erc4337_paymaster=False)
CONFIG = (1, 7, BOB, GRANTED.permission_id)
ENABLE: tuple[Any, ...] = (
    b"allocator",
    b"owner",
    2**40,
    (0, [(1, bytes(32))], (*SESSION_VALUE[:3], SESSION_VALUE[5], [(BOB, b"claim")], SESSION_VALUE[4])),
)


def test_a_session_of_the_emissary_being_set_is_read_whole() -> None:
    whole = call(EMISSARY, SET_CONFIG, ALICE, CONFIG, ENABLE)
    assert whole.selector.hex() == "a45edb84"
    enable = EmissaryEnable(
        config=EmissaryConfig(scope=1, reset_period=7, allocator=BOB, permission_id=GRANTED.permission_id),
        chain_digest_index=0,
        digests=(ChainDigest(1, Hash32(bytes(32))),),
        session=GRANTED,
        claim_policies=(PolicyData(BOB, b"claim"),),
        expires=2**40,
        user_signature=b"owner",
        allocator_signature=b"allocator",
    )
    assert session_module_acts(whole) == (EmissaryConfigSet(EMISSARY, ALICE, enable),)


@pytest.mark.parametrize(
    "config", [(*CONFIG[:3], PERMISSION), (2, *CONFIG[1:]), (1, 8, *CONFIG[2:])], ids=["id", "scope", "reset period"]
)
def test_a_config_that_the_emissary_refuses_is_unreadable(config: tuple[Any, ...]) -> None:
    (act,) = session_module_acts(call(EMISSARY, SET_CONFIG, ALICE, config, ENABLE))
    assert isinstance(act, Unreadable)


def test_a_session_of_the_emissary_being_removed_is_recognised() -> None:
    whole = call(EMISSARY, REMOVE_CONFIG, ALICE, (1, 2, BOB, PERMISSION), (b"", b"sig", 2**40, (0, [])))
    assert whole.selector.hex() == "60e637cc"
    assert session_module_acts(whole) == (EmissaryConfigRemoved(EMISSARY, ALICE, PERMISSION),)


def test_a_removal_cut_short_is_unreadable() -> None:
    whole = call(EMISSARY, REMOVE_CONFIG, ALICE, (1, 2, BOB, PERMISSION), (b"", b"sig", 2**40, (0, [])))
    (act,) = session_module_acts(Call(EMISSARY, 0, whole.data[:-32]))
    assert isinstance(act, Unreadable)


def test_voiding_grants_at_the_emissary_is_recognised() -> None:
    lock_tag = b"\x10" * 12
    assert session_module_acts(call(EMISSARY, "revokeNonce(bytes12)", lock_tag)) == (
        EmissaryNonceRevoked(EMISSARY, lock_tag),
    )


def test_each_kind_of_module_has_its_own_functions() -> None:
    (at_module,) = session_module_acts(Call(MODULE, 0, call(EMISSARY, SET_CONFIG, ALICE, CONFIG, ENABLE).data))
    (at_emissary,) = session_module_acts(Call(EMISSARY, 0, call(MODULE, "removeSession(bytes32)", PERMISSION).data))
    assert isinstance(at_module, Unreadable)
    assert isinstance(at_emissary, Unreadable)


@given(st.sampled_from(sorted(_EMISSARY_READERS)), st.binary(max_size=300))
def test_a_write_to_the_emissary_with_arbitrary_arguments_is_one_act(selector: Selector, arguments: bytes) -> None:
    (act,) = session_module_acts(Call(EMISSARY, 0, selector + arguments))
    assert act.module == EMISSARY  # type: ignore[union-attr]  # every act of a write to a session module names it


SESSIONS = encode([f"{SESSION}[]"], [[SESSION_VALUE]])


@pytest.mark.parametrize("mode", [b"\x01", b"\x02"])
def test_sessions_come_with_the_install_in_both_modes(mode: bytes) -> None:
    assert sessions_in_init_data(mode + SESSIONS) == (SESSION_DATA,)


@pytest.mark.parametrize("mode", [b"\x00", b"\x03", b"\xff"])
def test_a_mode_the_module_refuses_is_undecodable(mode: bytes) -> None:
    with pytest.raises(Undecodable):
        sessions_in_init_data(mode + SESSIONS)


def test_an_install_without_data_brings_no_sessions() -> None:
    assert sessions_in_init_data(b"") == ()


@pytest.mark.parametrize("hook", [bytes(20), b"\x01" * 20, bytes(19) + b"\x01"])
@pytest.mark.parametrize(("inner", "sessions"), [(b"", ()), (b"\x02" + SESSIONS, (SESSION_DATA,))])
def test_kernel_wraps_the_install_data_behind_a_hook(
    hook: bytes, inner: bytes, sessions: tuple[SessionData, ...]
) -> None:
    wrapped = hook + encode(["bytes", "bytes", "bytes"], [inner, b"hook", b"\xe9\xae\x5c\x53"])
    assert sessions_in_init_data(wrapped) == sessions


@given(st.binary(max_size=300))
def test_arbitrary_install_data_is_sessions_or_undecodable(data: bytes) -> None:
    try:
        sessions = sessions_in_init_data(data)
    except Undecodable:
        return
    assert data == b"" or sessions == () or data[0] in (1, 2)


@given(st.sampled_from(sorted(_READERS)), st.binary(max_size=300))
def test_a_write_with_arbitrary_arguments_is_one_act(selector: Selector, arguments: bytes) -> None:
    (act,) = session_module_acts(Call(MODULE, 0, selector + arguments))
    assert act.module == MODULE  # type: ignore[union-attr]  # every act of a write to a session module names it
