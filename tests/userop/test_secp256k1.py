"""Recovery as the precompile does it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.userop.primitives import ZERO_ADDRESS
from proxy.userop.secp256k1 import expand_compact, recover
from tests.session.signers.keys import HASH, ORDER, Key, compact

FIRST = Key(1)


@given(st.integers(1, ORDER - 1), st.binary(min_size=32, max_size=32))
def test_recovers_whoever_signed(number: int, digest: bytes) -> None:
    key = Key(number)
    assert recover(digest, key.sign(digest)) == key.address


@pytest.mark.parametrize("v", [0, 1, 26, 29, 255])
def test_recovers_nobody_for_a_v_the_precompile_refuses(v: int) -> None:
    assert recover(HASH, FIRST.sign(HASH)[:64] + bytes([v])) == ZERO_ADDRESS


@pytest.mark.parametrize("signature", [bytes(64) + b"\x1b", b"\xff" * 64 + b"\x1b"])
def test_recovers_nobody_from_numbers_off_the_curve(signature: bytes) -> None:
    assert recover(HASH, signature) == ZERO_ADDRESS


@given(st.integers(1, ORDER - 1), st.binary(min_size=32, max_size=32))
def test_expands_what_was_made_compact(number: int, digest: bytes) -> None:
    signature = Key(number).sign(digest)
    assert expand_compact(compact(signature)) == signature
