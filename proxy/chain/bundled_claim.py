"""Under which claim an operation was mined, as the bundle that mined it has it: for one that a question has shown."""

from __future__ import annotations

from collections.abc import Mapping

from proxy.chain.blocks.events import read_claims
from proxy.chain.node import Node
from proxy.chain.settlement.node_word import AskBundle
from proxy.errors import StateUnavailable
from proxy.ledger.operations import Mined
from proxy.ledger.reservation import NonceSlot
from proxy.userop.declared_module import SessionModules
from proxy.userop.entry_point import EntryPoint
from proxy.userop.primitives import Address


def bundles_of(node: Node, entry_points: Mapping[Address, EntryPoint], modules: SessionModules) -> AskBundle:
    """Asks this node for them. What is no bundle, or cannot be read, claims nothing that is known."""

    async def with_claim(mined: Mined, slot: NonceSlot) -> Mined:
        entry_point = entry_points.get(slot.entry_point)
        if entry_point is None:
            return mined
        if mined.transaction is None:
            raise StateUnavailable("the transaction that mined the operation is not named")
        (transaction,) = await node.transactions([mined.transaction])
        if transaction is None:
            raise StateUnavailable("the node has not got the transaction that mined the operation")
        if transaction.to != entry_point.address:
            return mined
        place = (slot.sender, slot.nonce)
        claims = read_claims(transaction.call_data, entry_point, modules, {place: mined.user_op_hash})
        claim = None if claims is None else claims.get(place)
        return mined if claim is None else mined._replace(permission_ids=claim.permission_ids, enables=claim.enables)

    return with_claim
