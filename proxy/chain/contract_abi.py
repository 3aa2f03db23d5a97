"""Contract calls of ours and what nodes return for them, encoded and decoded by eth-abi.

Addresses are bytes here as everywhere. What strangers send is read by `proxy.userop.abi`, which is bounded.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from eth_abi.codec import ABICodec
from eth_abi.decoding import AddressDecoder
from eth_abi.exceptions import DecodingError
from eth_abi.registry import ABIRegistry, BaseEquals
from eth_abi.registry import registry as published

from proxy.errors import Undecodable
from proxy.userop.primitives import Address

_MOST_BYTES: Final = 1 << 20


class _AddressBytes(AddressDecoder):
    """The address as bytes, not as text."""

    decoder_fn = staticmethod(Address)  # type: ignore[assignment]  # typed for the text that it makes


def _codec() -> ABICodec:
    registry: ABIRegistry = published.copy()  # type: ignore[no-untyped-call]  # it has no types
    registry.unregister_decoder("address")
    is_address = BaseEquals("address")  # type: ignore[no-untyped-call]  # it has none either
    registry.register_decoder(is_address, _AddressBytes, label="address")
    return ABICodec(registry)


_CODEC: Final = _codec()


def encode(types: Sequence[str], values: Sequence[object]) -> bytes:
    """`abi.encode` of values of these types. Raises `eth_abi.exceptions.EncodingError` for a mistake of ours."""
    return _CODEC.encode(types, values)


def decode(types: Sequence[str], data: bytes, where: str) -> tuple[Any, ...]:  # Any: what the types say
    """The values of these types. Raises `Undecodable` naming `where`, also for more data than a view ever returns."""
    if len(data) > _MOST_BYTES:
        raise Undecodable(where, f"{len(data)} bytes, more than {_MOST_BYTES}")
    try:
        return _CODEC.decode(types, data)
    except (DecodingError, OverflowError, UnicodeDecodeError) as error:
        raise Undecodable(where, f"is not of the types ({', '.join(types)}): {type(error).__name__}") from None
