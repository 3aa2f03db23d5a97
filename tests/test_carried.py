"""What a request carries is read in whatever shape SDKs ask a paymaster in, and goes on as it was read."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.carried import CarriedOperation, Serving, read_carried, read_place
from proxy.errors import InvalidParams
from proxy.jsonrpc import BodyLimits, Request, Single, parse_body
from proxy.methods import METHODS, MethodClass, classify
from proxy.userop.entry_point import ENTRY_POINT_BY_VERSION, EntryPointVersion
from proxy.userop.primitives import print_bytes, print_checksummed
from proxy.userop.user_operation import print_user_operation
from tests.bypass_list.desk import V06, V07, an_operation, single
from tests.session.builders import transfer

CHAIN_ID = 1946
SERVING = Serving({V07.address: V07, V06.address: V06}, CHAIN_ID)
V7 = print_checksummed(V07.address)
V6 = print_checksummed(V06.address)
WHOLE = an_operation(single(transfer(1)), signature=b"\0" + bytes(97))
PRINTED = print_user_operation(WHOLE)
STUB_DATA = "pm_getPaymasterStubData"
SPONSORED = sorted(name for name, method in METHODS.items() if method.method_class is MethodClass.SPONSOR)

UNSIGNED = {key: PRINTED[key] for key in ("sender", "nonce", "callData")}
"""All that ERC-7677 can count on: "an unsigned user operation"."""


def carried(method: str, *params: object, serving: Serving = SERVING) -> CarriedOperation:
    """As the gate reads it, from the bytes of a body on."""
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).encode()
    parsed = parse_body(body, BodyLimits())
    assert isinstance(parsed, Single)
    assert isinstance(parsed.item, Request)
    return read_carried(method, classify(method), parsed.item.params, serving)


def sent(read: CarriedOperation) -> Any:
    return json.loads(read.params)


# ERC-7677


def test_what_viem_asks_goes_on_as_it_was_asked() -> None:
    """viem 2.57, getPaymasterStubData: limits that are not known yet are zero, the signature is a stub."""
    asked = {**PRINTED, "callGasLimit": "0x0", "verificationGasLimit": "0x0", "preVerificationGas": "0x0"}
    read = carried(STUB_DATA, asked, V7, hex(CHAIN_ID), {"policy": "p", "share": 0.5})
    assert read.op == replace(WHOLE, call_gas_limit=0, verification_gas_limit=0, pre_verification_gas=0)
    assert sent(read) == [asked, V7.lower(), hex(CHAIN_ID), {"policy": "p", "share": 0.5}]


@pytest.mark.parametrize(("address", "entry_point"), [(V7, V07), (V6, V06)])
def test_an_operation_needs_no_gas_no_fees_and_no_signature_and_none_are_added(
    address: str, entry_point: object
) -> None:
    read = carried(STUB_DATA, UNSIGNED, address, hex(CHAIN_ID), None)
    assert read.entry_point == entry_point
    assert (read.op.call_gas_limit, read.op.max_fee_per_gas, read.op.signature) == (None, None, b"")
    assert sent(read) == [UNSIGNED, address.lower(), hex(CHAIN_ID), None]


def test_digits_are_ours_the_operation_is_the_one_that_was_judged() -> None:
    odd = {**UNSIGNED, "callData": "0x" + str(UNSIGNED["callData"])[2:].upper(), "nonce": "0x000" + "7" * 4}
    read = carried(STUB_DATA, odd, V7, hex(CHAIN_ID))
    assert sent(read)[0] == {**UNSIGNED, "nonce": "0x7777"}
    assert read.op.nonce == 0x7777


@pytest.mark.parametrize("empty", ["0x", "", None])
def test_a_quantity_without_digits_is_one_that_is_not_known_yet(empty: object) -> None:
    read = carried("pm_sponsorUserOperation", {**UNSIGNED, "preVerificationGas": empty}, V7)
    assert read.op.pre_verification_gas is None


def test_members_that_no_operation_has_go_on_as_they_came() -> None:
    asked = {**UNSIGNED, "authorization": {"nonce": 3, "share": 1e400}, "dataSuffix": "0xab"}
    body = json.dumps(asked).replace("Infinity", "1e400")
    raw = b'{"jsonrpc":"2.0","id":1,"method":"%b","params":[%b,"%b"]}' % (
        b"pm_sponsorUserOperation",
        body.encode(),
        V7.encode(),
    )
    parsed = parse_body(raw, BodyLimits())
    assert isinstance(parsed, Single)
    assert isinstance(parsed.item, Request)
    read = read_carried("pm_sponsorUserOperation", MethodClass.SPONSOR, parsed.item.params, SERVING)
    assert b'"authorization":{"nonce":3,"share":1e400},"dataSuffix":"0xab"' in read.params


@pytest.mark.parametrize("key", ["Sender", "calldata", "NONCE", "callgaslimit"])
def test_a_member_that_some_readers_take_for_another_is_refused(key: str) -> None:
    """Go's JSON reader does not mind the case of names, and the last one wins."""
    with pytest.raises(InvalidParams, match="did you mean"):
        carried(STUB_DATA, {**UNSIGNED, key: PRINTED["sender"]}, V7, hex(CHAIN_ID))


def test_gas_limits_of_a_paymaster_that_is_not_named_yet_are_nobodys_business() -> None:
    asked = {**UNSIGNED, "paymasterVerificationGasLimit": "0x5208", "paymasterPostOpGasLimit": "0x1"}
    read = carried(STUB_DATA, asked, V7, hex(CHAIN_ID))
    assert read.op.paymaster is None
    assert sent(read)[0] == asked


# vendors


def test_zerodev_puts_everything_into_one_object() -> None:
    """@zerodev/sdk 5.5, sponsorUserOperation."""
    asked = {
        "chainId": CHAIN_ID,
        "userOp": PRINTED,
        "entryPointAddress": V7,
        "shouldOverrideFee": False,
        "shouldConsume": True,
    }
    read = carried("zd_sponsorUserOperation", asked)
    assert read.op == WHOLE
    assert sent(read) == [{**asked, "entryPointAddress": V7.lower()}]


def test_alchemys_stub_stands_beside_the_operation_and_is_judged_by() -> None:
    """@account-kit/infra 4, alchemyGasManagerMiddleware."""
    asked = {"policyId": "p", "entryPoint": V7, "userOperation": UNSIGNED, "dummySignature": "0x00ff"}
    read = carried("alchemy_requestGasAndPaymasterAndData", asked)
    assert read.op.signature == b"\0\xff"
    assert sent(read) == [{**asked, "entryPoint": V7.lower()}]


def test_biconomy_names_no_entry_point_and_counts_in_tens() -> None:
    """@biconomy/abstractjs 1.2, getTokenPaymasterQuotes."""
    asked = {
        **UNSIGNED,
        "nonce": str(WHOLE.nonce),
        "maxFeePerGas": "2000000000",
        "callGasLimit": "50000",
        "paymasterPostOpGasLimit": "0",
        "paymasterVerificationGasLimit": "0",
    }
    context = {"mode": "ERC20", "tokenInfo": {"tokenList": []}, "expiryDuration": 6000}
    read = carried("pm_getFeeQuoteOrData", asked, context)
    assert (read.op.nonce, read.op.max_fee_per_gas, read.op.call_gas_limit) == (WHOLE.nonce, 2_000_000_000, 50_000)
    assert read.entry_point is V07
    assert sent(read) == [asked, context]
    old = carried("pm_sponsorUserOperation", {**UNSIGNED, "initCode": "0x", "paymasterAndData": "0x"}, context)
    assert old.entry_point is V06


def test_startale_writes_fees_in_tens_and_the_chain_before_the_context() -> None:
    """@startale-scs/aa-sdk 1.1, getTokenPaymasterQuotes."""
    asked = {**PRINTED, "maxFeePerGas": "2000000000", "maxPriorityFeePerGas": "1000000000"}
    read = carried("pm_getFeeQuotes", asked, V7, CHAIN_ID, {"calculateGasLimits": True})
    assert read.op == WHOLE
    assert sent(read) == [asked, V7.lower(), CHAIN_ID, {"calculateGasLimits": True}]


# what is refused

CHAINS = st.sampled_from([hex(CHAIN_ID), CHAIN_ID, str(CHAIN_ID)])


@given(CHAINS)
def test_the_chains_own_id_is_taken_however_it_is_written(chain: object) -> None:
    carried(STUB_DATA, UNSIGNED, V7, chain, {})


@pytest.mark.parametrize("chain", ["0x1", 1, "1", "soneium", True, "0x" + "f" * 17, -1946, 1946.5])
def test_what_is_asked_for_another_chain_is_refused(chain: object) -> None:
    with pytest.raises(InvalidParams) as refused:
        carried(STUB_DATA, UNSIGNED, V7, chain, {})
    assert refused.value.field == "params[2]"
    with pytest.raises(InvalidParams):
        carried("zd_sponsorUserOperation", {"chainId": chain, "userOp": UNSIGNED, "entryPointAddress": V7})


def test_an_entry_point_that_is_not_served_is_refused_where_it_stands() -> None:
    with pytest.raises(InvalidParams) as refused:
        carried("zd_sponsorUserOperation", {"userOp": UNSIGNED, "entryPointAddress": "0x" + "12" * 20})
    assert refused.value.field == "params[0].entryPointAddress"
    v08 = ENTRY_POINT_BY_VERSION[EntryPointVersion.V08]
    with pytest.raises(InvalidParams, match=r"not the shape.*can add v0.6 to the chain's `entry_points`"):
        carried("pm_getFeeQuoteOrData", {**UNSIGNED, "initCode": "0x"}, {}, serving=Serving({v08.address: v08}))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.sampled_from([V7, V6, "0x", hex(CHAIN_ID)]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([*PRINTED, "userOp", "x"]), inner),
    max_leaves=8,
)
FIELDS = st.dictionaries(st.sampled_from([*PRINTED, "initCode", "factory", "paymaster", "eip7702Auth", "x"]), JSON)
OPERATIONS = FIELDS.map(lambda changes: {**PRINTED, **changes}) | JSON
WRAPPED = st.fixed_dictionaries(
    {"userOp": OPERATIONS, "userOperation": OPERATIONS, "entryPointAddress": JSON, "entryPoint": JSON},
    optional={"chainId": JSON, "dummySignature": JSON},
)


@given(st.sampled_from(SPONSORED), st.data())
def test_whatever_is_asked_is_refused_by_name_or_goes_on_with_the_operation_that_was_read(
    method: str, data: st.DataObject
) -> None:
    table = METHODS[method]
    wrapped = table.names == ("sponsorship",)
    first = data.draw(WRAPPED | JSON if wrapped else OPERATIONS)
    rest = [] if wrapped else data.draw(st.lists(JSON | st.just(V7), min_size=table.min_params - 1, max_size=4))
    try:
        read = carried(method, first, *rest[: table.max_params - 1])
    except InvalidParams as refused:
        if not refused.field.startswith("params["):
            raise AssertionError(refused.field) from refused
        return
    operation = sent(read)[0]
    if wrapped:
        operation = operation["userOp" if "userOp" in operation and "zd" in method else "userOperation"]
    assert operation["sender"] == print_bytes(read.op.sender)
    assert operation["callData"] == print_bytes(read.op.call_data)


@pytest.mark.parametrize("entry_point", [V7, V7.lower(), V7.upper(), V6, "0x", None, 1])
@pytest.mark.parametrize(
    "operation", [PRINTED, {**PRINTED, "nonce": "0x01"}, {**PRINTED, "callData": "0xA0"}, {}, "0x"]
)
@pytest.mark.parametrize("more", [[], [None], [{}]])
def test_what_is_passed_along_unread_is_what_was_to_be_read_of_it(
    operation: object, entry_point: object, more: list[object]
) -> None:
    seen = read_place([operation, entry_point, *more], SERVING)
    assert (seen is not None) == (operation is PRINTED and entry_point in (V7, V7.lower()) and not more)
    if seen is not None:
        read = carried("eth_sendUserOperation", operation, entry_point)
        assert seen == (read.params, read.entry_point, read.op.sender, read.op.nonce)
