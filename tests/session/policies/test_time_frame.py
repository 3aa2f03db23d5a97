from __future__ import annotations

import pytest

from proxy.session.addresses import POLICIES, Generation
from proxy.session.policies.policy import Passed, PolicyReverted, SignedAction
from proxy.session.policies.time_frame import TimeFrame, TimeFramePolicy
from proxy.session.revert import BARE
from proxy.session.validity import UINT48_MAX, Window, window_of
from proxy.userop.primitives import Hash32
from proxy.userop.session_data import PolicyData
from tests.session.builders import STRANGER, TIME, call, time_frame
from tests.session.policies.builders import Deployed, deploy, error_of, key_of, refused_init, view

TIME_V1 = next(
    address
    for address, contract in POLICIES.items()
    if contract.name == "TimeFramePolicy" and contract.generation is Generation.V1
)


def in_old_form(valid_until: int, valid_after: int) -> PolicyData:
    return PolicyData(TIME_V1, valid_until.to_bytes(16, "big") + valid_after.to_bytes(16, "big"))


def test_returns_the_window_and_leaves_the_clock_to_the_entry_point() -> None:
    outcome, _ = deploy(time_frame(2000, 1000)).call(call())
    assert isinstance(outcome, Passed)
    assert window_of(outcome.validation_data) == Window(1000, 2000)
    assert deploy(time_frame(2000, 1000)).user_op(view(call()))[0] == outcome


def test_no_end_is_the_greatest_time() -> None:
    outcome, _ = deploy(time_frame(0, 1000)).call(call())
    assert isinstance(outcome, Passed)
    assert window_of(outcome.validation_data) == Window(1000, UINT48_MAX)


def test_a_frame_of_one_second_initialises_and_an_inverted_one_does_not() -> None:
    assert deploy(time_frame(1000, 1000)).config == TimeFrame(1000, 1000)
    assert refused_init(time_frame(1000, 1001)).error == "PolicyNotInitialized"


def test_both_bounds_zero_initialise_and_revert_at_every_check() -> None:
    contract = deploy(time_frame(0, 0))
    assert error_of(contract.call(call())[0]) == "PolicyNotInitialized"
    assert error_of(contract.user_op(view(call()))[0]) == "PolicyNotInitialized"
    assert error_of(Deployed(TIME).call(call())[0]) == "PolicyNotInitialized"


def test_refuses_eleven_bytes_and_ignores_what_follows_twelve() -> None:
    assert refused_init(PolicyData(TIME, bytes(11))) == BARE
    assert deploy(PolicyData(TIME, time_frame(9, 4).init_data + b"\xff" * 20)).config == TimeFrame(9, 4)


def test_the_older_generation_takes_thirty_two_bytes_and_checks_no_order() -> None:
    assert deploy(in_old_form(1000, 2000)).config == TimeFrame(1000, 2000)
    assert refused_init(PolicyData(TIME_V1, bytes(31))) == BARE
    assert deploy(in_old_form(2**48 + 7, 2**48 + 5)).config == TimeFrame(7, 5)


def test_init_data_of_the_other_generation_is_misread_as_no_window() -> None:
    misread = deploy(PolicyData(TIME, in_old_form(1_800_000_000, 1_700_000_000).init_data))
    assert error_of(misread.call(call())[0]) == "PolicyNotInitialized"
    assert refused_init(PolicyData(TIME_V1, time_frame(9, 4).init_data)) == BARE


@pytest.mark.parametrize(
    ("now", "allowed"), [(999, False), (1000, True), (1999, True), (2000, False)], ids=["early", "first", "last", "end"]
)
def test_signatures_are_good_from_the_first_second_until_before_the_last(now: int, allowed: bool) -> None:
    policy = POLICIES[TIME].erc1271
    assert policy is not None
    signed = SignedAction(STRANGER, Hash32(bytes(32)), now)
    assert policy.check_1271(TimeFrame(2000, 1000), signed, key_of(TIME)) is allowed


def test_signatures_are_good_for_ever_where_there_is_no_end() -> None:
    policy = POLICIES[TIME].erc1271
    assert policy is not None
    for frame, now, allowed in (
        (TimeFrame(0, 5), 2**40, True),
        (TimeFrame(0, 5), 4, False),
        (TimeFrame(5, 0), 0, True),
    ):
        assert policy.check_1271(frame, SignedAction(STRANGER, Hash32(bytes(32)), now), key_of(TIME)) is allowed


def test_signatures_without_a_frame_revert() -> None:
    policy = POLICIES[TIME].erc1271
    assert policy is not None
    outcome = policy.check_1271(None, SignedAction(STRANGER, Hash32(bytes(32)), 5), key_of(TIME))
    assert isinstance(outcome, PolicyReverted)


def test_reads_the_packed_getter() -> None:
    assert TimeFramePolicy.from_getters(2000 << 48 | 1000).config == TimeFrame(2000, 1000)
