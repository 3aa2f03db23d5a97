"""One reading of an operation: the claim, the calls, and what they do."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.errors import Undecodable
from proxy.userop import abi
from proxy.userop.acts import ModuleInstalled, SessionsEnabled
from proxy.userop.decode import (
    DecodedOperation,
    MisnamedModule,
    decode_claim,
    decode_operation,
    misnaming_of,
    plainly_claimed,
)
from proxy.userop.emissary_abi import EMISSARY
from proxy.userop.entry_point import EntryPoint
from proxy.userop.execution import Call
from proxy.userop.nonce import NonceLayout
from proxy.userop.primitives import Address
from proxy.userop.session_abi import encode_sessions
from proxy.userop.signature import (
    AccountPreparation,
    KernelEnable,
    ModuleEnable,
    SessionMode,
    encode_kernel_enable,
    encode_module_enable,
    encode_session_envelope,
)
from proxy.userop.user_op_hash import user_op_hash
from tests.userop.builders import (
    ACCOUNT,
    CHAIN_ID,
    KERNEL_NONCE,
    MODULE,
    MODULES,
    NEXUS_NONCE,
    OWNER_NONCE,
    PERMISSION_ID,
    SAFE_NONCE,
    TRANSFER,
    V06,
    V07,
    a_session,
    an_enable_envelope,
    an_operation,
    batch,
    execute,
    single,
    use_signature,
)

OTHER_VALIDATOR = Address(b"\x0f" * 20)
MODULE_ENABLE = 0x01 << 224
PREPARE = 0x02 << 224
KERNEL_MODE_ENABLE = 0x01 << 248


def decode(entry_point: EntryPoint = V07, **changes: Any) -> DecodedOperation:
    return decode_operation(an_operation(**changes), entry_point, CHAIN_ID, MODULES)


def test_reads_a_sessions_operation_whole() -> None:
    decoded = decode()
    assert decoded.claim is not None
    assert (decoded.claim.module, decoded.claim.layout) == (MODULE, NonceLayout.NEXUS)
    assert decoded.claim.module_enable is None
    assert decoded.claim.envelope.permission_id == PERMISSION_ID
    assert decoded.execution is not None
    assert decoded.calls == decoded.execution.calls == (TRANSFER,)
    assert decoded.user_op_hash == user_op_hash(decoded.op, V07, CHAIN_ID)
    assert [movement.amount for movement in decoded.movements] == [10**6]
    assert decoded.acts == ()


@pytest.mark.parametrize("nonce", [NEXUS_NONCE, SAFE_NONCE, KERNEL_NONCE])
def test_finds_the_claim_in_every_account_layout(nonce: int) -> None:
    claim = decode(nonce=nonce).claim
    assert claim is not None
    assert claim.envelope.permission_id == PERMISSION_ID


@pytest.mark.parametrize("mode", [0x03, 0x55, 0xFF])
def test_takes_every_other_nexus_mode_for_plain_validation(mode: int) -> None:
    claim = decode(nonce=NEXUS_NONCE | mode << 224).claim
    assert claim is not None
    assert claim.module_enable is None


def test_reads_what_an_enable_signature_grants() -> None:
    envelope = an_enable_envelope(SessionMode.UNSAFE_ENABLE)
    claim = decode(signature=encode_session_envelope(envelope)).claim
    assert claim is not None
    assert claim.envelope == envelope


@pytest.mark.parametrize("signature", [b"", b"\x00" + bytes(31), b"\x03" + bytes(64), b"\x01\xe0\x16\x1f"])
def test_refuses_a_claim_whose_signature_cannot_be_read(signature: bytes) -> None:
    with pytest.raises(Undecodable):
        decode(signature=signature)


@pytest.mark.parametrize(
    "call_data", [single(TRANSFER)[:-40], batch(TRANSFER)[:-64], execute(b"\x00", bytes(51)), single(TRANSFER)[:35]]
)
def test_refuses_a_claim_whose_calls_cannot_be_read(call_data: bytes) -> None:
    with pytest.raises(Undecodable):
        decode(call_data=call_data)


def test_refuses_a_session_module_in_an_operation_of_the_old_shape() -> None:
    with pytest.raises(Undecodable, match=r"v0\.6"):
        decode(V06, init_code=b"", paymaster_and_data=b"")
    assert decode(V06, init_code=b"", paymaster_and_data=b"", nonce=OWNER_NONCE).claim is None


def test_shows_a_sessions_call_of_another_function_as_a_call_of_the_account() -> None:
    call_data = bytes.fromhex("9517e29f") + bytes(96)
    decoded = decode(call_data=call_data)
    assert decoded.execution is not None
    assert not decoded.execution.is_execute
    assert decoded.calls == (Call(ACCOUNT, 0, call_data),)


class TestModuleEnable:
    """Nexus and Startale accounts may install a module before they validate."""

    def enable(self, **changes: Any) -> ModuleEnable:
        fields = {
            "module": MODULE,
            "module_type": 1,
            "init_data": b"",
            "enable_signature": b"\x0f" * 85,
            "inner": use_signature(),
        }
        return ModuleEnable(**{**fields, **changes})

    def test_reads_the_envelope_behind_the_module(self) -> None:
        enable = self.enable()
        claim = decode(nonce=NEXUS_NONCE | MODULE_ENABLE, signature=encode_module_enable(enable)).claim
        assert claim is not None
        assert claim.module_enable == enable
        assert claim.envelope.permission_id == PERMISSION_ID

    def test_shows_the_module_and_the_sessions_it_is_installed_with(self) -> None:
        init_data = b"\x01" + encode_sessions((a_session(),))
        enable = self.enable(init_data=init_data)
        acts = decode(nonce=NEXUS_NONCE | MODULE_ENABLE, signature=encode_module_enable(enable)).acts
        assert ModuleInstalled(1, MODULE, init_data) in acts
        assert SessionsEnabled(MODULE, (a_session(),)) in acts

    def test_refuses_a_plain_envelope_in_this_mode(self) -> None:
        with pytest.raises(Undecodable):
            decode(nonce=NEXUS_NONCE | MODULE_ENABLE, signature=use_signature())

    def test_shows_a_module_installed_on_the_owners_word(self) -> None:
        enable = self.enable(inner=b"\x0f" * 65)
        decoded = decode(nonce=OWNER_NONCE | MODULE_ENABLE, signature=encode_module_enable(enable))
        assert decoded.claim is None
        assert ModuleInstalled(1, MODULE, b"") in decoded.acts

    def test_shows_nothing_for_an_owner_who_enables_another_module_or_none(self) -> None:
        other = self.enable(module=OTHER_VALIDATOR)
        for signature in (encode_module_enable(other), b"\x0f" * 65):
            assert decode(nonce=OWNER_NONCE | MODULE_ENABLE, signature=signature).acts == ()
        assert decode(nonce=OWNER_NONCE, signature=encode_module_enable(self.enable())).acts == ()


class TestAccountPreparation:
    """Nexus alone knows mode 02; Startale takes the same signature for a plain one."""

    def signature(self, first: bytes) -> bytes:
        types = abi.tuple_of(abi.BYTES32, abi.BYTES, abi.BYTES)
        return abi.encode(types, (first.ljust(32, b"\x11"), b"boot", use_signature()))

    def test_reads_the_envelope_behind_the_preparation(self) -> None:
        claim = decode(nonce=NEXUS_NONCE | PREPARE, signature=self.signature(b"\x99")).claim
        assert claim is not None
        assert claim.module_enable == AccountPreparation(init_data=b"boot", inner=use_signature())
        assert claim.envelope.permission_id == PERMISSION_ID

    def test_refuses_a_signature_that_two_accounts_would_read_as_two_permissions(self) -> None:
        with pytest.raises(Undecodable, match="one thing to Nexus and another"):
            decode(nonce=NEXUS_NONCE | PREPARE, signature=self.signature(b"\x00"))

    def test_refuses_a_plain_envelope_in_this_mode(self) -> None:
        with pytest.raises(Undecodable):
            decode(nonce=NEXUS_NONCE | PREPARE, signature=use_signature())


class TestKernelEnable:
    """Kernel v3 may install the validator before it validates."""

    ENABLE = KernelEnable(
        hook=Address(bytes(19) + b"\x01"),
        validator_data=b"\x01" + encode_sessions((a_session(),)),
        hook_data=b"",
        selector_data=b"\xe9\xae\x5c\x53",
        enable_signature=b"\x0f" * 65,
        inner=use_signature(),
    )

    def test_reads_the_envelope_and_the_sessions_installed(self) -> None:
        decoded = decode(nonce=KERNEL_NONCE | KERNEL_MODE_ENABLE, signature=encode_kernel_enable(self.ENABLE))
        assert decoded.claim is not None
        assert decoded.claim.module_enable == self.ENABLE
        assert decoded.claim.envelope.permission_id == PERMISSION_ID
        assert SessionsEnabled(MODULE, (a_session(),)) in decoded.acts

    def test_refuses_a_mode_that_is_not_known(self) -> None:
        with pytest.raises(Undecodable, match="unknown Kernel validation mode 2"):
            decode(nonce=KERNEL_NONCE | 0x02 << 248)


@pytest.mark.parametrize(
    ("validation_type", "meant"), [(0x00, "root validator"), (0x02, "a permission of its own"), (0x03, "does not know")]
)
@pytest.mark.parametrize("signature", [b"\x99" * 65, b""])
@pytest.mark.parametrize("mode", [0x00, 0x01])
def test_what_no_session_signed_is_told_that_the_module_is_not_heard_under_a_kernel_type_that_is_no_validators(
    validation_type: int, meant: str, signature: bytes, mode: int
) -> None:
    nonce = KERNEL_NONCE ^ (0x01 ^ validation_type) << 240 | mode << 248
    with pytest.raises(MisnamedModule, match=rf"type 0{validation_type}.*{meant}.*a session needs type 01"):
        decode(nonce=nonce, signature=signature)


@pytest.mark.parametrize("validation_type", [0x00, 0x02, 0xFF])
def test_a_session_is_found_and_told_that_its_nonce_does_not_reach_the_module(validation_type: int) -> None:
    nonce = KERNEL_NONCE ^ (0x01 ^ validation_type) << 240
    claim = decode(nonce=nonce).claim
    assert claim is not None
    assert "type 01" in str(misnaming_of(nonce, claim.layout))
    assert misnaming_of(KERNEL_NONCE, claim.layout) is None


class TestOwnerOperations:
    """Never refused for their shape, always looked at."""

    def test_reads_what_can_be_read(self) -> None:
        decoded = decode(nonce=OWNER_NONCE, signature=b"anything")
        assert decoded.claim is None
        assert decoded.execution is not None
        assert decoded.calls == (TRANSFER,)

    @pytest.mark.parametrize("call_data", [b"", single(TRANSFER)[:50], batch(TRANSFER)[:-64], b"\x9e\x5d\x4c\x49"])
    def test_has_no_execution_where_there_is_none_to_read(self, call_data: bytes) -> None:
        decoded = decode(nonce=OWNER_NONCE, call_data=call_data)
        assert decoded.execution is None
        assert decoded.calls == (Call(ACCOUNT, 0, call_data),)

    def test_shows_a_session_granted(self) -> None:
        grant = Call(MODULE, 0, bytes.fromhex("21712407") + encode_sessions((a_session(),)))
        decoded = decode(nonce=OWNER_NONCE, call_data=single(grant))
        assert decoded.acts == (SessionsEnabled(MODULE, (a_session(),)),)

    @pytest.mark.parametrize("field", ["factory_data", "init_code"])
    def test_shows_a_session_module_the_account_is_born_with(self, field: str) -> None:
        install = abi.encode(abi.tuple_of(abi.ADDRESS, abi.BYTES), (MODULE, b"\x01" + encode_sessions((a_session(),))))
        if field == "factory_data":
            acts = decode(nonce=OWNER_NONCE, factory=b"\xfa" * 20, factory_data=install).acts
        else:
            acts = decode(V06, nonce=OWNER_NONCE, init_code=b"\xfa" * 20 + install, paymaster_and_data=b"").acts
        assert SessionsEnabled(MODULE, (a_session(),)) in acts

    @given(st.binary(max_size=200), st.binary(max_size=100), st.integers(0, 2**256 - 1))
    def test_answers_any_bytes(self, call_data: bytes, signature: bytes, nonce: int) -> None:
        decoded = decode(nonce=nonce, call_data=call_data, signature=signature)
        assert decoded.claim is None


@given(
    st.binary(max_size=200),
    st.binary(max_size=300),
    st.sampled_from([NEXUS_NONCE, SAFE_NONCE, KERNEL_NONCE]),
    st.integers(0, 2**32 - 1),
)
def test_answers_any_claim_with_a_reading_or_a_refusal(
    call_data: bytes, signature: bytes, nonce: int, lane: int
) -> None:
    free = 0 if nonce == SAFE_NONCE else (lane & 0xFF) << (224 if nonce == NEXUS_NONCE else 248)
    try:
        decoded = decode(nonce=nonce | free, call_data=call_data, signature=signature)
    except Undecodable:
        return
    assert decoded.claim is not None
    assert decoded.execution is not None


@given(
    st.one_of(
        st.just(use_signature()), st.binary(max_size=120).map(lambda tail: b"\0" + tail), st.binary(max_size=120)
    ),
    st.sampled_from([NEXUS_NONCE, SAFE_NONCE, KERNEL_NONCE, OWNER_NONCE]),
    st.sampled_from([MODULE, EMISSARY]),
    st.integers(0, 2**32 - 1),
)
def test_what_is_plainly_claimed_is_what_reading_the_whole_claim_gives(
    signature: bytes, nonce: int, module: Address, lane: int
) -> None:
    at = next((shift for shift in (64, 96, 80) if nonce >> shift & (2**160 - 1) == int.from_bytes(MODULE, "big")), None)
    if at is not None:
        nonce ^= (int.from_bytes(MODULE, "big") ^ int.from_bytes(module, "big")) << at
    nonce |= 0 if nonce >> 96 == int.from_bytes(module, "big") else lane << 224
    named = plainly_claimed(nonce, signature, {MODULE, EMISSARY})
    if named is None:
        return
    claim = decode_claim(an_operation(nonce=nonce, signature=signature), V07, {MODULE, EMISSARY})
    assert claim is not None
    assert (claim.module, claim.module_enable, claim.envelope.mode) == (MODULE, None, SessionMode.USE)
    assert claim.envelope.permission_id == named
    assert claim.envelope.enable is None


@pytest.mark.parametrize("nonce", [NEXUS_NONCE, SAFE_NONCE, KERNEL_NONCE])
def test_a_use_is_claimed_plainly_in_every_account_layout(nonce: int) -> None:
    assert plainly_claimed(nonce, use_signature(), MODULES) == PERMISSION_ID
