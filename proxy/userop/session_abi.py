"""The Session structs of the Smart Sessions module as they travel in calldata and in enable signatures.

Source: erc7579/smartsessions `DataTypes.sol`, `ISmartSession.enableSessions`, `EncodeLib.sol`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from proxy.userop import abi
from proxy.userop.budget import Budget
from proxy.userop.primitives import Address, Hash32, Selector
from proxy.userop.session_data import (
    ActionData,
    ChainDigest,
    EnableSession,
    ERC7739Context,
    ERC7739Data,
    PolicyData,
    SessionData,
)

POLICY_DATA: Final = abi.tuple_of(abi.ADDRESS, abi.BYTES)
POLICY_DATAS: Final = abi.list_of(POLICY_DATA)
ACTION_DATA: Final = abi.tuple_of(abi.BYTES4, abi.ADDRESS, POLICY_DATAS)
ERC7739_CONTEXT: Final = abi.tuple_of(abi.BYTES32, abi.list_of(abi.STRING))
ERC7739_DATA: Final = abi.tuple_of(abi.list_of(ERC7739_CONTEXT), POLICY_DATAS)
CHAIN_DIGEST: Final = abi.tuple_of(abi.UINT64, abi.BYTES32)
SESSION: Final = abi.tuple_of(
    abi.ADDRESS, abi.BYTES, abi.BYTES32, POLICY_DATAS, ERC7739_DATA, abi.list_of(ACTION_DATA), abi.BOOL
)
ENABLE_SESSION: Final = abi.tuple_of(abi.UINT8, abi.list_of(CHAIN_DIGEST), SESSION, abi.BYTES)

_SESSIONS_ARGUMENT: Final = abi.tuple_of(abi.list_of(SESSION))
_SESSION_ARGUMENT: Final = abi.tuple_of(SESSION)
_ENABLE_SIGNATURE: Final = abi.tuple_of(ENABLE_SESSION, abi.BYTES)


def decode_sessions(arguments: bytes, budget: Budget | None = None) -> tuple[SessionData, ...]:
    """The sessions of abi.encode(Session[]): arguments of enableSessions, or onInstall data after its mode byte.

    Raises `Undecodable`.
    """
    (sessions,) = abi.decode(_SESSIONS_ARGUMENT, arguments, "sessions", budget)
    return tuple(session_from_members(session) for session in sessions)


def encode_sessions(sessions: Sequence[SessionData]) -> bytes:
    """abi.encode(Session[])."""
    return abi.encode(_SESSIONS_ARGUMENT, [[members_of_session(session) for session in sessions]])


def decode_session(data: bytes) -> SessionData:
    """The session of abi.encode(Session). Raises `Undecodable`."""
    (session,) = abi.decode(_SESSION_ARGUMENT, data, "session")
    return session_from_members(session)


def encode_session(session: SessionData) -> bytes:
    """abi.encode(Session)."""
    return abi.encode(_SESSION_ARGUMENT, [members_of_session(session)])


def decode_enable(plain: bytes, budget: Budget | None = None) -> tuple[EnableSession, bytes]:
    """abi.decode(plain, (EnableSession, bytes)): what is enabled, and the session key's signature.

    Raises `Undecodable`.
    """
    (index, digests, session, owner_signature), signature = abi.decode(_ENABLE_SIGNATURE, plain, "signature", budget)
    enable = EnableSession(
        chain_digest_index=index,
        digests=tuple(ChainDigest(chain_id, Hash32(digest)) for chain_id, digest in digests),
        session=session_from_members(session),
        permission_enable_signature=owner_signature,
    )
    return enable, signature


def encode_enable(enable: EnableSession, signature: bytes) -> bytes:
    """abi.encode(EnableSession, bytes)."""
    members = (
        enable.chain_digest_index,
        [(digest.chain_id, digest.session_digest) for digest in enable.digests],
        members_of_session(enable.session),
        enable.permission_enable_signature,
    )
    return abi.encode(_ENABLE_SIGNATURE, [members, signature])


def policies_from_members(policies: Sequence[Any]) -> tuple[PolicyData, ...]:
    """PolicyData records from decoded `POLICY_DATAS`."""
    return tuple(PolicyData(policy, init_data) for policy, init_data in policies)


def actions_from_members(actions: Sequence[Any]) -> tuple[ActionData, ...]:
    """ActionData records from decoded `ACTION_DATA` members."""
    return tuple(
        ActionData(Selector(selector), target, policies_from_members(policies))
        for selector, target, policies in actions
    )


def erc7739_from_members(members: Sequence[Any]) -> ERC7739Data:
    """The ERC7739Data record from decoded `ERC7739_DATA`."""
    contexts, policies = members
    return ERC7739Data(
        contexts=tuple(ERC7739Context(Hash32(separator), names) for separator, names in contexts),
        erc1271_policies=policies_from_members(policies),
    )


def session_from_members(members: Sequence[Any]) -> SessionData:
    """The SessionData record from decoded `SESSION`."""
    validator, init_data, salt, user_op_policies, erc7739, actions, permit_paymaster = members
    return SessionData(
        session_validator=Address(validator),
        session_validator_init_data=init_data,
        salt=Hash32(salt),
        user_op_policies=policies_from_members(user_op_policies),
        erc7739_policies=erc7739_from_members(erc7739),
        actions=actions_from_members(actions),
        permit_erc4337_paymaster=permit_paymaster,
    )


def members_of_policies(policies: Sequence[PolicyData]) -> list[tuple[Any, ...]]:
    """`POLICY_DATAS` members, for encoding."""
    return [(policy.policy, policy.init_data) for policy in policies]


def members_of_actions(actions: Sequence[ActionData]) -> list[tuple[Any, ...]]:
    """`ACTION_DATA` members, for encoding."""
    return [(action.selector, action.target, members_of_policies(action.policies)) for action in actions]


def members_of_erc7739(data: ERC7739Data) -> tuple[Any, ...]:
    """`ERC7739_DATA` members, for encoding."""
    return (
        [(context.app_domain_separator, context.content_names) for context in data.contexts],
        members_of_policies(data.erc1271_policies),
    )


def members_of_session(session: SessionData) -> tuple[Any, ...]:
    """`SESSION` members, for encoding."""
    return (
        session.session_validator,
        session.session_validator_init_data,
        session.salt,
        members_of_policies(session.user_op_policies),
        members_of_erc7739(session.erc7739_policies),
        members_of_actions(session.actions),
        session.permit_erc4337_paymaster,
    )
