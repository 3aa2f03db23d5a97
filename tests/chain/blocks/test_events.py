"""What blocks say of operations is read exactly, and what strangers wrote cannot be dear to read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.chain.blocks import events
from proxy.chain.blocks.events import read_claims, read_executed, read_reason
from proxy.chain.blocks.header import bloom_of_item, parse_header
from proxy.chain.logs import Log
from proxy.errors import InvalidParams, Undecodable
from proxy.userop import abi
from proxy.userop.entry_point import ENTRY_POINTS
from proxy.userop.primitives import Address, Hash32, keccak256
from tests.admission.builders import TWICE, enabling
from tests.chain.blocks.builders import PACKED, bundle_of
from tests.session.builders import ACCOUNT, SMART_SESSION, STRANGER, word

V06, V07 = ENTRY_POINTS[:2]
SESSION_NONCE = int.from_bytes(bytes(4) + SMART_SESSION + bytes(8), "big")
PERMISSION_ID = Hash32(word(5))
USE = b"\0" + PERMISSION_ID + b"\x11" * 65
HASH = Hash32(word(9))


OLD = abi.tuple_of(*(abi.ADDRESS, abi.UINT256, abi.BYTES, abi.BYTES, *(abi.UINT256,) * 5, abi.BYTES, abi.BYTES))
SELECTORS = {PACKED: "765e827f", OLD: "1fad948c"}


def _packed(sender: bytes, nonce: int, signature: bytes) -> tuple[object, ...]:
    return (sender, nonce, b"", b"\x01\x02", bytes(32), 21_000, bytes(32), b"", signature)


def _bundle(*operations: tuple[object, ...]) -> bytes:
    return _bundle_of(PACKED, operations)


def _bundle_of(shape: abi.AbiType, operations: Sequence[tuple[object, ...]]) -> bytes:
    bundle = abi.tuple_of(abi.list_of(shape), abi.ADDRESS)
    assert SELECTORS[shape] == keccak256(f"handleOps{bundle.name}".encode())[:4].hex()
    return bytes.fromhex(SELECTORS[shape]) + abi.encode(bundle, (operations, STRANGER))


def test_the_selectors_are_those_of_the_published_contracts() -> None:
    assert events._HANDLE_OPS.hex() == "765e827f"
    assert events._HANDLE_OLD_OPS.hex() == "1fad948c"
    assert events.USER_OPERATION_EVENT.hex() == "49628fd1471006c1482da88028e9ce4dbb080b815c9b0344d39e5a8e6ec1419f"
    assert events.REVERT_REASON.hex() == "1c4fada7374c0a9ee8841fc38afe82932dc0f8e69012e927f061a8bae611a201"


def test_the_session_that_an_operation_of_a_bundle_claims_is_read() -> None:
    bundle = _bundle(_packed(STRANGER, 1, b"owner"), _packed(ACCOUNT, SESSION_NONCE, USE), _packed(ACCOUNT, 7, b""))
    wanted = dict.fromkeys([(ACCOUNT, SESSION_NONCE), (ACCOUNT, 7), (ACCOUNT, 8)], HASH)
    claims = read_claims(bundle, V07, [SMART_SESSION], wanted)
    assert claims is not None
    assert {name: claim.permission_ids for name, claim in claims.items()} == {
        (ACCOUNT, SESSION_NONCE): (PERMISSION_ID,),
        (ACCOUNT, 7): (),
    }


def test_an_operation_that_brings_its_sessions_grant_along_is_told_apart() -> None:
    op = enabling(TWICE, b"", nonce=SESSION_NONCE)
    claims = read_claims(bundle_of(op), V07, [SMART_SESSION], {(ACCOUNT, SESSION_NONCE): HASH})
    assert claims is not None
    (claim,) = claims.values()
    assert (claim.permission_ids, claim.call_data(), claim.enables) == ((TWICE.permission_id,), b"", True)


def test_a_claim_that_cannot_be_read_is_left_out() -> None:
    unknown = _bundle(_packed(ACCOUNT, SESSION_NONCE, b"\x07" + PERMISSION_ID))
    cut_short = _bundle(_packed(ACCOUNT, SESSION_NONCE, USE))[:-40]
    for bundle in (unknown, cut_short):
        assert read_claims(bundle, V07, [SMART_SESSION], {(ACCOUNT, SESSION_NONCE): HASH}) == {}


@given(
    st.lists(st.tuples(st.sampled_from([ACCOUNT, STRANGER]), st.integers(0, 3), st.binary(max_size=70)), max_size=5),
    st.sets(st.tuples(st.sampled_from([ACCOUNT, STRANGER]), st.integers(0, 3))),
    st.booleans(),
)
def test_of_a_bundle_just_the_wanted_operations_are_read_as_an_abi_decoder_would(
    operations: list[tuple[Address, int, bytes]], wanted: set[tuple[Address, int]], old: bool
) -> None:
    unique = {(sender, nonce): data for sender, nonce, data in operations}
    rest = (0, 0, 0, 0, 0, b"pays", b"signed") if old else (bytes(32), 1, bytes(32), b"pays", b"signed")
    packed = [(sender, nonce, b"init", data, *rest) for (sender, nonce), data in unique.items()]
    bundle = _bundle_of(OLD if old else PACKED, packed)
    claims = read_claims(bundle, V06 if old else V07, [SMART_SESSION], dict.fromkeys(wanted, HASH))
    assert claims is not None
    assert not any(claim.permission_ids or claim.enables for claim in claims.values())
    read = {name: claim.call_data() for name, claim in claims.items()}
    assert read == {name: data for name, data in unique.items() if name in wanted}


@given(st.integers(0, 1_000), st.binary(min_size=1, max_size=40))
def test_a_bundle_that_points_anywhere_is_read_or_not(at: int, other: bytes) -> None:
    bundle = bytearray(_bundle(_packed(ACCOUNT, SESSION_NONCE, USE), _packed(ACCOUNT, 7, b"")))
    bundle[4 + at : 4 + at + len(other)] = other
    claims = read_claims(
        bytes(bundle), V07, [SMART_SESSION], dict.fromkeys([(ACCOUNT, SESSION_NONCE), (ACCOUNT, 7)], HASH)
    )
    assert claims is None or set(claims) <= {(ACCOUNT, SESSION_NONCE), (ACCOUNT, 7)}


def _word_by_word(bundle: bytes, at: int) -> int:
    word = bundle[at : at + 32]
    if len(word) < 32 or (number := int.from_bytes(word, "big")) > len(bundle):
        raise Undecodable("word", "none, or past the end")
    return number


def _field_word_by_word(bundle: bytes, operation: int, index: int) -> bytes:
    at = operation + _word_by_word(bundle, operation + index * 32)
    end = at + 32 + _word_by_word(bundle, at)
    if end > len(bundle):
        raise Undecodable("bytes", "past the end")
    return bundle[at + 32 : end]


def _tried(read: Callable[[], object]) -> object:
    try:
        return read()
    except Undecodable:
        return Undecodable


@given(st.integers(0, 700), st.binary(max_size=34), st.integers(0, 900), st.integers(0, 10))
def test_each_field_is_what_reading_word_by_word_gives(at: int, other: bytes, operation: int, index: int) -> None:
    bundle = bytearray(_bundle(_packed(ACCOUNT, SESSION_NONCE, USE), _packed(ACCOUNT, 7, b""))[4:])
    bundle[at : at + len(other)] = other
    data = bytes(bundle)
    assert _tried(lambda: events._field(data, operation, index)) == _tried(
        lambda: _field_word_by_word(data, operation, index)
    )

    def places() -> list[int]:
        array = _word_by_word(data, 0)
        count, start = _word_by_word(data, array), array + 32
        if start + count * 32 > len(data):
            raise Undecodable("array", "past the end")
        return [start + _word_by_word(data, start + number * 32) for number in range(count)]

    assert _tried(lambda: events._places(data)) == _tried(places)


def test_what_is_no_bundle_of_this_entry_point_tells_nothing() -> None:
    bundle = _bundle(_packed(ACCOUNT, SESSION_NONCE, USE))
    wanted = {(ACCOUNT, SESSION_NONCE): HASH}
    for call_data in (b"", bundle[:70], b"\0" + bundle, bundle + bytes(1 << 18)):
        assert read_claims(call_data, V07, [SMART_SESSION], wanted) is None
    assert read_claims(bundle, V06, [SMART_SESSION], wanted) is None


@given(st.binary(max_size=600))
def test_whatever_a_bundle_holds_is_read_or_not(data: bytes) -> None:
    claims = read_claims(bytes.fromhex("765e827f") + data, V07, [SMART_SESSION], {(ACCOUNT, SESSION_NONCE): HASH})
    assert claims is None or set(claims) <= {(ACCOUNT, SESSION_NONCE)}


@given(st.lists(st.binary(min_size=32, max_size=32), max_size=4), st.binary(max_size=400), st.booleans())
def test_whatever_an_entry_point_logs_is_read_or_not(topics: list[bytes], data: bytes, mined: bool) -> None:
    first = [events.USER_OPERATION_EVENT if mined else events.REVERT_REASON]
    names = tuple(map(Hash32, [*first, *topics][:4]))
    log = Log(
        address=Address(V07.address),
        topics=names,
        data=data,
        block=1,
        block_hash=Hash32(bytes(32)),
        transaction_hash=Hash32(bytes(32)),
        log_index=0,
    )
    executed, reason = read_executed(log), read_reason(log)
    assert executed is None or executed.user_op_hash == names[1]
    assert reason is None or reason[0] == names[1]


GOOD: dict[str, Any] = {
    "number": "0x10",
    "hash": "0x" + "0b" * 32,
    "parentHash": "0x" + "0a" * 32,
    "timestamp": "0x5",
    "logsBloom": "0x" + "00" * 256,
    "baseFeePerGas": "0x7",
}


def test_a_header_is_read_and_may_lack_base_fee_and_filter() -> None:
    header = parse_header(GOOD, "block")
    assert (header.number, header.parent, header.timestamp, header.base_fee) == (16, b"\x0a" * 32, 5, 7)
    bare = parse_header({name: GOOD[name] for name in GOOD if name not in ("logsBloom", "baseFeePerGas")}, "block")
    assert (bare.bloom, bare.base_fee) == (0, None)


@pytest.mark.parametrize("name", ["number", "hash", "parentHash", "timestamp"])
def test_a_header_that_lacks_what_names_it_is_refused(name: str) -> None:
    with pytest.raises(InvalidParams, match=name):
        parse_header({**GOOD, name: None}, "block")


_JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.text(max_size=8)
    | st.binary(max_size=40).map(lambda b: f"0x{b.hex()}"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@given(_JSON | st.dictionaries(st.sampled_from(sorted(GOOD)), _JSON).map(lambda odd: {**GOOD, **odd}))
def test_whatever_a_node_sends_for_a_block_is_read_or_refused(value: object) -> None:
    try:
        header = parse_header(value, "block")
    except InvalidParams:
        return
    assert (len(header.hash), len(header.parent)) == (32, 32)
    assert 0 <= header.bloom < 1 << 2048


def test_an_item_sets_its_three_bits_as_the_yellow_paper_has_it() -> None:
    digest = keccak256(ACCOUNT)
    bits = {int.from_bytes(digest[at : at + 2], "big") % 2048 for at in (0, 2, 4)}
    assert {bit for bit in range(2048) if bloom_of_item(ACCOUNT) >> bit & 1} == bits
