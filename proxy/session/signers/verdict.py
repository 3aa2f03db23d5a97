"""The verdict on a session key's signature."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from proxy.record import record
from proxy.session.revert import BARE, Revert


class SignatureOutcome(StrEnum):
    """What a session validator says."""

    VALID = "valid"
    INVALID = "invalid"  # the module returns 1: AA24
    MALFORMED = "malformed"  # the validator reverts
    UNKNOWN = "unknown"  # only the chain can tell: another validator, a contract as signer, code that may be missing


@record()
class SignatureVerdict:
    """An outcome; `revert` goes with MALFORMED and with nothing else."""

    outcome: SignatureOutcome
    revert: Revert | None = None


def reverts(revert: Revert) -> SignatureVerdict:
    """The verdict of a validator that reverts."""
    return SignatureVerdict(SignatureOutcome.MALFORMED, revert)


VALID: Final = SignatureVerdict(SignatureOutcome.VALID)
INVALID: Final = SignatureVerdict(SignatureOutcome.INVALID)
UNKNOWN: Final = SignatureVerdict(SignatureOutcome.UNKNOWN)
TOO_SHORT: Final = reverts(Revert("InvalidSignature"))
"""Fewer signatures than the threshold: OwnableValidator reverts with InvalidSignature()."""
BAD_INIT_DATA: Final = reverts(BARE)
"""The session's own configuration cannot be decoded: no signature will ever pass."""
UNDECODABLE: Final = reverts(BARE)
"""The signature is not the ABI encoding that the validator decodes."""
