"""Modules and sessions an account is born with: factory data, bootstraps, the Safe7579 launchpad.

Factories nest their data in many ways. A session module can only be installed by naming its address, so a scan for
listed addresses misses none; what stands around the address tells the data it is installed with.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Any, Final

from proxy.errors import Undecodable
from proxy.userop import abi
from proxy.userop.acts import Act, Unreadable
from proxy.userop.administration_account import acts_of_install
from proxy.userop.administration_sessions import VALIDATOR_TYPE
from proxy.userop.arguments import selector
from proxy.userop.budget import MENTION, Budget, Overspent
from proxy.userop.primitives import ZERO_ADDRESS, Address, Selector
from proxy.userop.session_data import selector_of

MAX_MENTIONS: Final = 16
"""Places one piece of factory data may name session modules at; what names more is unreadable."""

_INSTALL_MODULE: Final = selector("installModule(uint256,address,bytes)")
_WHERE: Final = "factoryData"


def acts_in_factory_data(
    factory_data: bytes, session_modules: Collection[Address], budget: Budget | None = None
) -> tuple[Act, ...]:
    """Session modules installed by factory data (or a bootstrap's init data), with their sessions.

    Raises `Overspent` where `budget` does not pay for what it names, and nothing else.
    """
    acts: list[Act] = []
    if budget is not None:
        budget.draw(MENTION * (1 + len(session_modules)) + len(factory_data) // 1024)
    done = 0  # init data that has been read may name the module again, as an action's target: no installation
    for count, (at, module) in enumerate(_mentions(factory_data, session_modules)):
        if count == MAX_MENTIONS:
            acts.append(Unreadable(module, selector_of(factory_data), "names session modules at too many places"))
            break
        if at < done:
            continue
        try:
            if budget is not None:
                budget.draw(MENTION)
            init_data, done = _init_data_after(factory_data, at)
        except Overspent:
            raise
        except Undecodable as problem:
            acts.append(Unreadable(module, selector_of(factory_data), str(problem)))
        else:
            acts += acts_of_install(VALIDATOR_TYPE, module, init_data, session_modules, budget)
    return tuple(acts)


def _mentions(data: bytes, session_modules: Collection[Address]) -> Iterator[tuple[int, Address]]:
    """Where listed addresses stand, in order."""
    found: list[tuple[int, Address]] = []
    for module in session_modules:
        at = data.find(module)
        while at >= 0 and len(found) <= MAX_MENTIONS * (len(session_modules) + 1):
            found.append((at, module))
            at = data.find(module, at + 1)
    return iter(sorted(found))


def _init_data_after(data: bytes, at: int) -> tuple[bytes, int]:
    """The `bytes` that follow an address in the same tuple, (address, bytes, …), and where they end.

    installModule(uint256, address, bytes) has a word before the address, which its offset counts too.
    """
    start = at - 12
    if start < 0 or data[start:at] != bytes(12):
        raise Undecodable(_WHERE, "names a session module in a form that is not read here")
    base = start - 32 if data[max(start - 36, 0) : max(start - 32, 0)] == _INSTALL_MODULE else start
    offset = int.from_bytes(data[at + 20 : at + 52], "big")
    length_at = base + offset
    if offset < 64 or offset % 32 or length_at + 32 > len(data):
        raise Undecodable(_WHERE, "names a session module without data to install it with")
    end = length_at + 32 + int.from_bytes(data[length_at : length_at + 32], "big")
    if end > len(data):
        raise Undecodable(_WHERE, "the data a session module is installed with reaches past the end")
    return data[length_at + 32 : end], end


_MODULES: Final = abi.list_of(abi.tuple_of(abi.ADDRESS, abi.BYTES))
_TYPED_MODULES: Final = abi.list_of(abi.tuple_of(abi.ADDRESS, abi.BYTES, abi.UINT256))


def _setup_safe(validators: abi.AbiType) -> abi.AbiType:
    """InitData: singleton, owners, threshold, setupTo, setupData, safe7579, validators, callData."""
    return abi.tuple_of(
        abi.tuple_of(
            abi.ADDRESS,
            abi.list_of(abi.ADDRESS),
            abi.UINT256,
            abi.ADDRESS,
            abi.BYTES,
            abi.ADDRESS,
            validators,
            abi.BYTES,
        )
    )


_SETUP_SAFE: Final = {
    Selector(bytes.fromhex("d9ed0e8f")): _setup_safe(_MODULES),
    Selector(bytes.fromhex("a3aa6b32")): _setup_safe(_TYPED_MODULES),
}
"""setupSafe of two generations of the Safe7579 launchpad."""

_INIT_SAFE7579: Final = selector(
    "initSafe7579(address,(address,bytes)[],(address,bytes)[],(address,bytes)[],address[],uint8)"
)
_INIT_SAFE7579_ARGUMENTS: Final = abi.tuple_of(
    abi.ADDRESS, _MODULES, _MODULES, _MODULES, abi.list_of(abi.ADDRESS), abi.UINT8
)
_INIT_SAFE7579_TYPES: Final = (2, 3, 4)  # executors, fallbacks, hooks


def acts_in_setup(
    call_data: bytes, session_modules: Collection[Address], budget: Budget | None = None
) -> tuple[Act, ...]:
    """Modules installed by the launchpad's setupSafe, the call data of an account's first operation.

    Nothing for other call data. The call inside it is an ordinary call of the account. Never raises: a setup that
    cannot be read is `Unreadable` and names the session module that stands in it, the zero address when none does.
    """
    types = _SETUP_SAFE.get(selector_of(call_data))
    if types is None:
        return ()
    try:
        ((_, _, _, _, setup_data, _safe7579, validators, _),) = abi.decode(types, call_data[4:], "callData", budget)
        return (
            *_other_modules(setup_data, session_modules, budget),
            *(act for members in validators for act in _validator_acts(members, session_modules, budget)),
        )
    except Undecodable as problem:
        named = next((module for module in session_modules if call_data.find(module) >= 0), ZERO_ADDRESS)
        return (Unreadable(named, selector_of(call_data), str(problem)),)


def _validator_acts(
    members: Sequence[Any], session_modules: Collection[Address], budget: Budget | None
) -> tuple[Act, ...]:
    module, init_data, *module_type = members
    kind = module_type[0] if module_type else VALIDATOR_TYPE
    return acts_of_install(kind, module, init_data, session_modules, budget)


def _other_modules(setup_data: bytes, session_modules: Collection[Address], budget: Budget | None) -> Iterator[Act]:
    if selector_of(setup_data) != _INIT_SAFE7579:
        return
    _, *lists, _, _ = abi.decode(_INIT_SAFE7579_ARGUMENTS, setup_data[4:], "callData", budget)
    for module_type, modules in zip(_INIT_SAFE7579_TYPES, lists, strict=True):
        for module, init_data in modules:
            yield from acts_of_install(module_type, module, init_data, session_modules, budget)
