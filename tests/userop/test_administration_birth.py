"""Session modules and sessions that an account is born with, however deep a factory nests them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from eth_abi.abi import encode

from proxy.userop.acts import Act, ModuleInstalled, SessionsEnabled, Unreadable
from proxy.userop.administration_birth import MAX_MENTIONS, acts_in_factory_data, acts_in_setup
from proxy.userop.primitives import Address, Hash32, Selector
from proxy.userop.session_abi import encode_sessions
from proxy.userop.session_data import ActionData, SessionData
from tests.userop.calldata import ALICE, BOB, MODULE, MODULES, OLD_MODULE, call_data
from tests.userop.test_administration_sessions import SESSION_DATA

WITH_SESSION = b"\x02" + encode_sessions([SESSION_DATA])
ENABLED = (ModuleInstalled(1, MODULE, WITH_SESSION), SessionsEnabled(MODULE, (SESSION_DATA,)))
MODULE_LIST = "(address,bytes)[]"
OTHER = [(ALICE, b"owner")]


def bootstrap(data: bytes) -> bytes:
    """initNexus with a list of validators, inside the factory's abi.encode(bootstrap, call)."""
    init = call_data(f"initNexusNoRegistry({MODULE_LIST},{MODULE_LIST})", [*OTHER, (MODULE, data)], [])
    return encode(["address", "bytes"], [BOB, init])


def startale(data: bytes) -> bytes:
    return call_data("createAccount(bytes,bytes32)", bootstrap(data), bytes(32))


def staked_factory(data: bytes) -> bytes:
    return call_data("deployWithFactory(address,bytes,bytes32)", BOB, startale(data), bytes(32))


def initialize_account(data: bytes) -> bytes:
    return call_data("initializeAccount(bytes)", bootstrap(data))


def kernel(data: bytes) -> bytes:
    """Kernel's initialize, whose last argument is a list of calls the account makes to itself."""
    install = call_data("installModule(uint256,address,bytes)", 1, MODULE, data)
    root = b"\x01" + ALICE
    return call_data("initialize(bytes21,address,bytes,bytes,bytes[])", root, BOB, b"", b"", [install])


@pytest.mark.parametrize("factory", [bootstrap, startale, staked_factory, initialize_account, kernel])
def test_sessions_at_birth_are_found_in_every_nesting(factory: Callable[[bytes], bytes]) -> None:
    assert acts_in_factory_data(factory(WITH_SESSION), MODULES) == ENABLED


@pytest.mark.parametrize("factory", [bootstrap, startale, staked_factory, initialize_account, kernel])
def test_a_module_at_birth_without_sessions_is_only_installed(factory: Callable[[bytes], bytes]) -> None:
    assert acts_in_factory_data(factory(b""), MODULES) == (ModuleInstalled(1, MODULE, b""),)


@pytest.mark.parametrize("factory", [bootstrap, startale, kernel])
def test_install_data_that_cannot_be_read_is_said(factory: Callable[[bytes], bytes]) -> None:
    installed, unreadable = acts_in_factory_data(factory(WITH_SESSION[:-64]), MODULES)
    assert isinstance(installed, ModuleInstalled)
    assert isinstance(unreadable, Unreadable)


def test_factory_data_that_names_no_session_module_has_no_acts() -> None:
    assert acts_in_factory_data(startale(WITH_SESSION), [OLD_MODULE]) == ()
    assert acts_in_factory_data(b"", MODULES) == ()


def test_a_module_named_inside_its_own_sessions_is_not_installed_twice() -> None:
    odd = SessionData(
        session_validator=ALICE,
        session_validator_init_data=MODULE,
        salt=Hash32(bytes(32)),
        actions=(ActionData(Selector(b"abcd"), MODULE, ()),),
    )
    data = b"\x01" + encode_sessions([odd])
    assert acts_in_factory_data(startale(data), MODULES) == (
        ModuleInstalled(1, MODULE, data),
        SessionsEnabled(MODULE, (odd,)),
    )


def test_two_modules_are_found_in_the_order_they_stand_in() -> None:
    init = call_data(f"initNexus({MODULE_LIST})", [(OLD_MODULE, b""), (MODULE, b"")])
    assert acts_in_factory_data(init, MODULES) == (
        ModuleInstalled(1, OLD_MODULE, b""),
        ModuleInstalled(1, MODULE, b""),
    )


@pytest.mark.parametrize(
    "data",
    [
        b"abcd" + MODULE,  # packed
        b"abcd" + b"\x01" + MODULE + bytes(11),  # Kernel's ValidationId
        b"abcd" + bytes(12) + MODULE,  # nothing after it
        b"abcd" + bytes(12) + MODULE + bytes(64),  # no offset
        b"abcd" + bytes(12) + MODULE + (65).to_bytes(32, "big") + bytes(64),  # an odd one
        b"abcd" + bytes(12) + MODULE + (64).to_bytes(32, "big") + (1).to_bytes(32, "big"),  # one byte short
        b"abcd" + bytes(12) + MODULE + (32).to_bytes(32, "big") + bytes(64),  # one that points at itself
        b"abcd" + b"\x01" + bytes(11) + MODULE + (64).to_bytes(32, "big") + bytes(32),  # not an address word
        MODULE,
    ],
)
def test_a_module_named_in_any_other_form_is_unreadable_not_ignored(data: bytes) -> None:
    (act,) = acts_in_factory_data(data, MODULES)
    assert isinstance(act, Unreadable)
    assert act.module == MODULE


def mentions(count: int) -> tuple[Act, ...]:
    init = call_data(f"initNexus({MODULE_LIST})", [(MODULE, b"")] * count)
    return acts_in_factory_data(init, MODULES)


def test_reads_exactly_as_many_mentions_as_it_says() -> None:
    assert mentions(MAX_MENTIONS) == (ModuleInstalled(1, MODULE, b""),) * MAX_MENTIONS


def test_one_mention_more_is_unreadable() -> None:
    *_, last = mentions(MAX_MENTIONS + 1)
    assert isinstance(last, Unreadable)


LAUNCHPAD = "setupSafe((address,address[],uint256,address,bytes,address,(address,bytes)[],bytes))"
LAUNCHPAD_TYPED = "setupSafe((address,address[],uint256,address,bytes,address,(address,bytes,uint256)[],bytes))"
INIT_SAFE7579 = f"initSafe7579(address,{MODULE_LIST},{MODULE_LIST},{MODULE_LIST},address[],uint8)"


def setup(validators: list[tuple[Address, bytes]], setup_data: bytes = b"") -> bytes:
    return call_data(LAUNCHPAD, (BOB, [ALICE], 1, BOB, setup_data, BOB, validators, b""))


def test_a_safes_validators_are_installed_with_their_sessions() -> None:
    assert acts_in_setup(setup([(ALICE, b"owner"), (MODULE, WITH_SESSION)]), MODULES) == (
        ModuleInstalled(1, ALICE, b"owner"),
        *ENABLED,
    )


def test_the_newer_launchpad_names_the_type_of_each_module() -> None:
    modules = [(ALICE, b"executor", 2), (MODULE, WITH_SESSION, 1)]
    data = call_data(LAUNCHPAD_TYPED, (BOB, [ALICE], 1, BOB, b"", BOB, modules, b""))
    assert acts_in_setup(data, MODULES) == (ModuleInstalled(2, ALICE, b"executor"), *ENABLED)


def test_a_safes_executors_fallbacks_and_hooks_are_installed_too() -> None:
    executor, fallback, hook = ((Address(bytes((mark,)) * 20), b"x") for mark in (1, 2, 3))
    setup_data = call_data(INIT_SAFE7579, BOB, [executor], [fallback], [hook], [], 0)
    assert acts_in_setup(setup([], setup_data), MODULES) == (
        ModuleInstalled(2, executor[0], b"x"),
        ModuleInstalled(3, fallback[0], b"x"),
        ModuleInstalled(4, hook[0], b"x"),
    )


def test_a_setup_that_cannot_be_read_is_unreadable() -> None:
    (act,) = acts_in_setup(setup([(MODULE, b"")])[:-33], MODULES)
    assert isinstance(act, Unreadable)
    assert (act.module, act.selector.hex()) == (MODULE, "d9ed0e8f")


def test_an_unreadable_setup_without_a_session_module_names_none() -> None:
    (act,) = acts_in_setup(setup([(ALICE, b"")])[:-33], MODULES)
    assert isinstance(act, Unreadable)
    assert act.module == bytes(20)


def test_other_call_data_is_no_setup() -> None:
    assert acts_in_setup(startale(WITH_SESSION), MODULES) == ()
    assert acts_in_setup(b"", MODULES) == ()
