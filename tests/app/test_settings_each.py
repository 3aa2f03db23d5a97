"""Every setting that a reload puts in force, one by one: what the gate does by it changes, at the next request."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, Final

import pytest

from proxy.app.reload import can_be_put_in_force
from proxy.config import Chain, Config
from proxy.errors import Code
from tests.admission.builders import TWICE, key_of, known
from tests.app.builders import GOOD, OUTSIDE, use_number
from tests.app.test_dialect_tables import HASH, PAIR, TIERS
from tests.chain.builders import FakeNode
from tests.chain.on_chain import put_absent
from tests.edge.recording_bundler import Answer
from tests.patience import PATIENCE_SECONDS
from tests.running_gate import BY_HASH, ESTIMATE, SEND, RunningGate, request, running_gate, settings

ASK: Final = request("eth_chainId")
KEY, NEW_KEY = "hush-client-key", "hush-another-key"
NOWHERE: Final = "http://127.0.0.1:1/"
Probe = Callable[[RunningGate], Awaitable[object]]


class File:
    """What the settings' file says: one part of it at the top, of the limits or of the chain."""

    def __init__(self, path: str, value: object) -> None:
        self.path = path
        self.value = value

    def __call__(self, config: Config) -> Config:
        part, _, name = self.path.rpartition(".")
        if not part:
            return config.model_copy(update={name: getattr(settings(NOWHERE, **{name: self.value}), name)})
        if part == "limits":
            fresh = settings(NOWHERE, limits={name: self.value}).limits
            return config.model_copy(update={part: config.limits.model_copy(update={name: getattr(fresh, name)})})
        chain = settings(NOWHERE, chain={name: self.value}).chains["soneium"]
        served = config.chains["soneium"].model_copy(update={name: getattr(chain, name)})
        return config.model_copy(update={"chains": {"soneium": served}})


def sending(op: Any, method: str = SEND) -> Probe:
    """What an operation is answered with: the code of its refusal, or nothing."""

    async def probe(gate: RunningGate) -> object:
        return (await gate.send(op, method)).get("error", {}).get("code")

    return probe


def opening(**headers: str) -> Probe:
    """Whether a request with these headers is answered."""

    async def probe(gate: RunningGate) -> object:
        return "result" in await gate.ask(ASK, **headers)

    return probe


def named_in(bound: str, body: Any) -> Probe:
    """Whether the answer names that bound."""

    async def probe(gate: RunningGate) -> object:
        return bound.encode() in (await gate.post(body))[1]

    return probe


def looking(path: str, **headers: str) -> Probe:
    """The status of the admin listener's answer."""

    async def probe(gate: RunningGate) -> object:
        async with gate.http.get(gate.admin + path, headers=headers) as response:
            return response.status

    return probe


async def a_page_may_call(gate: RunningGate) -> object:
    async with gate.http.post(gate.url, json=ASK, headers={"origin": "https://other.example"}) as response:
        return "access-control-allow-origin" in response.headers


async def how_long_it_drains(gate: RunningGate) -> object:
    return gate.running.settings.config.drain_seconds


async def gives_up(gate: RunningGate) -> object:
    gate.bundler.hold()
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            return (await gate.ask(ASK))["error"]["code"]
    finally:
        gate.bundler.release()


async def is_relayed(gate: RunningGate) -> object:
    await gate.ask(request("eth_getTransactionReceipt", HASH))
    return "eth_getTransactionReceipt" in gate.bundler.methods


async def a_fee(gate: RunningGate) -> object:
    gate.bundler.answers["pimlico_getUserOperationGasPrice"] = Answer(result=dict.fromkeys(TIERS, PAIR))
    return (await gate.ask(request("rundler_maxPriorityFeePerGas"))).get("result")


async def a_status(gate: RunningGate) -> object:
    gate.bundler.answers[BY_HASH] = Answer(result=None)
    gate.bundler.answers["rundler_getUserOperationStatus"] = Answer(result={"status": "pending"})
    answer = await gate.ask(request("pimlico_getUserOperationStatus", HASH))
    return answer.get("result", {}).get("status")


async def named_in_vain(gate: RunningGate) -> object:
    """How many of three permission ids that are nowhere the node is asked about."""
    answers = [
        await gate.send(replace(GOOD, signature=b"\0" + bytes([0x70 + number]) * 32 + b"\xff" * 65))
        for number in range(3)
    ]
    return sum(each["error"]["code"] != Code.RATE_LIMITED for each in answers)


DAPP: Final = {"name": "dapp", "api_key": KEY}
INSIDE: Final = {**DAPP, "networks": ["10.0.0.0/8"]}
READER: Final = "hush-a-token-to-read-with"
DEEP: Any = json.loads("[" * 12 + "]" * 12)

# path: (what stands beside it, the value before, the value after, what is looked at, what it shows before, and after)
EACH: Final[dict[str, tuple[dict[str, Any], object, object, Probe, object, object]]] = {
    "mode": ({}, "enforce", "shadow", sending(OUTSIDE), Code.SESSION_SCOPE, None),
    "previews": ({}, "judge", "pass", sending(OUTSIDE, ESTIMATE), Code.SESSION_SCOPE, None),
    "clients": ({}, [DAPP], [{**DAPP, "api_key": NEW_KEY}], opening(**{"x-api-key": KEY}), True, False),
    "cors": ({}, {}, {"origins": ["https://dapp.example"]}, a_page_may_call, True, False),
    "trusted_proxies": (
        {"clients": [INSIDE]},
        [],
        ["127.0.0.1"],
        opening(**{"x-api-key": KEY, "x-forwarded-for": "10.1.2.3"}),
        False,
        True,
    ),
    "forwarded_by": (
        {"clients": [INSIDE], "trusted_proxies": ["127.0.0.1"]},
        "x-forwarded-for",
        "forwarded",
        opening(**{"x-api-key": KEY, "forwarded": "for=10.1.2.3"}),
        False,
        True,
    ),
    "admin_token": ({}, None, "hush-a-token-of-ops", looking("/sessions"), 200, 401),
    "admin_read_token": ({}, None, READER, looking("/sessions"), 200, 401),
    "admin_hosts": ({}, [], ["gate.example."], looking("/healthz", host="gate.example"), 421, 200),
    "admin_open": ({"admin_read_token": READER}, ["metrics", "health"], ["health"], looking("/metrics"), 200, 401),
    "drain_seconds": ({}, 0, 7, how_long_it_drains, 0, 7),
    "limits.max_body_bytes": ({}, 4_096, 1_024, named_in("at most 1024 are read", b" " * 2_000 + b"{}"), False, True),
    "limits.max_batch": ({}, 50, 2, named_in("at most 2 are taken", [ASK] * 3), False, True),
    "limits.max_depth": ({}, 32, 8, named_in("deeper than 8 levels", request("eth_chainId", DEEP)), False, True),
    "limits.max_elements": (
        {},
        512,
        256,
        named_in("more than 256 elements", request("eth_chainId", [0] * 300)),
        False,
        True,
    ),
    "limits.request_seconds": ({}, 600, 0.2, gives_up, ..., Code.UPSTREAM_UNAVAILABLE),
    "limits.absent_sessions": ({}, 1_000, 0.001, named_in_vain, 3, 1),
    "limits.in_flight_per_session": ({}, 5, 1, sending(use_number(1)), ..., Code.RATE_LIMITED),
    "limits.in_flight_per_account": ({}, 5, 1, sending(use_number(1)), ..., Code.RATE_LIMITED),
    "chains.soneium.bundlers": ({}, ..., [NOWHERE], sending(GOOD), ..., Code.UPSTREAM_UNAVAILABLE),
    "chains.soneium.allow_methods": ({}, [], ["eth_getTransactionReceipt"], is_relayed, False, True),
    "chains.soneium.fee_methods": ({}, "translate", "pass", a_fee, "0x1", None),
    "chains.soneium.status_methods": ({}, "translate", "pass", a_status, "not_submitted", None),
}


@asynccontextmanager
async def gate_by(path: str, before: object, after: object, top: dict[str, Any]) -> AsyncIterator[RunningGate]:
    part, _, name = path.rpartition(".")
    set_before = {} if before is ... else {name: before}
    chain = set_before if part.startswith("chains.") else {}
    beside = {"limits": set_before} if part == "limits" else {} if part else set_before
    file = File(path if part in ("", "limits") else f"chain.{name}", after)
    node = FakeNode()
    for number in range(3):
        put_absent(node, key_of(TWICE)._replace(permission_id=bytes([0x70 + number]) * 32))
    server = await node.start() if path == "limits.absent_sessions" else None
    url = None if server is None else str(server.make_url("/"))
    try:
        async with running_gate(reread=file, chain=chain, node_url=url, **top, **beside) as gate:
            gate.running.registry.put(known(TWICE))
            yield gate
    finally:
        if server is not None:
            await server.close()


@pytest.mark.parametrize("path", EACH)
async def test_it_is_in_force_at_the_next_request(path: str) -> None:
    top, before, after, look, shown, then = EACH[path]
    async with gate_by(path, before, after, top) as gate:
        if shown is not ...:
            assert await look(gate) == shown
        elif "in_flight" in path:
            assert "result" in await gate.send(GOOD)
        outcome = await gate.running.settings.reload("ops")
        assert (outcome.in_force, outcome.needs_restart, outcome.faults) == ((path,), (), ())
        assert await look(gate) == then


@pytest.fixture
def log_as_it_was() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


async def test_the_log_has_another_form_and_other_lines_at_the_next_request(
    log_as_it_was: None, capsys: pytest.CaptureFixture[str]
) -> None:
    file = File("log", {"operations": "all", "format": "json", "level": "warning"})
    async with running_gate(reread=file, log={"operations": "none"}) as gate:
        gate.running.registry.put(known(TWICE))
        await gate.send(OUTSIDE)
        assert "session_scope" not in capsys.readouterr().err
        await gate.running.settings.reload("ops")
        file.value = {"operations": "notable", "format": "json"}
        await gate.send(OUTSIDE)
        assert "session_scope" not in capsys.readouterr().err  # a line of an operation is no warning
        outcome = await gate.running.settings.reload("ops")
        assert outcome.in_force == ("log",)
        decision = (await gate.send(OUTSIDE))["error"]["data"]["decisionId"]
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert decision in [line.get("decision") for line in lines]


def test_each_of_them_is_looked_at() -> None:
    paths = [name for name in Config.model_fields if name not in ("limits", "chains")]
    paths += [f"limits.{name}" for name in type(settings(NOWHERE).limits).model_fields]
    paths += [f"chains.soneium.{name}" for name in Chain.model_fields]
    assert {path for path in paths if can_be_put_in_force(path)} == {*EACH, "log"}
