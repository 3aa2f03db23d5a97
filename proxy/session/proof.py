"""The session key's signature, which is checked before anything that costs more than it."""

from __future__ import annotations

from proxy.session import reasons
from proxy.session.outcome import Refused
from proxy.session.revert import BARE
from proxy.session.signers import (
    OWNABLE_FORMS,
    SignatureCheck,
    SignatureOutcome,
    SignatureVerdict,
    check_session_signature,
    other_form,
)
from proxy.session.state import SessionState
from proxy.userop.decode import DecodedOperation
from proxy.userop.key_forms import KEY_FORMS
from proxy.userop.primitives import Address, Hash32


class OnceChecked:
    """A `SignatureCheck` that remembers what it said: an operation is judged more than once, its signature is not."""

    __slots__ = ("_check", "_said", "is_good")

    def __init__(self, check: SignatureCheck = check_session_signature) -> None:
        self._check = check
        self._said: dict[tuple[Address, bytes, Hash32, bytes], SignatureVerdict] = {}
        self.is_good = False
        """Whether a signature was found good."""

    def __call__(
        self, validator: Address, init_data: bytes, user_op_hash: Hash32, signature: bytes
    ) -> SignatureVerdict:
        subject = (validator, init_data, user_op_hash, signature)
        said = self._said.get(subject)
        if said is None:
            said = self._said[subject] = self._check(*subject)
            if said.outcome is SignatureOutcome.VALID:
                self.is_good = True
        return said

    def heard(self, state: SessionState, user_op_hash: Hash32, signature: bytes, said: SignatureVerdict) -> None:
        """Somebody else has checked this signature of a session's key."""
        if state.session_validator is not None:
            self._said[state.session_validator, state.session_validator_init_data, user_op_hash, signature] = said
            self.is_good = self.is_good or said.outcome is SignatureOutcome.VALID


def refused_for_signature(verdict: SignatureVerdict, subject: tuple[Address, bytes, Hash32, bytes]) -> Refused | None:
    """How the module refuses what its session validator does not take; `None` where it is taken or only may be."""
    match verdict.outcome:
        case SignatureOutcome.INVALID:
            validator, init_data, digest, signature = subject
            if validator in KEY_FORMS:
                return Refused(reason=reasons.unsigned_by_key(validator, Address(init_data)))
            form = OWNABLE_FORMS.get(validator)
            other = None if form is None else other_form(form, init_data, digest, signature)
            return Refused(reason=reasons.bad_signature(form, other))
        case SignatureOutcome.MALFORMED:
            revert = verdict.revert or BARE
            return Refused(reason=reasons.malformed_signature(revert), revert=revert)
        case SignatureOutcome.VALID | SignatureOutcome.UNKNOWN:
            return None


def refused_unproven(head: DecodedOperation, state: SessionState, check: SignatureCheck) -> Refused | None:
    """How the signature of a USE operation fails, for which nothing but its head has to be read.

    Who signs for a session is part of its name, so that even old knowledge of it tells. `None` where the signature is
    good, where only the chain can tell, and for an ENABLE, which brings its key along and so proves nothing by it.
    """
    claim = head.claim
    if claim is None or claim.envelope.enable is not None or state.session_validator is None:
        return None
    subject = (
        state.session_validator,
        state.session_validator_init_data,
        head.user_op_hash,
        claim.envelope.signature,
    )
    return refused_for_signature(check(*subject), subject)
