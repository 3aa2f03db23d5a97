"""Sessions come and go: granted, used, removed, frozen, declared, read from the node."""

from __future__ import annotations

import json
from typing import Any

import pytest
from aiohttp import web

from proxy.errors import Code
from proxy.session.known import Status
from proxy.userop.primitives import print_checksummed
from tests.admission.builders import (
    TWICE,
    enabling,
    granting,
    known,
    lane,
    removing,
)
from tests.app.builders import (
    DECLARED,
    GOOD,
    ONCE,
    OUTSIDE,
    SESSION_ID,
    refusal,
    status_of,
    use_number,
)
from tests.bypass_list.desk import OWNER_NONCE, STRANGERS_KEY, a_session, an_operation, use
from tests.chain.builders import FakeNode
from tests.chain.on_chain import put_session
from tests.edge.recording_bundler import Answer
from tests.running_gate import (
    ESTIMATE,
    RECEIPT,
    SEND,
    HonestBundler,
    RunningGate,
    hash_of,
    request,
    running_gate,
)
from tests.session.builders import ACCOUNT, TOKEN, TRANSFER, action, enabled, usage

# sessions come and go


async def test_a_grant_is_in_force_once_it_is_mined_and_not_before() -> None:
    async with running_gate() as gate:
        grant = granting(TWICE)
        assert refusal(await gate.send(GOOD)) == (Code.SESSION_UNKNOWN, False)
        assert (await gate.send(grant))["result"] == hash_of(grant)
        answer = await gate.send(GOOD)
        assert refusal(answer) == (Code.SESSION_UNKNOWN, True)
        assert f"{hash_of(grant)}, which is not mined yet" in answer["error"]["message"]
        (shown,) = (await gate.look("/sessions"))["sessions"]
        assert (shown["status"], shown["grantedBy"]) == ("pending", hash_of(grant))
        gate.bundler.mine(grant)
        assert (await gate.send(GOOD))["result"] == hash_of(GOOD)
        (shown,) = (await gate.look("/sessions"))["sessions"]
        assert shown["status"] == "in_force"


async def test_a_receipt_that_a_client_fetches_brings_the_grant_into_force() -> None:
    async with running_gate(chain={"poll_seconds": "300"}) as gate:
        grant = granting(TWICE)
        await gate.send(grant)
        name = gate.bundler.mine(grant)
        assert (await gate.ask(request(RECEIPT, name)))["result"]["success"] is True
        await gate.until(lambda: status_of(gate) is Status.IN_FORCE, "it is asked for here as well")


@pytest.mark.parametrize("native", [False, True], ids=["translated", "the bundlers own"])
@pytest.mark.parametrize(
    ("method", "member"),
    [
        ("biconomy_getUserOperationStatus", "userOperationReceipt"),
        ("rundler_getUserOperationStatus", "receipt"),
        ("pimlico_getUserOperationStatus", None),
    ],
)
async def test_so_does_a_status_in_whichever_words_that_shows_the_receipt(
    method: str, member: str | None, native: bool
) -> None:
    async with running_gate(chain={"poll_seconds": "300"}) as gate:
        grant = granting(TWICE)
        await gate.send(grant)
        name = gate.bundler.mine(grant)
        if native and member is not None:
            gate.bundler.answers[method] = Answer(result={member: gate.bundler.receipts[name]})
        assert (await gate.ask(request(method, name)))["result"]
        await gate.until(lambda: status_of(gate) is Status.IN_FORCE, "it is asked for here as well")


async def test_what_is_not_mined_at_once_is_asked_for_again_and_again() -> None:
    async with running_gate() as gate:
        await gate.send(granting(TWICE))
        await gate.until(lambda: gate.bundler.methods.count(RECEIPT) > 5, "it was asked for often")


async def test_a_grant_that_failed_grants_nothing() -> None:
    async with running_gate() as gate:
        grant = granting(TWICE)
        await gate.send(grant)
        gate.bundler.mine(grant, success=False)
        await gate.until(lambda: status_of(gate) is Status.REMOVED, "it is settled")
        assert (await gate.send(GOOD))["error"]["code"] in (Code.SESSION_UNKNOWN, Code.SESSION_REVOKED)
        assert len(gate.bundler.sent) == 1


async def test_a_grant_the_bundler_refused_grants_nothing() -> None:
    async with running_gate() as gate:
        gate.bundler.answers[SEND] = Answer(error={"code": -32500, "message": "AA24 signature error"})
        await gate.send(granting(TWICE))
        assert status_of(gate) is None


async def test_an_enable_stands_once_it_is_mined_although_its_execution_reverted() -> None:
    async with running_gate() as gate:
        first = enabling(TWICE, ONCE)
        assert (await gate.send(first))["result"] == hash_of(first)
        assert refusal(await gate.send(use_number(1))) == (Code.SESSION_UNKNOWN, True)
        gate.bundler.mine(first, success=False)
        assert "result" in await gate.send(use_number(2))
        assert (await gate.send(use_number(3)))["error"]["code"] == Code.LIMIT_EXCEEDED


async def test_a_session_removed_through_the_gate_is_refused_once_that_is_mined(gate: RunningGate) -> None:
    removal = removing(TWICE)
    await gate.send(removal)
    (shown,) = (await gate.look("/sessions"))["sessions"]
    assert (shown["status"], shown["removalPending"]) == ("in_force", True)
    assert "result" in await gate.send(GOOD)
    gate.bundler.mine(removal)
    await gate.until(lambda: status_of(gate) is Status.REMOVED, "it is settled")
    assert refusal(await gate.send(use_number(1))) == (Code.SESSION_REVOKED, False)


async def test_a_freeze_refuses_at_once_and_lifting_it_restores(gate: RunningGate) -> None:
    frozen = await gate.change("POST", "/freezes", {"permissionId": SESSION_ID, "note": "lost phone"})
    assert frozen["permissionId"] == SESSION_ID
    answer = await gate.send(GOOD)
    assert refusal(answer) == (Code.SESSION_REVOKED, False)
    assert "lost phone" in answer["error"]["message"]
    assert (await gate.send(GOOD, ESTIMATE))["error"]["code"] == Code.SESSION_REVOKED
    assert await gate.metric("sessions", chain="soneium", state="frozen") == 1
    assert (await gate.change("DELETE", f"/freezes/{SESSION_ID}"))["lifted"] == 1
    assert "result" in await gate.send(GOOD)


@pytest.mark.parametrize(("setting", "passes"), [("reject", False), ("alert", True), ("allow", True)])
async def test_an_unknown_session_goes_as_the_settings_say(setting: str, passes: bool) -> None:
    async with running_gate(chain={"unknown_session": setting}) as gate:
        assert ("result" in await gate.send(GOOD)) is passes


async def test_a_strict_account_must_be_readable_throughout() -> None:
    opaque = an_operation(b"\x12\x34\x56\x78" + bytes(32), nonce=OWNER_NONCE, signature=b"\x0e" * 65)
    async with running_gate(chain={"strict_accounts": [print_checksummed(ACCOUNT)]}) as gate:
        assert (await gate.send(opaque))["error"]["code"] == Code.UNDECODABLE
        assert "result" in await gate.send(granting(TWICE))
    async with running_gate() as gate:
        assert "result" in await gate.send(opaque)


async def test_a_declared_session_works_without_a_node_as_often_as_declared() -> None:
    async with running_gate(sessions=[DECLARED]) as gate:
        assert await gate.metric("sessions", chain="soneium", state="declared") == 1
        assert (await gate.send(use(TWICE, ONCE, key=STRANGERS_KEY)))["error"]["code"] == Code.SESSION_SCOPE
        assert "result" in await gate.send(GOOD)
        assert refusal(await gate.send(use_number(1))) == (Code.LIMIT_EXCEEDED, True)


# the node


async def test_a_session_enabled_outside_the_gate_works_at_once(chain: FakeNode, node_url: str) -> None:
    put_session(chain, enabled(TWICE))
    async with running_gate(node_url=node_url) as gate:
        assert "result" in await gate.send(GOOD)
        (shown,) = (await gate.look("/sessions"))["sessions"]
        assert (shown["status"], shown["source"]) == ("in_force", "node")


async def test_a_session_the_chain_does_not_have_is_refused_after_one_reading(chain: FakeNode, node_url: str) -> None:
    async with running_gate(node_url=node_url) as gate:
        for number in range(5):
            assert refusal(await gate.send(use_number(number))) == (Code.SESSION_UNKNOWN, False)
        readings = [params for params in chain.calls_asked() if params[0]["data"].startswith("0x")]
        assert len(readings) == 2  # enabled or not, and its enable nonce


async def test_while_the_node_is_down_known_sessions_are_judged_and_others_are_doubt(bundler: HonestBundler) -> None:
    stranger = a_session(action(TOKEN, TRANSFER, usage(2)), salt=5)
    async with running_gate(bundler=bundler, node_url="http://127.0.0.1:9/") as gate:
        gate.running.registry.put(known(TWICE))
        assert "result" in await gate.send(GOOD)
        assert refusal(await gate.send(OUTSIDE)) == (Code.SESSION_SCOPE, False)
        for number in range(2):
            answer = await gate.send(use(stranger, ONCE, nonce=lane(number)))
            assert refusal(answer) == (Code.STATE_UNAVAILABLE, True)
        assert await gate.metric("state_unavailable_total", what="node") == 2


@pytest.mark.parametrize(
    "said",
    [
        {"error": {"code": -32005, "message": "quota of project-4711 at 10.1.2.3 is used up"}},
        {"result": "project-4711 at 10.1.2.3"},
    ],
)
async def test_what_a_node_says_of_itself_is_told_to_no_caller(
    chain: FakeNode, node_url: str, said: dict[str, object], caplog: pytest.LogCaptureFixture
) -> None:
    def reply(body: dict[str, Any]) -> web.Response | None:
        whole = {"jsonrpc": "2.0", "id": body["id"], **said}
        return web.json_response(whole) if body["method"] == "eth_call" else None

    chain.reply = reply
    async with running_gate(node_url=node_url) as gate:
        answer = await gate.send(use_number(1))
        assert refusal(answer) == (Code.STATE_UNAVAILABLE, True)
        assert "4711" not in json.dumps(answer)
        assert "10.1.2.3" not in json.dumps(answer)
    if "error" in said:
        assert "quota of project-4711" in caplog.text, "operators read what is wrong with it"


async def test_with_a_node_the_chain_must_have_a_declared_session_too(chain: FakeNode, node_url: str) -> None:
    async with running_gate(node_url=node_url, sessions=[DECLARED]) as gate:
        assert refusal(await gate.send(GOOD)) == (Code.SESSION_UNKNOWN, False)
    put_session(chain, enabled(TWICE))
    async with running_gate(node_url=node_url, sessions=[DECLARED]) as gate:
        assert "result" in await gate.send(GOOD)
