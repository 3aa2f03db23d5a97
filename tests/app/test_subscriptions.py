"""Over a WebSocket: requests, batches, and the new heads that the node tells, live."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from aiohttp import WSCloseCode, WSMsgType

from proxy.userop.primitives import print_bytes
from tests.app.builders import DECLARED, GOOD
from tests.app.live_node import LiveNode
from tests.app.test_settings_reload import Rereading
from tests.running_gate import request, running_gate, submission


@pytest.mark.parametrize("transport", ["lean", "aiohttp"])
async def test_a_caller_hears_new_heads_beside_its_answers(transport: str) -> None:
    node = LiveNode()
    runner = await node.serve()
    try:
        chain = {"node": node.socket_url, "node_reads": "true"}
        async with running_gate(transport=transport, chain=chain) as gate:
            asked = request("eth_subscribe", "newHeads")
            assert "WebSocket" in (await gate.ask(asked))["error"]["message"]
            async with gate.http.ws_connect(gate.url.replace("http", "ws")) as socket:
                await socket.send_str(json.dumps([asked, request("eth_chainId", request_id=2)]))
                name = json.loads(await socket.receive_str())[0]["result"]
                told: list[Any] = []
                while not told:
                    node.mine()
                    try:
                        async with asyncio.timeout(0.2):
                            told.append(json.loads(await socket.receive_str()))
                    except TimeoutError:
                        continue  # the gate's own connection to the node is not there yet
                assert told[0]["method"] == "eth_subscription"
                assert told[0]["params"]["subscription"] == name
                await socket.send_str(json.dumps(request("eth_unsubscribe", name, request_id=3)))
                while (answer := json.loads(await socket.receive_str())).get("id") != 3:
                    assert answer["method"] == "eth_subscription"
                assert answer["result"] is True
    finally:
        await runner.cleanup()


@pytest.mark.parametrize("transport", ["lean", "aiohttp"])
async def test_who_subscribed_with_a_key_that_was_taken_away_hears_no_more_heads(transport: str) -> None:
    node, file = LiveNode(), Rereading()
    runner = await node.serve()
    clients = [{"name": "dapp", "api_key": "hush-client-key"}]
    try:
        chain = {"node": node.socket_url, "node_reads": "true"}
        async with (
            running_gate(transport=transport, chain=chain, clients=clients, reread=file) as gate,
            gate.http.ws_connect(f"{gate.url}/hush-client-key".replace("http", "ws")) as socket,
        ):
            await socket.send_str(json.dumps(request("eth_subscribe", "newHeads")))
            assert "result" in json.loads(await socket.receive_str())
            hearing = asyncio.create_task(socket.receive())
            while not hearing.done():
                node.mine()
                await asyncio.wait([hearing], timeout=0.2)
            assert json.loads(hearing.result().data)["method"] == "eth_subscription"
            file.top = {"clients": [{"name": "dapp", "api_key": "hush-another-key"}]}
            assert (await gate.change("POST", "/settings/reload", {}))["ok"]
            node.mine()
            after = print_bytes(node.chain.headers[-1].hash)
            while (heard := await socket.receive()).type is WSMsgType.TEXT:
                told = json.loads(heard.data)["params"]["result"]["hash"]
                assert told != after, "it was mined after the key was taken away"
            assert heard.data == WSCloseCode.POLICY_VIOLATION
            assert heard.extra == "this client may call no more"
    finally:
        await runner.cleanup()


async def test_where_no_node_tells_heads_that_is_said_and_operations_go_on() -> None:
    async with (
        running_gate(sessions=[DECLARED]) as gate,
        gate.http.ws_connect(gate.url.replace("http", "ws")) as socket,
    ):
        for asked in (request("eth_subscribe", "newHeads"), submission(GOOD, request_id=2)):
            await socket.send_str(json.dumps(asked))
        answers = {answer["id"]: answer for answer in [json.loads(await socket.receive_str()) for _ in range(2)]}
        assert answers[1]["error"]["data"]["setting"] == "node_reads"
        assert answers[2]["result"].startswith("0x")
