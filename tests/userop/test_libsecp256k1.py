"""The library called directly says what it says by coincurve's public names."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
from coincurve import PublicKey
from hypothesis import given
from hypothesis import strategies as st

from proxy.userop import libsecp256k1
from proxy.userop.libsecp256k1 import IS_DIRECT, recover_point
from proxy.userop.primitives import keccak256
from proxy.userop.secp256k1 import recover
from tests.session.signers.keys import HASH, ORDER, Key

LIMBS = st.one_of(
    st.integers(0, 2**256 - 1), st.sampled_from([0, 1, ORDER - 1, ORDER, ORDER + 1, ORDER // 2, 2**256 - 1])
)
DIGESTS = st.binary(min_size=32, max_size=32)


def by_public_names(digest: bytes, compact: bytes, parity: int) -> bytes | None:
    try:
        key = PublicKey.from_signature_and_message(compact + bytes([parity]), digest, hasher=None)
    except ValueError:
        return None
    return key.format(compressed=False)


@given(LIMBS, LIMBS, st.integers(0, 1), DIGESTS)
def test_any_numbers_are_recovered_as_coincurve_recovers_them(r: int, s: int, parity: int, digest: bytes) -> None:
    compact = r.to_bytes(32, "big") + s.to_bytes(32, "big")
    assert recover_point(digest, compact, parity) == by_public_names(digest, compact, parity)


@given(st.integers(1, ORDER - 1), DIGESTS, st.booleans())
def test_a_build_without_the_names_says_the_same(number: int, digest: bytes, direct: bool) -> None:
    signature = Key(number).sign(digest)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(libsecp256k1, "IS_DIRECT", direct and IS_DIRECT)
        point = recover_point(digest, signature[:64], signature[64] - 27)
    assert point == PublicKey.from_secret(number.to_bytes(32, "big")).format(compressed=False)


@given(st.integers(1, ORDER - 1), DIGESTS, st.binary(max_size=66))
def test_what_follows_the_two_numbers_does_not_change_who_signed(number: int, digest: bytes, rest: bytes) -> None:
    signature = Key(number).sign(digest)
    point = recover_point(digest, signature[:64], signature[64] - 27)
    assert recover_point(digest, signature[:64] + rest, signature[64] - 27) == point
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(libsecp256k1, "IS_DIRECT", False)
        assert recover_point(digest, signature[:64] + rest, signature[64] - 27) == point


def test_threads_that_recover_at_once_each_find_their_own_signer() -> None:
    keys = [Key(number) for number in range(1, 9)]
    signed = [(key, keccak256(bytes([place]))) for key in keys for place in range(25)]
    switching = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(len(keys)) as threads:
            found = list(threads.map(lambda each: recover(each[1], each[0].sign(each[1])), signed))
    finally:
        sys.setswitchinterval(switching)
    assert found == [key.address for key, _ in signed]


def test_the_locked_build_shows_the_names() -> None:
    assert IS_DIRECT


@pytest.mark.parametrize(("digest", "compact", "parity"), [(31, 64, 0), (33, 64, 0), (32, 63, 0), (32, 0, 0)])
def test_no_bytes_of_another_length_reach_the_library(digest: int, compact: int, parity: int) -> None:
    with pytest.raises(ValueError, match="wanted"):
        recover_point(HASH[:1] * digest, b"\x01" * compact, parity)
    with pytest.raises(ValueError, match="wanted"):
        recover_point(HASH, b"\x01" * 64, 2)
