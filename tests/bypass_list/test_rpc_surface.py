"""Ways round the gate on the RPC surface, (a) to (h): other methods, shapes, transports and readings of a request.

Each test is one item of the list of known bypasses; where a bundler-side gate cannot see something, it says so.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from proxy.edge.http.server import RpcServer, ServerSettings
from proxy.errors import Code, InvalidParams, InvalidRequest, ParseError, RpcError
from proxy.jsonrpc import Batch, BodyLimits, Malformed, Request, Single, parse_body, print_result
from proxy.methods import METHODS, MethodClass, check_arity, classify, refusal_of_allow, refusal_of_notification
from proxy.ports import Answer, RequestContext
from proxy.userop.entry_point import EntryPointVersion
from proxy.userop.execution import Call
from proxy.userop.transfers import MovementKind
from proxy.userop.user_operation import parse_user_operation, print_user_operation
from tests.bypass_list.desk import OWNER_NONCE, V07, an_operation, reading, single
from tests.session.builders import transfer

SUBMIT = "eth_sendUserOperation"
OPERATION = print_user_operation(an_operation(single(transfer(1))))


def request(**changes: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": 1, "method": SUBMIT, "params": [OPERATION, "0x" + V07.address.hex()], **changes}


def parsed(body: object) -> Request | Malformed:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    single_request = parse_body(raw, BodyLimits())
    assert isinstance(single_request, Single)
    return single_request.item


def fault(body: object) -> RpcError:
    item = parsed(body)
    assert isinstance(item, Malformed)
    return item.error


def operation_fault(**changes: object) -> InvalidParams:
    with pytest.raises(InvalidParams) as raised:
        parse_user_operation({**OPERATION, **changes}, EntryPointVersion.V07)
    return raised.value


# (a) other methods that submit


@pytest.mark.parametrize("method", ["pimlico_sendUserOperationNow", "boost_sendUserOperation"])
def test_a_other_methods_that_carry_an_operation_are_judged_as_submissions(method: str) -> None:
    assert classify(method) is MethodClass.SUBMIT


@pytest.mark.parametrize(
    "method",
    [
        "pimlico_sendCompressedUserOperation",
        "debug_bundler_setMempool",
        "debug_bundler_sendBundleNow",
        "debug_bundler_sendTransactionSkipValidation",
        "rundler_sendSponsoredDelegation",
        "rundler_dropLocalUserOperation",
        "eth_sendTransaction",
        "eth_sendRawUserOperation",
    ],
)
def test_a_methods_that_submit_otherwise_are_denied_and_no_setting_relays_them(method: str) -> None:
    assert classify(method) is MethodClass.DENY
    assert classify(method, {method}) is MethodClass.DENY
    assert refusal_of_allow(method) is not None


def test_a_a_submission_takes_no_third_parameter_that_could_be_permissions() -> None:
    check_arity(SUBMIT, 2)
    with pytest.raises(InvalidParams):
        check_arity(SUBMIT, 3)


# (b) node methods on the same URL


@pytest.mark.parametrize(
    "method",
    [
        "eth_sendRawTransaction",
        "eth_sendRawTransactionConditional",
        "eth_sendRawTransactionSync",
        "eth_sendPrivateTransaction",
        "eth_sendBundle",
        "wallet_sendCalls",
        "wallet_sendPreparedCalls",
    ],
)
def test_b_a_transaction_cannot_be_handed_to_the_node_behind_the_bundler(method: str) -> None:
    assert classify(method, {method}) is MethodClass.DENY


# (c) batches


def test_c_each_element_of_a_batch_is_judged_for_itself() -> None:
    body = parse_body(
        json.dumps([request(id=1), request(id=2, method="eth_chainId", params=[])]).encode(), BodyLimits()
    )
    assert isinstance(body, Batch)
    assert [item.method for item in body.items if isinstance(item, Request)] == [SUBMIT, "eth_chainId"]


def test_c_an_array_inside_a_batch_is_no_request() -> None:
    body = parse_body(json.dumps([[request()], request()]).encode(), BodyLimits())
    assert isinstance(body, Batch)
    nested, plain = body.items
    assert isinstance(nested, Malformed)
    assert isinstance(plain, Request)


# (d) named parameters


def test_d_parameters_by_name_are_refused() -> None:
    named = {"op": OPERATION, "entry_point": "0x" + V07.address.hex()}
    assert isinstance(fault(request(params=named)), InvalidParams)


# (e) notifications


def test_e_a_submission_without_an_id_is_refused_not_executed_in_silence() -> None:
    item = parsed({key: value for key, value in request().items() if key != "id"})
    assert isinstance(item, Request)
    assert item.id is None
    refusal = refusal_of_notification(classify(item.method))
    assert refusal is not None
    assert refusal.code is Code.INVALID_REQUEST


# (f) transports, paths, encodings


@pytest.fixture
async def served() -> AsyncIterator[tuple[str, list[Request]]]:
    """A listener that keeps what reached the gate behind it."""
    reached: list[Request] = []

    async def answer(item: Request, _context: RequestContext) -> Answer | None:
        reached.append(item)
        return Answer(print_result(item.id or "null", "reached"))

    server = await RpcServer(answer, ServerSettings(chains=["soneium"])).start("127.0.0.1", 0)
    yield f"http://127.0.0.1:{server.port}", reached
    await server.stop()


@pytest.mark.parametrize(
    "path", ["/rpc", "/v1/rpc", "/v2/rpc", "/soneium/rpc", "//soneium", "/soneium/../x", "/SONEIUM"]
)
async def test_f_no_other_path_reaches_the_gate_or_the_bundler(served: tuple[str, list[Request]], path: str) -> None:
    url, reached = served
    async with aiohttp.ClientSession() as client, client.post(f"{url}{path}", json=request()) as response:
        assert (await response.json())["error"]["code"] == Code.INVALID_REQUEST
    assert not reached


async def test_f_a_websocket_reads_as_strictly_as_http_does(served: tuple[str, list[Request]]) -> None:
    url, reached = served
    doubled = json.dumps(request()).replace('"method":', '"method": "eth_chainId", "method":')
    tricks = [doubled, json.dumps(request(params={"op": OPERATION})), json.dumps([[request()]]), "{", "[]"]
    async with aiohttp.ClientSession() as client:
        async with client.ws_connect(f"{url}/soneium") as socket:
            for trick in tricks:
                await socket.send_str(trick)
                answer = await socket.receive_json()
                assert "error" in (answer[0] if isinstance(answer, list) else answer), trick
        for path in ("/rpc", "/soneium/ws", "/SONEIUM"):
            with pytest.raises(aiohttp.WSServerHandshakeError):
                await client.ws_connect(f"{url}{path}")
    assert not reached


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "zstd"])
async def test_f_a_compressed_body_is_refused(served: tuple[str, list[Request]], encoding: str) -> None:
    url, reached = served
    headers = {"content-encoding": encoding, "content-type": "application/json"}
    async with aiohttp.ClientSession() as client:
        body = json.dumps(request()).encode()
        async with client.post(f"{url}/soneium", data=body, headers=headers) as response:
            assert "error" in await response.json()
    assert not reached


@pytest.mark.parametrize("tail", [b"{}", b" {}", b"\n[]", b"null", b"\0"])
def test_f_a_second_value_behind_the_first_is_refused(tail: bytes) -> None:
    with pytest.raises(ParseError):
        parse_body(json.dumps(request()).encode() + tail, BodyLimits())


# (g) what two parsers read differently


@pytest.mark.parametrize(
    "method",
    [
        "ETH_SENDUSEROPERATION",
        "eth_senduseroperation",
        " eth_sendUserOperation",
        "eth_sendUserOperation ",
        "eth_sendUserOperation\n",
        "eth_sendUserOperation\0",
        "eth.sendUserOperation",
        "eth_sendUserOperati\u043en",
    ],
)
def test_g_another_spelling_of_a_submission_is_denied_even_when_allow_listed(method: str) -> None:
    assert classify(method, {method}) is MethodClass.DENY


@pytest.mark.parametrize(
    "value",
    [
        "0xabc",
        [0, 222],
        "abcd",
        "0Xabcd",
        "0xab_cd",
        "0xab cd",
        "0xabcd\n",
        " 0xabcd",
        "0x\uff10\uff10",
        1234,
        None,
        True,
    ],
)
def test_g_bytes_that_bundlers_read_differently_are_refused(value: object) -> None:
    assert operation_fault(callData=value).field == "params[0].callData"


@pytest.mark.parametrize(
    "value", ["0x", "1234", 1234, 1.5, "0x1_0", "0b1", "0x 1", "0x\uff11", "0X1", "-0x1", "0x" + "0" * 65]
)
def test_g_quantities_that_bundlers_read_differently_are_refused(value: object) -> None:
    assert operation_fault(maxFeePerGas=value).field == "params[0].maxFeePerGas"


@pytest.mark.parametrize("key", ["colour", "CallData", "calldata", "accountGasLimits", "gasFees", "initCode", "nonce "])
def test_g_unknown_miscased_and_packed_fields_are_refused(key: str) -> None:
    with pytest.raises(InvalidParams):
        parse_user_operation({**OPERATION, key: "0x"}, EntryPointVersion.V07)


def test_g_an_operation_in_both_shapes_is_refused_for_every_entry_point() -> None:
    both = {"initCode": "0x", "paymasterAndData": "0x", "factory": "0x" + "11" * 20, "factoryData": "0x"}
    for version in EntryPointVersion:
        with pytest.raises(InvalidParams):
            parse_user_operation({**OPERATION, **both}, version)


@pytest.mark.parametrize(
    "body",
    [
        b'{"jsonrpc":"2.0","id":1,"method":"eth_chainId","method":"eth_sendUserOperation","params":[]}',
        b'{"jsonrpc":"2.0","id":1,"method":"eth_sendUserOperation","params":[{"nonce":"0x1","nonce":"0x2"}]}',
        b'{"jsonrpc":"2.0","id":1,"method":"eth_sendUserOperation","params":[],"Params":[]}',
    ],
)
def test_g_a_key_given_twice_is_refused(body: bytes) -> None:
    assert isinstance(fault(body), InvalidParams | InvalidRequest)


@pytest.mark.parametrize(
    "body",
    [
        b"\xef\xbb\xbf" + json.dumps(request()).encode(),
        json.dumps(request()).encode("utf-16"),
        b'{"jsonrpc":"2.0","id":1,"method":"eth_chainId","params":[NaN]}',
        b'{"jsonrpc":"2.0","id":1,"method":"\xff","params":[]}',
    ],
)
def test_g_bodies_that_are_json_to_some_are_refused(body: bytes) -> None:
    try:
        item = parse_body(body, BodyLimits())
    except RpcError:
        return
    assert isinstance(item, Single)
    assert isinstance(item.item, Malformed)


def test_g_what_is_forwarded_is_printed_by_us_in_one_spelling() -> None:
    odd = {**OPERATION, "maxFeePerGas": "0x000" + str(OPERATION["maxFeePerGas"])[2:], "factory": None}
    odd["callData"] = "0x" + str(OPERATION["callData"])[2:].upper()
    assert print_user_operation(parse_user_operation(odd, EntryPointVersion.V07)) == OPERATION


# (h) another bundler


def test_h_an_operation_that_bundles_others_is_seen_as_opaque() -> None:
    """The limit: who sends to a second bundler, or calls handleOps from an account of his own, never comes by here.

    The gate binds only its own path; what the chain then shows has to be reconciled from its events. What does come
    by, an operation whose call is itself a handleOps, is no plain call and is reported as moving what cannot be told.
    """
    for selector in ("1fad948c", "4b1d7cf5", "765e827f", "dbed18e0"):
        bundling = Call(V07.address, 0, bytes.fromhex(selector) + bytes(64))
        (movement,) = reading(an_operation(single(bundling), nonce=OWNER_NONCE)).movements
        assert (movement.kind, movement.counterparty) == (MovementKind.OPAQUE, V07.address)


def test_every_served_method_is_in_one_closed_table() -> None:
    assert {method.method_class for method in METHODS.values()} == {
        MethodClass.SUBMIT,
        MethodClass.PREVIEW,
        MethodClass.SPONSOR,
        MethodClass.PASS,
        MethodClass.OWN,
    }
