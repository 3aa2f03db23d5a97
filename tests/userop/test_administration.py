"""Administration found in operations: those that real SDKs sent, wrapped ones, and ones made to hide."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.userop.administration import (
    MAX_DEPTH,
    Act,
    EmissaryConfigRemoved,
    ModuleInstalled,
    PaymasterPermitted,
    SessionRemoved,
    SessionsEnabled,
    Unreadable,
    acts_in_factory_data,
    acts_in_setup,
    acts_of,
)
from proxy.userop.administration_account import _READERS as ACCOUNT_READERS
from proxy.userop.administration_sessions import _READERS as SESSION_READERS
from proxy.userop.arguments import selector
from proxy.userop.budget import ITEM_BUDGET
from proxy.userop.decode import DecodedOperation, decode_operation
from proxy.userop.emissary_abi import EMISSARIES
from proxy.userop.entry_point import ENTRY_POINTS
from proxy.userop.execution import EXECUTE, Call
from proxy.userop.primitives import Address, Hash32
from proxy.userop.user_operation import UserOperation
from tests.userop.calldata import ACCOUNT, ALICE, MODULE, MODULES, call, call_data, execute_batch, execute_single

RECORDED: list[dict[str, Any]] = json.loads((Path(__file__).parent / "fixtures/administration.json").read_text())[
    "operations"
]
OWNABLE = Address(bytes.fromhex("000000000013fdB5234E4E3162a810F54d9f7E98"))
PERMISSION = Hash32(b"\x50" * 32)
REMOVE = call(MODULE, "removeSession(bytes32)", PERMISSION)
REMOVED = SessionRemoved(MODULE, PERMISSION)


def decoded(recorded: dict[str, Any]) -> DecodedOperation:
    factory_data = bytes.fromhex(recorded["factoryData"][2:])
    op = UserOperation(
        sender=Address(bytes.fromhex(recorded["sender"][2:])),
        nonce=0,
        call_data=bytes.fromhex(recorded["callData"][2:]),
        signature=b"",
        call_gas_limit=0,
        verification_gas_limit=0,
        pre_verification_gas=0,
        max_fee_per_gas=0,
        max_priority_fee_per_gas=0,
        factory=bytes(20) if factory_data else None,
        factory_data=factory_data or None,
    )
    return decode_operation(op, ENTRY_POINTS[1], 31337, MODULES)


def recorded_of(step: str) -> list[Any]:
    return [pytest.param(item, id=f"{item['recording']}-{item['step']}") for item in RECORDED if step in item["step"]]


@pytest.mark.parametrize("recorded", recorded_of("install"))
def test_an_install_as_the_sdks_send_it_installs_exactly_the_session_module(recorded: dict[str, Any]) -> None:
    *born, installed = decoded(recorded).acts
    assert installed == ModuleInstalled(1, MODULE, b"")
    # a Safe's launchpad installs the owner's validator too; other factories are scanned for session modules only
    assert [(act.module_type, act.module) for act in born if isinstance(act, ModuleInstalled)] == (
        [(1, OWNABLE)] if recorded["recording"] == "module-sdk-safe" else []
    )


@pytest.mark.parametrize("recorded", recorded_of("grant"))
def test_a_grant_as_the_sdks_send_it_enables_exactly_its_permissions(recorded: dict[str, Any]) -> None:
    (act,) = decoded(recorded).acts
    assert isinstance(act, SessionsEnabled)
    assert act.module == MODULE
    assert ["0x" + session.permission_id.hex() for session in act.sessions] == recorded["permissionIds"]
    assert all(session.actions for session in act.sessions)


@pytest.mark.parametrize("recorded", recorded_of("revoke"))
def test_a_revocation_as_the_sdks_send_it_removes_exactly_its_permission(recorded: dict[str, Any]) -> None:
    (wanted,) = recorded["permissionIds"]
    assert decoded(recorded).acts == (SessionRemoved(MODULE, Hash32(bytes.fromhex(wanted[2:]))),)


def test_the_recordings_hold_every_step_of_every_account() -> None:
    steps = [(item["recording"], item["step"]) for item in RECORDED]
    for recording in ("startale", "module-sdk-nexus", "module-sdk-safe"):
        assert {step for name, step in steps if name == recording} >= {"install", "grant", "revoke"}


def test_a_recorded_grant_carries_policies_actions_and_the_paymaster_flag() -> None:
    grants = {item["step"]: decoded(item).acts for item in RECORDED if item["recording"] == "startale"}
    (plain,), (sponsored,) = grants["grant"], grants["grant-paymaster"]
    assert isinstance(plain, SessionsEnabled)
    assert isinstance(sponsored, SessionsEnabled)
    session = plain.sessions[0]
    assert [action.selector.hex() for action in session.actions] == ["d09de08a", "1003e2d2", "a9059cbb"]
    assert len(session.user_op_policies) == 1
    assert not session.permit_erc4337_paymaster
    assert sponsored.sessions[0].permit_erc4337_paymaster


def test_acts_of_a_batch_come_in_order() -> None:
    permit = call(MODULE, "setPermit4337Paymaster(bytes32,bool)", PERMISSION, True)
    assert acts_of([permit, Call(ALICE, 1, b""), REMOVE], ACCOUNT, MODULES) == (
        PaymasterPermitted(MODULE, PERMISSION, True),
        REMOVED,
    )


def test_the_same_call_to_an_unlisted_contract_is_no_act() -> None:
    assert acts_of([REMOVE], ACCOUNT, [ALICE]) == ()


def test_an_account_function_called_on_another_contract_is_no_act() -> None:
    install = call(ALICE, "installModule(uint256,address,bytes)", 1, MODULE, b"")
    assert acts_of([install], ACCOUNT, MODULES) == ()


@pytest.mark.parametrize(
    "wrapped",
    [
        execute_single(REMOVE),
        execute_batch(REMOVE),
        b"\x8d\xd7\x71\x2f" + execute_single(REMOVE),
        call_data("execute(address,uint256,bytes)", MODULE, 0, REMOVE.data),
        call_data("executeBatch((address,uint256,bytes)[])", [(MODULE, 0, REMOVE.data)]),
        call_data("executeFromExecutor(bytes32,bytes)", bytes(32), MODULE + bytes(32) + REMOVE.data),
        call_data("multicall(bytes[])", [execute_single(REMOVE)]),
        execute_single(Call(ACCOUNT, 0, execute_batch(Call(ALICE, 0, b""), REMOVE))),
    ],
)
def test_an_act_wrapped_in_a_call_of_the_account_to_itself_is_found(wrapped: bytes) -> None:
    assert acts_of([Call(ACCOUNT, 0, wrapped)], ACCOUNT, MODULES) == (REMOVED,)


def test_an_act_wrapped_in_a_call_of_another_account_is_not_the_accounts() -> None:
    assert acts_of([Call(ALICE, 0, execute_single(REMOVE))], ACCOUNT, MODULES) == ()


def multicalls(depth: int) -> Call:
    install = call_data("uninstallModule(uint256,address,bytes)", 2, ALICE, b"")
    data = install
    for _ in range(depth):
        data = call_data("multicall(bytes[])", [data])
    return Call(ACCOUNT, 0, data)


def test_follows_calls_of_the_account_to_itself_exactly_as_deep_as_it_says() -> None:
    assert not any(isinstance(act, Unreadable) for act in acts_of([multicalls(MAX_DEPTH)], ACCOUNT, MODULES))
    assert len(acts_of([multicalls(MAX_DEPTH)], ACCOUNT, MODULES)) == 1


def test_one_call_deeper_is_unreadable() -> None:
    (act,) = acts_of([multicalls(MAX_DEPTH + 1)], ACCOUNT, MODULES)
    assert isinstance(act, Unreadable)
    assert act.module == ACCOUNT


def test_calls_the_account_makes_through_itself_use_one_budget() -> None:
    wide = Call(ACCOUNT, 0, execute_batch(*[REMOVE] * (ITEM_BUDGET // 2)))
    *acts, last = acts_of([wide] * 3, ACCOUNT, MODULES)
    assert acts == [REMOVED] * (ITEM_BUDGET // 2) + [last]
    assert isinstance(last, Unreadable)
    assert "more work than is done for one operation" in last.problem


def test_the_published_emissaries_need_not_be_listed() -> None:
    (emissary, *_) = sorted(EMISSARIES)
    signature = "removeConfig(address,(uint8,uint8,address,bytes32),(bytes,bytes,uint256,(uint8,(uint64,bytes32)[])))"
    removing = call(emissary, signature, ACCOUNT, (0, 0, ALICE, PERMISSION), (b"", b"", 0, (0, [])))
    assert acts_of([removing], ACCOUNT, MODULES) == (EmissaryConfigRemoved(emissary, ACCOUNT, PERMISSION),)


@pytest.mark.parametrize(
    "data",
    [
        bytes(EXECUTE),
        bytes(EXECUTE) + b"\xff" * 100,
        execute_single(REMOVE)[:-40],
        selector("multicall(bytes[])") + b"\xff" * 32,
        bytes.fromhex("ea5a6d91") + bytes(64),
        bytes.fromhex("7eba07b8") + bytes(64),
    ],
)
def test_a_wrapper_that_cannot_be_opened_is_unreadable(data: bytes) -> None:
    (act,) = acts_of([Call(ACCOUNT, 0, data)], ACCOUNT, MODULES)
    assert isinstance(act, Unreadable)
    assert (act.module, act.selector) == (ACCOUNT, data[:4])


def test_an_unknown_function_of_the_account_is_no_act() -> None:
    assert acts_of([Call(ACCOUNT, 0, bytes.fromhex("d09de08a"))], ACCOUNT, MODULES) == ()


def test_initialising_an_account_by_a_call_to_itself_is_read_as_a_birth() -> None:
    bootstrap = call_data("initNexus((address,bytes)[])", [(MODULE, b"")])
    data = call_data("initializeAccount(bytes)", bootstrap)
    assert acts_of([Call(ACCOUNT, 0, data)], ACCOUNT, MODULES) == (ModuleInstalled(1, MODULE, b""),)


KNOWN = sorted({*ACCOUNT_READERS, *SESSION_READERS, EXECUTE, selector("multicall(bytes[])")})
words = st.one_of(
    st.sampled_from([0, 1, 2, 32, 64, 96, 128, 2**160, 2**255, 2**256 - 1, int.from_bytes(MODULE, "big")]),
    st.integers(0, 2**256 - 1),
).map(lambda number: number.to_bytes(32, "big"))
bodies = st.one_of(st.binary(max_size=300), st.lists(words, max_size=20).map(b"".join))
datas = st.one_of(st.binary(max_size=40), st.builds(bytes.__add__, st.sampled_from(KNOWN), bodies))


@given(st.lists(st.builds(Call, st.sampled_from([ACCOUNT, MODULE, ALICE]), st.just(0), datas), max_size=4))
def test_never_raises_and_always_says_something_of_a_call_to_a_session_module(calls: list[Call]) -> None:
    acts = acts_of(calls, ACCOUNT, MODULES)
    to_module = [item for item in calls if item.target == MODULE and item.selector in SESSION_READERS]
    assert sum(_is_of_module(act) for act in acts) >= len(to_module)


def _is_of_module(act: Act) -> bool:
    return getattr(act, "module", None) == MODULE


@given(bodies)
def test_factory_and_setup_data_never_raise(data: bytes) -> None:
    assert (bytes(MODULE) in data) == bool(acts_in_factory_data(data, [MODULE]))
    for setup in ("d9ed0e8f", "a3aa6b32"):
        acts = acts_in_setup(bytes.fromhex(setup) + data, MODULES)
        assert all(isinstance(act, ModuleInstalled | SessionsEnabled | Unreadable) for act in acts)
