"""P-256 as the verifiers on chain decide it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.session.signers import p256
from tests.session.signers.keys import Passkey

KEY = Passkey(7)
R, S = KEY.sign(b"message")
PRIME = 2**256 - 2**224 + 2**192 + 2**96 - 1


def test_takes_both_twins_of_a_signature_since_callers_look_at_s() -> None:
    assert p256.is_signed(b"message", R, S, KEY.x, KEY.y)
    assert p256.is_signed(b"message", R, p256.ORDER - S, KEY.x, KEY.y)
    assert p256.HALF_ORDER < p256.ORDER - S


def test_refuses_another_message_and_another_key() -> None:
    assert not p256.is_signed(b"messagE", R, S, KEY.x, KEY.y)
    assert not p256.is_signed(b"message", R, S, Passkey(8).x, Passkey(8).y)
    assert not p256.is_signed(b"message", R, S, KEY.x, PRIME - KEY.y)


@pytest.mark.parametrize(
    ("r", "s"),
    [(0, S), (R, 0), (p256.ORDER, S), (R, p256.ORDER), (R + p256.ORDER, S), (R, S + p256.ORDER), (0, 0)],
    ids=["r-zero", "s-zero", "r-order", "s-order", "r-beyond", "s-beyond", "both-zero"],  # the key is another each time
)
def test_refuses_numbers_outside_the_group(r: int, s: int) -> None:
    assert not p256.is_signed(b"message", r, s, KEY.x, KEY.y)


@pytest.mark.parametrize(
    ("x", "y"),
    [(0, 0), (KEY.x, KEY.y + 1), (KEY.x + PRIME, KEY.y), (KEY.x, KEY.y + PRIME), (2**256 - 1, 2**256 - 1), (PRIME, 0)],
    ids=["zero", "beside", "x-beyond", "y-beyond", "largest", "prime"],
)
def test_a_key_off_the_curve_signs_nothing(x: int, y: int) -> None:
    assert not p256.is_signed(b"message", R, S, x, y)


@given(*[st.integers(0, 2**256 - 1)] * 4)
def test_never_fails_and_takes_nothing_at_random(r: int, s: int, x: int, y: int) -> None:
    assert not p256.is_signed(b"message", r, s, x, y)
    assert not p256.is_signed(b"message", r, s, KEY.x, KEY.y)
