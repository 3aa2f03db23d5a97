"""What a stranger can fill or learn, from outside: garbage signatures, estimates, ids that do not exist."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from proxy.errors import Code
from proxy.userop.primitives import Address, print_bytes, print_checksummed
from proxy.userop.user_operation import UserOperation
from tests.admission.builders import TWICE, key_of, known, lane
from tests.app.builders import GOOD, ONCE, use_number
from tests.bypass_list.desk import OWNER_NONCE, STRANGERS_KEY, a_session, an_operation, single, use
from tests.chain.builders import FakeNode
from tests.chain.on_chain import put_session
from tests.edge.recording_bundler import Answer, Recorded
from tests.running_gate import ESTIMATE, GAS, SEND, HonestBundler, RunningGate, request, running_gate, submission
from tests.session.builders import TOKEN, TRANSFER, action, enabled, spending, transfer

STRANGER = "127.0.0.2"
OWNERS_TOO = """
rules:
  - id: account-hourly
    description: Three operations of an account an hour.
    mode: enforce
    match: {}
    limit: {count: ops, max: 3, per: account, window: 1h}
"""
HUNDRED = a_session(action(TOKEN, TRANSFER, spending((TOKEN, 100))))


@asynccontextmanager
async def at(gate: RunningGate, address: str) -> AsyncIterator[RunningGate]:
    """The same gate, called from another address."""
    connector = aiohttp.TCPConnector(local_addr=(address, 0), limit=0)
    async with aiohttp.ClientSession(connector=connector) as http:
        yield replace(gate, http=http)


def garbage(number: int) -> UserOperation:
    """It claims to be the owner's, and nobody has signed it."""
    return an_operation(ONCE, nonce=OWNER_NONCE + number, signature=b"\x0e" * 65)


class ThinkingBundler(HonestBundler):
    """Thinks about what no session signed until it is told to answer, and refuses it then."""

    def __init__(self) -> None:
        super().__init__()
        self.answers[SEND] = self._think
        self.decided = asyncio.Event()
        self.thinking = 0

    async def _think(self, recorded: Recorded) -> Answer:
        if not recorded.params[0]["signature"].startswith("0x0e"):
            return await self._take(recorded)
        self.thinking += 1
        await self.decided.wait()
        return Answer(error={"code": -32507, "message": "AA24 signature error"})


async def test_while_the_bundler_thinks_of_garbage_a_session_uses_the_limit_that_it_has(tmp_path: Path) -> None:
    (tmp_path / "own.yaml").write_text(OWNERS_TOO)
    async with ThinkingBundler() as bundler, running_gate(bundler=bundler, rules=[str(tmp_path / "own.yaml")]) as gate:
        gate.running.registry.put(known(TWICE))
        async with at(gate, STRANGER) as stranger:
            sent = [asyncio.create_task(stranger.send(garbage(number))) for number in range(3)]
            await gate.until(lambda: bundler.thinking == 3, "all of it is with the bundler")
            refused = (await stranger.send(garbage(3)))["error"]
            assert (refused["code"], refused["data"]["rule"]) == (Code.RULE_REJECTED, "account-hourly")
            assert "wanted" not in refused["data"]
            assert "result" in await gate.send(GOOD)
            bundler.decided.set()
            answers = await asyncio.gather(*sent)
            assert [answer["error"]["code"] for answer in answers] == [-32507] * 3
            # with the answer it ended, for its bringer too
            assert (await stranger.send(garbage(4)))["error"]["code"] == -32507
        assert "result" in await gate.send(use_number(1))


@pytest.mark.parametrize("amount", [1, 40, 100])
async def test_an_estimate_sounds_alike_whatever_amount_is_in_flight(amount: int) -> None:
    async with running_gate() as gate:
        gate.running.registry.put(known(HUNDRED))
        assert "result" in await gate.send(use(HUNDRED, single(transfer(amount))))
        stub = b"\0" + HUNDRED.permission_id + b"\xff" * 65
        op = an_operation(single(transfer(100)), nonce=lane(5), signature=stub)
        assert (await gate.send(op, ESTIMATE))["result"] == GAS
        signed = (await gate.send(use(HUNDRED, single(transfer(100)), nonce=lane(5))))["error"]
        assert signed["data"]["wanted"].startswith("at most ")
        garbled = (await gate.send(use(HUNDRED, single(transfer(100)), key=STRANGERS_KEY, nonce=lane(5))))["error"]
        assert garbled["code"] == Code.SESSION_SCOPE
        assert "in flight" not in json.dumps(garbled)


def has_nothing(chain: FakeNode) -> None:
    """Of every session that is not in its table the chain says that it is not there."""

    def reply(body: dict[str, Any]) -> web.StreamResponse | None:
        if body["method"] != "eth_call":
            return None
        to, data = (bytes.fromhex(body["params"][0][name][2:]) for name in ("to", "data"))
        if (to, data) in chain.calls:
            return None
        return web.json_response({"jsonrpc": "2.0", "id": body["id"], "result": print_bytes(bytes(32))})

    chain.reply = reply


CONNECTIONS = 80


async def test_random_ids_on_80_connections_keep_no_good_session_from_its_first_use(
    chain: FakeNode, node_url: str
) -> None:
    put_session(chain, enabled(TWICE))
    has_nothing(chain)
    limits = {"absent_sessions": "1"}
    async with running_gate(node_url=node_url, session_queries="true", limits=limits) as gate:
        refused: dict[int, str] = {}
        done = asyncio.Event()

        async def flood(stranger: RunningGate, number: int) -> None:
            count = 0
            while not done.is_set():
                count += 1
                name = number.to_bytes(4, "big") + count.to_bytes(4, "big")
                account, permission_id = Address(name.rjust(20, b"\x51")), name.rjust(32, b"\x52")
                if count % 2:
                    body = request("sessiongate_getSession", print_checksummed(account), print_bytes(permission_id))
                else:
                    signature = b"\0" + permission_id + b"\xff" * 65
                    body = submission(an_operation(ONCE, sender=account, nonce=lane(0), signature=signature))
                answer = await stranger.ask(body)
                if answer.get("error", {}).get("code") == Code.RATE_LIMITED:
                    refused[number] = answer["error"]["message"]

        async with at(gate, STRANGER) as stranger:
            floods = [asyncio.create_task(flood(stranger, number)) for number in range(CONNECTIONS)]
            await gate.until(lambda: len(refused) == CONNECTIONS or done.is_set(), "each of them was refused")
            answers = [await gate.send(use_number(number)) for number in range(2)]
            done.set()
            await asyncio.gather(*floods)
        assert ["result" in answer for answer in answers] == [True, True]
        assert all(
            "limits.absent_sessions of 1 a second for one client and address" in each for each in refused.values()
        )
        assert gate.running.registry.get(key_of(TWICE)) is not None
        assert {request.method for request in gate.bundler.sent} == {SEND}
        assert len(gate.bundler.sent) == 2
