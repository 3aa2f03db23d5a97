"""What `/openrpc.json` says is what the gate answers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from proxy.errors import Code
from proxy.userop.primitives import print_bytes, print_checksummed
from tests.admission.builders import TWICE, granting, known
from tests.app.builders import DECLARED, GOOD, OUTSIDE
from tests.bypass_list.desk import OWNER_NONCE, a_session, an_operation
from tests.edge.http.json_schema import misfits, resolved
from tests.running_gate import RunningGate, request, running_gate

OWN_METHOD = "sessiongate_getSession"


async def document_of(gate: RunningGate) -> Any:
    async with gate.http.get(gate.url.replace("/soneium", "/openrpc.json")) as response:
        assert response.content_type == "application/json"
        return await response.json()


@pytest.mark.parametrize("transport", ["lean", "aiohttp"])
async def test_the_document_names_every_code_of_the_gates_own(transport: str) -> None:
    async with running_gate(transport=transport, clients=[{"name": "dapp", "api_key": "hush-client-key"}]) as gate:
        document = await document_of(gate)  # without a key: it is the same for everybody
    assert document["openrpc"] == "1.3.2"
    named = [method["name"] for method in document["methods"]]
    assert named == [OWN_METHOD, "sessiongate_listSessions", "eth_sendUserOperation"]
    own = {code.label: int(code) for code in Code if -32059 <= code <= -32050}
    assert {name: error["code"] for name, error in document["components"]["errors"].items()} == own
    for method in document["methods"]:
        for error in method["errors"]:
            assert resolved(document, error["$ref"])["code"] in own.values()


def _named(gate: RunningGate) -> list[Any]:
    """Sessions in every state there is, by account and name."""
    gate.running.registry.put(known(TWICE))
    account = print_checksummed(GOOD.sender)
    names = [print_bytes(TWICE.permission_id), DECLARED["permissionId"], "0x" + "11" * 32]
    return [[account, name] for name in names] + [{"account": account, "permissionId": names[0]}]


async def test_sessions_are_shown_as_the_document_says() -> None:
    async with running_gate(session_queries="true", sessions=[DECLARED]) as gate:
        document = await document_of(gate)
        schema = document["methods"][0]["result"]["schema"]
        assert [each["name"] for each in document["methods"][0]["params"]] == ["account", "permissionId", "module"]
        shown = []
        grant = a_session(*TWICE.actions, salt=77)
        asked = [*_named(gate), [print_checksummed(GOOD.sender), print_bytes(grant.permission_id)]]
        for round_number in range(2):
            for named in asked:
                params = named if isinstance(named, list) else [named]
                result = (await gate.ask(request(OWN_METHOD, *params)))["result"]
                assert list(misfits(result, schema, document)) == []
                shown += result
            if round_number == 0:
                await gate.send(GOOD)
                await gate.send(granting(grant))
        assert {"declared", "in_force", "pending"} <= {each["status"] for each in shown}
        assert any(each["operationsInFlight"] for each in shown)


async def test_a_page_of_sessions_is_as_the_document_says() -> None:
    clients = [{"name": "dapp", "api_key": "hush-client-key", "list_sessions": "true"}]
    headers = {"x-api-key": "hush-client-key"}
    async with running_gate(clients=clients, headers=headers, sessions=[DECLARED]) as gate:
        document = await document_of(gate)
        schema = document["methods"][1]["result"]["schema"]
        _named(gate)
        page = (await gate.ask(request("sessiongate_listSessions", print_checksummed(GOOD.sender))))["result"]
        assert page["sessions"]
        assert list(misfits(page, schema, document)) == []


async def test_each_refusal_has_the_data_that_the_document_promises() -> None:
    refusals: list[Any] = []

    async def hear(gate: RunningGate, ask: Callable[[RunningGate], Any]) -> None:
        refusals.append((await ask(gate))["error"])

    clients = [{"name": "dapp", "api_key": "hush-client-key", "rates": {"operations": "0.4"}}]
    async with running_gate(clients=clients, headers={"x-api-key": "hush-client-key"}) as gate:
        document = await document_of(gate)
        await hear(gate, lambda gate: gate.send(GOOD))
        gate.running.registry.put(known(TWICE))
        await hear(gate, lambda gate: gate.send(OUTSIDE))
        await gate.change("POST", "/freezes", {"permissionId": print_bytes(TWICE.permission_id)})
        await hear(gate, lambda gate: gate.send(GOOD))
        await gate.bundler.stop()
        await hear(gate, lambda gate: gate.send(an_operation(GOOD.call_data, nonce=OWNER_NONCE)))
        for _ in range(100):
            last = await gate.send(OUTSIDE)
            if last["error"]["code"] == Code.RATE_LIMITED:
                break
        refusals.append(last["error"])
    schema = document["components"]["schemas"]["ErrorData"]
    for refusal in refusals:
        assert list(misfits(refusal["data"], schema, document)) == [], refusal
    codes = [refusal["code"] for refusal in refusals]
    assert codes == [
        Code.SESSION_UNKNOWN,
        Code.SESSION_SCOPE,
        Code.SESSION_REVOKED,
        Code.UPSTREAM_UNAVAILABLE,
        Code.RATE_LIMITED,
    ]
