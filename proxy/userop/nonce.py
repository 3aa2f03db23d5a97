"""Which validator an operation names. ERC-7579 leaves that to the account, so every known layout is looked at.

The nonce has 32 bytes: a key (0:24) that the account is free to use, and a sequence (24:32) that the entry point
counts per key (ERC-4337, semi-abstracted nonce).
"""

from __future__ import annotations

from collections.abc import Collection
from enum import StrEnum
from typing import Final

from proxy.userop.primitives import Address


class NonceLayout(StrEnum):
    """Where the validator's 20 bytes stand."""

    VALIDATOR_FIRST = "validator_first"  # 0:20: Safe7579, the ERC-7579 reference account, OpenZeppelin, Etherspot
    KERNEL = "kernel"  # 2:22, after a mode byte and a type byte: Kernel v3
    NEXUS = "nexus"  # 4:24, after three lane bytes and a mode byte: Nexus, Startale


# asked of every operation: a member that its class has to look up takes ten times as long as a name
_VALIDATOR_FIRST, _KERNEL, _NEXUS = NonceLayout.VALIDATOR_FIRST, NonceLayout.KERNEL, NonceLayout.NEXUS


class NexusMode:
    """The mode byte (3:4) of a Nexus or Startale nonce; every other value is plain validation there."""

    MODULE_ENABLE: Final = 0x01
    PREPARE: Final = 0x02  # Nexus only


class KernelMode:
    """The mode byte (0:1) of a Kernel v3 nonce."""

    DEFAULT: Final = 0x00
    ENABLE: Final = 0x01


class KernelType:
    """The type byte (1:2) of a Kernel v3 nonce: what it takes the validator's bytes for (`ValidationTypeLib.sol`)."""

    ROOT: Final = 0x00  # the bytes are ignored: the account's root validator decides
    VALIDATOR: Final = 0x01
    PERMISSION: Final = 0x02  # the id of a permission of Kernel's own


def find_session_module(nonce: int, modules: Collection[Address]) -> tuple[Address, NonceLayout] | None:
    """The listed module that the nonce names at any of the three places, and where; `None` when there is none."""
    data = nonce.to_bytes(32, "big")
    if (module := data[4:24]) in modules:
        return Address(module), _NEXUS
    if (module := data[:20]) in modules:
        return Address(module), _VALIDATOR_FIRST
    if (module := data[2:22]) in modules:
        return Address(module), _KERNEL
    return None


def kernel_permission(nonce: int) -> bytes | None:
    """The four bytes of a Kernel permission that the nonce names as validator; `None` for any other nonce.

    Kernel fills their place up with zeros (`ValidationTypeLib.sol`). A Nexus account whose lane happens to begin so has
    zeros in the last two of the four as well, where ids, which are cut from a hash, have none but once in 65,536.
    """
    data = nonce.to_bytes(32, "big")
    named = data[0] in (KernelMode.DEFAULT, KernelMode.ENABLE) and data[1] == KernelType.PERMISSION
    return data[2:6] if named and any(data[4:6]) and not any(data[6:22]) else None


def nonce_key(nonce: int) -> int:
    """The 192-bit key."""
    return nonce >> 64


def nonce_sequence(nonce: int) -> int:
    """The 64-bit sequence the entry point counts under the key."""
    return nonce & 0xFFFFFFFFFFFFFFFF


def nexus_mode(nonce: int) -> int:
    """Byte 3:4, the mode of a `NonceLayout.NEXUS` nonce."""
    return nonce >> 224 & 0xFF


def kernel_type(nonce: int) -> int:
    """Byte 1:2, the validation type of a `NonceLayout.KERNEL` nonce."""
    return nonce >> 240 & 0xFF


def kernel_mode(nonce: int) -> int:
    """Byte 0:1, the mode of a `NonceLayout.KERNEL` nonce."""
    return nonce >> 248
