"""What a client may do, from outside: one URL to change, its own accounts, sessions, methods, and so many a second."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from yarl import URL

from proxy.errors import Code
from proxy.session.counters import SessionKey
from proxy.userop.primitives import Hash32, print_bytes, print_checksummed
from tests.admission.builders import TWICE, key_of, known
from tests.app.builders import GOOD, use_number
from tests.app.test_settings_reload import Rereading
from tests.chain.builders import FakeNode
from tests.chain.on_chain import put_absent, put_session
from tests.running_gate import ESTIMATE, SEND, RunningGate, request, running_gate, submission
from tests.session.builders import enabled

KEY = "hush-first-key/+=="
NEXT_KEY = "hush-second-key"
CHAIN_ID = request("eth_chainId")
TRANSPORTS = ["lean", "aiohttp"]


@asynccontextmanager
async def gate_for(client: dict[str, Any], **top: Any) -> AsyncIterator[RunningGate]:
    clients = [{"name": "dapp", "api_key": KEY, **client}]
    async with running_gate(clients=clients, **top) as gate:
        gate.running.registry.put(known(TWICE))
        yield gate


async def at(gate: RunningGate, behind: str, body: object = CHAIN_ID, **headers: str) -> Any:
    """The answer at the gate's URL with something behind it, as an SDK would be given it."""
    url = URL(gate.url + behind, encoded=True)
    async with gate.http.post(url, json=body, headers=headers) as response:
        assert response.status == 200
        return await response.json()


IN_PATH = "/hush-first-key%2F%2B%3D%3D"
PLACES = [IN_PATH, f"{IN_PATH}/", "?apikey=hush-first-key/+==", "?apikey=hush-first-key%2F%2B%3D%3D"]


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("written", ["plain", "hashed"])
async def test_a_dapp_changes_one_url(transport: str, written: str) -> None:
    key = KEY if written == "plain" else f"sha256:{sha256(KEY.encode()).hexdigest()}"
    async with gate_for({"api_key": key}, transport=transport) as gate:
        for place in PLACES:
            assert "result" in await at(gate, place), place
            ws_url = URL(gate.url + place, encoded=True)
            async with gate.http.ws_connect(ws_url) as socket:
                await socket.send_json([CHAIN_ID, CHAIN_ID])
                assert ["result" in each for each in await socket.receive_json()] == [True, True]
        assert "result" in await at(gate, "", **{"x-api-key": KEY})
        others = ("", "/", "//", "/hush", "/hush-first-key", "?apikey=hush", f"/{key}a")
        for place in (*others, f"/x{IN_PATH}", f"{IN_PATH}//"):
            refused = await at(gate, place)
            assert refused["error"]["code"] == Code.INVALID_REQUEST, place
            assert "hush" not in json.dumps(refused)
            with pytest.raises(aiohttp.WSServerHandshakeError):
                await gate.http.ws_connect(URL(gate.url + place, encoded=True))
        assert await gate.metric("client_requests_total", client="dapp", outcome="answered") == 3 * len(PLACES) + 1


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_each_key_opens_for_its_own_client_and_two_of_them_for_nobody(transport: str) -> None:
    clients = [{"name": "one", "api_key": "hush-of-one"}, {"name": "other", "api_key": "hush-of-other"}]
    async with running_gate(clients=clients, transport=transport) as gate:
        for name in ("one", "other"):
            key, another = f"hush-of-{name}", "hush-of-other" if name == "one" else "hush-of-one"
            for place, headers in ((f"/{key}", {}), (f"?apikey={key}", {}), ("", {"authorization": f"Bearer {key}"})):
                assert "result" in await at(gate, place, **headers)
                refused = await at(gate, place, **headers, **{"x-api-key": another})
                assert refused["error"]["message"] == "more than one API key was sent"
            assert await gate.metric("client_requests_total", client=name, outcome="answered") == 3


async def test_keys_are_changed_without_a_moment_in_which_none_opens() -> None:
    async with gate_for({"api_keys": [NEXT_KEY]}) as gate:
        assert "result" in await at(gate, "", **{"x-api-key": KEY})
        assert "result" in await at(gate, f"/{NEXT_KEY}")


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_key_that_is_taken_away_closes_what_it_opened(transport: str) -> None:
    file, key = Rereading(), {"x-api-key": KEY}
    async with (
        gate_for({}, reread=file, transport=transport) as gate,
        gate.http.ws_connect(gate.url, headers=key) as socket,
    ):
        await socket.send_json(CHAIN_ID)
        assert "result" in await socket.receive_json()
        for _ in range(2):  # on one connection, which stays
            assert "result" in await at(gate, "", **key)
        file.top = {"clients": [{"name": "dapp", "api_key": NEXT_KEY}]}
        await gate.change("POST", "/settings/reload", {})
        await socket.send_json(CHAIN_ID)
        assert (await socket.receive()).data == aiohttp.WSCloseCode.POLICY_VIOLATION
        for place in ("", "/hush-first-key%2F%2B%3D%3D"):
            assert (await at(gate, place, **key))["error"]["code"] == Code.INVALID_REQUEST
        assert "result" in await at(gate, f"/{NEXT_KEY}")


def _files_of(folder: Path) -> list[str]:
    return [path.read_bytes().decode("latin-1") for path in folder.iterdir()]


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_no_key_in_a_url_is_told_to_anyone(
    transport: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    heard: list[str] = []
    async with gate_for({}, transport=transport, ledger=tmp_path / "gate.db") as gate:
        for place in (*PLACES, "/hush-wrong-key", "?apikey=hush-wrong-key", "/hush/hush-key", "?apikey=hush&apikey=x"):
            url = URL(gate.url + place, encoded=True)
            for method in ("GET", "POST", "OPTIONS", "PUT"):
                async with gate.http.request(method, url, json=submission(GOOD)) as response:
                    heard += [str(response.headers), await response.text()]
            async with gate.http.get(url, headers={"upgrade": "websocket", "connection": "upgrade"}) as response:
                heard.append(await response.text())
        for line in (b"GET /soneium/hush-key HTTP/9.9\r\n\r\n", b"\x00 /soneium?apikey=hush-key HTTP/1.1\r\n\r\n"):
            reader, writer = await asyncio.open_connection("127.0.0.1", gate.running.rpc_port)
            writer.write(line)
            heard.append((await reader.read(4096)).decode("latin-1"))
            writer.close()
        heard += [str(await gate.look(path)) for path in ("/metrics", "/sessions", "/audit")]
    heard += [caplog.text, *_files_of(tmp_path)]
    assert "hush" not in "".join(heard)


async def test_a_client_calls_from_its_networks_alone_and_through_proxies_that_are_trusted() -> None:
    async with gate_for({"networks": ["10.0.0.0/8"]}, trusted_proxies=["127.0.0.1"]) as gate:
        key = {"x-api-key": KEY}
        assert "result" in await at(gate, "", **key, **{"x-forwarded-for": "10.1.2.3"})
        for forged in ("", "192.0.2.1", "10.1.2.3, 192.0.2.1"):
            refused = await at(gate, "", **key, **{"x-forwarded-for": forged})
            assert refused["error"]["message"] == "client dapp may not call from this address", forged
        with pytest.raises(aiohttp.WSServerHandshakeError):
            await gate.http.ws_connect(gate.url, headers={**key, "x-forwarded-for": "192.0.2.1"})


BOUND: list[tuple[dict[str, Any], str]] = [
    ({"methods": ["eth_chainId"]}, "client dapp may not use "),
    ({"accounts": ["0x" + "77" * 20]}, f"may not act for account {print_checksummed(GOOD.sender)}"),
    ({"permission_ids": ["0x" + "77" * 32]}, f"may not use session {print_bytes(TWICE.permission_id)}"),
]


@pytest.mark.parametrize(("client", "problem"), BOUND, ids=["methods", "accounts", "permission-ids"])
@pytest.mark.parametrize("mode", ["off", "shadow", "enforce"])
async def test_what_is_not_a_clients_is_refused_in_every_mode_alone_in_a_batch_and_over_websocket(
    client: dict[str, Any], problem: str, mode: str
) -> None:
    async with gate_for(client, mode=mode) as gate:
        gate.headers = {"x-api-key": KEY}
        bodies = [submission(GOOD, method) for method in (SEND, "boost_sendUserOperation", ESTIMATE)]
        answers = [await gate.ask(body) for body in bodies] + await gate.ask(bodies)
        async with gate.http.ws_connect(gate.url, headers=gate.headers) as socket:
            await socket.send_json(bodies)
            answers += await socket.receive_json()
        assert len(answers) == 9
        assert all(problem in answer["error"]["message"] for answer in answers), answers
        assert not {SEND, "boost_sendUserOperation", ESTIMATE} & set(gate.bundler.methods)
        assert "result" in await gate.ask(CHAIN_ID)
        assert await gate.metric("client_requests_total", client="dapp", outcome="denied") == 9


async def test_what_is_a_clients_is_served() -> None:
    own = {
        "methods": [SEND, "eth_chainId"],
        "accounts": [print_checksummed(GOOD.sender)],
        "permission_ids": [print_bytes(TWICE.permission_id)],
        "chains": ["soneium"],
        "origins": ["https://dapp.example"],
        "networks": ["127.0.0.0/8"],
        "rates": {"requests": "1", "operations": "1"},
    }
    async with gate_for(own) as gate:
        gate.headers = {"x-api-key": KEY, "origin": "https://dapp.example"}
        assert "result" in await gate.send(GOOD)


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_each_element_of_a_batch_and_each_message_counts_and_the_budget_is_named(transport: str) -> None:
    async with gate_for({"rates": {"requests": "0.001"}}, transport=transport) as gate:
        gate.headers = {"x-api-key": KEY}
        answers = await gate.ask([CHAIN_ID, {"jsonrpc": "2.0", "id": 7}, CHAIN_ID])
        assert "result" in answers[0]
        async with gate.http.ws_connect(gate.url, headers=gate.headers) as socket:
            await socket.send_json(CHAIN_ID)
            answers.append(await socket.receive_json())
        for answer in answers[1:]:
            assert answer["error"]["code"] == Code.RATE_LIMITED
            assert answer["error"]["data"]["budget"] == "clients.dapp.rates.requests"
            assert answer["error"]["data"]["retryable"] is True
        assert [answer["id"] for answer in answers] == [1, 7, 1, 1]
        assert await gate.metric("client_requests_total", client="dapp", outcome="rate_limited") == 3


async def test_a_body_that_cannot_be_read_counts_as_a_request() -> None:
    async with gate_for({"rates": {"requests": "0.001"}}) as gate:
        gate.headers = {"x-api-key": KEY}
        assert (await gate.ask(b"{"))["error"]["code"] == Code.PARSE_ERROR
        assert (await gate.ask(CHAIN_ID))["error"]["code"] == Code.RATE_LIMITED


@pytest.mark.parametrize(("method", "rate"), [(SEND, "operations"), (ESTIMATE, "estimates")])
@pytest.mark.parametrize("mode", ["off", "enforce"])
async def test_operations_and_estimates_have_budgets_of_their_own(method: str, rate: str, mode: str) -> None:
    other = ESTIMATE if method == SEND else SEND
    async with gate_for({"rates": {rate: "0.001"}}, mode=mode) as gate:
        gate.headers = {"x-api-key": KEY}
        answers = await gate.ask([submission(use_number(number), method, number) for number in range(4)])
        assert [answer.get("error", {}).get("code") for answer in answers] == [None, *[Code.RATE_LIMITED] * 3]
        assert answers[1]["error"]["data"]["budget"] == f"clients.dapp.rates.{rate}"
        assert gate.bundler.methods.count(method) == 1
        assert "result" in await gate.ask(submission(use_number(5), other))


async def test_sessions_named_in_vain_have_a_budget_that_is_named(chain: FakeNode, node_url: str) -> None:
    put_session(chain, enabled(TWICE))
    keys = [key_of(TWICE)._replace(permission_id=Hash32(bytes(31) + bytes([number]))) for number in range(3)]
    for key in keys:
        put_absent(chain, key)
    client = {"rates": {"absent_sessions": "0.001"}}
    async with gate_for(client, node_url=node_url, session_queries="true") as gate:
        gate.headers = {"x-api-key": KEY}

        async def ask_about(key: SessionKey) -> Any:
            names = print_checksummed(key.account), print_bytes(key.permission_id), print_checksummed(key.module)
            return await gate.ask(request("sessiongate_getSession", *names))

        unknown = replace(GOOD, signature=b"\0" + keys[2].permission_id + b"\xff" * 65)
        assert (await ask_about(keys[0]))["result"] == []
        for answer in (await ask_about(keys[1]), await gate.send(unknown)):
            assert answer["error"]["code"] == Code.RATE_LIMITED
            assert "the budget clients.dapp.rates.absent_sessions" in answer["error"]["message"]
        assert "result" in await gate.send(GOOD)  # what is known is not bounded by it


async def test_a_reload_gives_nobody_a_budget_anew() -> None:
    file = Rereading()
    client = {"name": "dapp", "api_key": KEY, "rates": {"requests": "0.001"}}
    async with gate_for(client, reread=file) as gate:
        gate.headers = {"x-api-key": KEY}
        assert "result" in await gate.ask(CHAIN_ID)
        file.top = {"clients": [{**client, "methods": ["eth_chainId"]}]}
        await gate.change("POST", "/settings/reload", {})
        assert (await gate.ask(CHAIN_ID))["error"]["code"] == Code.RATE_LIMITED


async def test_a_preflight_lets_tracing_and_what_the_settings_name_through() -> None:
    async with running_gate(cors={"headers": ["x-own"]}) as gate:
        headers = {"origin": "https://any.example", "access-control-request-headers": "traceparent,baggage,x-own"}
        async with gate.http.options(gate.url, headers=headers) as response:
            allowed = response.headers["access-control-allow-headers"].split(", ")
        assert {"content-type", "x-api-key", "authorization", "traceparent", "baggage", "x-own"} <= set(allowed)


@pytest.mark.parametrize("transport", ["lean", "aiohttp"])
async def test_who_may_not_call_hears_why_under_its_own_id(transport: str) -> None:
    """Under another one, SDKs show their users no reason."""
    one, other = ({"jsonrpc": "2.0", "id": each, "method": "eth_chainId", "params": []} for each in (7, "x"))
    async with gate_for({}, transport=transport) as gate:
        for place in ("", "/hush-wrong-key", "/no/chain"):
            async with gate.http.post(gate.url + place, json=one) as response:
                alone = await response.json()
            assert (alone["id"], alone["error"]["code"]) == (7, Code.INVALID_REQUEST)
            async with gate.http.post(gate.url + place, json=[one, other]) as response:
                assert [(each["id"], each["error"]) for each in await response.json()] == [
                    (7, alone["error"]),
                    ("x", alone["error"]),
                ]
        async with gate.http.post(gate.url, json=[one, "x" * 20_000]) as response:
            assert (await response.json())["id"] is None  # too long to be read for its id
        assert gate.bundler.sent == []
