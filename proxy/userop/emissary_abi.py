"""The structs of the emissary, the module of the Rhinestone SDK's newer sessions.

Source: the ABI and the encoders in @rhinestone/sdk (`smart-session-emissary`, `smart-sessions`), and
rhinestonewtf/smart-sessions-v2 `DataTypes.sol`. A session of it has no user-operation policies and no paymaster flag;
instead it has claim policies, which judge claims on locked tokens and never an operation.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from proxy.errors import Undecodable
from proxy.record import record
from proxy.userop import abi
from proxy.userop.budget import Budget
from proxy.userop.primitives import Address, Hash32
from proxy.userop.session_abi import (
    ACTION_DATA,
    CHAIN_DIGEST,
    ERC7739_DATA,
    POLICY_DATAS,
    actions_from_members,
    erc7739_from_members,
    members_of_actions,
    members_of_erc7739,
    members_of_policies,
    policies_from_members,
)
from proxy.userop.session_data import ChainDigest, PolicyData, SessionData

EMISSARY: Final = Address(bytes.fromhex("ad568b3f825a8d5ffc06dd3253526b64d810ae89"))
"""The released emissary."""
EMISSARIES: Final = frozenset({EMISSARY, Address(bytes.fromhex("60731de80d78548875f8a67c4fec2a8660194e0c"))})
"""The same address on every chain: release, development."""

EMISSARY_CONFIG: Final = abi.tuple_of(abi.UINT8, abi.UINT8, abi.ADDRESS, abi.BYTES32)
EMISSARY_SESSION: Final = abi.tuple_of(
    abi.ADDRESS, abi.BYTES, abi.BYTES32, abi.list_of(ACTION_DATA), POLICY_DATAS, ERC7739_DATA
)
EMISSARY_ENABLE: Final = abi.tuple_of(
    abi.BYTES, abi.BYTES, abi.UINT256, abi.tuple_of(abi.UINT8, abi.list_of(CHAIN_DIGEST), EMISSARY_SESSION)
)
EMISSARY_DISABLE: Final = abi.tuple_of(
    abi.BYTES, abi.BYTES, abi.UINT256, abi.tuple_of(abi.UINT8, abi.list_of(CHAIN_DIGEST))
)

_ENABLE_SIGNATURE: Final = abi.tuple_of(EMISSARY_ENABLE, EMISSARY_CONFIG, abi.BYTES)
_LAST_SCOPE: Final = 1
_LAST_RESET_PERIOD: Final = 7


@record(kw_only=True)
class EmissaryConfig:
    """Which session of which lock a call to the emissary is about.

    Scope, reset period and allocator name a lock of The Compact; the zero allocator names none, and then the other
    two mean nothing.
    """

    scope: int
    reset_period: int
    allocator: Address
    permission_id: Hash32


@record(kw_only=True)
class EmissaryEnable:
    """What an ENABLE signature or `setConfig` carries: the session, the digests its owner signed, the signatures.

    `expires` is in unix seconds: from then on the grant enables nothing. `claim_policies` belong to the session and
    are kept beside it, because they never judge an operation.
    """

    config: EmissaryConfig
    chain_digest_index: int
    digests: tuple[ChainDigest, ...]
    session: SessionData
    claim_policies: tuple[PolicyData, ...]
    expires: int
    user_signature: bytes
    allocator_signature: bytes


def decode_emissary_enable(plain: bytes, budget: Budget | None = None) -> tuple[EmissaryEnable, bytes]:
    """abi.decode(plain, (enable data, config, bytes)): what is enabled, and the session key's signature.

    Raises `Undecodable`.
    """
    enable, config, signature = abi.decode(_ENABLE_SIGNATURE, plain, "signature", budget)
    return enable_from_members(config, enable, "signature"), signature


def encode_emissary_enable(enable: EmissaryEnable, signature: bytes) -> bytes:
    """abi.encode(enable data, config, bytes)."""
    return abi.encode(_ENABLE_SIGNATURE, [members_of_enable(enable), members_of_config(enable.config), signature])


def config_from_members(members: Sequence[Any], where: str) -> EmissaryConfig:
    """The EmissaryConfig record from decoded `EMISSARY_CONFIG`. Raises `Undecodable` for a number outside its enum."""
    scope, reset_period, allocator, permission_id = members
    if scope > _LAST_SCOPE or reset_period > _LAST_RESET_PERIOD:
        raise Undecodable(where, f"no such scope ({scope}) or reset period ({reset_period})")
    return EmissaryConfig(
        scope=scope, reset_period=reset_period, allocator=allocator, permission_id=Hash32(permission_id)
    )


def enable_from_members(config: Sequence[Any], enable: Sequence[Any], where: str) -> EmissaryEnable:
    """The EmissaryEnable record from decoded `EMISSARY_CONFIG` and `EMISSARY_ENABLE`.

    Raises `Undecodable` when the config names another permission than the session's own, as the emissary reverts.
    """
    allocator_signature, user_signature, expires, (index, digests, session) = enable
    read_config = config_from_members(config, where)
    validator, init_data, salt, actions, claim_policies, erc7739 = session
    granted = SessionData(
        session_validator=Address(validator),
        session_validator_init_data=init_data,
        salt=Hash32(salt),
        erc7739_policies=erc7739_from_members(erc7739),
        actions=actions_from_members(actions),
    )
    if read_config.permission_id != granted.permission_id:
        raise Undecodable(where, "the config names another permission id than that of the session")
    return EmissaryEnable(
        config=read_config,
        chain_digest_index=index,
        digests=tuple(ChainDigest(chain_id, Hash32(digest)) for chain_id, digest in digests),
        session=granted,
        claim_policies=policies_from_members(claim_policies),
        expires=expires,
        user_signature=user_signature,
        allocator_signature=allocator_signature,
    )


def members_of_config(config: EmissaryConfig) -> tuple[Any, ...]:
    """`EMISSARY_CONFIG` members, for encoding."""
    return config.scope, config.reset_period, config.allocator, config.permission_id


def members_of_enable(enable: EmissaryEnable) -> tuple[Any, ...]:
    """`EMISSARY_ENABLE` members, for encoding."""
    session = enable.session
    members = (
        session.session_validator,
        session.session_validator_init_data,
        session.salt,
        members_of_actions(session.actions),
        members_of_policies(enable.claim_policies),
        members_of_erc7739(session.erc7739_policies),
    )
    digests = [(digest.chain_id, digest.session_digest) for digest in enable.digests]
    inner = (enable.chain_digest_index, digests, members)
    return enable.allocator_signature, enable.user_signature, enable.expires, inner
