"""Whether an account has a session module still: the module may keep sessions that it is asked about no more."""

from __future__ import annotations

from proxy.chain.node import Node, Reverted
from proxy.chain.settlement.slices import BlockName
from proxy.chain.views import IS_MODULE_INSTALLED
from proxy.errors import BlockUnknown, StateUnavailable
from proxy.userop.administration import VALIDATOR_TYPE
from proxy.userop.primitives import Address


async def is_dropped(node: Node, account: Address, module: Address, *, block: BlockName | None = None) -> bool:
    """Whether the account says that it has no such validator (ERC-7579). What cannot be told is no such word."""
    try:
        answer = await node.call(account, IS_MODULE_INSTALLED.call_data(VALIDATOR_TYPE, module, b""), block=block)
    except BlockUnknown:
        raise
    except StateUnavailable:
        return False
    return not isinstance(answer, Reverted) and len(answer) == 32 and not any(answer)
