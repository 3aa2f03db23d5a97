"""Calls of an account to itself that change who may act for it: ERC-7579 modules, upgrades, Kernel, Safe."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any, Final

from proxy.errors import Undecodable
from proxy.userop import abi
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
from proxy.userop.administration_sessions import VALIDATOR_TYPE, sessions_in_init_data
from proxy.userop.arguments import selector
from proxy.userop.budget import Budget
from proxy.userop.declared_module import declared_in
from proxy.userop.emissary_abi import EMISSARIES
from proxy.userop.execution import Call
from proxy.userop.primitives import Address, Selector

MULTI_TYPE: Final = 0
"""Nexus: install a module as several types at once; init data is abi.encode(uint256[] types, bytes[] initData)."""

_WHERE: Final = "callData"
_MULTI_TYPE_DATA: Final = abi.tuple_of(abi.list_of(abi.UINT256), abi.list_of(abi.BYTES))
_BYTES21: Final = abi.fixed_bytes(21)
_KERNEL_VALIDATOR: Final = b"\x01"
_MODULE_ARGUMENTS: Final = (abi.UINT256, abi.ADDRESS, abi.BYTES)


def acts_of_install(
    module_type: int,
    module: Address,
    init_data: bytes,
    session_modules: Collection[Address],
    budget: Budget | None = None,
) -> tuple[Act, ...]:
    """What installing `module` does: the module itself, and the sessions that come with a session module.

    Never raises; what cannot be read is an `Unreadable` beside the `ModuleInstalled`.
    """
    if module_type == MULTI_TYPE:
        return _multi_type_install(module, init_data, session_modules, budget)
    installed = ModuleInstalled(module_type, module, init_data)
    if module_type != VALIDATOR_TYPE or module not in session_modules:
        return (installed,)
    if declared_in(session_modules, module) is not None:
        return (installed,)  # what its init data mean is not declared: sessions in them are told by its events
    try:
        sessions = sessions_in_init_data(init_data, budget)
    except Undecodable as problem:
        return (installed, Unreadable(module, _INSTALL_MODULE, str(problem)))
    if sessions and module in EMISSARIES:
        return (installed, Unreadable(module, _INSTALL_MODULE, "the emissary takes no sessions when it is installed"))
    return (installed, SessionsEnabled(module, sessions)) if sessions else (installed,)


def acts_of_uninstall(
    module_type: int, module: Address, deinit_data: bytes, session_modules: Collection[Address]
) -> tuple[Act, ...]:
    """What taking `module` off does: a session module forgets every session of the account."""
    uninstalled = ModuleUninstalled(module_type, module, deinit_data)
    if module_type in (VALIDATOR_TYPE, MULTI_TYPE) and module in session_modules:
        return (uninstalled, SessionsCleared(module))
    return (uninstalled,)


def account_acts(
    call: Call, session_modules: Collection[Address], budget: Budget | None = None
) -> tuple[Act, ...] | None:
    """The acts of a call of the account to itself; `None` when its function administers nothing known here."""
    read = _READERS.get(call.selector)
    if read is None or len(call.data) < 4:
        return None
    try:
        return tuple(read(call.data[4:], session_modules, budget))
    except Undecodable as problem:
        return (Unreadable(call.target, call.selector, str(problem)),)


def _multi_type_install(
    module: Address, init_data: bytes, session_modules: Collection[Address], budget: Budget | None
) -> tuple[Act, ...]:
    try:
        types, datas = abi.decode(_MULTI_TYPE_DATA, init_data, "initData", budget)
    except Undecodable as problem:
        return (ModuleInstalled(MULTI_TYPE, module, init_data), Unreadable(module, _INSTALL_MODULE, str(problem)))
    acts: list[Act] = []
    # an account walks the shorter of the two or reverts; what has no data is taken as installed with none
    for index, module_type in enumerate(types):
        data = datas[index] if index < len(datas) else b""
        if module_type == MULTI_TYPE:
            acts.append(ModuleInstalled(MULTI_TYPE, module, data))
        else:
            acts += acts_of_install(module_type, module, data, session_modules, budget)
    return tuple(acts)


Reader = Callable[[bytes, Collection[Address], Budget | None], Iterable[Act]]
_Within = tuple[Collection[Address], Budget | None]
"""The session modules that are looked for, and what pays for it."""


def _reader(members: Sequence[abi.AbiType], build: Callable[..., Iterable[Act]]) -> Reader:
    """A reader of the arguments `members`; `build` gets session modules and budget, and the decoded arguments."""
    types = abi.tuple_of(*members)

    def read(arguments: bytes, session_modules: Collection[Address], budget: Budget | None) -> Iterable[Act]:
        return build((session_modules, budget), *abi.decode(types, arguments, _WHERE, budget))

    return read


def _plain(members: Sequence[abi.AbiType], build: Callable[..., Act]) -> Reader:
    """As `_reader`, for one act that no session module has a part in."""
    return _reader(members, lambda _within, *arguments: (build(*arguments),))


def _sets(control: Control, members: Sequence[abi.AbiType], at: int | None = 0) -> Reader:
    """A function that changes one control; argument `at` is the address it is set to."""
    return _plain(members, lambda *arguments: ControlChanged(control, None if at is None else arguments[at]))


def _install(within: _Within, module_type: int, module: Address, data: bytes) -> Iterable[Act]:
    return acts_of_install(module_type, module, data, *within)


def _uninstall(within: _Within, module_type: int, module: Address, data: bytes) -> Iterable[Act]:
    return acts_of_uninstall(module_type, module, data, within[0])


def _kernel_validator(validation_id: bytes) -> Address | None:
    """The validator of a Kernel ValidationId (type byte ‖ 20 bytes); `None` for Kernel's own permissions."""
    return Address(validation_id[1:]) if validation_id[:1] == _KERNEL_VALIDATOR else None


def _kernel_install(
    within: _Within, ids: Sequence[bytes], _configs: Any, datas: Sequence[bytes], _hooks: Any
) -> Iterable[Act]:
    if len(ids) != len(datas):
        raise Undecodable(_WHERE, "as many validations as their data wanted")
    for validation_id, data in zip(ids, datas, strict=True):
        validator = _kernel_validator(validation_id)
        if validator is None:
            yield ControlChanged(Control.PERMISSION)
        else:
            yield from acts_of_install(VALIDATOR_TYPE, validator, data, *within)


def _kernel_uninstall(within: _Within, validation_id: bytes, data: bytes, _hook_data: bytes) -> Iterable[Act]:
    validator = _kernel_validator(validation_id)
    if validator is None:
        return (ControlChanged(Control.PERMISSION),)
    return acts_of_uninstall(VALIDATOR_TYPE, validator, data, within[0])


def _kernel_root(
    within: _Within, validation_id: bytes, _hook: Address, data: bytes, _hook_data: bytes
) -> Iterable[Act]:
    validator = _kernel_validator(validation_id)
    yield ControlChanged(Control.ROOT_VALIDATOR, validator)
    if validator is not None:
        yield from acts_of_install(VALIDATOR_TYPE, validator, data, *within)


def _kernel_access(validation_id: bytes, _selector: bytes, _allowed: bool) -> Act:
    return ControlChanged(Control.SELECTOR_ACCESS, _kernel_validator(validation_id))


_ONE_ADDRESS: Final = (abi.ADDRESS,)

_BY_SIGNATURE: Final[dict[str, Reader]] = {
    "installModule(uint256,address,bytes)": _reader(_MODULE_ARGUMENTS, _install),
    "uninstallModule(uint256,address,bytes)": _reader(_MODULE_ARGUMENTS, _uninstall),
    "upgradeToAndCall(address,bytes)": _plain((abi.ADDRESS, abi.BYTES), AccountUpgraded),
    "upgradeTo(address)": _plain(_ONE_ADDRESS, lambda implementation: AccountUpgraded(implementation, b"")),
    "emergencyUninstallHook((address,uint256,bytes,uint256),bytes)": _plain(
        (abi.tuple_of(abi.ADDRESS, abi.UINT256, abi.BYTES, abi.UINT256), abi.BYTES),
        lambda request, _signature: ControlChanged(Control.HOOK_EMERGENCY_UNINSTALL, request[0]),
    ),
    "setRegistry(address,address[],uint8)": _sets(
        Control.MODULE_REGISTRY, (abi.ADDRESS, abi.list_of(abi.ADDRESS), abi.UINT8)
    ),
    "installValidations(bytes21[],(uint32,address)[],bytes[],bytes[])": _reader(
        (
            abi.list_of(_BYTES21),
            abi.list_of(abi.tuple_of(abi.uint(32), abi.ADDRESS)),
            abi.list_of(abi.BYTES),
            abi.list_of(abi.BYTES),
        ),
        _kernel_install,
    ),
    "uninstallValidation(bytes21,bytes,bytes)": _reader((_BYTES21, abi.BYTES, abi.BYTES), _kernel_uninstall),
    "grantAccess(bytes21,bytes4,bool)": _plain((_BYTES21, abi.BYTES4, abi.BOOL), _kernel_access),
    "changeRootValidator(bytes21,address,bytes,bytes)": _reader(
        (_BYTES21, abi.ADDRESS, abi.BYTES, abi.BYTES), _kernel_root
    ),
    "invalidateNonce(uint32)": _sets(Control.NONCE_INVALIDATED, (abi.uint(32),), None),
    "enableModule(address)": _sets(Control.SAFE_MODULE_ENABLED, _ONE_ADDRESS),
    "disableModule(address,address)": _sets(Control.SAFE_MODULE_DISABLED, (abi.ADDRESS, abi.ADDRESS), 1),
    "addOwnerWithThreshold(address,uint256)": _plain(
        (abi.ADDRESS, abi.UINT256), lambda owner, threshold: OwnersChanged(added=owner, threshold=threshold)
    ),
    "removeOwner(address,address,uint256)": _plain(
        (abi.ADDRESS, abi.ADDRESS, abi.UINT256),
        lambda _previous, owner, threshold: OwnersChanged(removed=owner, threshold=threshold),
    ),
    "swapOwner(address,address,address)": _plain(
        (abi.ADDRESS, abi.ADDRESS, abi.ADDRESS),
        lambda _previous, old, new: OwnersChanged(added=new, removed=old),
    ),
    "changeThreshold(uint256)": _plain((abi.UINT256,), lambda threshold: OwnersChanged(threshold=threshold)),
    "setFallbackHandler(address)": _sets(Control.FALLBACK_HANDLER, _ONE_ADDRESS),
    "setGuard(address)": _sets(Control.GUARD, _ONE_ADDRESS),
    "setModuleGuard(address)": _sets(Control.MODULE_GUARD, _ONE_ADDRESS),
}

_INSTALL_MODULE: Final = selector("installModule(uint256,address,bytes)")
_READERS: Final[dict[Selector, Reader]] = {selector(signature): reader for signature, reader in _BY_SIGNATURE.items()}
