"""What proves an operation: its signature, its paymaster's, an authorization's. Texts from outside are kept without.

What a contract reverted with is its own to choose, and some give back the signature that they did not take.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from typing import Final

from proxy.userop.user_operation import UserOperation

_RUN: Final = 40
"""So many bytes in a row show a proof: more than a hash, which an envelope may begin with and errors name."""
_STEP: Final = 24
"""Between the stretches of a proof that are looked for: 64 bytes, as r and s of a signature are, have one whole."""
_VARIED: Final = 24
"""A stretch with fewer different bytes shows nothing: zeros and lengths of an encoding, which any data may have."""
_SHOWN: Final = 8  # hex digits of what is cut: a selector
_LONG_HEX: Final = re.compile(rf"[0-9a-fA-F]{{{2 * _RUN},}}")
_PAYMASTER: Final = 20  # bytes of the address in front of what v0.6 hands it


def without_proofs(text: str, op: UserOperation) -> str:
    """The text with every long row of hex digits cut short in which 64 bytes in a row prove the operation.

    Each byte of the text and of the proofs is looked at once or twice, however they are made.
    """
    if _LONG_HEX.search(text) is None:
        return text
    looked_for = {stretch for proof in _proofs_of(op) for stretch in _stretches_of(proof)}
    return _LONG_HEX.sub(lambda row: f"{row[0][:_SHOWN]}…" if _shows(row[0], looked_for) else row[0], text)


def _proofs_of(op: UserOperation) -> Iterator[bytes]:
    yield op.signature
    yield (op.paymaster_and_data or b"")[_PAYMASTER:]
    yield op.paymaster_data or b""
    yield op.paymaster_signature or b""
    if (authorization := op.eip7702_auth) is not None:
        yield authorization.r + authorization.s


def _stretches_of(proof: bytes) -> Iterator[bytes]:
    """The last one too."""
    last = len(proof) - _RUN
    return (proof[at : at + _RUN] for at in (*range(0, last, _STEP), last) if at >= 0)


def _shows(digits: str, looked_for: Collection[bytes]) -> bool:
    """Whether a row of digits, which may begin in the middle of a byte, has one of these stretches."""
    for first in (0, 1):
        data = bytes.fromhex(digits[first : first + 2 * ((len(digits) - first) // 2)])
        for at in range(len(data) - _RUN + 1):
            stretch = data[at : at + _RUN]
            if stretch in looked_for and len(set(stretch)) >= _VARIED:
                return True
    return False
