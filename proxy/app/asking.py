"""One question to a chain's bundlers, without a gate around it."""

from __future__ import annotations

import uvloop

from proxy.config import Config
from proxy.edge.http.asker import UpstreamSettings
from proxy.edge.http.upstream import HttpUpstream
from proxy.errors import StateUnavailable
from proxy.jsonrpc import print_json
from proxy.userop.primitives import Hash32, print_bytes


def operation_by_hash(config: Config, chain: str, user_op_hash: Hash32) -> object:
    """What the chain's bundler answers to eth_getUserOperationByHash; `None` for an operation it does not know.

    Raises `UpstreamUnavailable`, and `StateUnavailable` for an answer that is an error.
    """
    return uvloop.run(_operation_by_hash(config, chain, user_op_hash))


async def _operation_by_hash(config: Config, name: str, user_op_hash: Hash32) -> object:
    chain = config.chains[name]
    upstream = HttpUpstream(
        name,
        [bundler.url for bundler in chain.bundlers],
        chain_id=chain.chain_id,
        entry_points=frozenset(entry_point.address for entry_point in chain.entry_points),
        settings=UpstreamSettings(total_seconds=config.limits.request_seconds),
    )
    async with upstream:
        params = print_json([print_bytes(user_op_hash)])
        answered = await upstream.post("eth_getUserOperationByHash", params, submission=None)
    if answered.reply.is_error:
        raise StateUnavailable(f"{answered.endpoint} answers: {answered.reply.error_message}", fact="bundler")
    return answered.reply.result
