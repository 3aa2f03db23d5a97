from __future__ import annotations

from proxy.session.addresses import (
    MODULE_KINDS,
    POLICIES,
    SESSION_MODULES,
    SMART_SESSION,
    VALIDATOR_KINDS,
    Generation,
    ModuleKind,
    name_of_policy,
)
from proxy.session.policies.policy import PolicyKind
from tests.session.builders import ARG, GAS, OWNABLE, SPENDING, STRANGER, SUDO, TARGETS, TIME, UNI_ACTION, USAGE, VALUE


def test_no_address_stands_for_two_things() -> None:
    modules, policies, validators = set(MODULE_KINDS), set(POLICIES), set(VALIDATOR_KINDS)
    assert not modules & policies
    assert not policies & validators
    assert not modules & validators


def test_every_generation_of_module_is_recognised() -> None:
    assert set(MODULE_KINDS.values()) == set(ModuleKind)
    assert MODULE_KINDS[SMART_SESSION] is ModuleKind.V2
    assert set(MODULE_KINDS) == SESSION_MODULES


def test_the_uses_of_each_policy_are_those_it_answers_for() -> None:
    action, user_op, erc1271 = PolicyKind.ACTION, PolicyKind.USER_OP, PolicyKind.ERC1271
    uses = {
        SUDO: {action, user_op, erc1271},
        TIME: {action, user_op, erc1271},
        USAGE: {action, user_op},
        VALUE: {action, user_op},
        GAS: {user_op},
        SPENDING: {action},
        UNI_ACTION: {action},
        ARG: {action},
        TARGETS: {action},
    }
    for address, wanted in uses.items():
        assert {kind for kind in PolicyKind if POLICIES[address].supports(kind)} == wanted
    assert {address for address, contract in POLICIES.items() if contract.generation is Generation.V2} == set(uses)


def test_names_published_contracts_and_shows_the_address_of_others() -> None:
    assert name_of_policy(SUDO) == "SudoPolicy"
    assert name_of_policy(STRANGER).lower() == "0x" + STRANGER.hex()
    assert OWNABLE in VALIDATOR_KINDS
