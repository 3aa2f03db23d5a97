"""A mined operation as the settlement hears of it, put together from what the blocks say in different places."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from proxy.chain.blocks.events import BundledClaim, Executed
from proxy.chain.blocks.header import Header
from proxy.chain.logs import Log
from proxy.chain.settlement.slices import BlockName, ChainPlace, OperationMined
from proxy.ledger.operations import Mined
from proxy.ledger.reservation import NonceSlot
from proxy.userop.primitives import Hash32

_made: Final = tuple.__new__


def mined_of(
    log: Log,
    event: Executed,
    of_block: tuple[Header, BlockName],
    reasons: Mapping[Hash32, bytes],
    claim: BundledClaim | None,
    *,
    chain_id: int,
) -> OperationMined:
    """What an entry point's log says of an operation, with why its calls failed and what its bundle claims. Its
    block comes with its name, which all that stands in it share."""
    header, block = of_block
    timestamp, transaction = header.timestamp, log.transaction_hash
    permission_ids, enables = (None, None) if claim is None else (claim.permission_ids, claim.enables)
    return OperationMined(
        place=_made(ChainPlace, (log.block, log.log_index)),
        block=block,
        timestamp=timestamp,
        transaction=transaction,
        slot=_made(NonceSlot, (chain_id, log.address, event.sender, event.nonce)),
        mined=Mined(
            user_op_hash=event.user_op_hash,
            success=event.success,
            block=block.number,
            block_hash=block.hash,
            timestamp=timestamp,
            transaction=transaction,
            gas_used=event.gas_used,
            gas_cost=event.gas_cost,
            base_fee=header.base_fee,
            revert_reason=None if event.success else reasons.get(event.user_op_hash),
            permission_ids=permission_ids,
            enables=enables,
        ),
    )


def name_of(header: Header) -> BlockName:
    """The block by number and hash."""
    return BlockName(header.number, header.hash)
