"""Value moved by calls to Permit2 (Uniswap `AllowanceTransfer.sol`, `SignatureTransfer.sol`)."""

from __future__ import annotations

from typing import Final

from proxy.errors import Undecodable
from proxy.userop.arguments import Arguments, selector
from proxy.userop.movement import Movement, Scope
from proxy.userop.primitives import Address, Selector
from proxy.userop.transfers_tokens import Reader

PERMIT2: Final = Address(bytes.fromhex("000000000022D473030F116dDEE9F6B43aC78BA3"))
"""The canonical deployment, the same address on every chain."""

_AMOUNT_BITS: Final = 160


def _allowance_transfer(scope: Scope, item: Arguments, at: int = 0) -> tuple[Movement, ...]:
    return scope.moved(
        item.address(at), item.address(at + 1), item.uint(at + 2, _AMOUNT_BITS), token=item.address(at + 3)
    )


def _transfer_from(scope: Scope) -> tuple[Movement, ...]:
    return _allowance_transfer(scope, scope.arguments)


def _transfer_from_batch(scope: Scope) -> tuple[Movement, ...]:
    count, items = scope.arguments.array(0, 4)
    movements: list[Movement] = []
    for item in range(count):
        movements += _allowance_transfer(scope, items, 4 * item)
    return tuple(movements)


def _approve(scope: Scope) -> tuple[Movement, ...]:
    arguments = scope.arguments
    return scope.exposed(
        scope.caller,
        arguments.address(1),
        arguments.uint(2, _AMOUNT_BITS),
        token=arguments.address(0),
        bits=_AMOUNT_BITS,
        until=arguments.uint(3, 48),
    )


def _permit_details(scope: Scope, owner: Address, spender: Address, item: Arguments, at: int) -> tuple[Movement, ...]:
    """PermitDetails: token, uint160 amount, uint48 expiration, uint48 nonce."""
    token, amount, until = item.address(at), item.uint(at + 1, _AMOUNT_BITS), item.uint(at + 2, 48)
    item.uint(at + 3, 48)
    return scope.exposed(owner, spender, amount, token=token, bits=_AMOUNT_BITS, until=until)


def _permit(scope: Scope) -> tuple[Movement, ...]:
    arguments = scope.arguments
    arguments.mark_blob(7)
    return _permit_details(scope, arguments.address(0), arguments.address(5), arguments, 1)


def _permit_batch(scope: Scope) -> tuple[Movement, ...]:
    arguments = scope.arguments
    arguments.mark_blob(2)
    owner, batch = arguments.address(0), arguments.tail(1)
    spender = batch.address(1)
    batch.head(3)
    count, items = batch.array(0, 4)
    movements: list[Movement] = []
    for item in range(count):
        movements += _permit_details(scope, owner, spender, items, 4 * item)
    return tuple(movements)


def _signature_transfer(scope: Scope) -> tuple[Movement, ...]:
    """The single forms: (token, permitted amount), nonce, deadline, (receiver, requested amount), owner, …"""
    arguments = scope.arguments
    arguments.uint(1)
    arguments.head(7)
    return scope.moved(arguments.address(6), arguments.address(4), arguments.uint(5), token=arguments.address(0))


def _permit_transfer_from(scope: Scope) -> tuple[Movement, ...]:
    scope.arguments.mark_blob(7)
    return _signature_transfer(scope)


def _permit_witness_transfer_from(scope: Scope) -> tuple[Movement, ...]:
    scope.arguments.mark_blob(8)
    scope.arguments.mark_blob(9)
    return _signature_transfer(scope)


def _signature_transfer_batch(scope: Scope) -> tuple[Movement, ...]:
    """The batch forms: permitted tokens and amounts in the first argument, receivers in the second, then owner."""
    arguments = scope.arguments
    owner, permit = arguments.address(2), arguments.tail(0)
    permit.head(3)
    count, permitted = permit.array(0, 2)
    detail_count, details = arguments.array(1, 2)
    if count != detail_count:
        raise Undecodable("callData", "as many transfers as permitted tokens wanted")
    movements: list[Movement] = []
    for item in range(count):
        token, receiver = permitted.address(2 * item), details.address(2 * item)
        movements += scope.moved(owner, receiver, details.uint(2 * item + 1), token=token)
    return tuple(movements)


def _permit_transfer_from_batch(scope: Scope) -> tuple[Movement, ...]:
    scope.arguments.mark_blob(3)
    return _signature_transfer_batch(scope)


def _permit_witness_transfer_from_batch(scope: Scope) -> tuple[Movement, ...]:
    scope.arguments.mark_blob(4)
    scope.arguments.mark_blob(5)
    return _signature_transfer_batch(scope)


def _lockdown(scope: Scope) -> tuple[Movement, ...]:
    count, pairs = scope.arguments.array(0, 2)
    movements: list[Movement] = []
    for item in range(count):
        movements += scope.released(pairs.address(2 * item + 1), None, pairs.address(2 * item))
    return tuple(movements)


_BY_SIGNATURE: Final[dict[str, Reader]] = {
    "transferFrom(address,address,uint160,address)": _transfer_from,
    "transferFrom((address,address,uint160,address)[])": _transfer_from_batch,
    "approve(address,address,uint160,uint48)": _approve,
    "permit(address,((address,uint160,uint48,uint48),address,uint256),bytes)": _permit,
    "permit(address,((address,uint160,uint48,uint48)[],address,uint256),bytes)": _permit_batch,
    "permitTransferFrom(((address,uint256),uint256,uint256),(address,uint256),address,bytes)": (_permit_transfer_from),
    "permitTransferFrom(((address,uint256)[],uint256,uint256),(address,uint256)[],address,bytes)": (
        _permit_transfer_from_batch
    ),
    "permitWitnessTransferFrom(((address,uint256),uint256,uint256),(address,uint256),address,bytes32,string,bytes)": (
        _permit_witness_transfer_from
    ),
    "permitWitnessTransferFrom(((address,uint256)[],uint256,uint256),(address,uint256)[],address,"
    "bytes32,string,bytes)": (_permit_witness_transfer_from_batch),
    "lockdown((address,address)[])": _lockdown,
}

PERMIT2_READERS: Final[dict[Selector, Reader]] = {
    selector(signature): reader for signature, reader in _BY_SIGNATURE.items()
}
"""What a function of Permit2 moves; meaningful at `PERMIT2` only."""
