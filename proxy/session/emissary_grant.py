"""Grants of the emissary: the digest an owner signs, and an ENABLE envelope that carries one.

Source: the EIP-712 types in @rhinestone/sdk `smart-sessions`; rhinestonewtf/smart-sessions-v2 `HashLibV2.sol`,
`SmartSessionManager._enableSession`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from proxy.session.enable_digest import (
    POLICY_TYPES,
    address_word,
    domain_separator,
    flag_word,
    hash_action,
    hash_all,
    hash_erc7739,
    hash_policies,
    hash_struct,
    typehash,
)
from proxy.session.facts import EmissaryNonceFact, EnableSignatureFact
from proxy.session.revert import INDEX_OUT_OF_RANGE, Revert
from proxy.session.state import SessionState
from proxy.session.transitions import PUBLISHED, Contracts, enable, permits_module_calls
from proxy.userop.emissary_abi import EmissaryEnable
from proxy.userop.primitives import ZERO_ADDRESS, Address, Hash32, keccak256
from proxy.userop.session_data import FALLBACK_SELECTOR, FLAG_TARGET, ChainDigest

NO_LOCK_TAG: Final = bytes(12)
"""The lock tag of a grant without an allocator: the only kind that the SDK makes."""

_TYPES: Final = {
    **POLICY_TYPES,
    "LockTagData": "(bytes12 lockTag,PolicyData[] claimPolicies)",
    "SignedPermissions": "(ActionData[] actions,ERC7739Data erc7739Policies,LockTagData lockTagPolicies,"
    "bool permitGenericPolicy)",
    "SignedSession": "(address account,uint256 expires,uint256 nonce,SignedPermissions permissions,bytes32 salt,"
    "address sessionValidator,bytes sessionValidatorInitData,address smartSessionEmissary)",
    "ChainSession": "(uint64 chainId,SignedSession session)",
    "MultiChainSession": "(ChainSession[] sessionsAndChainIds)",
}
_IN_PERMISSIONS: Final = (*POLICY_TYPES, "LockTagData")
_IN_SESSION: Final = (*_IN_PERMISSIONS, "SignedPermissions")
_IN_CHAIN_SESSION: Final = (*_IN_SESSION, "SignedSession")

_LOCK_TAG_DATA: Final = typehash(_TYPES, "LockTagData", "PolicyData")
_PERMISSIONS: Final = typehash(_TYPES, "SignedPermissions", *_IN_PERMISSIONS)
_SESSION: Final = typehash(_TYPES, "SignedSession", *_IN_SESSION)
_CHAIN_SESSION: Final = typehash(_TYPES, "ChainSession", *_IN_CHAIN_SESSION)
_MULTI_CHAIN_SESSION: Final = typehash(_TYPES, "MultiChainSession", *_IN_CHAIN_SESSION, "ChainSession")
_DOMAIN: Final = domain_separator("SmartSessionEmissary")


def emissary_session_digest(
    grant: EmissaryEnable, *, account: Address, emissary: Address, nonce: int, lock_tag: bytes = NO_LOCK_TAG
) -> Hash32:
    """The struct hash of the granted session for one account, emissary and nonce (HashLibV2.sessionDigest)."""
    return emissary_session_digests(grant, account=account, emissary=emissary, lock_tag=lock_tag)(nonce)


def emissary_session_digests(
    grant: EmissaryEnable, *, account: Address, emissary: Address, lock_tag: bytes = NO_LOCK_TAG
) -> Callable[[int], Hash32]:
    """The same by nonce: what the session holds is hashed once, however many nonces are tried."""
    session = grant.session
    permits_fallback = any(
        action.target == FLAG_TARGET and action.selector == FALLBACK_SELECTOR for action in session.actions
    )
    permissions = hash_struct(
        _PERMISSIONS,
        hash_all(hash_action(action) for action in session.actions),
        hash_erc7739(session.erc7739_policies),
        hash_struct(_LOCK_TAG_DATA, lock_tag.ljust(32, b"\0"), hash_policies(grant.claim_policies)),
        flag_word(permits_fallback),
    )
    before = (_SESSION, address_word(account), grant.expires.to_bytes(32, "big"))
    after = (
        permissions,
        session.salt,
        address_word(session.session_validator),
        keccak256(session.session_validator_init_data),
        address_word(emissary),
    )
    return lambda nonce: hash_struct(*before, nonce.to_bytes(32, "big"), *after)


def emissary_multichain_digest(digests: Sequence[ChainDigest]) -> Hash32:
    """What the owner signs: the EIP-712 digest over the session digests of all chains, in the order given."""
    chains = (
        hash_struct(_CHAIN_SESSION, digest.chain_id.to_bytes(32, "big"), digest.session_digest) for digest in digests
    )
    return keccak256(b"\x19\x01" + _DOMAIN + hash_struct(_MULTI_CHAIN_SESSION, hash_all(chains)))


def enable_at_emissary(
    state: SessionState,
    grant: EmissaryEnable,
    nonce: int | None,
    accepts: Callable[[EnableSignatureFact], bool],
    contracts: Contracts = PUBLISHED,
) -> SessionState | Revert | EmissaryNonceFact:
    """The state after the grant has been checked and its session enabled; when it expires is for the caller to see.

    `nonce` is the account's at the emissary. `accepts` says whether the account takes the owner's signature. A grant
    that names an allocator is not proven here: neither its lock tag nor the allocator's signature is known.
    """
    key = state.key
    if grant.config.allocator != ZERO_ADDRESS:
        return Revert("InvalidAllocatorSignature")
    if grant.expires <= 1:
        return Revert("InvalidEmissaryEnableData")  # and so that `expires - 1` never reads as no end at all
    if nonce is None:
        return EmissaryNonceFact()
    if permits_module_calls(grant.session):
        return Revert("UnsafeFallbackNotAllowed")
    if grant.chain_digest_index >= len(grant.digests):
        return INDEX_OUT_OF_RANGE
    signed = grant.digests[grant.chain_digest_index]
    if signed.chain_id != key.chain_id:
        return Revert("ChainIdMismatch", (signed.chain_id,))
    computed = emissary_session_digest(grant, account=key.account, emissary=key.module, nonce=nonce)
    if signed.session_digest != computed:
        return Revert("HashMismatch", (signed.session_digest, computed))
    digest = emissary_multichain_digest(grant.digests)
    if not accepts(EnableSignatureFact(key.account, digest, grant.user_signature)):
        return Revert("InvalidUserSignature")
    return enable(state, grant.session, contracts)
