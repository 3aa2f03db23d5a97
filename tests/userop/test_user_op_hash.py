"""The hash of every entry point version, as viem and the contracts compute it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.errors import Undecodable
from proxy.userop.entry_point import EntryPoint
from proxy.userop.primitives import Address
from proxy.userop.user_op_hash import PAYMASTER_SIGNATURE_MAGIC, user_op_hash
from proxy.userop.user_operation import EIP7702_MARKER, Authorization, UserOperation
from tests.userop.builders import V06, V07, V08, V09, an_operation

# computed with viem
PLAIN = UserOperation(
    sender=Address(b"\x11" * 20),
    nonce=1,
    call_data=bytes.fromhex("deadbeef"),
    signature=b"",
    call_gas_limit=0x10000,
    verification_gas_limit=0x20000,
    pre_verification_gas=0x5208,
    max_fee_per_gas=0x3B9ACA00,
    max_priority_fee_per_gas=0x3B9ACA00,
)
HASHES = {
    V06: "1810cc2f87dc06833227f37aadafa3a78fd13644ee56f9aa2d3a8551646bbda4",
    V07: "3913a3480748a077b84ef8a2ca813fbbc704bc81663acc9044f47715f59d7455",
    V08: "8928ea06491b2a232a577d0f9f67b08c2c3a7cab2f0a25ce362741f013bbd422",
    V09: "05293bbce279b22dbfbf59eb98e4a050b02d919aa6f7d39e4c8b0e1885347a09",
}
DELEGATE = Address(b"\x33" * 20)
DELEGATED = replace(PLAIN, factory=EIP7702_MARKER)
DELEGATED_HASH = "8671b38c17be3b57ec57d7efe6e706b32947da9f13605564ed387aed63a57363"
AUTHORIZATION = Authorization(chain_id=1, address=DELEGATE, nonce=0, y_parity=0, r=bytes(32), s=bytes(32))
SPONSORED = replace(
    PLAIN,
    paymaster=Address(b"\x22" * 20),
    paymaster_verification_gas_limit=0x100,
    paymaster_post_op_gas_limit=0x200,
    paymaster_data=bytes.fromhex("aabb"),
)
SPONSORED_HASH = "b075147d8a8541cfdd9ba567e72921c7103df2d48f39eefffffb0b631b8105a9"
SIGNED_BY_PAYMASTER_HASH = "612678ec4240268b11e65a6c3cad2743b35793ea9a4b7589272f99445e95b35c"


@pytest.mark.parametrize("entry_point", HASHES, ids=lambda entry_point: entry_point.version)
def test_hashes_as_viem_does(entry_point: EntryPoint) -> None:
    assert user_op_hash(PLAIN, entry_point, 1).hex() == HASHES[entry_point]


@pytest.mark.parametrize("entry_point", HASHES, ids=lambda entry_point: entry_point.version)
def test_binds_the_chain_and_the_entry_point(entry_point: EntryPoint) -> None:
    elsewhere = EntryPoint(entry_point.version, Address(b"\xee" * 20))
    hashes = {user_op_hash(PLAIN, *place) for place in ((entry_point, 1), (entry_point, 2), (elsewhere, 1))}
    assert len(hashes) == 3


@pytest.mark.parametrize("entry_point", HASHES, ids=lambda entry_point: entry_point.version)
def test_leaves_the_signature_out(entry_point: EntryPoint) -> None:
    assert user_op_hash(replace(PLAIN, signature=b"other"), entry_point, 1).hex() == HASHES[entry_point]


@given(
    st.sampled_from(
        [
            "nonce",
            "call_gas_limit",
            "verification_gas_limit",
            "pre_verification_gas",
            "max_fee_per_gas",
            "max_priority_fee_per_gas",
        ]
    ),
    st.sampled_from(list(HASHES)),
)
def test_covers_every_number(name: str, entry_point: EntryPoint) -> None:
    changed = replace(PLAIN, **{name: getattr(PLAIN, name) + 1})
    assert user_op_hash(changed, entry_point, 1) != user_op_hash(PLAIN, entry_point, 1)


def test_covers_init_code_and_paymaster_of_the_old_shape() -> None:
    old = replace(PLAIN, init_code=b"", paymaster_and_data=b"")
    assert user_op_hash(old, V06, 1).hex() == HASHES[V06]
    for name in ("init_code", "paymaster_and_data"):
        assert user_op_hash(replace(old, **{name: b"\x01" * 20}), V06, 1).hex() != HASHES[V06]


def test_counts_absent_gas_of_an_estimate_as_zero() -> None:
    absent = replace(PLAIN, call_gas_limit=None, max_fee_per_gas=None)
    zero = replace(PLAIN, call_gas_limit=0, max_fee_per_gas=0)
    assert user_op_hash(absent, V07, 1) == user_op_hash(zero, V07, 1)


def test_hashes_the_delegate_in_place_of_the_marker() -> None:
    assert user_op_hash(replace(DELEGATED, eip7702_auth=AUTHORIZATION), V08, 1).hex() == DELEGATED_HASH
    assert user_op_hash(DELEGATED, V08, 1, delegate=DELEGATE).hex() == DELEGATED_HASH


def test_reads_a_marker_padded_to_an_address_as_the_same() -> None:
    padded = replace(DELEGATED, factory=EIP7702_MARKER.ljust(20, b"\0"))
    assert user_op_hash(padded, V08, 1, delegate=DELEGATE).hex() == DELEGATED_HASH


def test_prefers_the_delegate_an_authorization_is_about_to_set() -> None:
    op = replace(DELEGATED, eip7702_auth=AUTHORIZATION)
    assert user_op_hash(op, V08, 1, delegate=Address(b"\x99" * 20)).hex() == DELEGATED_HASH


def test_refuses_a_marker_without_a_known_delegate() -> None:
    with pytest.raises(Undecodable, match="EIP-7702 delegate"):
        user_op_hash(DELEGATED, V08, 1)


def test_knows_no_marker_before_v08() -> None:
    assert user_op_hash(DELEGATED, V07, 1) == user_op_hash(DELEGATED, V07, 1, delegate=DELEGATE)


def test_covers_the_paymaster_but_not_its_signature() -> None:
    assert user_op_hash(SPONSORED, V09, 1).hex() == SPONSORED_HASH
    for signature in ("ccdd", "ccddee"):
        signed = replace(SPONSORED, paymaster_signature=bytes.fromhex(signature))
        assert user_op_hash(signed, V09, 1).hex() == SIGNED_BY_PAYMASTER_HASH


def test_reads_a_paymaster_signature_in_the_data_as_the_contract_does() -> None:
    tail = bytes.fromhex("ccdd") + (2).to_bytes(2, "big") + PAYMASTER_SIGNATURE_MAGIC
    in_data = replace(SPONSORED, paymaster_data=bytes.fromhex("aabb") + tail)
    assert user_op_hash(in_data, V09, 1).hex() == SIGNED_BY_PAYMASTER_HASH
    empty = replace(SPONSORED, paymaster_data=bytes(2) + PAYMASTER_SIGNATURE_MAGIC)
    assert user_op_hash(empty, V09, 1).hex() not in (SPONSORED_HASH, SIGNED_BY_PAYMASTER_HASH)


def test_refuses_a_paymaster_signature_that_reaches_into_the_fixed_fields() -> None:
    fits = (2).to_bytes(2, "big") + PAYMASTER_SIGNATURE_MAGIC
    user_op_hash(replace(SPONSORED, paymaster_data=b"\xaa\xbb" + fits), V09, 1)
    reaches = (3).to_bytes(2, "big") + PAYMASTER_SIGNATURE_MAGIC
    with pytest.raises(Undecodable):
        user_op_hash(replace(SPONSORED, paymaster_data=b"\xaa\xbb" + reaches), V09, 1)


def test_refuses_a_paymaster_signature_longer_than_its_length_field() -> None:
    user_op_hash(replace(SPONSORED, paymaster_signature=bytes(0xFFFF)), V09, 1)
    with pytest.raises(Undecodable):
        user_op_hash(replace(SPONSORED, paymaster_signature=bytes(0x10000)), V09, 1)


def test_hashes_a_factory_with_its_data() -> None:
    born = an_operation(factory=b"\xfa" * 20, factory_data=b"init")
    assert user_op_hash(born, V07, 1) != user_op_hash(replace(born, factory_data=b""), V07, 1)
