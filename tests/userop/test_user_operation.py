"""User operations: exactly the keys of the shape, and printed back as the same operation."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.errors import InvalidParams
from proxy.userop import user_operation as reading
from proxy.userop.entry_point import EntryPointVersion
from proxy.userop.primitives import Address, Hash32
from proxy.userop.user_operation import (
    EIP7702_MARKER,
    Authorization,
    UserOperation,
    parse_user_operation,
    print_user_operation,
)

V06, V07, V08, V09 = EntryPointVersion
GAS = ("callGasLimit", "verificationGasLimit", "preVerificationGas", "maxFeePerGas", "maxPriorityFeePerGas")
SENDER = "0x" + "ac" * 20
COMMON = {
    "sender": SENDER,
    "nonce": "0x5",
    "callData": "0xdeadbeef",
    "signature": "0x00",
    **dict.fromkeys(GAS, "0x5208"),
}
OLD = {**COMMON, "initCode": "0x", "paymasterAndData": "0x"}
AUTHORIZATION = {
    "chainId": "0x1",
    "address": "0x" + "33" * 20,
    "nonce": "0x0",
    "yParity": "0x01",
    "r": "0x" + "11" * 32,
    "s": "0x" + "22" * 32,
}
FACTORY = {"factory": "0x" + "fa" * 20, "factoryData": "0x01"}
PAYMASTER = {
    "paymaster": "0x" + "22" * 20,
    "paymasterVerificationGasLimit": "0x100",
    "paymasterPostOpGasLimit": "0x200",
    "paymasterData": "0xaabb",
}
SPLIT = {**COMMON, **FACTORY, **PAYMASTER}


def without(operation: dict[str, Any], *keys: str) -> dict[str, Any]:
    return {key: value for key, value in operation.items() if key not in keys}


@pytest.mark.parametrize(
    ("operation", "version"),
    [
        pytest.param(OLD, V06, id="v0.6"),
        pytest.param({**OLD, "eip7702Auth": AUTHORIZATION}, V06, id="v0.6 with authorization"),
        pytest.param(COMMON, V07, id="v0.7 plain"),
        pytest.param(SPLIT, V07, id="v0.7 with everything"),
        pytest.param({**COMMON, **FACTORY, "factoryData": "0x"}, V07, id="empty factoryData"),
        pytest.param({**COMMON, "factory": "0x7702", "eip7702Auth": AUTHORIZATION}, V08, id="7702 marker"),
        pytest.param({**COMMON, "factory": "0x7702", "factoryData": "0x01"}, V08, id="7702 marker with data"),
        pytest.param({**COMMON, "paymaster": PAYMASTER["paymaster"]}, V07, id="paymaster alone"),
        pytest.param({**SPLIT, "paymasterSignature": "0xcc"}, V09, id="paymaster signature"),
        pytest.param(
            {**COMMON, "paymasterVerificationGasLimit": "0x0", "paymasterPostOpGasLimit": "0x0"},
            V07,
            id="zero paymaster limits alone, as viem sends them",
        ),
    ],
)
def test_prints_back_what_it_read(operation: dict[str, Any], version: EntryPointVersion) -> None:
    assert print_user_operation(parse_user_operation(operation, version)) == operation


def test_knows_the_shape_by_init_code() -> None:
    assert parse_user_operation(OLD, V06).is_v06_shape
    assert not parse_user_operation(COMMON, V07).is_v06_shape


@pytest.mark.parametrize("key", COMMON)
def test_refuses_a_required_field_missing_or_null(key: str) -> None:
    for operation in (without(COMMON, key), {**COMMON, key: None}):
        with pytest.raises(InvalidParams) as caught:
            parse_user_operation(operation, V07)
        assert caught.value.field == f"params[0].{key}"


@pytest.mark.parametrize("key", ["initCode", "paymasterAndData"])
def test_refuses_an_old_shape_with_a_part_missing(key: str) -> None:
    with pytest.raises(InvalidParams) as caught:
        parse_user_operation(without(OLD, key), V06)
    assert caught.value.field.startswith("params[0].")
    with pytest.raises(InvalidParams):
        parse_user_operation(COMMON, V06)


@pytest.mark.parametrize("key", GAS)
def test_lets_an_estimate_leave_gas_out_and_a_send_not(key: str) -> None:
    assert key not in print_user_operation(parse_user_operation(without(COMMON, key), V07, estimate=True))
    with pytest.raises(InvalidParams):
        parse_user_operation(without(COMMON, key), V07)


@pytest.mark.parametrize("key", ["factory", "paymaster", "paymasterData", "eip7702Auth", "paymasterPostOpGasLimit"])
def test_takes_null_for_an_optional_field_that_is_absent(key: str) -> None:
    assert parse_user_operation({**COMMON, key: None}, V07) == parse_user_operation(COMMON, V07)


@pytest.mark.parametrize("key", ["colour", "initCode", "aggregator", "paymasterSignature", "callGaslimit"])
def test_leaves_out_a_key_it_does_not_know_when_it_carries_nothing(key: str) -> None:
    assert print_user_operation(parse_user_operation({**COMMON, key: None}, V07)) == COMMON


def test_leaves_out_empty_fields_of_the_split_shape_in_the_old_one() -> None:
    assert print_user_operation(parse_user_operation({**OLD, "factory": None, "paymaster": None}, V06)) == OLD


@pytest.mark.parametrize("factory", [{}, {"factory": None}])
def test_takes_empty_factory_data_without_a_factory_for_none(factory: dict[str, None]) -> None:
    op = parse_user_operation({**COMMON, **factory, "factoryData": "0x", "paymasterData": "0x"}, V07)
    assert op.packed_init_code() == b""
    assert "factoryData" not in print_user_operation(op)


@pytest.mark.parametrize("data", ["0x0", "0x00", "", 0])
def test_refuses_factory_data_without_a_factory_that_is_not_empty(data: object) -> None:
    with pytest.raises(InvalidParams) as caught:
        parse_user_operation({**COMMON, "factory": None, "factoryData": data}, V07)
    assert caught.value.field == "params[0].factoryData"


@pytest.mark.parametrize(
    ("extra", "version"),
    [
        pytest.param({"colour": "red"}, V07, id="unknown"),
        pytest.param({"callGaslimit": "0x1"}, V07, id="other case"),
        pytest.param({"aggregator": SENDER}, V07, id="aggregator"),
        pytest.param({"accountGasLimits": "0x" + "00" * 32}, V07, id="packed form"),
        pytest.param({"initCode": "0x"}, V07, id="old field in the new shape"),
        pytest.param({"paymasterAndData": "0x"}, V09, id="old field in v0.9"),
        pytest.param({"factory": "0x" + "fa" * 20}, V06, id="new field in the old shape"),
        pytest.param({"paymasterSignature": "0xcc", **PAYMASTER}, V08, id="paymaster signature before v0.9"),
        pytest.param({"": "0x"}, V07, id="empty key"),
        pytest.param({"\ud800": "0x"}, V07, id="lone surrogate"),
        pytest.param({"x" * 10_000: "0x"}, V07, id="endless key"),
    ],
)
def test_refuses_a_key_that_is_not_of_the_shape(extra: dict[str, str], version: EntryPointVersion) -> None:
    operation = OLD if version is V06 else COMMON
    with pytest.raises(InvalidParams) as caught:
        parse_user_operation({**operation, **extra}, version)
    assert caught.value.message.isprintable()
    assert len(caught.value.message) < 200


def test_names_the_field_that_was_meant() -> None:
    with pytest.raises(InvalidParams, match="did you mean callGasLimit"):
        parse_user_operation({**COMMON, "callgaslimit": "0x1"}, V07)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"factoryData": "0x01"}, "factoryData"),
        ({"factory": FACTORY["factory"]}, "factoryData"),
        ({"factory": "0x77020000"}, "factory"),
        ({"factory": "0X7702"}, "factory"),
        ({"paymasterData": "0x01"}, "paymasterData"),
        ({"paymasterVerificationGasLimit": "0x1"}, "paymasterVerificationGasLimit"),
        ({"paymasterPostOpGasLimit": "0x1"}, "paymasterPostOpGasLimit"),
    ],
)
def test_refuses_a_part_without_its_other_part(changes: dict[str, str], field: str) -> None:
    with pytest.raises(InvalidParams) as caught:
        parse_user_operation({**COMMON, **changes}, V07)
    assert caught.value.field == f"params[0].{field}"


@pytest.mark.parametrize("changes", [{"paymasterSignature": "0xcc"}, {"paymasterSignature": "0x", **PAYMASTER}])
def test_refuses_a_paymaster_signature_that_is_empty_or_alone(changes: dict[str, str]) -> None:
    with pytest.raises(InvalidParams) as caught:
        parse_user_operation({**COMMON, **changes}, V09)
    assert caught.value.field == "params[0].paymasterSignature"


@pytest.mark.parametrize("key", [*GAS, "paymasterVerificationGasLimit", "paymasterPostOpGasLimit"])
def test_refuses_a_limit_that_does_not_fit_its_packed_field(key: str) -> None:
    bits = 256 if key == "preVerificationGas" else 128
    parse_user_operation({**SPLIT, key: hex(2**bits - 1)}, V07)
    with pytest.raises(InvalidParams):
        parse_user_operation({**SPLIT, key: hex(2**bits)}, V07)


def test_takes_whole_words_for_the_limits_of_the_old_shape() -> None:
    assert parse_user_operation({**OLD, "callGasLimit": hex(2**256 - 1)}, V06).call_gas_limit == 2**256 - 1


@pytest.mark.parametrize("value", [None, [], "0x", 5, True])
def test_refuses_what_is_no_object(value: object) -> None:
    with pytest.raises(InvalidParams) as caught:
        parse_user_operation(value, V07)
    assert caught.value.field == "params[0]"


class TestAuthorization:
    """eip7702Auth, exactly."""

    @pytest.mark.parametrize("key", AUTHORIZATION)
    def test_refuses_a_member_missing(self, key: str) -> None:
        with pytest.raises(InvalidParams) as caught:
            parse_user_operation({**COMMON, "eip7702Auth": without(AUTHORIZATION, key)}, V08)
        assert caught.value.field == f"params[0].eip7702Auth.{key}"

    @pytest.mark.parametrize(
        "value", ["0x", [], {**AUTHORIZATION, "contractAddress": SENDER}, {**AUTHORIZATION, "\ud800" * 9999: 1}]
    )
    def test_refuses_another_form(self, value: object) -> None:
        with pytest.raises(InvalidParams) as caught:
            parse_user_operation({**COMMON, "eip7702Auth": value}, V08)
        assert caught.value.message.isprintable()
        assert len(caught.value.message) < 400

    @pytest.mark.parametrize("key", ["r", "s"])
    @pytest.mark.parametrize("digits", [1, 2, 62, 63, 64])
    def test_reads_r_and_s_as_quantities_and_sends_words(self, key: str, digits: int) -> None:
        op = parse_user_operation({**COMMON, "eip7702Auth": {**AUTHORIZATION, key: "0x" + "9" * digits}}, V08)
        printed = print_user_operation(op)["eip7702Auth"]
        assert printed == {**AUTHORIZATION, key: "0x" + ("9" * digits).rjust(64, "0")}

    @pytest.mark.parametrize("value", ["0x", "0x" + "1" * 65, "99", "0X99", 153, "0x9_9"])
    def test_refuses_r_and_s_that_are_no_quantities_below_two_to_the_256(self, value: object) -> None:
        with pytest.raises(InvalidParams) as caught:
            parse_user_operation({**COMMON, "eip7702Auth": {**AUTHORIZATION, "r": value}}, V08)
        assert caught.value.field == "params[0].eip7702Auth.r"

    @pytest.mark.parametrize("twin", [None, "0x1", "0x1c"])
    def test_reads_the_deprecated_twin_of_the_parity_and_leaves_it_out(self, twin: str | None) -> None:
        op = parse_user_operation({**COMMON, "eip7702Auth": {**AUTHORIZATION, "v": twin}}, V08)
        assert print_user_operation(op)["eip7702Auth"] == AUTHORIZATION

    @pytest.mark.parametrize(("v", "parity"), [("0x0", 0), ("0x1", 1), ("0x1b", 0), ("0x1c", 1)])
    def test_takes_the_parity_from_its_twin_where_it_stands_alone(self, v: str, parity: int) -> None:
        auth = {**without(AUTHORIZATION, "yParity"), "v": v}
        read = parse_user_operation({**COMMON, "eip7702Auth": auth}, V08).eip7702_auth
        assert read is not None
        assert read.y_parity == parity

    @pytest.mark.parametrize("v", ["0x0", "0x1b", "0x2", "0x25", 28])
    def test_refuses_a_twin_that_says_otherwise_or_nothing(self, v: object) -> None:
        with pytest.raises(InvalidParams) as caught:
            parse_user_operation({**COMMON, "eip7702Auth": {**AUTHORIZATION, "v": v}}, V08)
        assert caught.value.field == "params[0].eip7702Auth.v"

    def test_leaves_out_unknown_members_that_carry_nothing(self) -> None:
        auth = {**AUTHORIZATION, "contractAddress": None, "type": None}
        op = parse_user_operation({**COMMON, "eip7702Auth": auth}, V08)
        assert print_user_operation(op)["eip7702Auth"] == AUTHORIZATION

    def test_reads_the_older_name_of_the_delegate_and_sends_the_newer(self) -> None:
        auth = {**without(AUTHORIZATION, "address"), "contractAddress": AUTHORIZATION["address"]}
        for written in (auth, {**AUTHORIZATION, "contractAddress": AUTHORIZATION["address"]}):
            op = parse_user_operation({**COMMON, "eip7702Auth": written}, V08)
            assert print_user_operation(op)["eip7702Auth"] == AUTHORIZATION
        with pytest.raises(InvalidParams, match="another delegate"):
            parse_user_operation({**COMMON, "eip7702Auth": {**AUTHORIZATION, "contractAddress": SENDER}}, V08)

    @pytest.mark.parametrize("given", ["address", "contractAddress"])
    def test_an_estimate_needs_the_delegate_alone(self, given: str) -> None:
        auth = {given: AUTHORIZATION["address"], "v": None}
        op = parse_user_operation({**COMMON, "eip7702Auth": auth}, V08, estimate=True)
        zero = "0x" + "00" * 32
        bare = {"chainId": "0x0", "nonce": "0x0", "yParity": "0x00", "r": zero, "s": zero}
        assert print_user_operation(op)["eip7702Auth"] == {"address": AUTHORIZATION["address"], **bare}
        with pytest.raises(InvalidParams, match="address: required"):
            parse_user_operation({**COMMON, "eip7702Auth": {"nonce": "0x0"}}, V08, estimate=True)

    def test_an_estimate_reads_what_was_signed_as_a_send_does(self) -> None:
        auth = {**without(AUTHORIZATION, "yParity"), "v": "0x1c"}
        op = parse_user_operation({**COMMON, "eip7702Auth": auth}, V08, estimate=True)
        assert op.eip7702_auth == parse_user_operation({**COMMON, "eip7702Auth": auth}, V08).eip7702_auth

    @pytest.mark.parametrize("key", ["chainId", "nonce"])
    def test_refuses_numbers_wider_than_the_tuple_has(self, key: str) -> None:
        parse_user_operation({**COMMON, "eip7702Auth": {**AUTHORIZATION, key: hex(2**64 - 1)}}, V08)
        with pytest.raises(InvalidParams):
            parse_user_operation({**COMMON, "eip7702Auth": {**AUTHORIZATION, key: hex(2**64)}}, V08)

    def test_reads_a_parity_of_32_bytes_and_prints_the_usual_form(self) -> None:
        op = parse_user_operation({**COMMON, "eip7702Auth": {**AUTHORIZATION, "yParity": "0x" + "00" * 32}}, V08)
        assert print_user_operation(op)["eip7702Auth"] == {**AUTHORIZATION, "yParity": "0x00"}


def test_packs_as_the_entry_point_does() -> None:
    op = parse_user_operation(SPLIT, V07)
    assert op.packed_init_code() == b"\xfa" * 20 + b"\x01"
    assert op.packed_paymaster_and_data() == (
        b"\x22" * 20 + (0x100).to_bytes(16, "big") + (0x200).to_bytes(16, "big") + b"\xaa\xbb"
    )
    plain = parse_user_operation(COMMON, V07)
    assert (plain.packed_init_code(), plain.packed_paymaster_and_data()) == (b"", b"")
    old = parse_user_operation({**OLD, "initCode": "0x01", "paymasterAndData": "0x02"}, V06)
    assert (old.packed_init_code(), old.packed_paymaster_and_data()) == (b"\x01", b"\x02")


def test_a_padded_7702_marker_needs_no_data_either() -> None:
    padded = "0x7702" + "00" * 18
    op = parse_user_operation({**COMMON, "factory": padded}, V08)
    short = parse_user_operation({**COMMON, "factory": "0x7702"}, V08)
    assert op.packed_init_code() == short.packed_init_code()
    assert print_user_operation(op)["factory"] == padded


def test_pads_the_7702_marker_to_an_address() -> None:
    op = parse_user_operation({**COMMON, "factory": "0x7702", "factoryData": "0x01"}, V08)
    assert op.factory == EIP7702_MARKER
    assert op.packed_init_code() == b"\x77\x02" + bytes(18) + b"\x01"


addresses = st.binary(min_size=20, max_size=20).map(Address)
words = st.integers(0, 2**256 - 1)
halves = st.integers(0, 2**128 - 1)
blobs = st.binary(max_size=60)
hashes = st.binary(min_size=32, max_size=32).map(Hash32)
authorizations = st.none() | st.builds(
    Authorization,
    chain_id=st.integers(0, 2**64 - 1),
    address=addresses,
    nonce=st.integers(0, 2**64 - 1),
    y_parity=st.integers(0, 1),
    r=hashes,
    s=hashes,
)
common = {
    "sender": addresses,
    "nonce": words,
    "call_data": blobs,
    "signature": blobs,
    "pre_verification_gas": words,
    "eip7702_auth": authorizations,
}
limits = ("call_gas_limit", "verification_gas_limit", "max_fee_per_gas", "max_priority_fee_per_gas")
born = st.just({}) | st.fixed_dictionaries({"factory": addresses | st.just(EIP7702_MARKER), "factory_data": blobs})
sponsored = st.just({}) | st.fixed_dictionaries(
    {
        "paymaster": addresses,
        "paymaster_verification_gas_limit": halves,
        "paymaster_post_op_gas_limit": halves,
        "paymaster_data": blobs,
    }
)


@given(st.fixed_dictionaries({**common, **dict.fromkeys(limits, halves)}), born, sponsored)
def test_reads_back_the_split_shape_it_prints(fields: Any, birth: Any, sponsor: Any) -> None:
    op = UserOperation(**fields, **birth, **sponsor)
    assert parse_user_operation(print_user_operation(op), V08) == op


@given(
    st.fixed_dictionaries({**common, **dict.fromkeys(limits, words), "init_code": blobs, "paymaster_and_data": blobs})
)
def test_reads_back_the_old_shape_it_prints(fields: Any) -> None:
    op = UserOperation(**fields)
    assert parse_user_operation(print_user_operation(op), V06) == op


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=10) | st.just("0x00"),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=4), inner, max_size=2),
    max_leaves=4,
)


@given(st.sampled_from([*SPLIT, "eip7702Auth", "initCode", "x"]), json_values, st.sampled_from(EntryPointVersion))
def test_answers_any_json_with_an_operation_or_a_refusal(key: str, value: Any, version: EntryPointVersion) -> None:
    operation = {**(OLD if version is V06 else SPLIT), key: value}
    try:
        op = parse_user_operation(operation, version)
    except InvalidParams:
        return
    assert parse_user_operation(print_user_operation(op), version) == op


DIGITS = st.text("0123456789abcdefABCDEF", max_size=70)
NEARLY_HEX = st.one_of(
    DIGITS.map("0x".__add__),
    DIGITS.map("0X".__add__),
    st.sampled_from(
        ["0x", "", "0x_1", "0x1_0", " 0x1", "0x1 ", "0x1\n", "0x\u0661", "0x1,0x2", "1", "0x" + "ab" * 20 + "\n"]
    ),
    st.none(),
    st.integers(0, 3),
    st.just(["0x1"]),
)


def _outcome(operation: dict[str, Any], version: EntryPointVersion, *, estimate: bool) -> object:
    try:
        return parse_user_operation(operation, version, estimate=estimate)
    except InvalidParams as error:
        return str(error), error.data


@given(
    st.sampled_from([COMMON, SPLIT, {**COMMON, "paymasterPostOpGasLimit": "0x0"}]),
    st.dictionaries(st.sampled_from(sorted(COMMON)), NEARLY_HEX, max_size=2),
    st.sampled_from([V07, V08, V09]),
    st.booleans(),
)
def test_fields_that_are_read_at_once_are_read_as_one_by_one(
    operation: dict[str, str], changes: dict[str, Any], version: EntryPointVersion, estimate: bool
) -> None:
    changed = {**operation, **changes}
    at_once = _outcome(changed, version, estimate=estimate)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reading, "read_at_once", lambda _: None)
        assert at_once == _outcome(changed, version, estimate=estimate)


@pytest.mark.parametrize("version", [V07, V08, V09])
def test_what_sdks_send_is_read_at_once(version: EntryPointVersion, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "_read_one_by_one", None)
    assert print_user_operation(parse_user_operation(SPLIT, version)) == SPLIT
