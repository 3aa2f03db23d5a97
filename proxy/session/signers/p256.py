"""ECDSA over P-256 (secp256r1) with SHA-256, as the verifiers on chain decide it.

Source: RIP-7212 and FreshCryptoLib `FCL_ecdsa.ecdsa_verify`: r and s between 1 and the order, a point on the curve.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec, utils
from cryptography.hazmat.primitives.hashes import SHA256

_PRIME: Final = (1 << 256) - (1 << 224) + (1 << 192) + (1 << 96) - 1
ORDER: Final = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
HALF_ORDER: Final = ORDER // 2
"""The WebAuthn libraries refuse a larger s, though the precompile itself takes it."""

_ALGORITHM: Final = ec.ECDSA(SHA256())


@lru_cache(maxsize=4096)
def _public_key(x: int, y: int) -> ec.EllipticCurvePublicKey | None:
    if x >= _PRIME or y >= _PRIME:  # the library would reduce them
        return None
    try:
        return ec.EllipticCurvePublicNumbers(x, y, ec.SECP256R1()).public_key()
    except ValueError:
        return None


def is_signed(message: bytes, r: int, s: int, x: int, y: int) -> bool:
    """Whether (r, s) is a signature of SHA-256(`message`) by the key at (x, y); a key off the curve signs nothing."""
    key = _public_key(x, y)
    if key is None:
        return False
    try:
        key.verify(utils.encode_dss_signature(r, s), message, _ALGORITHM)
    except InvalidSignature:
        return False
    return True
