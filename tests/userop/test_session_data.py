"""Ids of sessions and actions; the vectors hold the rest."""

from __future__ import annotations

from dataclasses import replace

import eth_abi
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.userop.primitives import Address, Hash32, keccak256
from proxy.userop.session_data import (
    FALLBACK_ACTION_ID,
    SMART_SESSION_CALL_ACTION_ID,
    VALUE_SELECTOR,
    permission_id_of,
    selector_of,
)
from tests.userop.builders import a_session


@given(st.binary(min_size=20, max_size=20), st.binary(max_size=100), st.binary(min_size=32, max_size=32))
def test_takes_the_permission_id_from_the_abi_encoding(validator: bytes, init_data: bytes, salt: bytes) -> None:
    encoded = eth_abi.encode(["address", "bytes", "bytes32"], [validator, init_data, salt])
    assert permission_id_of(Address(validator), init_data, Hash32(salt)) == keccak256(encoded)


def test_commits_to_the_key_and_the_salt_and_to_nothing_else() -> None:
    session = a_session()
    assert replace(session, actions=(), permit_erc4337_paymaster=False).permission_id == session.permission_id
    assert replace(session, salt=Hash32(bytes(32))).permission_id != session.permission_id
    assert replace(session, session_validator_init_data=b"").permission_id != session.permission_id


def test_knows_the_ids_of_the_two_special_actions() -> None:
    assert FALLBACK_ACTION_ID.hex() == "d884b6afa19f8ace90a388daca691e4e28f20cdac5aeefd46ad8bd1c074d28cf"
    assert SMART_SESSION_CALL_ACTION_ID.hex() == "986126569d6396d837d7adeb3ca726199afaf83546f38726e6f331bb92d8e9d6"


@pytest.mark.parametrize(
    ("data", "selector"), [("", None), ("a9059c", None), ("a9059cbb", "a9059cbb"), ("a9059cbb00", "a9059cbb")]
)
def test_takes_four_bytes_for_a_selector_and_fewer_for_a_transfer_of_value(data: str, selector: str | None) -> None:
    assert selector_of(bytes.fromhex(data)) == (VALUE_SELECTOR if selector is None else bytes.fromhex(selector))
