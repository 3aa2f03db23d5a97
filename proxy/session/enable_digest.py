"""The digests an owner signs to let an operation enable a session on the way (ENABLE and UNSAFE_ENABLE modes).

A session's digest is the EIP-712 struct hash of SignedSession; what is signed is the EIP-712 digest over the digests
of all chains at once, in a domain that names neither chain nor contract. Source: erc7579/smartsessions `HashLib.sol`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from proxy.userop.primitives import Address, Hash32, keccak256
from proxy.userop.session_data import (
    FALLBACK_SELECTOR,
    FLAG_TARGET,
    SMART_SESSION_CALL_SELECTOR,
    ActionData,
    ChainDigest,
    ERC7739Context,
    ERC7739Data,
    PolicyData,
    SessionData,
)
from proxy.userop.signature import SessionMode

_TYPES: Final = {
    "PolicyData": "(address policy,bytes initData)",
    "ActionData": "(bytes4 actionTargetSelector,address actionTarget,PolicyData[] actionPolicies)",
    # the member is contentNames in the ABI; the signed type says contentName
    "ERC7739Context": "(bytes32 appDomainSeparator,string[] contentName)",
    "ERC7739Data": "(ERC7739Context[] allowedERC7739Content,PolicyData[] erc1271Policies)",
    "SignedPermissions": "(bool permitGenericPolicy,bool permitAdminAccess,bool ignoreSecurityAttestations,"
    "bool permitERC4337Paymaster,PolicyData[] userOpPolicies,ERC7739Data erc7739Policies,ActionData[] actions)",
    "SignedSession": "(address account,SignedPermissions permissions,address sessionValidator,"
    "bytes sessionValidatorInitData,bytes32 salt,address smartSession,uint256 nonce)",
    "ChainSession": "(uint64 chainId,SignedSession session)",
    "MultiChainSession": "(ChainSession[] sessionsAndChainIds)",
}
_SESSION_TYPES: Final = ("ActionData", "ERC7739Context", "ERC7739Data", "PolicyData")


def _typehash(primary: str, *referenced: str) -> Hash32:
    """EIP-712: the primary type, then the types it refers to in alphabetical order."""
    return keccak256("".join(name + _TYPES[name] for name in (primary, *sorted(referenced))).encode())


_POLICY_DATA: Final = _typehash("PolicyData")
_ACTION_DATA: Final = _typehash("ActionData", "PolicyData")
_CONTEXT: Final = _typehash("ERC7739Context")
_ERC7739_DATA: Final = _typehash("ERC7739Data", "ERC7739Context", "PolicyData")
_PERMISSIONS: Final = _typehash("SignedPermissions", *_SESSION_TYPES)
_SESSION: Final = _typehash("SignedSession", "SignedPermissions", *_SESSION_TYPES)
_CHAIN_SESSION: Final = _typehash("ChainSession", "SignedPermissions", "SignedSession", *_SESSION_TYPES)
_MULTI_CHAIN_SESSION: Final = _typehash(
    "MultiChainSession", "ChainSession", "SignedPermissions", "SignedSession", *_SESSION_TYPES
)
_DOMAIN: Final = keccak256(
    keccak256(b"EIP712Domain(string name,string version)") + keccak256(b"SmartSession") + keccak256(b"1")
)


def session_digest(
    session: SessionData, *, account: Address, smart_session: Address, mode: SessionMode, nonce: int
) -> Hash32:
    """The struct hash of the session for one account, module and enable nonce (HashLib.getAndVerifyDigest).

    UNSAFE_ENABLE differs in one signed flag, ignoreSecurityAttestations.
    """
    flags = {action.selector for action in session.actions if action.target == FLAG_TARGET}
    permissions = _hash(
        _PERMISSIONS,
        _flag(FALLBACK_SELECTOR in flags),
        _flag(SMART_SESSION_CALL_SELECTOR in flags),
        _flag(mode is SessionMode.UNSAFE_ENABLE),
        _flag(session.permit_erc4337_paymaster),
        _hash_policies(session.user_op_policies),
        _hash_erc7739(session.erc7739_policies),
        _hash_all(_hash_action(action) for action in session.actions),
    )
    return _hash(
        _SESSION,
        _word(account),
        permissions,
        _word(session.session_validator),
        keccak256(session.session_validator_init_data),
        session.salt,
        _word(smart_session),
        nonce.to_bytes(32, "big"),
    )


def multichain_digest(digests: Sequence[ChainDigest]) -> Hash32:
    """What the owner signs: the EIP-712 digest over the session digests of all chains, in the order given."""
    chains = (_hash(_CHAIN_SESSION, digest.chain_id.to_bytes(32, "big"), digest.session_digest) for digest in digests)
    return keccak256(b"\x19\x01" + _DOMAIN + _hash(_MULTI_CHAIN_SESSION, _hash_all(chains)))


def _hash(*words: bytes) -> Hash32:
    return keccak256(b"".join(words))


def _hash_all(hashes: Iterable[bytes]) -> Hash32:
    return keccak256(b"".join(hashes))


def _word(address: Address) -> bytes:
    return address.rjust(32, b"\0")


def _flag(value: bool) -> bytes:
    return int(value).to_bytes(32, "big")


def _hash_policies(policies: Sequence[PolicyData]) -> Hash32:
    return _hash_all(_hash(_POLICY_DATA, _word(each.policy), keccak256(each.init_data)) for each in policies)


def _hash_action(action: ActionData) -> Hash32:
    return _hash(_ACTION_DATA, action.selector.ljust(32, b"\0"), _word(action.target), _hash_policies(action.policies))


def _hash_erc7739(data: ERC7739Data) -> Hash32:
    return _hash(
        _ERC7739_DATA,
        _hash_all(_hash_context(context) for context in data.contexts),
        _hash_policies(data.erc1271_policies),
    )


def _hash_context(context: ERC7739Context) -> Hash32:
    names = _hash_all(keccak256(name.encode()) for name in context.content_names)
    return _hash(_CONTEXT, context.app_domain_separator, names)
