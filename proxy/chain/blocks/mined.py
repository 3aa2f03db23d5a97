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
    user_op_hash, sender, nonce, success, gas_cost, gas_used = event
    timestamp, transaction = header.timestamp, log.transaction_hash
    reason = None if success else reasons.get(user_op_hash)
    permission_ids, enables = (None, None) if claim is None else (claim.permission_ids, claim.enables)
    # in the order of the fields, made without asking for their names: there is one for every operation
    mined = (
        *(user_op_hash, success, block.number, block.hash, timestamp, transaction),
        *(gas_used, gas_cost, header.base_fee, reason, permission_ids, enables),
    )
    place, slot = (log.block, log.log_index), (chain_id, log.address, sender, nonce)
    names = _made(ChainPlace, place), block, timestamp, transaction, _made(NonceSlot, slot)
    return _made(OperationMined, (*names, _made(Mined, mined)))


def name_of(header: Header) -> BlockName:
    """The block by number and hash."""
    return BlockName(header.number, header.hash)
