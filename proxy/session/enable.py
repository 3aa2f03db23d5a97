"""ENABLE and UNSAFE_ENABLE: the session granted inside the operation that uses it first.

Source: erc7579/smartsessions `SmartSession._enablePolicies`, `HashLib`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

from proxy.session.counters import SessionKey
from proxy.session.emissary_grant import emissary_session_digests
from proxy.session.enable_digest import multichain_digest, session_digest, session_digests
from proxy.session.facts import EnableNonceFact, EnableSignatureFact
from proxy.session.revert import INDEX_OUT_OF_RANGE, Revert
from proxy.session.signers import OWNABLE_FORMS, OwnableForm, nobody_signed
from proxy.session.state import SessionState
from proxy.session.transitions import PUBLISHED, Contracts, enable
from proxy.userop.emissary_abi import EmissaryEnable
from proxy.userop.primitives import Address
from proxy.userop.session_data import EnableSession
from proxy.userop.signature import SessionMode


def enable_in_operation(
    state: SessionState,
    grant: EnableSession,
    mode: SessionMode,
    accepts: Callable[[EnableSignatureFact], bool],
    contracts: Contracts = PUBLISHED,
) -> SessionState | Revert | EnableNonceFact:
    """The state after the grant has been checked and its session enabled; the enable nonce has grown by one.

    `accepts` says whether the account takes the owner's signature. A later revert of the operation undoes all of it.
    """
    nonce, key = state.enable_nonce, state.key
    if nonce is None:
        return EnableNonceFact()
    computed = session_digest(grant.session, account=key.account, smart_session=key.module, mode=mode, nonce=nonce)
    if grant.chain_digest_index >= len(grant.digests):
        return INDEX_OUT_OF_RANGE
    signed = grant.digests[grant.chain_digest_index]
    if signed.chain_id != key.chain_id:
        return Revert("ChainIdMismatch", (signed.chain_id,))
    if signed.session_digest != computed:
        return Revert("HashMismatch", (signed.session_digest, computed))
    digest = multichain_digest(grant.digests)
    if not accepts(EnableSignatureFact(key.account, digest, grant.permission_enable_signature)):
        return Revert("InvalidEnableSignature", (key.account, digest))
    return enable(replace(state, enable_nonce=nonce + 1), grant.session, contracts)


def signed_nonce(
    grant: EnableSession | EmissaryEnable, key: SessionKey, mode: SessionMode, nonces: Iterable[int]
) -> int | None:
    """The first of these nonces over which the digest in the grant can have been made; `None` when it is of none."""
    if grant.chain_digest_index >= len(grant.digests):
        return None
    signed = grant.digests[grant.chain_digest_index].session_digest
    if isinstance(grant, EmissaryEnable):
        digest = emissary_session_digests(grant, account=key.account, emissary=key.module)
    else:
        digest = session_digests(grant.session, account=key.account, smart_session=key.module, mode=mode)
    return next((nonce for nonce in nonces if digest(nonce) == signed), None)


def form_of_owner(grant: EnableSession | EmissaryEnable) -> OwnableForm | None:
    """What the validator takes that the owner's signature names: in front of it, on Kernel after a byte of 01."""
    signed = grant.user_signature if isinstance(grant, EmissaryEnable) else grant.permission_enable_signature
    return _form_and_rest(signed)[0]


def is_owned_by_nobody(fact: EnableSignatureFact) -> bool:
    """Whether no owner of any account can have made the signature on a grant, for which nobody has to be asked.

    Who an account's owners are only the chain can tell; that a known validator takes no such bytes can be told here.
    """
    form, rest = _form_and_rest(fact.signature)
    return form is not None and nobody_signed(form, fact.digest, rest)


def _form_and_rest(signed: bytes) -> tuple[OwnableForm | None, bytes]:
    if (form := OWNABLE_FORMS.get(Address(signed[:20]))) is not None:
        return form, signed[20:]
    return OWNABLE_FORMS.get(Address(signed[1:21])), signed[21:]
