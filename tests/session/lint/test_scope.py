"""Wide actions and delicate targets are found; what narrows an action is seen."""

from __future__ import annotations

import pytest

from proxy.session.addresses import SMART_SESSION
from proxy.session.lint.grant import DUMMY_SELECTOR, DUMMY_TARGET
from proxy.userop.execution import EXECUTE
from proxy.userop.primitives import Address, Selector
from proxy.userop.session_data import (
    FLAG_TARGET,
    SMART_SESSION_CALL_SELECTOR,
    VALUE_SELECTOR,
    SessionData,
)
from tests.session.builders import (
    ACCOUNT,
    FRIEND,
    PAYMASTER,
    STRANGER,
    TOKEN,
    UNKNOWN_POLICY,
    PolicyData,
    action,
    address,
    arg,
    fallback,
    node,
    only,
    rule,
    spending,
    sudo,
    uni_action,
    usage,
)
from tests.session.lint.builders import (
    AT_LEAST,
    AT_MOST,
    EQUAL,
    GREATER,
    IN_RANGE,
    LESS,
    PLAY,
    UNEQUAL,
    Pairs,
    found,
    play,
    played_with,
    tight,
    tight_play,
)

OLDER_MODULE = address("0x00000000002B0eCfbD0496EE71e01257dA0E37DE")
ENTRY_POINT = address("0x0000000071727De22E5E9d8BAf0edAc6f37da032")
INSTALL_MODULE = Selector(bytes.fromhex("9517e29f"))
MAX = 2**256 - 1
unknown = PolicyData(UNKNOWN_POLICY, b"")
narrow = uni_action(rule(EQUAL, 0, 7))
module_call = action(FLAG_TARGET, SMART_SESSION_CALL_SELECTOR, narrow)

PAIRS: Pairs = {
    "sudo_action": (tight(play(sudo)), tight(play(sudo, narrow))),
    "fallback_any_call": (tight(fallback(sudo)), tight(fallback(only(FRIEND)))),
    "fallback_action": (tight(fallback(only(FRIEND))), tight(fallback(sudo))),
    "session_module_call": (tight(tight_play, module_call), tight(tight_play)),
    "session_module_target": (tight(action(OLDER_MODULE, PLAY, narrow)), tight(action(STRANGER, PLAY, narrow))),
    "own_account_target": (tight(action(ACCOUNT, PLAY, narrow)), tight(action(STRANGER, PLAY, narrow))),
    "entry_point_target": (tight(action(ENTRY_POINT, PLAY, narrow)), tight(action(STRANGER, PLAY, narrow))),
    "administration_function": (
        tight(action(STRANGER, INSTALL_MODULE, narrow)),
        tight(action(STRANGER, PLAY, narrow)),
    ),
    "rules_restrict_nothing": (tight(played_with(rule(AT_LEAST))), tight(played_with(rule(AT_LEAST, 0, 1)))),
    "idle_rule": (
        tight(played_with(rule(EQUAL, 0, 7), rule(AT_MOST, 32, MAX))),
        tight(played_with(rule(EQUAL, 0, 7), rule(AT_MOST, 32, MAX - 1))),
    ),
    "unknown_policy_alone": (tight(play(unknown)), tight(play(unknown, narrow))),
    "unknown_policy": (tight(play(unknown, narrow)), tight(play(narrow))),
}


@pytest.mark.parametrize("kind", PAIRS)
def test_finds_each_kind_and_not_in_its_neighbour(kind: str) -> None:
    faulty, sound = PAIRS[kind]
    assert kind in found(faulty)
    assert kind not in found(sound)


def test_has_nothing_to_say_of_the_action_the_sdk_puts_into_every_session() -> None:
    assert found(tight(tight_play, action(DUMMY_TARGET, DUMMY_SELECTOR, sudo))) == {}


@pytest.mark.parametrize(
    ("target", "selector"),
    [(DUMMY_TARGET, PLAY), (STRANGER, DUMMY_SELECTOR), (Address(bytes(18) + b"\x04\x21"), DUMMY_SELECTOR)],
)
def test_takes_no_other_sudo_action_for_the_one_of_the_sdk(target: Address, selector: Selector) -> None:
    assert found(tight(tight_play, action(target, selector, sudo)))["sudo_action"] == ["actions[1]"]


def test_knows_the_dummy_by_its_published_address_and_selector() -> None:
    assert DUMMY_TARGET.hex() == "0000000000000000000000000000000000000420"
    assert DUMMY_SELECTOR.hex() == "69123456"


@pytest.mark.parametrize(
    "policies",
    [
        (usage(1), sudo),
        (sudo, uni_action(rule(AT_LEAST))),
        (sudo, uni_action(rule(UNEQUAL, 0, 7))),
        (sudo, uni_action(rule(AT_LEAST, limit=2**255))),
        (sudo, unknown),
    ],
)
def test_calls_sudo_what_limits_neither_target_nor_arguments(policies: tuple[PolicyData, ...]) -> None:
    assert "sudo_action" in found(tight(play(*policies)))


@pytest.mark.parametrize(
    "policies",
    [
        (spending((TOKEN, 1)), sudo),
        (sudo, uni_action(rule(AT_LEAST, limit=2**255 - 1))),
        (sudo, arg([rule(EQUAL, 0, 7), rule(EQUAL, 0, 8)], [node("or", left=1, right=2), node("rule"), node("rule")])),
    ],
)
def test_calls_no_action_sudo_whose_arguments_are_narrowed(policies: tuple[PolicyData, ...]) -> None:
    assert "sudo_action" not in found(tight(play(*policies)))


@pytest.mark.parametrize(
    ("impossible", "possible"),
    [
        (rule(LESS, 0, 0), rule(LESS, 0, 1)),
        (rule(GREATER, 0, MAX), rule(GREATER, 0, MAX - 1)),
        (rule(IN_RANGE, 0, 8 << 128 | 7), rule(IN_RANGE, 0, 7 << 128 | 7)),
    ],
)
def test_finds_rules_that_no_call_satisfies(impossible: tuple[int, ...], possible: tuple[int, ...]) -> None:
    assert found(tight(played_with(impossible)))["never_allowed"] == ["actions[0].policies[0]"]
    assert "never_allowed" not in found(tight(played_with(possible)))


def test_finds_rules_that_exclude_one_another() -> None:
    assert "never_allowed" in found(tight(played_with(rule(EQUAL, 0, 7), rule(EQUAL, 0, 8))))
    assert "never_allowed" not in found(tight(played_with(rule(EQUAL, 0, 7), rule(EQUAL, 32, 8))))


def test_tells_the_account_from_other_targets_only_when_it_is_told_whose_session_it_is() -> None:
    grant = tight(action(ACCOUNT, INSTALL_MODULE, narrow))
    assert "own_account_target" in found(grant)
    assert "administration_function" in found(grant, account=None)
    assert "own_account_target" not in found(grant, account=None)


def test_finds_execute_on_another_account() -> None:
    assert "administration_function" in found(tight(action(STRANGER, EXECUTE, narrow)))


def test_takes_an_action_on_the_module_that_holds_the_session_for_a_revert() -> None:
    grant = tight(action(OLDER_MODULE, PLAY, narrow))
    assert "cannot_be_enabled" in found(grant, module=OLDER_MODULE)
    assert "session_module_target" not in found(grant, module=OLDER_MODULE)
    assert "session_module_target" in found(tight(action(SMART_SESSION, PLAY, narrow)), module=OLDER_MODULE)


def test_does_not_call_a_plain_transfer_of_value_sudo_for_it_has_no_arguments() -> None:
    assert found(tight(action(FRIEND, VALUE_SELECTOR, sudo))) == {}


def test_says_that_an_unknown_policy_of_the_whole_session_is_not_counted_on() -> None:
    grant: SessionData = tight(user_op=(PolicyData(PAYMASTER, b""),))
    assert found(grant)["unknown_policy"] == ["userOpPolicies[0]"]
    assert "no_expiry" in found(grant)
