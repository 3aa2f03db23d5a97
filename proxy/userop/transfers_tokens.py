"""Value moved by the functions of token standards: ERC-20 and its kin, 721, 777, 1155, 2612, 3009, 4626."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from proxy.errors import Undecodable
from proxy.userop.arguments import selector
from proxy.userop.movement import AssetKind, Movement, MovementKind, Scope
from proxy.userop.primitives import UINT256_MAX, Selector

Reader = Callable[[Scope], tuple[Movement, ...]]


def _transfer(scope: Scope) -> tuple[Movement, ...]:
    arguments = scope.arguments
    # to oneself nothing leaves the account, whatever the on-chain spending policy charges for it
    return scope.moved(scope.caller, arguments.address(0), arguments.uint(1))


def _transfer_with_bytes(scope: Scope) -> tuple[Movement, ...]:
    scope.arguments.mark_blob(2)
    return _transfer(scope)


def _transfer_from(scope: Scope) -> tuple[Movement, ...]:
    arguments = scope.arguments
    return scope.moved(arguments.address(0), arguments.address(1), arguments.uint(2))


def _transfer_from_with_bytes(scope: Scope) -> tuple[Movement, ...]:
    scope.arguments.mark_blob(3)
    return _transfer_from(scope)


def _operator_send(scope: Scope) -> tuple[Movement, ...]:
    scope.arguments.mark_blob(4)
    return _transfer_from_with_bytes(scope)


def _approve(scope: Scope) -> tuple[Movement, ...]:
    return scope.exposed(scope.caller, scope.arguments.address(0), scope.arguments.uint(1))


def _approve_with_bytes(scope: Scope) -> tuple[Movement, ...]:
    scope.arguments.mark_blob(2)
    return _approve(scope)


def _decrease_allowance(scope: Scope) -> tuple[Movement, ...]:
    return scope.released(scope.arguments.address(0), scope.arguments.uint(1))


def _permit(scope: Scope) -> tuple[Movement, ...]:
    arguments = scope.arguments
    arguments.head(7)  # the deadline among them ends the signature, not the allowance
    return scope.exposed(arguments.address(0), arguments.address(1), arguments.uint(2))


def _permit_bytes(scope: Scope) -> tuple[Movement, ...]:
    arguments = scope.arguments
    arguments.mark_blob(4)
    return scope.exposed(arguments.address(0), arguments.address(1), arguments.uint(2))


def _permit_dai(scope: Scope) -> tuple[Movement, ...]:
    arguments = scope.arguments
    arguments.head(8)
    holder, spender, allowed = arguments.address(0), arguments.address(1), arguments.flag(4)
    if allowed:
        return scope.exposed(holder, spender, UINT256_MAX)
    if holder != scope.account:
        return ()
    return (scope.movement(MovementKind.RELEASE, None, counterparty=spender),)


def _transfer_with_authorization(scope: Scope) -> tuple[Movement, ...]:
    arguments = scope.arguments
    arguments.head(9)
    return scope.moved(arguments.address(0), arguments.address(1), arguments.uint(2), signed_by_holder=True)


def _transfer_with_authorization_bytes(scope: Scope) -> tuple[Movement, ...]:
    arguments = scope.arguments
    arguments.mark_blob(6)
    return scope.moved(arguments.address(0), arguments.address(1), arguments.uint(2), signed_by_holder=True)


def _burn(scope: Scope) -> tuple[Movement, ...]:
    return scope.moved(scope.caller, None, scope.arguments.uint(0))


def _burn_with_bytes(scope: Scope) -> tuple[Movement, ...]:
    scope.arguments.mark_blob(1)
    return _burn(scope)


def _burn_from(scope: Scope) -> tuple[Movement, ...]:
    return scope.moved(scope.arguments.address(0), None, scope.arguments.uint(1))


def _operator_burn(scope: Scope) -> tuple[Movement, ...]:
    scope.arguments.mark_blob(2)
    scope.arguments.mark_blob(3)
    return _burn_from(scope)


def _authorize_operator(scope: Scope) -> tuple[Movement, ...]:
    return scope.exposed(scope.caller, scope.arguments.address(0), UINT256_MAX)


def _revoke_operator(scope: Scope) -> tuple[Movement, ...]:
    return scope.released(scope.arguments.address(0), None)


def _nft_transfer(scope: Scope) -> tuple[Movement, ...]:
    arguments = scope.arguments
    return scope.moved(
        arguments.address(0), arguments.address(1), 1, asset=AssetKind.ERC721, token_id=arguments.uint(2)
    )


def _nft_transfer_with_bytes(scope: Scope) -> tuple[Movement, ...]:
    scope.arguments.mark_blob(3)
    return _nft_transfer(scope)


def _multi_token_transfer(scope: Scope) -> tuple[Movement, ...]:
    arguments = scope.arguments
    arguments.mark_blob(4)
    return scope.moved(
        arguments.address(0),
        arguments.address(1),
        arguments.uint(3),
        asset=AssetKind.ERC1155,
        token_id=arguments.uint(2),
    )


def _multi_token_batch(scope: Scope) -> tuple[Movement, ...]:
    arguments = scope.arguments
    arguments.mark_blob(4)
    holder, receiver = arguments.address(0), arguments.address(1)
    count, ids = arguments.array(2, 1)
    amount_count, amounts = arguments.array(3, 1)
    if count != amount_count:
        raise Undecodable("callData", "as many ids as amounts wanted")
    movements: list[Movement] = []
    for item in range(count):
        movements += scope.moved(holder, receiver, amounts.uint(item), asset=AssetKind.ERC1155, token_id=ids.uint(item))
    return tuple(movements)


def _set_approval_for_all(scope: Scope) -> tuple[Movement, ...]:
    operator, approved = scope.arguments.address(0), scope.arguments.flag(1)
    if scope.caller != scope.account or operator == scope.account:
        return ()
    kind = MovementKind.EXPOSURE if approved else MovementKind.RELEASE
    return (scope.movement(kind, None, asset=AssetKind.COLLECTION, counterparty=operator, unlimited=approved),)


def _vault_deposit(scope: Scope) -> tuple[Movement, ...]:
    return _into_vault(scope, scope.arguments.uint(0))


def _vault_mint(scope: Scope) -> tuple[Movement, ...]:
    scope.arguments.uint(0)
    return _into_vault(scope, None)


def _into_vault(scope: Scope, assets: int | None) -> tuple[Movement, ...]:
    # nothing proves that the target is an honest vault: assets that go in are spent, whoever gets the shares
    receiver = scope.arguments.address(1)
    if scope.caller != scope.account:
        return ()
    return (scope.movement(MovementKind.SPEND, assets, asset=AssetKind.VAULT_ASSET, counterparty=receiver),)


def _vault_withdraw(scope: Scope) -> tuple[Movement, ...]:
    return _out_of_vault(scope, scope.arguments.uint(0))


def _vault_redeem(scope: Scope) -> tuple[Movement, ...]:
    scope.arguments.uint(0)
    return _out_of_vault(scope, None)


def _out_of_vault(scope: Scope, assets: int | None) -> tuple[Movement, ...]:
    receiver, owner = scope.arguments.address(1), scope.arguments.address(2)
    if owner == receiver == scope.account:
        return (scope.movement(MovementKind.CONVERSION, assets, asset=AssetKind.VAULT_ASSET, counterparty=receiver),)
    return scope.moved(owner, receiver, assets, asset=AssetKind.VAULT_ASSET)


_BY_SIGNATURE: Final[dict[str, Reader]] = {
    "transfer(address,uint256)": _transfer,
    "transferAndCall(address,uint256)": _transfer,
    "transferAndCall(address,uint256,bytes)": _transfer_with_bytes,
    "send(address,uint256,bytes)": _transfer_with_bytes,
    "transferFrom(address,address,uint256)": _transfer_from,
    "transferFromAndCall(address,address,uint256)": _transfer_from,
    "transferFromAndCall(address,address,uint256,bytes)": _transfer_from_with_bytes,
    "operatorSend(address,address,uint256,bytes,bytes)": _operator_send,
    "approve(address,uint256)": _approve,
    "increaseAllowance(address,uint256)": _approve,
    "approveAndCall(address,uint256)": _approve,
    "approveAndCall(address,uint256,bytes)": _approve_with_bytes,
    "decreaseAllowance(address,uint256)": _decrease_allowance,
    "permit(address,address,uint256,uint256,uint8,bytes32,bytes32)": _permit,
    "permit(address,address,uint256,uint256,bytes)": _permit_bytes,
    "permit(address,address,uint256,uint256,bool,uint8,bytes32,bytes32)": _permit_dai,
    "transferWithAuthorization(address,address,uint256,uint256,uint256,bytes32,uint8,bytes32,bytes32)": (
        _transfer_with_authorization
    ),
    "transferWithAuthorization(address,address,uint256,uint256,uint256,bytes32,bytes)": (
        _transfer_with_authorization_bytes
    ),
    "receiveWithAuthorization(address,address,uint256,uint256,uint256,bytes32,uint8,bytes32,bytes32)": (
        _transfer_with_authorization
    ),
    "receiveWithAuthorization(address,address,uint256,uint256,uint256,bytes32,bytes)": (
        _transfer_with_authorization_bytes
    ),
    "burn(uint256)": _burn,
    "burn(uint256,bytes)": _burn_with_bytes,
    "burnFrom(address,uint256)": _burn_from,
    "operatorBurn(address,uint256,bytes,bytes)": _operator_burn,
    "authorizeOperator(address)": _authorize_operator,
    "revokeOperator(address)": _revoke_operator,
    "safeTransferFrom(address,address,uint256)": _nft_transfer,
    "safeTransferFrom(address,address,uint256,bytes)": _nft_transfer_with_bytes,
    "safeTransferFrom(address,address,uint256,uint256,bytes)": _multi_token_transfer,
    "safeBatchTransferFrom(address,address,uint256[],uint256[],bytes)": _multi_token_batch,
    "setApprovalForAll(address,bool)": _set_approval_for_all,
    "deposit(uint256,address)": _vault_deposit,
    "mint(uint256,address)": _vault_mint,
    "withdraw(uint256,address,address)": _vault_withdraw,
    "redeem(uint256,address,address)": _vault_redeem,
}

TOKEN_READERS: Final[dict[Selector, Reader]] = {
    selector(signature): reader for signature, reader in _BY_SIGNATURE.items()
}
"""What a function of a token standard moves, whatever contract it is called on."""
