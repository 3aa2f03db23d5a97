"""An operation that a question has shown to be mined counts under what its bundle claims."""

from __future__ import annotations

from typing import Any

import pytest
from aiohttp import web

from proxy.chain.bundled_claim import bundles_of
from proxy.chain.node import Node
from proxy.errors import StateUnavailable
from proxy.ledger.operations import Mined
from proxy.ledger.reservation import NonceSlot
from proxy.userop.primitives import Address, Hash32, print_bytes
from tests.admission.builders import TWICE, enabling, lane
from tests.bypass_list.desk import CHAIN_ID, MODULES, V07, reading, use
from tests.chain.blocks.builders import bundle_of
from tests.chain.builders import FakeNode
from tests.session.builders import ACCOUNT, STRANGER

BUNDLE = Hash32(b"\x7e" * 32)
SLOT = NonceSlot(CHAIN_ID, V07.address, ACCOUNT, lane(1))


def put_bundle(chain: FakeNode, call_data: bytes | None, *, to: Address = V07.address) -> None:
    found = None if call_data is None else {"hash": print_bytes(BUNDLE), "to": print_bytes(to)}

    def reply(body: dict[str, Any]) -> web.StreamResponse | None:
        if body["method"] != "eth_getTransactionByHash":
            return None
        result = None if found is None else {**found, "input": print_bytes(call_data or b"")}
        return web.json_response({"jsonrpc": "2.0", "id": body["id"], "result": result})

    chain.reply = reply


def a_use() -> tuple[Mined, bytes]:
    op = use(TWICE, b"", nonce=lane(1))
    return Mined(user_op_hash=reading(op).user_op_hash, success=True, block=7, transaction=BUNDLE), bundle_of(op)


@pytest.mark.parametrize("enables", [True, False])
async def test_the_bundle_tells_session_and_whether_it_brought_its_grant_along(
    chain: FakeNode, node: Node, enables: bool
) -> None:
    op = enabling(TWICE, b"", nonce=lane(1)) if enables else use(TWICE, b"", nonce=lane(1))
    put_bundle(chain, bundle_of(op))
    mined = Mined(user_op_hash=reading(op).user_op_hash, success=True, block=7, transaction=BUNDLE)
    told = await bundles_of(node, {V07.address: V07}, MODULES)(mined, SLOT)
    assert (told.permission_ids, told.enables) == ((TWICE.permission_id,), enables)


@pytest.mark.parametrize("to", [V07.address, STRANGER])
async def test_what_is_no_bundle_claims_nothing_that_is_known(chain: FakeNode, node: Node, to: Address) -> None:
    mined, bundle = a_use()
    put_bundle(chain, b"\x12\x34" if to == V07.address else bundle, to=to)
    assert await bundles_of(node, {V07.address: V07}, MODULES)(mined, SLOT) == mined


async def test_a_node_that_has_not_got_it_yet_has_said_nothing(chain: FakeNode, node: Node) -> None:
    mined, _ = a_use()
    put_bundle(chain, None)
    with pytest.raises(StateUnavailable, match="has not got the transaction"):
        await bundles_of(node, {V07.address: V07}, MODULES)(mined, SLOT)


async def test_who_names_no_transaction_has_not_said_under_which_claim(node: Node) -> None:
    mined, _ = a_use()
    with pytest.raises(StateUnavailable, match="is not named"):
        await bundles_of(node, {V07.address: V07}, MODULES)(mined._replace(transaction=None), SLOT)
