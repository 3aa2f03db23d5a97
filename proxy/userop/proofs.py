"""What proves an operation: its signature, its paymaster's, an authorization's. Texts from outside are kept without.

What a contract reverted with is its own to choose, and some give back the signature that they did not take.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from proxy.userop.user_operation import UserOperation

_RUN: Final = 40
"""So many bytes in a row show a proof: more than a hash, which an envelope may begin with and errors name."""
_STEP: Final = 8
_VARIED: Final = 24
"""A stretch with fewer different bytes shows nothing: zeros and lengths of an encoding, which any data may have."""
_SHOWN: Final = 8  # hex digits of what is cut: a selector
_LONG_HEX: Final = re.compile(rf"[0-9a-fA-F]{{{2 * _RUN},}}")
_PAYMASTER: Final = 20  # bytes of the address in front of what v0.6 hands it


def without_proofs(text: str, op: UserOperation) -> str:
    """The text with every long row of hex digits cut short in which 48 bytes in a row prove the operation."""
    if _LONG_HEX.search(text) is None:
        return text
    proofs = [proof for proof in _proofs_of(op) if len(proof) >= _RUN]
    return _LONG_HEX.sub(lambda row: f"{row[0][:_SHOWN]}…" if _shows(row[0], proofs) else row[0], text)


def _proofs_of(op: UserOperation) -> Iterator[bytes]:
    yield op.signature
    yield (op.paymaster_and_data or b"")[_PAYMASTER:]
    yield op.paymaster_data or b""
    yield op.paymaster_signature or b""
    if (authorization := op.eip7702_auth) is not None:
        yield authorization.r + authorization.s


def _shows(digits: str, proofs: list[bytes]) -> bool:
    """Whether a row of digits, which may begin in the middle of a byte, has a stretch of any of them."""
    for first in (0, 1):
        data = bytes.fromhex(digits[first : first + 2 * ((len(digits) - first) // 2)])
        stretches = {data[at : at + _RUN] for at in range(len(data) - _RUN + 1)}
        if any(stretch in stretches for proof in proofs for stretch in _stretches_of(proof)):
            return True
    return False


def _stretches_of(proof: bytes) -> Iterator[bytes]:
    """Of each 48 bytes in a row one, and the last."""
    for at in (*range(0, len(proof) - _RUN, _STEP), len(proof) - _RUN):
        stretch = proof[at : at + _RUN]
        if len(set(stretch)) >= _VARIED:
            yield stretch
