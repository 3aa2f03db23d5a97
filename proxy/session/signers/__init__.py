"""Whether a session key signed: the session validators whose rules are known, checked without the chain."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Final

from proxy.session.addresses import VALIDATOR_KINDS, ValidatorKind
from proxy.session.signers.ecdsa import check_ecdsa
from proxy.session.signers.multi_signer import check_multi_signer
from proxy.session.signers.ownable import (
    OWNABLE_FORMS,
    KeyCheck,
    OwnableForm,
    check_ownable,
    nobody_signed,
    one_of,
    other_form,
)
from proxy.session.signers.verdict import (
    BAD_INIT_DATA,
    INVALID,
    TOO_SHORT,
    UNDECODABLE,
    UNKNOWN,
    VALID,
    SignatureOutcome,
    SignatureVerdict,
)
from proxy.session.signers.webauthn import NOT_SORTED, check_webauthn, check_webauthn_v0, fault_of_passkeys
from proxy.userop.key_forms import KEY_FORMS, key_that_signed
from proxy.userop.primitives import Address, Hash32
from proxy.userop.secp256k1 import recover, signed_message_hash

__all__ = [
    "BAD_INIT_DATA",
    "INVALID",
    "NOT_SORTED",
    "OWNABLE_FORMS",
    "TOO_SHORT",
    "UNDECODABLE",
    "UNKNOWN",
    "VALID",
    "KeyCheck",
    "OwnableForm",
    "SignatureCheck",
    "SignatureOutcome",
    "SignatureVerdict",
    "check_session_signature",
    "fault_of_passkeys",
    "is_checked_here",
    "key_check",
    "nobody_signed",
    "other_form",
    "recover",
    "signed_message_hash",
]

SignatureCheck = Callable[[Address, bytes, Hash32, bytes], SignatureVerdict]
"""(session validator, its init data, user_op_hash, signature) → verdict."""

_CHECKS: Final[Mapping[ValidatorKind, Callable[[bytes, Hash32, bytes], SignatureVerdict]]] = {
    ValidatorKind.ECDSA: check_ecdsa,
    ValidatorKind.WEBAUTHN: check_webauthn,
    ValidatorKind.WEBAUTHN_V0: check_webauthn_v0,
    ValidatorKind.MULTI_SIGNER: check_multi_signer,
}


def check_session_signature(
    validator: Address, init_data: bytes, user_op_hash: Hash32, signature: bytes
) -> SignatureVerdict:
    """What the session validator says to the session key's signature over `user_op_hash`.

    `init_data` is the session's validator configuration. `UNKNOWN` is not a pass: it means ask the chain.
    """
    kind = VALIDATOR_KINDS.get(validator)
    if kind is None:
        if validator in KEY_FORMS:
            return VALID if key_that_signed(validator, user_op_hash, signature) == init_data else INVALID
        return UNKNOWN
    if kind is ValidatorKind.OWNABLE:
        form = OWNABLE_FORMS.get(validator)
        return UNKNOWN if form is None else check_ownable(form, init_data, user_op_hash, signature)
    return _CHECKS[kind](init_data, user_op_hash, signature)


def key_check(validator: Address, init_data: bytes) -> KeyCheck:
    """`check_session_signature` made ready for one session's key."""
    form = OWNABLE_FORMS.get(validator)
    ready = None if form is None else one_of(form, init_data)
    return partial(check_session_signature, validator, init_data) if ready is None else ready


def is_checked_here(validator: Address) -> bool:
    """Whether what the validator wants signed is known."""
    if validator in KEY_FORMS:
        return True
    return validator in VALIDATOR_KINDS and (
        VALIDATOR_KINDS[validator] is not ValidatorKind.OWNABLE or validator in OWNABLE_FORMS
    )
