"""Calls of an account to itself: modules, upgrades, owners, of every kind of account."""

from __future__ import annotations

from typing import Any

import pytest
from eth_abi.abi import encode
from hypothesis import given
from hypothesis import strategies as st

from proxy.userop.acts import (
    AccountUpgraded,
    Act,
    Control,
    ControlChanged,
    ModuleInstalled,
    ModuleUninstalled,
    OwnersChanged,
    SessionsCleared,
    SessionsEnabled,
    Unreadable,
)
from proxy.userop.administration_account import _READERS, account_acts, acts_of_install, acts_of_uninstall
from proxy.userop.emissary_abi import EMISSARY
from proxy.userop.execution import Call
from proxy.userop.primitives import Address, Selector
from proxy.userop.session_abi import encode_sessions
from tests.userop.calldata import ACCOUNT, ALICE, BOB, MODULE, MODULES, call
from tests.userop.test_administration_sessions import SESSION_DATA

INSTALL = "installModule(uint256,address,bytes)"
UNINSTALL = "uninstallModule(uint256,address,bytes)"
VALIDATIONS = "installValidations(bytes21[],(uint32,address)[],bytes[],bytes[])"
WITH_SESSION = b"\x01" + encode_sessions([SESSION_DATA])
ENABLED = SessionsEnabled(MODULE, (SESSION_DATA,))


def acts(signature: str, *arguments: Any) -> tuple[Act, ...] | None:
    return account_acts(call(ACCOUNT, signature, *arguments), MODULES)


def validation_id(kind: int, validator: Address) -> bytes:
    return bytes((kind,)) + validator


def test_every_account_call_of_the_table_is_known() -> None:
    wanted = (
        "9517e29f a71763a8 4f1ef286 3659cfe6 5bfeadbb eab77e17 9198bdf5 e6f3d50a b9b82941 52141cd9 1f1b92e3 610b5925 "
        "e009cfde 0d582f13 f8dc5dd9 e318b52b 694e80c3 f08a0323 e19a9dd9 e068df37"
    )
    assert {key.hex() for key in _READERS} == set(wanted.split())


@pytest.mark.parametrize(
    ("signature", "arguments", "act"),
    [
        (INSTALL, (2, ALICE, b"x"), ModuleInstalled(2, ALICE, b"x")),
        (INSTALL, (1, ALICE, b"x"), ModuleInstalled(1, ALICE, b"x")),
        (UNINSTALL, (2, ALICE, b"x"), ModuleUninstalled(2, ALICE, b"x")),
        ("upgradeToAndCall(address,bytes)", (ALICE, b"x"), AccountUpgraded(ALICE, b"x")),
        ("upgradeTo(address)", (ALICE,), AccountUpgraded(ALICE, b"")),
        (
            "emergencyUninstallHook((address,uint256,bytes,uint256),bytes)",
            ((ALICE, 4, b"", 0), b"sig"),
            ControlChanged(Control.HOOK_EMERGENCY_UNINSTALL, ALICE),
        ),
        ("setRegistry(address,address[],uint8)", (ALICE, [BOB], 1), ControlChanged(Control.MODULE_REGISTRY, ALICE)),
        (
            "grantAccess(bytes21,bytes4,bool)",
            (validation_id(1, ALICE), b"abcd", True),
            ControlChanged(Control.SELECTOR_ACCESS, ALICE),
        ),
        ("invalidateNonce(uint32)", (7,), ControlChanged(Control.NONCE_INVALIDATED)),
        ("enableModule(address)", (ALICE,), ControlChanged(Control.SAFE_MODULE_ENABLED, ALICE)),
        ("disableModule(address,address)", (BOB, ALICE), ControlChanged(Control.SAFE_MODULE_DISABLED, ALICE)),
        ("addOwnerWithThreshold(address,uint256)", (ALICE, 2), OwnersChanged(added=ALICE, threshold=2)),
        ("removeOwner(address,address,uint256)", (BOB, ALICE, 1), OwnersChanged(removed=ALICE, threshold=1)),
        ("swapOwner(address,address,address)", (ACCOUNT, ALICE, BOB), OwnersChanged(added=BOB, removed=ALICE)),
        ("changeThreshold(uint256)", (3,), OwnersChanged(threshold=3)),
        ("setFallbackHandler(address)", (ALICE,), ControlChanged(Control.FALLBACK_HANDLER, ALICE)),
        ("setGuard(address)", (ALICE,), ControlChanged(Control.GUARD, ALICE)),
        ("setModuleGuard(address)", (ALICE,), ControlChanged(Control.MODULE_GUARD, ALICE)),
    ],
)
def test_an_administrative_call_is_read_exactly(signature: str, arguments: tuple[Any, ...], act: Act) -> None:
    assert acts(signature, *arguments) == (act,)


def test_a_session_module_installed_without_data_brings_no_sessions() -> None:
    assert acts(INSTALL, 1, MODULE, b"") == (ModuleInstalled(1, MODULE, b""),)


def test_a_session_module_installed_with_sessions_enables_them() -> None:
    assert acts(INSTALL, 1, MODULE, WITH_SESSION) == (ModuleInstalled(1, MODULE, WITH_SESSION), ENABLED)


def test_sessions_are_read_only_where_the_module_is_installed_as_a_validator() -> None:
    assert acts(INSTALL, 2, MODULE, WITH_SESSION) == (ModuleInstalled(2, MODULE, WITH_SESSION),)


def test_the_same_data_for_another_module_enables_nothing() -> None:
    assert acts(INSTALL, 1, ALICE, WITH_SESSION) == (ModuleInstalled(1, ALICE, WITH_SESSION),)


def test_session_install_data_that_cannot_be_read_is_said_beside_the_install() -> None:
    installed, unreadable = acts(INSTALL, 1, MODULE, b"\x01\x02") or ()
    assert installed == ModuleInstalled(1, MODULE, b"\x01\x02")
    assert isinstance(unreadable, Unreadable)
    assert unreadable.module == MODULE


def test_kernels_form_of_the_install_data_is_understood() -> None:
    data = bytes(20) + encode(["bytes", "bytes", "bytes"], [WITH_SESSION, b"", b""])
    assert acts(INSTALL, 1, MODULE, data) == (ModuleInstalled(1, MODULE, data), ENABLED)


def test_a_multi_type_install_is_one_install_for_each_type() -> None:
    data = encode(["uint256[]", "bytes[]"], [[4, 1], [b"hook", WITH_SESSION]])
    assert acts(INSTALL, 0, MODULE, data) == (
        ModuleInstalled(4, MODULE, b"hook"),
        ModuleInstalled(1, MODULE, WITH_SESSION),
        ENABLED,
    )


def test_a_multi_type_install_inside_itself_is_not_followed() -> None:
    inner = encode(["uint256[]", "bytes[]"], [[1], [WITH_SESSION]])
    data = encode(["uint256[]", "bytes[]"], [[0], [inner]])
    assert acts(INSTALL, 0, MODULE, data) == (ModuleInstalled(0, MODULE, inner),)


def test_a_multi_type_install_that_cannot_be_read_is_said() -> None:
    installed, unreadable = acts(INSTALL, 0, MODULE, b"\xff" * 64) or ()
    assert installed == ModuleInstalled(0, MODULE, b"\xff" * 64)
    assert isinstance(unreadable, Unreadable)


@pytest.mark.parametrize("module_type", [0, 1])
def test_uninstalling_a_session_module_clears_its_sessions(module_type: int) -> None:
    assert acts(UNINSTALL, module_type, MODULE, b"x") == (
        ModuleUninstalled(module_type, MODULE, b"x"),
        SessionsCleared(MODULE),
    )


@pytest.mark.parametrize(("module_type", "module"), [(2, MODULE), (1, ALICE)])
def test_uninstalling_anything_else_clears_no_sessions(module_type: int, module: Address) -> None:
    assert acts_of_uninstall(module_type, module, b"", MODULES) == (ModuleUninstalled(module_type, module, b""),)


def test_kernel_validations_are_modules_unless_they_are_its_own_permissions() -> None:
    ids = [validation_id(1, MODULE), validation_id(2, ALICE), validation_id(1, ALICE)]
    configs = [(0, BOB)] * 3
    assert acts(VALIDATIONS, ids, configs, [WITH_SESSION, b"", b"x"], [b""] * 3) == (
        ModuleInstalled(1, MODULE, WITH_SESSION),
        ENABLED,
        ControlChanged(Control.PERMISSION),
        ModuleInstalled(1, ALICE, b"x"),
    )


def test_kernel_validations_without_data_for_each_are_unreadable() -> None:
    (act,) = acts(VALIDATIONS, [validation_id(1, MODULE)], [(0, BOB)], [], []) or ()
    assert isinstance(act, Unreadable)
    assert act.module == ACCOUNT


def test_uninstalling_a_kernel_validation_of_a_session_module_clears_its_sessions() -> None:
    assert acts("uninstallValidation(bytes21,bytes,bytes)", validation_id(1, MODULE), b"", b"") == (
        ModuleUninstalled(1, MODULE, b""),
        SessionsCleared(MODULE),
    )


def test_uninstalling_a_kernel_permission_is_a_change_of_control() -> None:
    found = acts("uninstallValidation(bytes21,bytes,bytes)", validation_id(2, MODULE), b"", b"")
    assert found == (ControlChanged(Control.PERMISSION),)


def test_a_session_module_as_kernels_root_is_installed_with_its_sessions() -> None:
    signature = "changeRootValidator(bytes21,address,bytes,bytes)"
    assert acts(signature, validation_id(1, MODULE), BOB, WITH_SESSION, b"") == (
        ControlChanged(Control.ROOT_VALIDATOR, MODULE),
        ModuleInstalled(1, MODULE, WITH_SESSION),
        ENABLED,
    )


def test_an_address_the_chain_would_refuse_is_unreadable() -> None:
    data = bytearray(call(ACCOUNT, INSTALL, 1, MODULE, b"").data)
    data[36] = 1
    (act,) = account_acts(Call(ACCOUNT, 0, bytes(data)), MODULES) or ()
    assert isinstance(act, Unreadable)


def test_a_function_that_administers_nothing_is_nothing() -> None:
    assert account_acts(call(ACCOUNT, "transfer(address,uint256)", ALICE, 1), MODULES) is None


@given(st.sampled_from(sorted(_READERS)), st.binary(max_size=300))
def test_arbitrary_arguments_never_raise_and_are_always_said(selector: Selector, arguments: bytes) -> None:
    found = account_acts(Call(ACCOUNT, 0, selector + arguments), MODULES)
    assert found is not None
    # no validations at all is the one thing that changes nothing
    assert found or selector.hex() == "9198bdf5"


@given(st.integers(0, 12), st.binary(max_size=200))
def test_an_install_of_arbitrary_data_is_always_said(module_type: int, data: bytes) -> None:
    found = acts_of_install(module_type, MODULE, data, MODULES)
    assert isinstance(found[0], ModuleInstalled) or module_type == 0


@given(st.lists(st.integers(1, 9), min_size=1, max_size=4), st.lists(st.just(b""), max_size=4))
def test_a_multi_type_install_never_drops_a_type(types: list[int], datas: list[bytes]) -> None:
    found = acts_of_install(0, ALICE, encode(["uint256[]", "bytes[]"], [types, datas]), MODULES)
    assert [act.module_type for act in found if isinstance(act, ModuleInstalled)] == types


def test_the_emissary_is_installed_without_sessions() -> None:
    assert acts_of_install(1, EMISSARY, b"", {EMISSARY}) == (ModuleInstalled(1, EMISSARY, b""),)
    installed, unreadable = acts_of_install(1, EMISSARY, WITH_SESSION, {EMISSARY})
    assert installed == ModuleInstalled(1, EMISSARY, WITH_SESSION)
    assert isinstance(unreadable, Unreadable)
