"""A session module is found wherever an account layout puts it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.userop.nonce import (
    NonceLayout,
    find_session_module,
    kernel_mode,
    kernel_permission,
    nexus_mode,
    nonce_key,
    nonce_sequence,
)
from tests.userop.builders import KERNEL_NONCE, MODULE, MODULES, NEXUS_NONCE, OWNER_NONCE, SAFE_NONCE

OFFSETS = {NonceLayout.VALIDATOR_FIRST: 0, NonceLayout.KERNEL: 2, NonceLayout.NEXUS: 4}


@pytest.mark.parametrize(
    ("nonce", "layout"),
    [
        (NEXUS_NONCE, NonceLayout.NEXUS),
        (SAFE_NONCE, NonceLayout.VALIDATOR_FIRST),
        (KERNEL_NONCE, NonceLayout.KERNEL),
    ],
)
def test_finds_the_module_of_each_known_account(nonce: int, layout: NonceLayout) -> None:
    assert find_session_module(nonce, MODULES) == (MODULE, layout)


@pytest.mark.parametrize("nonce", [0, OWNER_NONCE, 2**256 - 1])
def test_finds_nothing_in_an_owner_nonce(nonce: int) -> None:
    assert find_session_module(nonce, MODULES) is None


@pytest.mark.parametrize("offset", [1, 3, 5, 12])
def test_finds_nothing_at_a_place_no_account_reads(offset: int) -> None:
    nonce = int.from_bytes((b"\x11" * offset + MODULE).ljust(32, b"\x11"), "big")
    assert find_session_module(nonce, MODULES) is None


@given(st.sampled_from(list(OFFSETS)), st.binary(min_size=4, max_size=4), st.binary(min_size=8, max_size=8))
def test_finds_the_module_whatever_stands_around_it(layout: NonceLayout, around: bytes, sequence: bytes) -> None:
    at = OFFSETS[layout]
    nonce = int.from_bytes(around[:at] + MODULE + around[at:] + sequence, "big")
    assert find_session_module(nonce, MODULES) == (MODULE, layout)
    assert nonce_sequence(nonce) == int.from_bytes(sequence, "big")
    assert nonce_key(nonce) == int.from_bytes(around[:at] + MODULE + around[at:], "big")


def test_reads_the_mode_bytes_where_the_accounts_do() -> None:
    nonce = int.from_bytes(bytes(range(1, 33)), "big")
    assert kernel_mode(nonce) == 1
    assert nexus_mode(nonce) == 4


PERMISSION = bytes.fromhex("0002765eb9c3") + bytes(26)
"""As `@zerodev/sdk` 5.5 sends it."""


@pytest.mark.parametrize("mode", [0, 1])
def test_a_permission_of_kernels_own_is_told_by_its_four_bytes(mode: int) -> None:
    nonce = int.from_bytes(bytes([mode]) + PERMISSION[1:22] + b"\xab\xcd" + (7).to_bytes(8, "big"), "big")
    assert kernel_permission(nonce) == bytes.fromhex("765eb9c3")


@pytest.mark.parametrize(
    ("what", "nonce"),
    [
        ("another mode", b"\x02" + PERMISSION[1:]),
        ("a validator", b"\0\x01" + PERMISSION[2:]),
        ("something behind the id", PERMISSION[:21] + b"\x01" + PERMISSION[22:]),
        ("the default validator of a Nexus account in a lane that begins so", b"\0\x02\x76\0" + bytes(28)),
        ("nothing", bytes(32)),
    ],
)
def test_nothing_else_is_taken_for_one(what: str, nonce: bytes) -> None:
    assert kernel_permission(int.from_bytes(nonce, "big")) is None, what
