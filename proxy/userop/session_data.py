"""The Session struct of the Smart Sessions module and the ids derived from it.

Source: erc7579/smartsessions `DataTypes.sol`, `IdLib.sol`. These are the values that travel in calldata and in
ENABLE signatures; what the chain has made of them is `proxy.session.state`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Final

from proxy.record import record
from proxy.userop.primitives import Address, Hash32, Selector, keccak256

FLAG_TARGET: Final = Address(bytes(19) + b"\x01")
"""The pseudo target address(1) under which the two special actions are enabled; no call may go to it."""
FALLBACK_SELECTOR: Final = Selector(bytes.fromhex("00000001"))
SMART_SESSION_CALL_SELECTOR: Final = Selector(bytes.fromhex("00000002"))
VALUE_SELECTOR: Final = Selector(bytes.fromhex("ffffffff"))
"""Stands for the selector of a call with fewer than four bytes of call data (a plain value transfer)."""


@record()
class PolicyData:
    """One policy contract and the bytes that initialise it."""

    policy: Address
    init_data: bytes


@record()
class ActionData:
    """An allowed (target, selector) and the policies that limit it."""

    selector: Selector
    target: Address
    policies: tuple[PolicyData, ...]


@record()
class ERC7739Context:
    """An app domain whose typed contents a session may sign (ERC-7739)."""

    app_domain_separator: Hash32
    content_names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ERC7739Data:
    """What a session may sign off chain: contents and the ERC-1271 policies."""

    contexts: tuple[ERC7739Context, ...] = ()
    erc1271_policies: tuple[PolicyData, ...] = ()


@dataclass(frozen=True, kw_only=True)
class SessionData:
    """A session as an owner grants it. `permission_id` commits to validator, init data and salt only."""

    session_validator: Address
    session_validator_init_data: bytes
    salt: Hash32
    user_op_policies: tuple[PolicyData, ...] = ()
    erc7739_policies: ERC7739Data = ERC7739Data()
    actions: tuple[ActionData, ...] = ()
    permit_erc4337_paymaster: bool = False

    @cached_property
    def permission_id(self) -> Hash32:
        """keccak256(abi.encode(sessionValidator, sessionValidatorInitData, salt)) (IdLib.toPermissionIdMemory)."""
        return permission_id_of(self.session_validator, self.session_validator_init_data, self.salt)


@record()
class ChainDigest:
    """One chain's session digest inside a multi-chain enable signature."""

    chain_id: int
    session_digest: Hash32


@record(kw_only=True)
class EnableSession:
    """What an ENABLE signature carries: the session, the digests the owner signed, and the owner's signature."""

    chain_digest_index: int
    digests: tuple[ChainDigest, ...]
    session: SessionData
    permission_enable_signature: bytes


def permission_id_of(session_validator: Address, init_data: bytes, salt: Hash32) -> Hash32:
    """keccak256(abi.encode(address, bytes, bytes32))."""
    padded = init_data.ljust(-(-len(init_data) // 32) * 32, b"\0")
    return keccak256(
        b"".join(
            (
                bytes(12),
                session_validator,
                (0x60).to_bytes(32, "big"),
                salt,
                len(init_data).to_bytes(32, "big"),
                padded,
            )
        )
    )


@lru_cache(maxsize=16_384)
def action_id_of(target: Address, selector: Selector) -> Hash32:
    """keccak256(target ‖ selector), packed (IdLib.toActionId). Sessions do the same again and again."""
    return keccak256(target + selector)


def action_config_id(account: Address, permission_id: Hash32, action_id: Hash32) -> Hash32:
    """The configId of an action policy: keccak256(account ‖ keccak256(permissionId ‖ actionId))."""
    return keccak256(account + keccak256(permission_id + action_id))


def user_op_config_id(account: Address, permission_id: Hash32) -> Hash32:
    """The configId of a user-operation policy: keccak256(account ‖ permissionId)."""
    return keccak256(account + permission_id)


def erc1271_config_id(account: Address, permission_id: Hash32) -> Hash32:
    """The configId of an ERC-1271 policy: keccak256(account ‖ keccak256("ERC1271: " ‖ permissionId))."""
    return keccak256(account + keccak256(b"ERC1271: " + permission_id))


def selector_of(call_data: bytes) -> Selector:
    """The selector the module looks actions up by: four bytes, or VALUE_SELECTOR when there are fewer."""
    return Selector(call_data[:4]) if len(call_data) >= 4 else VALUE_SELECTOR


FALLBACK_ACTION_ID: Final = action_id_of(FLAG_TARGET, FALLBACK_SELECTOR)
SMART_SESSION_CALL_ACTION_ID: Final = action_id_of(FLAG_TARGET, SMART_SESSION_CALL_SELECTOR)
