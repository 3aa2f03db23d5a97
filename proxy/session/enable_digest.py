"""The digests an owner signs to let an operation enable a session on the way (ENABLE and UNSAFE_ENABLE modes).

A session's digest is the EIP-712 struct hash of SignedSession; what is signed is the EIP-712 digest over the digests
of all chains at once, in a domain that names neither chain nor contract. Source: erc7579/smartsessions `HashLib.sol`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
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

POLICY_TYPES: Final = {
    "PolicyData": "(address policy,bytes initData)",
    "ActionData": "(bytes4 actionTargetSelector,address actionTarget,PolicyData[] actionPolicies)",
    # the member is contentNames in the ABI; the signed type says contentName
    "ERC7739Context": "(bytes32 appDomainSeparator,string[] contentName)",
    "ERC7739Data": "(ERC7739Context[] allowedERC7739Content,PolicyData[] erc1271Policies)",
}
"""The signed types that every kind of session is made of."""
_TYPES: Final = {
    **POLICY_TYPES,
    "SignedPermissions": "(bool permitGenericPolicy,bool permitAdminAccess,bool ignoreSecurityAttestations,"
    "bool permitERC4337Paymaster,PolicyData[] userOpPolicies,ERC7739Data erc7739Policies,ActionData[] actions)",
    "SignedSession": "(address account,SignedPermissions permissions,address sessionValidator,"
    "bytes sessionValidatorInitData,bytes32 salt,address smartSession,uint256 nonce)",
    "ChainSession": "(uint64 chainId,SignedSession session)",
    "MultiChainSession": "(ChainSession[] sessionsAndChainIds)",
}


def typehash(types: Mapping[str, str], primary: str, *referenced: str) -> Hash32:
    """EIP-712: the primary type, then the types it refers to in alphabetical order."""
    return keccak256("".join(name + types[name] for name in (primary, *sorted(referenced))).encode())


def domain_separator(name: str) -> Hash32:
    """The EIP-712 domain of a name in version 1, which is the same on every chain."""
    return keccak256(
        keccak256(b"EIP712Domain(string name,string version)") + keccak256(name.encode()) + keccak256(b"1")
    )


_POLICY_DATA: Final = typehash(POLICY_TYPES, "PolicyData")
_ACTION_DATA: Final = typehash(POLICY_TYPES, "ActionData", "PolicyData")
_CONTEXT: Final = typehash(POLICY_TYPES, "ERC7739Context")
_ERC7739_DATA: Final = typehash(POLICY_TYPES, "ERC7739Data", "ERC7739Context", "PolicyData")
_PERMISSIONS: Final = typehash(_TYPES, "SignedPermissions", *POLICY_TYPES)
_SESSION: Final = typehash(_TYPES, "SignedSession", "SignedPermissions", *POLICY_TYPES)
_CHAIN_SESSION: Final = typehash(_TYPES, "ChainSession", "SignedPermissions", "SignedSession", *POLICY_TYPES)
_MULTI_CHAIN_SESSION: Final = typehash(
    _TYPES, "MultiChainSession", "ChainSession", "SignedPermissions", "SignedSession", *POLICY_TYPES
)
_DOMAIN: Final = domain_separator("SmartSession")


def session_digest(
    session: SessionData, *, account: Address, smart_session: Address, mode: SessionMode, nonce: int
) -> Hash32:
    """The struct hash of the session for one account, module and enable nonce (HashLib.getAndVerifyDigest).

    UNSAFE_ENABLE differs in one signed flag, ignoreSecurityAttestations.
    """
    return session_digests(session, account=account, smart_session=smart_session, mode=mode)(nonce)


def session_digests(
    session: SessionData, *, account: Address, smart_session: Address, mode: SessionMode
) -> Callable[[int], Hash32]:
    """The same by nonce: what the session holds is hashed once, however many nonces are tried."""
    flags = {action.selector for action in session.actions if action.target == FLAG_TARGET}
    permissions = hash_struct(
        _PERMISSIONS,
        flag_word(FALLBACK_SELECTOR in flags),
        flag_word(SMART_SESSION_CALL_SELECTOR in flags),
        flag_word(mode is SessionMode.UNSAFE_ENABLE),
        flag_word(session.permit_erc4337_paymaster),
        hash_policies(session.user_op_policies),
        hash_erc7739(session.erc7739_policies),
        hash_all(hash_action(action) for action in session.actions),
    )
    before = (
        _SESSION,
        address_word(account),
        permissions,
        address_word(session.session_validator),
        keccak256(session.session_validator_init_data),
        session.salt,
        address_word(smart_session),
    )
    return lambda nonce: hash_struct(*before, nonce.to_bytes(32, "big"))


def multichain_digest(digests: Sequence[ChainDigest]) -> Hash32:
    """What the owner signs: the EIP-712 digest over the session digests of all chains, in the order given."""
    chains = (
        hash_struct(_CHAIN_SESSION, digest.chain_id.to_bytes(32, "big"), digest.session_digest) for digest in digests
    )
    return keccak256(b"\x19\x01" + _DOMAIN + hash_struct(_MULTI_CHAIN_SESSION, hash_all(chains)))


def hash_struct(*words: bytes) -> Hash32:
    """keccak256 of a type hash and the encoded members."""
    return keccak256(b"".join(words))


def hash_all(hashes: Iterable[bytes]) -> Hash32:
    """An array of structs."""
    return keccak256(b"".join(hashes))


def address_word(address: Address) -> bytes:
    """An address as a member."""
    return address.rjust(32, b"\0")


def flag_word(value: bool) -> bytes:
    """A boolean as a member."""
    return int(value).to_bytes(32, "big")


def hash_policies(policies: Sequence[PolicyData]) -> Hash32:
    """PolicyData[]."""
    return hash_all(
        hash_struct(_POLICY_DATA, address_word(each.policy), keccak256(each.init_data)) for each in policies
    )


def hash_action(action: ActionData) -> Hash32:
    """ActionData."""
    return hash_struct(
        _ACTION_DATA, action.selector.ljust(32, b"\0"), address_word(action.target), hash_policies(action.policies)
    )


def hash_erc7739(data: ERC7739Data) -> Hash32:
    """ERC7739Data."""
    return hash_struct(
        _ERC7739_DATA,
        hash_all(_hash_context(context) for context in data.contexts),
        hash_policies(data.erc1271_policies),
    )


def _hash_context(context: ERC7739Context) -> Hash32:
    names = hash_all(keccak256(name.encode()) for name in context.content_names)
    return hash_struct(_CONTEXT, context.app_domain_separator, names)
