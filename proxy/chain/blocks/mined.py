"""A mined operation as the settlement hears of it, put together from what the blocks say in different places."""

from __future__ import annotations

from collections.abc import Mapping

from proxy.chain.blocks.events import BundledClaim, Executed
from proxy.chain.blocks.header import Header
from proxy.chain.logs import Log
from proxy.chain.settlement.slices import BlockName, ChainPlace, OperationMined
from proxy.userop.primitives import Address, Hash32


def mined_of(
    log: Log,
    event: Executed,
    header: Header,
    reasons: Mapping[Hash32, bytes],
    claims: Mapping[tuple[Address, int], BundledClaim],
) -> OperationMined:
    """What an entry point's log says of an operation, with why its calls failed and what its bundle claims."""
    claim = claims.get((event.sender, event.nonce))
    return OperationMined(
        place=ChainPlace(log.block, log.log_index),
        block=name_of(header),
        timestamp=header.timestamp,
        transaction=log.transaction_hash,
        entry_point=log.address,
        user_op_hash=event.user_op_hash,
        sender=event.sender,
        nonce=event.nonce,
        success=event.success,
        gas_cost=event.gas_cost,
        gas_used=event.gas_used,
        base_fee=header.base_fee,
        revert_reason=None if event.success else reasons.get(event.user_op_hash),
        permission_ids=None if claim is None else claim.permission_ids,
        enables=None if claim is None else claim.enables,
    )


def name_of(header: Header) -> BlockName:
    """The block by number and hash."""
    return BlockName(header.number, header.hash)
