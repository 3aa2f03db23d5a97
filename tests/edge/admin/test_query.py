"""What ops send is read strictly, and every fault is named."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.edge.admin.query import (
    FreezeRequest,
    Query,
    SessionFilter,
    audit_filter,
    read_allowance,
    read_explain,
    read_freeze,
)
from proxy.edge.audit.reading import AuditFilter
from proxy.errors import InvalidParams, RpcError
from tests.edge.builders import ACCOUNT, PERMISSION, USER_OP_HASH

PERMISSION_TEXT = "0x" + PERMISSION.hex()


def test_every_audit_filter_is_read() -> None:
    query = {
        "since": "1.5",
        "until": "2",
        "chain": "soneium",
        "client": "trading-dapp",
        "account": "0x" + ACCOUNT.hex(),
        "permissionId": PERMISSION_TEXT,
        "userOpHash": "0x" + USER_OP_HASH.hex(),
        "decisionId": "d-1",
        "verdict": "reject",
        "code": "-32054",
        "after": "7",
        "limit": "10000",
    }
    assert audit_filter(Query(query)) == AuditFilter(
        since=1.5,
        until=2.0,
        chain="soneium",
        client="trading-dapp",
        account=ACCOUNT,
        permission_id=PERMISSION,
        user_op_hash=USER_OP_HASH,
        decision_id="d-1",
        verdict="reject",
        code=-32054,
        after_id=7,
        limit=10_000,
    )


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("since", "tomorrow"),
        ("since", "nan"),
        ("until", "inf"),
        ("account", "0x00"),
        ("permissionId", "0x" + "00" * 31),
        ("userOpHash", "f1" * 32),
        ("verdict", "Allow"),
        ("code", "0x1"),
        ("code", "1" * 19),
        ("code", "-"),
        ("after", "٣"),
        ("limit", "0"),
        ("limit", "10001"),
        ("permission_id", PERMISSION_TEXT),
    ],
)
def test_a_bad_parameter_is_named(name: str, text: str) -> None:
    with pytest.raises(InvalidParams) as caught:
        audit_filter(Query({name: text}))
    assert caught.value.field == name


@pytest.mark.parametrize("limit", [1, 10_000])
def test_limits_up_to_the_bound_are_taken(limit: int) -> None:
    assert SessionFilter.read(Query({"limit": str(limit)})).limit == limit


def test_a_freeze_may_name_one_account_on_one_chain() -> None:
    body = {"permissionId": PERMISSION_TEXT, "account": "0x" + ACCOUNT.hex(), "chain": "soneium", "note": "leaked"}
    assert read_freeze(json.dumps(body).encode()) == FreezeRequest(
        permission_id=PERMISSION, account=ACCOUNT, chain="soneium", note="leaked"
    )


def test_a_freeze_of_the_permission_id_alone_stops_it_everywhere() -> None:
    body = json.dumps({"permissionId": PERMISSION_TEXT}).encode()
    assert read_freeze(body) == FreezeRequest(permission_id=PERMISSION)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "permissionId"),
        ({"permissionId": 7}, "permissionId"),
        ({"permissionId": PERMISSION_TEXT, "acount": "0x00"}, "acount"),
        ({"permissionId": PERMISSION_TEXT, "chain": 1868}, "chain"),
        ({"permissionId": PERMISSION_TEXT, "note": "n" * 501}, "note"),
        ([], "body"),
        ("freeze", "body"),
    ],
)
def test_a_freeze_with_a_fault_names_it(body: object, field: str) -> None:
    with pytest.raises(InvalidParams) as caught:
        read_freeze(json.dumps(body).encode())
    assert caught.value.field == field


def test_a_note_of_exactly_the_longest_length_is_taken() -> None:
    body = json.dumps({"permissionId": PERMISSION_TEXT, "note": "n" * 500}).encode()
    assert len(read_freeze(body).note) == 500


ALLOWED = {"rule": "new-recipient", "thing": "0x11", "reason": "ticket 7"}


@pytest.mark.parametrize("until", [1_798_675_200, 1_798_675_200.0, 1_798_675_200.5, 10**11])
def test_an_allowance_ends_at_the_second_that_programs_print_with_a_fraction_or_without(until: float) -> None:
    assert read_allowance(json.dumps({**ALLOWED, "until": until}).encode()).until == until


@pytest.mark.parametrize("until", ["true", '"2026-12-31"', "1e999", "[1]"])
def test_an_end_that_is_no_time_is_refused(until: str) -> None:
    with pytest.raises(InvalidParams) as caught:
        read_allowance(json.dumps({**ALLOWED, "until": 0}).replace("0}", f"{until}}}").encode())
    assert caught.value.field == "until"


def test_a_key_given_twice_is_refused() -> None:
    with pytest.raises(InvalidParams) as caught:
        read_explain(b'{"operation": {"nonce": "0x1", "nonce": "0x2"}, "entryPoint": "0x"}')
    assert caught.value.field == "operation.nonce"


@pytest.mark.parametrize("read", [read_freeze, read_explain])
@given(st.binary())
def test_arbitrary_bytes_are_read_or_refused(read: Callable[[bytes], object], body: bytes) -> None:
    try:
        read(body)
    except RpcError:
        return
    assert isinstance(json.loads(body), dict)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.sampled_from(["operation", "chain"]), inner),
)


@given(JSON)
def test_arbitrary_json_is_read_or_refused(value: object) -> None:
    try:
        chain, _, _ = read_explain(json.dumps(value).encode("utf-8", "surrogatepass"))
    except RpcError:
        return
    assert isinstance(value, dict)
    assert chain is None or chain == value["chain"]
