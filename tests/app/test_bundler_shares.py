"""A whole gate before a bundler that thinks for long: whatever others have handed in or asked, a newcomer is heard."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from typing import Any, Self

import aiohttp
import pytest

from proxy.app.descriptors import Descriptors
from proxy.edge.http.asker import UpstreamSettings
from proxy.edge.http.listener import Transport
from proxy.edge.http.places import BundlerPlaces
from proxy.errors import Code
from proxy.userop.primitives import Address
from proxy.userop.user_operation import UserOperation
from tests.admission.builders import TWICE, known, lane
from tests.app.builders import GOOD, ONCE, refusal
from tests.bypass_list.desk import OWNER_NONCE, a_session, use
from tests.edge.recording_bundler import Answer, Recorded
from tests.patience import patiently
from tests.running_gate import BY_HASH, ESTIMATE, SEND, HonestBundler, RunningGate, request, running_gate, submission
from tests.session.builders import TOKEN, TRANSFER, action, usage

CONNECTIONS = 96
OTHERS = tuple(f"127.0.0.{number}" for number in range(2, 8))
AT_ONCE = 30
LONG = 250.0
"""Seconds, longer than any test waits for anything."""
Asking = Callable[[int], dict[str, Any]]


def an_owners(number: int) -> UserOperation:
    """One operation of many that rules say nothing of, each of another account."""
    return replace(GOOD, nonce=OWNER_NONCE, sender=Address((number + 1).to_bytes(20, "big")))


SENDS: Asking = lambda number: submission(an_owners(number))  # noqa: E731 - one of three of a kind
ESTIMATES: Asking = lambda number: submission(an_owners(number), ESTIMATE)  # noqa: E731 - likewise
READS: Asking = lambda number: request(BY_HASH, f"0x{number:064x}")  # noqa: E731 - likewise


class ThinkingBundler(HonestBundler):
    """Thinks about what is sent, estimated and looked up until it is told to answer."""

    def __init__(self) -> None:
        super().__init__()
        self.decided = asyncio.Event()
        self.thinking = 0
        self.answers |= {SEND: self._think, ESTIMATE: self._think, BY_HASH: self._think}

    async def _think(self, recorded: Recorded) -> Answer:
        self.thinking += 1
        await self.decided.wait()
        self.thinking -= 1
        return await self._take(recorded) if recorded.method == SEND else Answer(result=None)

    def heard(self, asked: dict[str, Any]) -> int:
        """How often this has arrived."""
        wanted = json.dumps([asked["method"], asked["params"]], sort_keys=True).lower()
        told = (json.dumps([each.method, each.params], sort_keys=True).lower() for each in self.requests)
        return sum(each == wanted for each in told)


class Crowd:
    """Addresses, each of which asks many things at once."""

    def __init__(
        self,
        gate: RunningGate,
        askings: Sequence[Asking],
        addresses: Sequence[str] = OTHERS,
        each: int = AT_ONCE,
        **headers: str,
    ) -> None:
        self.tasks = [
            asyncio.create_task(
                ask_as(address, gate, askings[number % len(askings)](place * 1_000 + number), **headers)
            )
            for place, address in enumerate(addresses)
            for number in range(each)
        ]

    @property
    def all_wait(self) -> bool:
        return not any(task.done() for task in self.tasks)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)


async def ask_as(address: str, gate: RunningGate, asked: dict[str, Any], **headers: str) -> Any:
    """The answer to who calls from there."""
    async with caller(address) as http, http.post(gate.url, json=asked, headers=headers) as response:
        return await response.json()


def caller(address: str) -> aiohttp.ClientSession:
    connector = aiohttp.TCPConnector(limit=0, local_addr=(address, 0))
    return aiohttp.ClientSession(connector=connector)


@asynccontextmanager
async def thinking_gate(
    patch: pytest.MonkeyPatch, transport: Transport, patience: float = LONG, most: int = CONNECTIONS, **top: Any
) -> AsyncIterator[RunningGate]:
    """A gate with few connections to its bundler; `patience` is for how many seconds a place is waited for."""
    settings = partial(UpstreamSettings, connect_seconds=LONG)  # of a busy machine
    patch.setattr("proxy.app.chain.UpstreamSettings", settings)
    few = Descriptors(callers=1024, bundlers=most, backlog=512)
    patch.setattr("proxy.app.running.descriptors_of", lambda _config: few)
    patch.setattr("proxy.edge.http.asker.BundlerPlaces", lambda of, _, told: BundlerPlaces(of, patience, told))
    bundler = ThinkingBundler()
    async with (
        bundler,
        running_gate(bundler=bundler, transport=transport.value, limits={"request_seconds": LONG}, **top) as gate,
    ):
        gate.running.registry.put(known(TWICE))
        yield gate
        bundler.decided.set()


async def all_are_there(gate: RunningGate) -> None:
    """The bundler thinks about more than half of what it may be asked at once, and the others wait for a place."""
    bundler = bundler_of(gate)
    for _ in patiently():
        in_flight = await gate.metric("in_flight", chain="soneium")
        if bundler.thinking >= CONNECTIONS * 5 // 8 and in_flight == len(OTHERS) * AT_ONCE:
            return
        await asyncio.sleep(0.01)
    raise AssertionError(bundler.thinking)


def bundler_of(gate: RunningGate) -> ThinkingBundler:
    assert isinstance(gate.bundler, ThinkingBundler)
    return gate.bundler


def sent_of(gate: RunningGate) -> Counter[tuple[str, str]]:
    """How often the bundler has heard of each operation that was sent."""
    return Counter((each.params[0]["sender"], each.params[0]["nonce"]) for each in gate.bundler.sent)


async def is_handed_in(gate: RunningGate, asked: dict[str, Any], **headers: str) -> asyncio.Task[Any]:
    """Asked by who has asked nothing yet, and heard by the bundler."""
    bundler = bundler_of(gate)
    task = asyncio.create_task(ask_as("127.0.0.99", gate, asked, **headers))
    for _ in patiently():
        if bundler.heard(asked):
            break
        assert not task.done(), task.result()
        await asyncio.sleep(0.01)
    assert bundler.heard(asked) == 1
    return task


@pytest.mark.parametrize("transport", Transport)
@pytest.mark.parametrize(
    "askings", [(SENDS,), (ESTIMATES,), (SENDS, ESTIMATES, READS)], ids=["sends", "estimates", "all"]
)
async def test_a_newcomers_send_is_handed_in_at_once_whatever_six_households_have_with_a_slow_bundler(
    monkeypatch: pytest.MonkeyPatch, transport: Transport, askings: tuple[Asking, ...]
) -> None:
    async with thinking_gate(monkeypatch, transport) as gate:
        async with Crowd(gate, askings) as crowd:
            await all_are_there(gate)
            good = await is_handed_in(gate, submission(GOOD))
            assert crowd.all_wait
            bundler_of(gate).decided.set()
            assert "result" in await good
            answers = await asyncio.gather(*crowd.tasks)
        assert all("result" in answer for answer in answers), "whoever waits has its turn"
        assert not [each for each in sent_of(gate).values() if each > 1], "none is sent twice"


SMALL = 32
MANY_OTHERS = tuple(f"127.0.0.{number}" for number in range(2, 42))
WITH_A_KEY = [{"name": "ours", "api_key": "k" * 32}, {"name": "a-page", "origins": ["https://page.example"]}]


async def strangers_have_all_they_may(gate: RunningGate) -> None:
    """Forty addresses hold whatever places strangers can have, for one more of them has none."""
    bundler, asked = bundler_of(gate), submission(an_owners(999_999))
    await gate.until(lambda: bundler.thinking == SMALL * 7 // 8, "the bundler thinks about seven eighths")
    async with asyncio.timeout(LONG):
        error = (await ask_as("127.0.0.98", gate, asked, Origin="https://page.example"))["error"]
    assert error["data"]["budget"] == "places at the bundler"


@pytest.mark.parametrize("transport", Transport)
async def test_however_many_addresses_strangers_have_what_a_sessions_key_signed_is_handed_in_at_once(
    monkeypatch: pytest.MonkeyPatch, transport: Transport
) -> None:
    async with (
        thinking_gate(monkeypatch, transport, patience=0.05, most=SMALL) as gate,
        Crowd(gate, (SENDS,), MANY_OTHERS, 2),
    ):
        await strangers_have_all_they_may(gate)
        good = await is_handed_in(gate, submission(GOOD))
        bundler_of(gate).decided.set()
        assert "result" in await good


@pytest.mark.parametrize("transport", Transport)
@pytest.mark.parametrize("mode", ["enforce", "off"])
async def test_so_is_what_a_client_with_a_key_sends(
    monkeypatch: pytest.MonkeyPatch, transport: Transport, mode: str
) -> None:
    more = {"clients": WITH_A_KEY, "mode": mode}
    async with (
        thinking_gate(monkeypatch, transport, patience=0.05, most=SMALL, **more) as gate,
        Crowd(gate, (SENDS,), MANY_OTHERS, 2, Origin="https://page.example"),
    ):
        await strangers_have_all_they_may(gate)
        good = await is_handed_in(gate, submission(an_owners(888_888)), **{"x-api-key": "k" * 32})
        bundler_of(gate).decided.set()
        assert "result" in await good


@pytest.mark.parametrize("transport", Transport)
async def test_what_finds_no_place_at_the_bundler_says_so_holds_nothing_and_is_counted(
    monkeypatch: pytest.MonkeyPatch, transport: Transport
) -> None:
    """Who is alone leaves nine of 24 places."""
    session = a_session(action(TOKEN, TRANSFER, usage(16)), salt=16)
    ops = [use(session, ONCE, nonce=lane(number)) for number in range(18)]
    async with thinking_gate(monkeypatch, transport, patience=0.05, most=24) as gate:
        bundler = bundler_of(gate)
        gate.running.registry.put(known(session))
        sending = [asyncio.create_task(gate.send(op)) for op in ops[:15]]
        await gate.until(lambda: bundler.thinking == 15, "the bundler thinks about fifteen")
        for op in ops[15:17]:
            error = (await gate.send(op))["error"]
            assert error["code"] == Code.UPSTREAM_UNAVAILABLE
            assert error["message"] == "no bundler answered: soneium has too many operations that are not answered yet"
            told = {key: error["data"][key] for key in ("budget", "retryable", "mayHaveBeenSent")}
            assert told == {"budget": "places at the bundler", "retryable": True, "mayHaveBeenSent": False}
        assert await gate.metric("upstream_full_total", chain="soneium", kind="send") == 2
        assert await gate.metric("upstream_full_total", chain="soneium", kind="read") == 0
        bundler.decided.set()
        assert all("result" in answer for answer in await asyncio.gather(*sending))
        assert "result" in await gate.send(ops[15]), "it is the sixteenth of sixteen"
        assert refusal(await gate.send(ops[17])) == (Code.LIMIT_EXCEEDED, True)
        assert set(sent_of(gate).values()) == {1}
        assert len(sent_of(gate)) == 16
