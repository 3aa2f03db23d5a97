"""The words for what this gate itself refuses, apart from what the chain would."""

from __future__ import annotations

from dataclasses import replace

from proxy.errors import Code, Reason, StateUnavailable, Undecodable
from proxy.session.facts import MissingFact
from proxy.session.freezes import Freeze
from proxy.session.registry import KnownSession
from proxy.userop.decode import MisnamedModule
from proxy.userop.primitives import Address, print_bytes, print_checksummed


def in_words(fact: MissingFact) -> str:
    """`EnableNonceFact` as `the enable nonce is not known`."""
    words = "".join(f" {letter.lower()}" if letter.isupper() else letter for letter in type(fact).__name__)
    return f"the{words.removesuffix(' fact')} is not known"


def undecodable(error: Undecodable) -> Reason:
    """A claim to a session that cannot be read exactly as the chain would read it."""
    remedy = "build the signature and call data with the session SDK's own encoders"
    if isinstance(error, MisnamedModule):
        remedy = "for a session's operation write 01 into byte 1 of the nonce; the owner's names no session module"
    return Reason(
        code=Code.UNDECODABLE,
        sentence=f"the operation cannot be read exactly as the chain would read it: {error}",
        remedy=remedy,
        got=error.where,
    )


def delegate_unknown(error: Undecodable) -> Reason:
    """A session's operation of a delegated account whose code was not told."""
    return Reason(
        code=Code.UNDECODABLE,
        sentence=f"what the session key signed cannot be told: {error}",
        remedy="send the account's eip7702Auth along, or delegate the account first; the operator may set a node",
        got=error.where,
    )


def hash_unknown(rule: str) -> Reason:
    """A rule counts an operation to its end, and nobody can tell how it will be named there."""
    return Reason(
        code=Code.STATE_UNAVAILABLE,
        sentence=f"rule {rule} counts this operation until it is mined, and its hash cannot be told: it covers the"
        " sender's EIP-7702 delegate, which is not known",
        remedy="send the account's eip7702Auth along, or have the operator of this gate set a node",
        rule=rule,
        missing="node",
    )


def unavailable(error: StateUnavailable) -> Reason:
    """Doubt: a fact is missing and cannot be had now."""
    return Reason(
        code=Code.STATE_UNAVAILABLE,
        sentence=f"not decided, because a fact cannot be had now: {error.what}",
        remedy=f"try again; if it persists, the operator of this gate has to look at its {error.fact}",
        missing=error.fact,
        retryable=True,
    )


def strict(account: Address) -> Reason:
    """An owner-signed or foreign operation of an account that must be readable throughout."""
    return Reason(
        code=Code.UNDECODABLE,
        sentence=f"account {print_checksummed(account)} is strict here, and this operation cannot be read throughout",
        remedy="send single calls or a batch by ERC-7579 execute, or have this gate's operator drop the strictness",
    )


def hidden_claim() -> Reason:
    """A session's signature under a nonce that names no session module."""
    return Reason(
        code=Code.UNDECODABLE,
        sentence="the signature is a session's, and the nonce names no session module",
        remedy="name the session module in the nonce key, so that the session can be judged",
        got="signature",
    )


def perhaps_granted_again(reason: Reason) -> Reason:
    """A removal that was known of before the newest block: somebody else may have granted the session again since."""
    return replace(
        reason,
        remedy="send again in a moment if it was granted again; otherwise ask the owner for a new session",
        retryable=True,
    )


def removed_as_seen(reason: Reason) -> Reason:
    """A removal that passed here, at a gate that has no node: it cannot know what was granted elsewhere since."""
    return replace(
        reason,
        sentence=f"{reason.sentence}, as far as this gate saw: it has no node to ask whether it was granted again"
        " elsewhere",
        remedy="ask the owner for a new session, granted through this gate; if it was granted again elsewhere, have the"
        " operator of this gate set a node",
    )


def frozen(freeze: Freeze, *, told_why: bool = False) -> Reason:
    """The local kill switch. What ops noted down is for the session's key, and nobody who only names its session."""
    note = f": {freeze.note}" if freeze.note and told_why else ""
    return Reason(
        code=Code.SESSION_REVOKED,
        sentence=f"session {print_bytes(freeze.permission_id)} is frozen at this gate{note}",
        remedy="ask the operator of this gate to lift the freeze",
    )


def pending(known: KnownSession) -> Reason:
    """A session whose grant was accepted and is not in force yet."""
    granted_by = "an operation" if known.granted_by is None else f"operation {print_bytes(known.granted_by)}"
    return Reason(
        code=Code.SESSION_UNKNOWN,
        sentence=f"session {print_bytes(known.key.permission_id)} is granted by {granted_by}, which is not mined yet",
        remedy="wait for that operation's receipt, then send again",
        retryable=True,
    )
