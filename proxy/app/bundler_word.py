"""What the bundlers of a chain say of its operations in flight."""

from __future__ import annotations

from collections.abc import Mapping

from proxy.chain.settlement.claimed import ToldClaim, read_claim
from proxy.chain.settlement.receipts import Receipt, receipt_of_inclusion
from proxy.chain.settlement.settlement import Settlement
from proxy.config import Chain
from proxy.edge.http.upstream import HttpUpstream
from proxy.errors import UpstreamUnavailable
from proxy.jsonrpc import print_json
from proxy.userop.primitives import Hash32, print_bytes


class BundlerWord:
    """Each question is put to every bundler; that there is nothing is only the word of the one that has what is in
    flight, or had what has ended since. All raise `UpstreamUnavailable` where that one does not tell."""

    def __init__(self, chain: Chain, upstream: HttpUpstream, settlement: Settlement) -> None:
        self._chain = chain
        self._upstream = upstream
        self._settlement = settlement

    async def receipt(self, user_op_hash: Hash32) -> Receipt | None:
        """The receipt, `None` while there is none."""
        return await self._ask("eth_getUserOperationReceipt", user_op_hash)

    async def inclusion(self, user_op_hash: Hash32) -> Receipt | None:
        """What says as much where there is a block and no receipt."""
        found = await self._ask("eth_getUserOperationByHash", user_op_hash)
        return None if found is None else receipt_of_inclusion(found, user_op_hash)

    async def claim(self, user_op_hash: Hash32) -> ToldClaim | None:
        """Under which claim they have it."""
        found = await self._ask("eth_getUserOperationByHash", user_op_hash)
        chain = self._chain
        return None if found is None else read_claim(found, user_op_hash, chain.entry_points, chain.modules)

    async def _ask(self, method: str, user_op_hash: Hash32) -> Mapping[str, object] | None:
        params = print_json([print_bytes(user_op_hash)])
        flight = self._settlement.flights.get(user_op_hash)
        if flight is None:
            mark = await self._settlement.books.bundler_that_had(user_op_hash)
            answered = await self._upstream.find_out(method, params, self._upstream.number_of(mark))
        else:
            answered = await self._upstream.find_out(method, params, self._upstream.number_at(flight.slot))
        result = answered.reply.result
        if result is not None and not isinstance(result, Mapping):
            raise UpstreamUnavailable(f"the bundler answers {method} with something else", may_have_been_sent=True)
        return result
