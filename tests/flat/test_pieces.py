"""Nothing that thousands of rules ask for holds up everybody: neither a verdict that they all count, nor a reload."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import aiohttp

from proxy.app import Running, start
from proxy.config import Config
from tests.admission.builders import lane
from tests.app.live_node import LiveNode
from tests.bypass_list.desk import single, use
from tests.flat.loop import BUSY, rules_of
from tests.flat.pieces import Pieces
from tests.running_gate import HonestBundler, settings, submission
from tests.session.builders import transfer

RULES = 3_000
MOST_CALLS = 16_000
MOST_BLOCKS = 30_000


@asynccontextmanager
async def a_gate(folder: Path) -> AsyncIterator[Running]:
    """With so many rules that count all that is sent."""
    rules, node = folder / "ours.yaml", LiveNode()
    rules.write_text(rules_of(RULES))
    node.grant(BUSY)
    async with AsyncExitStack() as stack:
        served = await node.serve()
        stack.push_async_callback(served.cleanup)
        bundler = await stack.enter_async_context(HonestBundler())

        def config(**top: str) -> Config:
            ledger = f"sqlite://{folder / 'gate.db'}"
            return settings(bundler.url, node_url=node.url, rules=[str(rules)], ledger=ledger, **top)

        yield await start(config(), stack, lambda: config(mode="shadow"))


async def test_no_piece_of_work_is_long_where_thousands_of_rules_count_an_operation(tmp_path: Path) -> None:
    async with a_gate(tmp_path) as running, aiohttp.ClientSession() as http:

        async def send(number: int) -> None:
            op = use(BUSY, single(transfer(1)), nonce=lane(number))
            async with http.post(f"http://127.0.0.1:{running.rpc_port}/soneium", json=submission(op)) as response:
                assert "result" in await response.json()

        await send(1)  # what is done once only
        with Pieces() as pieces:
            await send(2)
    assert pieces.too_long(MOST_CALLS) == {}


async def test_no_piece_of_work_is_long_where_thousands_of_rules_come_under_another_mode(tmp_path: Path) -> None:
    async with a_gate(tmp_path) as running, aiohttp.ClientSession() as http:
        admin = f"http://127.0.0.1:{running.admin_port}"
        with Pieces() as pieces:
            async with http.post(f"{admin}/settings/reload", json={}) as response:
                assert (await response.json())["inForce"] == ["mode"]
        async with http.get(f"{admin}/rules") as response:
            (effective,) = {rule["effectiveMode"] for rule in (await response.json())["rules"]}
    assert effective == "shadow"
    assert pieces.too_long(MOST_CALLS // 2) == {}


async def test_no_piece_of_work_is_long_where_thousands_of_rules_take_the_place_of_others(tmp_path: Path) -> None:
    rules, admin_of = tmp_path / "ours.yaml", "http://127.0.0.1:{}/rules/reload"
    async with a_gate(tmp_path) as running, aiohttp.ClientSession() as http:
        rules.write_text(rules_of(RULES).replace("id: operations", "id: others"))
        with Pieces() as pieces:
            async with http.post(admin_of.format(running.admin_port), json={}) as response:
                assert response.status == 200
    assert pieces.too_long(MOST_CALLS // 2) == {}
    (put,) = (piece for name, piece in pieces.most.items() if "_put_in_pieces > _in_turn" in name)
    assert put.blocks < MOST_BLOCKS
