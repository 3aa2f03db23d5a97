"""Time, uses, native value and gas: limits that are missing, loose or contradict one another."""

from __future__ import annotations

from dataclasses import replace

import pytest

from proxy.session.lint import Thresholds
from proxy.userop.emissary_abi import EMISSARY
from proxy.userop.session_data import VALUE_SELECTOR, PolicyData
from tests.session.builders import FRIEND, NOW, action, fallback, gas, only, rule, sudo, time_frame, usage, value_limit
from tests.session.lint.builders import (
    DAY,
    EQUAL,
    LIMITS,
    V1_TIME,
    Pairs,
    capped_transfer,
    found,
    play,
    played_with,
    tight,
    tight_play,
)

TIME, USES, VALUE, GAS = LIMITS
CLAIM = rule(EQUAL, 0, 7)
ETHER = 10**18


def v1_time_frame(valid_until: int, valid_after: int) -> PolicyData:
    return PolicyData(V1_TIME, valid_until.to_bytes(16, "big") + valid_after.to_bytes(16, "big"))


without_value = (TIME, USES, GAS)
PAIRS: Pairs = {
    "no_expiry": (tight(user_op=(USES, VALUE, GAS)), tight()),
    "far_expiry": (
        tight(user_op=(time_frame(NOW + 30 * DAY + 1), USES, GAS)),
        tight(user_op=(time_frame(NOW + 30 * DAY), USES, GAS)),
    ),
    "expired": (tight(user_op=(time_frame(NOW - 1), USES, GAS)), tight(user_op=(time_frame(NOW), USES, GAS))),
    "never_allowed": (
        tight(user_op=(v1_time_frame(NOW, NOW + 1), USES, GAS)),
        tight(user_op=(v1_time_frame(NOW + 1, NOW + 1), USES, GAS)),
    ),
    "unlimited_uses": (
        tight(user_op=(TIME, GAS, usage(1_000_000))),
        tight(user_op=(TIME, GAS, usage(999_999))),
    ),
    "unlimited_value": (tight(play(sudo), user_op=without_value), tight(play(sudo))),
    "unlimited_value_transfer": (
        tight(action(FRIEND, VALUE_SELECTOR, sudo), user_op=without_value),
        tight(action(FRIEND, VALUE_SELECTOR, value_limit(1)), user_op=without_value),
    ),
    "value_capped_per_call": (
        tight(played_with(CLAIM, value=1), user_op=without_value),
        tight(played_with(CLAIM, value=0), user_op=without_value),
    ),
    "large_value_limit": (
        tight(play(sudo, value_limit(10 * ETHER + 1)), user_op=without_value),
        tight(play(sudo, value_limit(10 * ETHER)), user_op=without_value),
    ),
    "unlimited_gas": (tight(user_op=(TIME, USES)), tight()),
    "large_gas_limit": (
        tight(user_op=(TIME, USES, gas(1, 10 * ETHER + 1))),
        tight(user_op=(TIME, USES, gas(1, 10 * ETHER))),
    ),
    "paymaster_unusable": (
        tight(user_op=(), permit_erc4337_paymaster=True),
        tight(user_op=(TIME,), permit_erc4337_paymaster=True),
    ),
}


@pytest.mark.parametrize("kind", PAIRS)
def test_finds_each_kind_and_not_in_its_neighbour(kind: str) -> None:
    faulty, sound = PAIRS[kind]
    assert kind in found(faulty)
    assert kind not in found(sound)


def test_takes_the_first_end_among_the_time_frames_that_bear_on_an_action() -> None:
    later = time_frame(NOW + 60 * DAY)
    assert "far_expiry" in found(tight(user_op=(later, USES, GAS)))
    ends_soon = play(*tight_play.policies, TIME)
    assert "far_expiry" not in found(tight(ends_soon, user_op=(later, USES, GAS)))


def test_names_the_session_when_no_action_ends_and_the_action_when_only_one_does_not() -> None:
    ends_soon = replace(tight_play, policies=(*tight_play.policies, TIME))
    assert found(tight(capped_transfer, user_op=(USES, GAS)))["no_expiry"] == ["session"]
    assert found(tight(ends_soon, capped_transfer, user_op=(USES, GAS)))["no_expiry"] == ["actions[1]"]


def test_takes_a_time_frame_that_only_starts_for_no_end() -> None:
    assert "no_expiry" in found(tight(user_op=(time_frame(0, NOW), USES, GAS)))


def test_finds_time_frames_of_operation_and_action_that_do_not_overlap() -> None:
    late = play(*tight_play.policies, time_frame(0, NOW + 2 * DAY))
    assert found(tight(late))["never_allowed"] == ["session"]
    assert "never_allowed" not in found(tight(play(*tight_play.policies, time_frame(0, NOW + DAY))))


def test_takes_uses_from_the_operation_or_from_the_action() -> None:
    assert "unlimited_uses" in found(tight(user_op=(TIME, GAS)))
    assert "unlimited_uses" not in found(tight(play(*tight_play.policies, usage(3)), user_op=(TIME, GAS)))


def test_multiplies_the_value_of_a_call_by_the_uses_of_the_action() -> None:
    each, uses = play(*played_with(CLAIM, value=ETHER).policies, usage(10)), 10
    assert not {"large_value_limit", "value_capped_per_call"} & found(tight(each, user_op=without_value)).keys()
    more = play(*played_with(CLAIM, value=ETHER).policies, usage(uses + 1))
    assert "large_value_limit" in found(tight(more, user_op=without_value))


def test_takes_a_value_limit_of_everything_for_none() -> None:
    everything = tight(play(sudo, value_limit(2**255)), user_op=without_value)
    assert "unlimited_value" in found(everything)
    assert "unlimited_value" not in found(tight(play(sudo, value_limit(2**255 - 1)), user_op=without_value))


def test_takes_a_value_of_everything_for_each_call_for_none() -> None:
    everything = tight(played_with(CLAIM, value=2**255), user_op=without_value)
    assert "unlimited_value" in found(everything)
    less = found(tight(played_with(CLAIM, value=2**255 - 1), user_op=without_value))
    assert "unlimited_value" not in less
    assert "value_capped_per_call" in less


def test_expects_no_value_in_token_calls() -> None:
    assert "unlimited_value" not in found(tight(capped_transfer, user_op=without_value))


def test_finds_unlimited_value_under_a_fallback_too() -> None:
    assert "unlimited_value" in found(tight(fallback(only(FRIEND)), user_op=without_value))


def test_asks_no_gas_policy_of_a_session_of_the_emissary_which_has_no_place_for_one() -> None:
    in_action = tight(play(*tight_play.policies, TIME, USES), user_op=())
    assert "unlimited_gas" in found(in_action)
    assert found(in_action, module=EMISSARY) == {}


def test_lets_the_thresholds_be_moved() -> None:
    thresholds = Thresholds(far_expiry=DAY - 1, large_value=1, many_uses=10)
    grant = tight(play(sudo, value_limit(2)))
    assert {"far_expiry", "large_value_limit", "unlimited_uses"} <= found(grant, thresholds=thresholds).keys()
    assert not {"far_expiry", "large_value_limit", "unlimited_uses"} & found(grant).keys()


def test_tells_times_beyond_all_calendars() -> None:
    far = tight(user_op=(time_frame(2**48 - 2), USES, GAS))
    assert "far_expiry" in found(far)
