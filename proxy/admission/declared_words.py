"""Refusals of sessions of declared modules, in words that fit a module without ENABLE modes and policies."""

from __future__ import annotations

from dataclasses import replace

from proxy.errors import Code, Reason
from proxy.session.counters import SessionKey
from proxy.session.reasons import unsigned_by_key
from proxy.session.registry import Registry
from proxy.userop.declared_module import UNNAMED, DeclaredModule, key_id
from proxy.userop.decode import DecodedOperation
from proxy.userop.key_forms import key_that_signed, other_key_form
from proxy.userop.meanings import ArgumentMeaning
from proxy.userop.primitives import Address, print_bytes, print_checksummed


def in_words_of(module: DeclaredModule, reason: Reason, operation: DecodedOperation, registry: Registry) -> Reason:
    """The same refusal; where no session is known by the key that signed, with what may have gone wrong."""
    claim = operation.claim
    if reason.code is not Code.SESSION_UNKNOWN or reason.retryable or claim is None:
        return reason
    name = claim.envelope.permission_id
    account = print_checksummed(operation.op.sender)
    remedy = "have the owner grant it through this gate, or where the module tells of it by an event that is declared"
    if name == UNNAMED:
        return replace(reason, sentence=f"account {account} has no session in force at this module", remedy=remedy)
    if module.named_by is not ArgumentMeaning.SESSION_KEY:
        sentence = f"session {print_bytes(name)} of account {account} was not granted, as far as this gate was told"
        return replace(reason, sentence=sentence, remedy=remedy)
    if (meant := _signed_otherwise(module, operation, registry)) is not None:
        return unsigned_by_key(module.signer, meant)
    signer = print_checksummed(name[12:])
    sentence = f"the key of {signer} signed, which has no session of account {account}, as far as this gate was told"
    return replace(reason, sentence=sentence, remedy=f"sign with the session key, over exactly these fields; {remedy}")


def _signed_otherwise(module: DeclaredModule, operation: DecodedOperation, registry: Registry) -> Address | None:
    """The session key that signed in the form which this module does not take."""
    claim = operation.claim
    if claim is None or operation.told_hash is None:
        return None
    key = key_that_signed(other_key_form(module.signer), operation.told_hash, claim.envelope.signature)
    if key is None:
        return None
    named = SessionKey(operation.chain_id, module.address, operation.op.sender, key_id(key))
    return key if registry.get(named) is not None or registry.declarations.of(named) is not None else None
