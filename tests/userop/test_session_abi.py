"""Session structs: written as the SDKs write them, read back whole."""

from __future__ import annotations

from typing import Any

import eth_abi
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.errors import Undecodable
from proxy.userop.primitives import Address, Hash32, Selector
from proxy.userop.session_abi import (
    decode_enable,
    decode_session,
    decode_sessions,
    encode_enable,
    encode_session,
    encode_sessions,
    members_of_session,
)
from proxy.userop.session_data import ActionData, ERC7739Context, ERC7739Data, PolicyData, SessionData
from tests.userop.builders import a_session, an_enable_session

POLICIES = "(address,bytes)[]"
SESSION = f"(address,bytes,bytes32,{POLICIES},((bytes32,string[])[],{POLICIES}),(bytes4,address,{POLICIES})[],bool)"

addresses = st.binary(min_size=20, max_size=20).map(Address)
hashes = st.binary(min_size=32, max_size=32).map(Hash32)
policies = st.lists(st.builds(PolicyData, addresses, st.binary(max_size=70)), max_size=3).map(tuple)
contexts = st.builds(ERC7739Context, hashes, st.lists(st.text(max_size=8), max_size=2).map(tuple))
actions = st.builds(ActionData, st.binary(min_size=4, max_size=4).map(Selector), addresses, policies)
sessions = st.builds(
    SessionData,
    session_validator=addresses,
    session_validator_init_data=st.binary(max_size=70),
    salt=hashes,
    user_op_policies=policies,
    erc7739_policies=st.builds(ERC7739Data, st.lists(contexts, max_size=2).map(tuple), policies),
    actions=st.lists(actions, max_size=3).map(tuple),
    permit_erc4337_paymaster=st.booleans(),
)


@given(st.lists(sessions, max_size=3).map(tuple))
def test_reads_back_the_sessions_it_writes(granted: tuple[SessionData, ...]) -> None:
    assert decode_sessions(encode_sessions(granted)) == granted


@given(sessions)
def test_writes_a_session_as_the_reference_encoder_does(session: SessionData) -> None:
    written = encode_session(session)
    assert written == eth_abi.encode([SESSION], [members_of_session(session)])
    assert decode_session(written) == session


def test_writes_an_enable_signature_as_the_reference_encoder_does() -> None:
    enable = an_enable_session()
    members: Any = (
        enable.chain_digest_index,
        [(digest.chain_id, digest.session_digest) for digest in enable.digests],
        members_of_session(enable.session),
        enable.permission_enable_signature,
    )
    written = encode_enable(enable, b"key")
    assert written == eth_abi.encode([f"(uint8,(uint64,bytes32)[],{SESSION},bytes)", "bytes"], [members, b"key"])
    assert decode_enable(written) == (enable, b"key")


def test_reads_trailing_bytes_as_the_chain_does() -> None:
    assert decode_session(encode_session(a_session()) + b"more") == a_session()


@given(st.data())
def test_reads_nothing_else_from_a_session_cut_anywhere(data: st.DataObject) -> None:
    written = encode_sessions((a_session(),))
    kept = data.draw(st.integers(0, len(written) - 1))
    # the padding of the last field is not read: a cut there loses nothing
    try:
        decoded = decode_sessions(written[:kept])
    except Undecodable:
        return
    assert decoded == (a_session(),)


def test_refuses_a_boolean_that_is_neither() -> None:
    written = bytearray(encode_session(a_session()))
    flag = 32 + 6 * 32 + 31
    assert written[flag] == 1
    written[flag] = 2
    with pytest.raises(Undecodable):
        decode_session(bytes(written))
