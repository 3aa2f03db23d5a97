"""What proves an operation does not stand in a text that is kept, whoever put it there; everything else does."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.userop.primitives import Address, Hash32
from proxy.userop.proofs import without_proofs
from proxy.userop.user_operation import Authorization, UserOperation

RANDOM = random.Random(7)
SIGNATURE = b"\0" + RANDOM.randbytes(32 + 65)
OP = UserOperation(
    sender=Address(b"\xac" * 20),
    nonce=0,
    call_data=b"",
    call_gas_limit=0,
    verification_gas_limit=0,
    pre_verification_gas=0,
    max_fee_per_gas=0,
    max_priority_fee_per_gas=0,
    signature=SIGNATURE,
)
SEALED = RANDOM.randbytes(97)
AUTHORIZATION = Authorization(
    chain_id=1,
    address=Address(b"\xde" * 20),
    nonce=0,
    y_parity=0,
    r=Hash32(RANDOM.randbytes(32)),
    s=Hash32(RANDOM.randbytes(32)),
)
SELECTOR = "12345678"


@pytest.mark.parametrize(
    ("op", "proof"),
    [
        (OP, SIGNATURE),
        (OP, SIGNATURE[33:]),
        (OP, SIGNATURE[33:97]),
        (replace(OP, paymaster_and_data=bytes(20) + SEALED), SEALED),
        (replace(OP, paymaster_data=bytes(12) + SEALED), SEALED[:65]),
        (replace(OP, paymaster_signature=SEALED), SEALED),
        (replace(OP, eip7702_auth=AUTHORIZATION), AUTHORIZATION.r + AUTHORIZATION.s),
    ],
    ids=["envelope", "key's", "r and s", "paymaster of v0.6", "paymaster data", "paymaster signature", "authorization"],
)
@pytest.mark.parametrize("before", [SELECTOR, SELECTOR + "00" * 64, SELECTOR + "0"])
def test_a_proof_within_what_a_contract_reverted_with_is_not_kept(op: UserOperation, proof: bytes, before: str) -> None:
    for digits in (proof.hex(), proof.hex().upper()):
        text = f"AA23 reverted 0x{before}{digits}{'00' * 31} at last"
        assert without_proofs(text, op) == f"AA23 reverted 0x{SELECTOR}… at last"


@given(st.binary(max_size=400), st.data())
def test_no_64_bytes_of_a_signature_are_kept(noise: bytes, data: st.DataObject) -> None:
    signature = random.Random(noise).randbytes(data.draw(st.integers(64, 3_000)))
    at = data.draw(st.integers(0, len(signature) - 64))
    length = data.draw(st.integers(64, len(signature) - at))
    text = f"0x{noise.hex()}{signature[at : at + length].hex()}{noise.hex()}"
    assert without_proofs(text, replace(OP, signature=signature)).endswith("…")


def test_names_and_lengths_that_a_signature_has_as_well_are_kept() -> None:
    """A permission id in an envelope, zeros and offsets in the encoding of several signatures."""
    encoded = bytes(31) + b"\x20" + bytes(31) + b"\x02" + bytes(31) + b"\x40" + bytes(31) + b"\xa0"
    op = replace(OP, signature=SIGNATURE[:33] + encoded * 4 + RANDOM.randbytes(65), paymaster_data=bytes(130))
    text = f"AA23 reverted 0x{SELECTOR}{SIGNATURE[1:33].hex()}{'00' * 12}{'cd' * 20}{(encoded * 3).hex()}"
    assert without_proofs(text, op) == text


@given(st.text(max_size=300) | st.text("0123456789abcdefx…", max_size=900), st.binary(max_size=300))
def test_any_text_beside_any_signature_keeps_what_is_no_long_row_of_digits(text: str, signature: bytes) -> None:
    kept = without_proofs(text, replace(OP, signature=signature))
    assert kept == text or len(kept) < len(text)
