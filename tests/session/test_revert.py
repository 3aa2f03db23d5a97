from __future__ import annotations

from proxy.session.revert import BARE, OVERFLOW, STACK_OVERFLOW, Revert, policy_check_reverted
from tests.session.builders import FRIEND


def test_data_is_selector_and_arguments_as_solidity_encodes_them() -> None:
    # from a recorded PolicyViolation(bytes32,address) and Panic(uint256)
    violation = Revert("PolicyViolation", (b"\x11" * 32, FRIEND))
    assert violation.data == bytes.fromhex("3b577361") + b"\x11" * 32 + bytes(12) + FRIEND
    assert OVERFLOW.data == bytes.fromhex("4e487b71") + bytes(31) + b"\x11"
    assert Revert("InvalidTarget").data == bytes.fromhex("82d5d76a")


def test_one_byte_arguments_stand_left() -> None:
    assert Revert("UnsupportedCallType", (b"\xff",)).data[4:] == b"\xff" + bytes(31)


def test_bare_reverts_and_halts_have_no_data() -> None:
    assert BARE.data == b""
    assert STACK_OVERFLOW.data == b""


def test_the_module_passes_on_the_first_word_of_a_policys_revert() -> None:
    panic = policy_check_reverted(OVERFLOW)
    assert panic.error == "PolicyCheckReverted"
    assert panic.data[4:] == OVERFLOW.data[:32]
    short = policy_check_reverted(Revert("DecodingError"))
    assert short.data[4:] == bytes.fromhex("ba597e7e") + bytes(28)
    assert policy_check_reverted(BARE).data[4:] == bytes(32)
