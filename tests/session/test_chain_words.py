"""What a bundler or the chain said is put into words, and only what is known of is."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.session.addresses import POLICIES
from proxy.session.chain_words import (
    AA_CODES,
    ERC7769_CODES,
    ERRORS,
    in_words,
    is_known_error,
    revert_in_words,
    unknown_errors_in,
)
from proxy.session.revert import SELECTOR_BY_ERROR, Revert, policy_check_reverted
from proxy.userop.primitives import keccak256

PERMISSION = b"\xab" * 32
SPENDING = next(address for address, contract in POLICIES.items() if contract.name == "ERC20SpendingLimitPolicy")
VIOLATION = Revert("PolicyViolation", (PERMISSION, SPENDING)).data


def error_string(text: str) -> bytes:
    raw = text.encode()
    words = (32).to_bytes(32) + len(raw).to_bytes(32) + raw.ljust(-(-len(raw) // 32) * 32, b"\0")
    return keccak256(b"Error(string)")[:4] + words


@pytest.mark.parametrize("code", AA_CODES)
def test_every_code_of_the_entry_point_has_words(code: str) -> None:
    words = in_words(f"UserOperation reverted during simulation with reason: {code} something")
    assert words == f"{code}: {AA_CODES[code]}"


@pytest.mark.parametrize("code", ERC7769_CODES)
def test_where_the_text_says_nothing_the_code_does(code: int) -> None:
    assert in_words("no", code) == ERC7769_CODES[code]
    assert in_words("AA21 didn't pay prefund", code) == f"AA21: {AA_CODES['AA21']}"


def test_a_violated_policy_is_named_by_its_name() -> None:
    words = in_words(f"AA23 reverted 0x{VIOLATION.hex()}", -32500)
    assert words is not None
    assert words.startswith("AA23: ")
    assert f"PolicyViolation(0x{PERMISSION.hex()}, ERC20SpendingLimitPolicy): {ERRORS['PolicyViolation']}" in words


def test_what_a_policy_reverted_with_is_named_behind_it() -> None:
    inner = Revert("PolicyNotInitialized", (PERMISSION, b"\1" * 20, b"\2" * 20))
    words = revert_in_words(policy_check_reverted(inner).data)
    assert words is not None
    assert words.endswith("(PolicyNotInitialized)")


def test_an_error_that_a_bundler_decoded_is_explained_by_its_name() -> None:
    assert (
        in_words("AA23 reverted: NoPoliciesSet(0x12)")
        == f"AA23: {AA_CODES['AA23']}; NoPoliciesSet: {ERRORS['NoPoliciesSet']}"
    )


def of_an_entry_point(signature: str, *heads: bytes | str) -> bytes:
    """Revert data whose arguments are a number of one word, texts or bytes."""
    places, tails = b"", b""
    for each in heads:
        if isinstance(each, bytes) and len(each) == 32:
            places += each
            continue
        raw = each.encode() if isinstance(each, str) else each
        places += (32 * len(heads) + len(tails)).to_bytes(32)
        tails += len(raw).to_bytes(32) + raw.ljust(-(-len(raw) // 32) * 32, b"\0")
    return keccak256(signature.encode())[:4] + places + tails


def test_what_an_account_reverted_with_is_named_behind_the_entry_points_code() -> None:
    failed = of_an_entry_point("FailedOpWithRevert(uint256,string,bytes)", bytes(32), "AA23 reverted", VIOLATION)
    words = revert_in_words(failed)
    assert words is not None
    assert words.startswith(
        f"AA23: {AA_CODES['AA23']}; PolicyViolation(0x{PERMISSION.hex()}, ERC20SpendingLimitPolicy)"
    )
    inside = of_an_entry_point("FailedOpWithRevert(uint256,string,bytes)", bytes(32), "AA23 reverted", failed)
    assert revert_in_words(inside) == f"AA23: {AA_CODES['AA23']}"
    assert revert_in_words(failed[:-96]) == f"AA23: {AA_CODES['AA23']}"


def test_what_a_paymaster_reverted_with_after_the_operation_is_named() -> None:
    words = revert_in_words(of_an_entry_point("PostOpReverted(bytes)", error_string("no funds")))
    assert words == f'{AA_CODES["AA50"]}; reverted with "no funds"'


def test_texts_and_panics_of_solidity_are_read() -> None:
    assert revert_in_words(error_string("paused")) == 'reverted with "paused"'
    assert revert_in_words(Revert("Panic", (0x11,)).data) == "Panic: arithmetic overflowed"


def test_a_failed_op_inside_a_revert_is_read_too() -> None:
    inner = error_string("AA24 signature error")[4:]
    data = keccak256(b"FailedOp(uint256,string)")[:4] + (0).to_bytes(32) + (64).to_bytes(32) + inner[32:]
    assert revert_in_words(data) == f"AA24: {AA_CODES['AA24']}"


@pytest.mark.parametrize("text", [None, "", "no", "AA77 new", "0x", "0x12345678" + "00" * 32])
def test_of_what_is_not_known_nothing_is_said(text: str | None) -> None:
    assert in_words(text, -32000) is None


def test_every_error_with_words_is_one_that_can_be_told_apart() -> None:
    tokens = {name for name in ERRORS if name.startswith(("ERC", "SafeERC"))}
    assert set(ERRORS) - tokens <= set(SELECTOR_BY_ERROR)


@given(st.binary(max_size=200) | st.binary(max_size=200).map(lambda tail: keccak256(b"Error(string)")[:4] + tail))
def test_any_bytes_are_read_or_left(data: bytes) -> None:
    words = revert_in_words(data)
    assert words is None or words.isprintable()


@given(st.text(max_size=300), st.none() | st.integers())
def test_any_text_is_read_or_left(text: str, code: int | None) -> None:
    words = in_words(text, code)
    assert words is None or words


@given(st.binary(min_size=65, max_size=65) | st.binary(min_size=85, max_size=300).filter(lambda data: data[0] < 3))
def test_a_signature_is_never_taken_for_a_known_error(signature: bytes) -> None:
    assert not is_known_error(signature.hex())


@pytest.mark.parametrize(
    ("data", "is_one"),
    [
        (VIOLATION, True),
        (error_string("paused"), True),
        (VIOLATION + b"\0", False),
        (bytes.fromhex("12345678") + bytes(64), False),
    ],
)
def test_a_known_error_is_known_by_its_selector_and_shape(data: bytes, is_one: bool) -> None:
    assert is_known_error(data.hex()) is is_one


UNKNOWN = "0x12345678" + "5e" * 777


@pytest.mark.parametrize(
    ("text", "unknown"),
    [
        (f"AA23 reverted {UNKNOWN}", [UNKNOWN]),
        (f"execution reverted: {UNKNOWN} (and more)", [UNKNOWN]),
        (f"reverted with reason: {UNKNOWN}f", [f"{UNKNOWN}f"]),
        (f"AA23 reverted 0x{VIOLATION.hex()}", []),
        (f"bad signature {UNKNOWN}", []),
    ],
)
def test_errors_that_nobody_here_knows_are_found_where_a_text_says_that_they_are_some(
    text: str, unknown: list[str]
) -> None:
    assert list(unknown_errors_in(text)) == unknown
