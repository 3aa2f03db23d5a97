from __future__ import annotations

import pytest

from proxy.errors import Code
from proxy.session.policies.parameter_rules import Condition
from proxy.session.policies.policy import Failed, Passed
from proxy.session.policies.universal_action import UniActionPolicy
from proxy.session.revert import BARE
from proxy.userop.execution import Call
from proxy.userop.primitives import UINT256_MAX
from proxy.userop.session_data import PolicyData
from tests.session.builders import TOKEN, TRANSFER, UNI_ACTION, rule, uni_action, word
from tests.session.policies.builders import Deployed, deploy, error_of, passes, reason_of, refused_init

REFERENCE = 100


def with_words(*words: int, value: int = 0) -> Call:
    return Call(TOKEN, value, TRANSFER + b"".join(word(each) for each in words))


@pytest.mark.parametrize(
    ("condition", "below", "at", "above"),
    [
        (Condition.EQUAL, False, True, False),
        (Condition.GREATER_THAN, False, False, True),
        (Condition.LESS_THAN, True, False, False),
        (Condition.GREATER_THAN_OR_EQUAL, False, True, True),
        (Condition.LESS_THAN_OR_EQUAL, True, True, False),
        (Condition.NOT_EQUAL, True, False, True),
    ],
)
def test_compares_on_both_sides_of_the_reference(condition: Condition, below: bool, at: bool, above: bool) -> None:
    contract = deploy(uni_action(rule(condition, 0, REFERENCE)))
    got = [passes(contract.call(with_words(REFERENCE + step))[0]) for step in (-1, 0, 1)]
    assert got == [below, at, above]


@pytest.mark.parametrize(("number", "allowed"), [(9, False), (10, True), (20, True), (21, False)])
def test_a_range_includes_both_its_ends(number: int, allowed: bool) -> None:
    contract = deploy(uni_action(rule(Condition.IN_RANGE, 0, 10 << 128 | 20)))
    assert passes(contract.call(with_words(number))[0]) is allowed


def test_compares_unsigned() -> None:
    contract = deploy(uni_action(rule(Condition.LESS_THAN, 0, 2**255)))
    assert not passes(contract.call(with_words(UINT256_MAX))[0])


@pytest.mark.parametrize(("amount", "allowed"), [(39, True), (40, True), (41, False)])
def test_a_limited_rule_allows_what_is_left_and_not_one_more(amount: int, allowed: bool) -> None:
    contract = deploy(uni_action(rule(Condition.LESS_THAN, 0, 1000, limit=100)))
    _, contract = contract.call(with_words(60))
    outcome, after = contract.call(with_words(amount))
    assert passes(outcome) is allowed
    assert after.total(b"\0") == (60 + amount if allowed else 60)


def test_a_limited_rule_is_charged_only_where_its_comparison_holds() -> None:
    contract = deploy(uni_action(rule(Condition.LESS_THAN, 0, 10, limit=100)))
    _, after = contract.call(with_words(10))
    assert after.total(b"\0") == 0


def test_use_named_in_the_init_data_counts() -> None:
    contract = deploy(uni_action(rule(Condition.LESS_THAN, 0, 1000, limit=100, used=99)))
    assert passes(contract.call(with_words(1))[0])
    assert not passes(contract.call(with_words(2))[0])


def test_an_overflowing_sum_is_a_panic() -> None:
    contract = deploy(uni_action(rule(Condition.NOT_EQUAL, 0, 0, limit=UINT256_MAX, used=UINT256_MAX)))
    assert error_of(contract.call(with_words(1))[0]) == "Panic"


def test_a_sum_that_is_the_greatest_number_is_no_overflow() -> None:
    contract = deploy(uni_action(rule(Condition.NOT_EQUAL, 0, 0, limit=UINT256_MAX, used=UINT256_MAX - 1)))
    assert passes(contract.call(with_words(1))[0])


def test_shows_numbers_addresses_and_hashes_as_what_they_are() -> None:
    shown = [2**128 - 1, 2**128, 2**160]
    contract = deploy(uni_action(rule(Condition.EQUAL, 0, 0)))
    sentences = [reason_of(contract.call(with_words(word))[0]) for word in shown]
    assert [sentence.rpartition(" ")[2] for sentence in sentences] == [
        str(2**128 - 1),
        "0x0000000100000000000000000000000000000000",
        f"0x{2**160:064x}",
    ]


def test_all_rules_must_hold_and_the_first_that_fails_is_named() -> None:
    contract = deploy(uni_action(rule(Condition.EQUAL, 0, 1), rule(Condition.EQUAL, 32, 2)))
    assert passes(contract.call(with_words(1, 2))[0])
    outcome, _ = contract.call(with_words(1, 3))
    assert isinstance(outcome, Failed)
    assert outcome.reason.code is Code.SESSION_SCOPE
    assert outcome.reason.sentence == "argument 1 must be equal to 2, got 3"
    assert (outcome.reason.wanted, outcome.reason.got) == ("equal to 2", "3")


def test_a_limit_that_is_used_up_is_named_with_its_argument() -> None:
    contract = deploy(uni_action(rule(Condition.LESS_THAN, 0, 1000, limit=100, used=60)))
    outcome, _ = contract.call(with_words(41))
    assert isinstance(outcome, Failed)
    assert outcome.reason.code is Code.LIMIT_EXCEEDED
    assert outcome.reason.sentence == "41 as argument 0, 40 left of 100 in this session"


def test_reads_the_word_at_any_byte_offset_and_says_which() -> None:
    contract = deploy(uni_action(rule(Condition.EQUAL, 5, 0x0700)))
    data = TRANSFER + bytes(5) + word(0x0700)
    assert passes(contract.call(Call(TOKEN, 0, data))[0])
    assert "the word at byte 5 of the arguments" in reason_of(contract.call(Call(TOKEN, 0, data[:-1] + b"\x01"))[0])


def test_a_word_that_ends_with_the_call_data_is_read_and_one_byte_further_reverts() -> None:
    contract = deploy(uni_action(rule(Condition.EQUAL, 32, 2)))
    assert passes(contract.call(with_words(1, 2))[0])
    assert error_of(contract.call(Call(TOKEN, 0, with_words(1, 2).data[:-1]))[0]) is None


@pytest.mark.parametrize(("offset", "error"), [(2**64 - 37, None), (2**64 - 36, "Panic"), (2**64 - 1, "Panic")])
def test_an_offset_at_the_end_of_the_address_space_is_a_panic(offset: int, error: str | None) -> None:
    contract = deploy(uni_action(rule(Condition.EQUAL, offset, 0)))
    assert error_of(contract.call(with_words(0))[0]) == error


@pytest.mark.parametrize(("value", "allowed"), [(4, True), (5, True), (6, False)])
def test_allows_value_per_use_up_to_the_limit(value: int, allowed: bool) -> None:
    outcome, _ = deploy(uni_action(rule(Condition.EQUAL, 0, 1), value=5)).call(with_words(1, value=value))
    assert passes(outcome) is allowed
    if not allowed:
        assert error_of(outcome) == "ValueLimitExceeded"


def test_no_rules_revert_whatever_the_call() -> None:
    assert error_of(deploy(uni_action()).call(with_words(1))[0]) == "PolicyNotInitialized"
    assert error_of(Deployed(UNI_ACTION).call(with_words(1))[0]) == "PolicyNotInitialized"


@pytest.mark.parametrize(
    ("word_index", "value", "error"),
    [(1, 17, "Panic"), (2, 7, None), (3, 2**64, None), (4, 2, None), (92, 7, None)],
    ids=["length", "condition", "offset", "boolean", "condition of the last, unused slot"],
)
def test_refuses_init_data_with_a_word_out_of_range(word_index: int, value: int, error: str | None) -> None:
    init_data = bytearray(uni_action(rule(0)).init_data)
    init_data[32 * word_index : 32 * word_index + 32] = word(value)
    assert refused_init(PolicyData(UNI_ACTION, bytes(init_data))).error == error


def test_refuses_init_data_one_byte_short_and_takes_sixteen_rules() -> None:
    full = uni_action(*[rule(Condition.EQUAL, 0, 1)] * 16)
    assert passes(deploy(full).call(with_words(1))[0])
    assert refused_init(PolicyData(UNI_ACTION, full.init_data[:-1])) == BARE


def test_reads_configuration_and_counters_from_the_getter() -> None:
    data = uni_action(rule(Condition.LESS_THAN, 0, 9, limit=100, used=60), rule(0, 32, 1), value=3)
    read = UniActionPolicy.from_getters(data.init_data)
    assert read.config == deploy(data).config
    assert read.used == {b"\0": 60}
    assert isinstance(deploy(data).call(with_words(8, 1))[0], Passed)
