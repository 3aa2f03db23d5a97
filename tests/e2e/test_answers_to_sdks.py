"""Every code and every HTTP status of a real gate, at each SDK: what is answered makes the bundler hear of no operation
twice, and of none that was not let through."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from proxy.errors import Code
from proxy.jsonrpc import BodyLimits
from proxy.userop.user_operation import UserOperation, print_user_operation
from tests.admission.builders import known, lane
from tests.bypass_list.desk import V06, a_session, single, use
from tests.e2e.handing_in import NAME_A_METHOD, SDKS, Cut, Wire, hand_in, task, wire_to
from tests.e2e.rig import install
from tests.edge.recording_bundler import Answer
from tests.running_gate import SEND, RunningGate, running_gate
from tests.session.builders import NOW, OTHER_TOKEN, TOKEN, TRANSFER, action, time_frame, transfer, usage

SESSION = a_session(action(TOKEN, TRANSFER, usage(1000)))
ONE_USE = a_session(action(TOKEN, TRANSFER, usage(1)), salt=2)
OVER = a_session(action(TOKEN, TRANSFER, time_frame(NOW + 1)), salt=3)
NOBODYS = a_session(action(TOKEN, TRANSFER, usage(1)), salt=4)
KEY = "hush-key"
AGAIN = 4
"""A first time, and viem's three repeats."""
LISTED = {Code.PARSE_ERROR, Code.INVALID_REQUEST, Code.METHOD_NOT_FOUND, Code.INVALID_PARAMS}
"""Codes of ours that viem lists. On a `custom` transport it takes every other one for an unknown error."""
NO_TRANSFERS = """
rules:
  - id: no-transfers
    description: Nobody transfers today.
    mode: enforce
    severity: high
    match: {session: true}
"""


def using(number: int, session: Any = SESSION, call: Any = None) -> UserOperation:
    return use(session, single(transfer(1) if call is None else call), nonce=lane(number))


async def nothing(_: RunningGate) -> None:
    return None


async def frozen(gate: RunningGate) -> None:
    await gate.change("POST", "/freezes", {"permissionId": f"0x{SESSION.permission_id.hex()}", "note": "lost phone"})


async def one_is_in_flight(gate: RunningGate) -> None:
    assert "result" in await gate.send(using(100, ONE_USE))


async def one_was_handed_in(gate: RunningGate) -> None:
    gate.headers = {"x-api-key": KEY}
    assert "result" in await gate.send(using(100))


async def a_proxy_before_the_bundler_answers(gate: RunningGate) -> None:
    gate.bundler.answers[SEND] = Answer(raw=b"<html>", status=502, content_type="text/html")


def undecodable(number: int) -> UserOperation:
    op = using(number)
    return op.__class__(**{**{name: getattr(op, name) for name in op.__slots__}, "signature": b"\x01" + b"\xff" * 40})


def too_deep() -> dict[str, Any]:
    """JSON, but with more levels than the gate reads."""
    nested: dict[str, Any] = {}
    for _ in range(BodyLimits().max_depth):
        nested = {"in": nested}
    return nested


@dataclass(frozen=True)
class Scene:
    """How a gate comes to answer with a code."""

    settings: dict[str, Any] = field(default_factory=dict)
    before: Callable[[RunningGate], Awaitable[None]] = nothing
    op: Callable[[int], UserOperation] = using
    said: dict[str, Any] = field(default_factory=dict)  # to the SDK, besides the operation
    path: str = ""
    reaches: int = 0  # the bundler, of each operation
    sdks: tuple[str, ...] = SDKS


SCENES: dict[Code, Scene] = {
    Code.RULE_REJECTED: Scene({"rules": ["{rules}"]}),
    Code.SESSION_UNKNOWN: Scene(op=lambda number: using(number, NOBODYS)),
    Code.SESSION_REVOKED: Scene(before=frozen),
    Code.SESSION_NOT_VALID_NOW: Scene(op=lambda number: using(number, OVER)),
    Code.SESSION_SCOPE: Scene(op=lambda number: using(number, call=transfer(1, token=OTHER_TOKEN))),
    Code.LIMIT_EXCEEDED: Scene(before=one_is_in_flight, op=lambda number: using(number, ONE_USE)),
    Code.RATE_LIMITED: Scene(
        {"clients": [{"name": "dapp", "api_key": KEY, "rates": {"operations": "0.001"}}]},
        before=one_was_handed_in,
        path=f"/{KEY}",
    ),
    Code.UNDECODABLE: Scene(op=undecodable),
    Code.STATE_UNAVAILABLE: Scene({"node_url": "http://127.0.0.1:9/"}, op=lambda number: using(number, NOBODYS)),
    Code.UPSTREAM_UNAVAILABLE: Scene(before=a_proxy_before_the_bundler_answers, reaches=1),
    Code.INVALID_REQUEST: Scene(
        {"clients": [{"name": "dapp", "api_key": KEY, "accounts": ["0x" + "12" * 20]}]}, path=f"/{KEY}"
    ),
    Code.METHOD_NOT_FOUND: Scene(said={"method": "eth_sendRawTransaction"}, sdks=NAME_A_METHOD),
    Code.INVALID_PARAMS: Scene(said={"entryPoint": f"0x{V06.address.hex()}"}),
    Code.PARSE_ERROR: Scene(said={"extra": {"eip7702Auth": too_deep()}}),
}


@pytest.fixture(scope="module")
def packages() -> None:
    install()


@asynccontextmanager
async def gate_of(scene: Scene, rules: Path) -> AsyncIterator[RunningGate]:
    settings = {**scene.settings, **({"rules": [str(rules)]} if "rules" in scene.settings else {})}
    async with running_gate(**settings) as gate:
        for session in (SESSION, ONE_USE, OVER):
            gate.running.registry.put(known(session))
        await scene.before(gate)
        gate.bundler.requests.clear()
        yield gate


def test_there_is_a_scene_for_every_code_that_a_submission_may_be_answered_with() -> None:
    assert set(SCENES) == set(Code) - {Code.INTERNAL_ERROR}


@pytest.mark.usefixtures("packages")
async def test_whatever_code_the_gate_answers_with_no_sdk_makes_the_bundler_hear_of_it_twice(tmp_path: Path) -> None:
    rules = tmp_path / "own.yaml"
    rules.write_text(NO_TRANSFERS)
    async with AsyncExitStack() as stack:
        gates = {code: await stack.enter_async_context(gate_of(scene, rules)) for code, scene in SCENES.items()}
        asked = [(code, client) for code, scene in SCENES.items() for client in scene.sdks]
        wires: dict[tuple[Code, str], Wire] = {}
        tasks = []
        for code, client in asked:
            scene = SCENES[code]
            wire = wires[code, client] = await stack.enter_async_context(wire_to(gates[code].url + scene.path))
            tasks.append(task(client, wire.url, scene.op(SDKS.index(client)), **scene.said))
        told = await hand_in(tasks)
        for (code, client), outcome in zip(asked, told, strict=True):
            assert "failed" in outcome, (code, client)
            wire, expected = wires[code, client], AGAIN if client == "viem custom" and code not in LISTED else 1
            assert (wire.sends, wire.answered.count(b'"code":%d' % code)) == (expected, expected), (
                code,
                client,
                outcome,
            )
        for code, scene in SCENES.items():
            reached = [sent.params[0]["nonce"] for sent in gates[code].bundler.sent]
            ops = [print_user_operation(scene.op(SDKS.index(client)))["nonce"] for client in scene.sdks]
            assert sorted(reached) == sorted(ops * scene.reaches), code


BEGUN_AGAIN = {"viem http", "viem custom", "permissionless"}
"""SDKs that send again after a status by which the gate turns a request away before it is whole."""


@asynccontextmanager
async def plain_gate(**settings: Any) -> AsyncIterator[RunningGate]:
    async with running_gate(**settings) as gate:
        gate.running.registry.put(known(SESSION))
        yield gate


async def each_by_a_wire(gate: RunningGate, cut: Cut = Cut.NOT_AT_ALL, path: str = "") -> dict[str, tuple[Wire, Any]]:
    """What each SDK came to that hands one operation in by a wire of its own."""
    async with AsyncExitStack() as stack:
        wires = {client: await stack.enter_async_context(wire_to(gate.url + path, cut)) for client in SDKS}
        told = await hand_in([task(client, wire.url, using(SDKS.index(client))) for client, wire in wires.items()])
    return {client: (wire, outcome) for (client, wire), outcome in zip(wires.items(), told, strict=True)}


def reached(gate: RunningGate) -> list[str]:
    """The SDKs whose operations reached the bundler, one for each time."""
    client = {print_user_operation(using(number))["nonce"]: name for number, name in enumerate(SDKS)}
    return sorted(client[sent.params[0]["nonce"]] for sent in gate.bundler.sent)


@pytest.mark.usefixtures("packages")
async def test_what_did_not_arrive_in_time_is_sent_again_by_viem_and_reaches_the_bundler_once() -> None:
    async with plain_gate(connections={"head_seconds": 1}) as gate:
        came = await each_by_a_wire(gate, Cut.HEAD)
    for client, (wire, outcome) in came.items():
        assert wire.answered.count(b"HTTP/1.1 408 ") == 1, client
        assert wire.sends == (2 if client in BEGUN_AGAIN else 1), (client, outcome)
        assert ("result" in outcome) == (client in BEGUN_AGAIN), (client, outcome)
    assert reached(gate) == sorted(BEGUN_AGAIN)


@pytest.mark.usefixtures("packages")
async def test_a_body_that_did_not_arrive_in_time_makes_nobody_send_again() -> None:
    async with plain_gate(connections={"body_seconds": 1}) as gate:
        came = await each_by_a_wire(gate, Cut.BODY)
    assert {client: wire.sends for client, (wire, _) in came.items()} == dict.fromkeys(SDKS, 1)
    assert all(b'"code":%d' % Code.INVALID_REQUEST in wire.answered for wire, _ in came.values())
    assert reached(gate) == []


@pytest.mark.usefixtures("packages")
async def test_a_gate_that_is_full_is_asked_again_by_viem_alone_and_hands_nothing_on() -> None:
    async with plain_gate(connections={"max_per_peer": 1}) as gate:
        gate.bundler.hold()
        holding = asyncio.create_task(gate.send(using(100)))
        await gate.until(lambda: len(gate.bundler.sent) == 1, "one is under way")
        came = await each_by_a_wire(gate)
        gate.bundler.release()
        assert "result" in await holding
    for client, (wire, outcome) in came.items():
        assert "failed" in outcome, client
        told = wire.answered.count(b"HTTP/1.1 503 ")
        if client == "userop.js":  # asks which chain it is, again and again, and gets no further
            assert (told > 0, wire.sends) == (True, 0)
        else:
            assert told == (AGAIN if client in BEGUN_AGAIN else 1), (client, outcome)
    assert len(gate.bundler.sent) == 1


@pytest.mark.usefixtures("packages")
async def test_a_head_that_is_too_long_is_sent_again_on_a_custom_transport_alone_and_hands_nothing_on() -> None:
    async with plain_gate() as gate:
        came = await each_by_a_wire(gate, path="?apikey=" + "k" * 20_000)
    for client, (wire, outcome) in came.items():
        assert "failed" in outcome, client
        assert wire.answered.startswith(b"HTTP/1.1 431 "), (client, outcome)
        assert wire.sends == (AGAIN if client == "viem custom" else 1), (client, outcome)
    assert gate.bundler.sent == []
