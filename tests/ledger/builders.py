"""Reservations in few words."""

from __future__ import annotations

from proxy.ledger.reservation import NonceSlot, Reservation
from proxy.session.counters import Charge, Counter, HoldName, SessionKey
from proxy.userop.primitives import Address, Hash32

MODULE = Address(b"\x5e" * 20)
ACCOUNT = Address(b"\xac" * 20)
POLICY = Address(b"\x90" * 20)
ENTRY_POINT = Address(b"\xee" * 20)
PERMISSION = Hash32(b"\x1d" * 32)
SESSION = SessionKey(1868, MODULE, ACCOUNT, PERMISSION)


def counter(name: bytes = b"spend") -> Counter:
    """A counter told apart by its slot."""
    return Counter(MODULE, ACCOUNT, POLICY, Hash32(b"\xc0" * 32), name)


def operation_hash(number: int) -> Hash32:
    """A distinct hash for each number."""
    return Hash32(number.to_bytes(32, "big"))


def hold_name(number: int, grant: int | None = None) -> HoldName:
    """What `reservation` of this number is held under."""
    return HoldName(operation_hash(number), SESSION, grant)


def reservation(
    number: int, *amounts: int, nonce: int | None = None, limit: int = 100, name: bytes = b"spend"
) -> Reservation:
    """Operation `number` charging one counter; its nonce is its number unless said otherwise."""
    return Reservation(
        user_op_hash=operation_hash(number),
        slot=NonceSlot(1868, ENTRY_POINT, ACCOUNT, number if nonce is None else nonce),
        session=SESSION,
        charges=tuple(Charge(counter(name), amount, limit) for amount in amounts),
        valid_until=None,
    )
