"""What callers ask and send nothing by takes no connection from what is sent, however long a bundler thinks of it."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.edge.http.endpoints import Health
from proxy.edge.http.exchange import Ended
from proxy.edge.http.listener import Transport
from proxy.edge.http.read_places import ReadPlaces
from proxy.edge.http.upstream import HttpUpstream
from proxy.errors import UpstreamUnavailable
from proxy.ports import AskingOn
from tests.edge.http.peers import until
from tests.edge.http.test_upstream import CHAIN_ID, SETTINGS, upstream_of
from tests.edge.recording_bundler import OPERATION_HASH, Answer, Recorded, RecordingBundler
from tests.virtual_time import run

SLOW = "eth_getUserOperationByHash"
FEW = replace(SETTINGS, max_connections=8, total_seconds=100, connect_seconds=0.05)


class SlowBundler(RecordingBundler):
    """Thinks about one method until it is told to answer."""

    def __init__(self) -> None:
        super().__init__(CHAIN_ID)
        self.decided = asyncio.Event()
        self.answers[SLOW] = self._think

    async def _think(self, _: Recorded) -> Answer:
        await self.decided.wait()
        return Answer(result=None)

    @property
    def thinking(self) -> int:
        return sum(request.method == SLOW for request in self.requests)


async def ask(upstream: HttpUpstream, method: str) -> object:
    try:
        return (await upstream.post(method, b"[]", submit=method != SLOW)).reply.result
    except UpstreamUnavailable as error:
        return error.problem


@pytest.mark.parametrize("transport", Transport)
async def test_questions_that_a_bundler_is_slow_with_take_no_connection_from_what_is_sent(transport: Transport) -> None:
    async with (
        SlowBundler() as bundler,
        upstream_of(bundler.url, settings=replace(FEW, transport=transport)) as upstream,
    ):
        assert await upstream.probe()
        asked = [asyncio.create_task(ask(upstream, SLOW)) for _ in range(20)]
        await until(lambda: bundler.thinking == 7)
        assert await ask(upstream, "eth_sendUserOperation") == OPERATION_HASH
        # of those that found no place within the time to connect each is told why
        await until(lambda: sum(task.done() for task in asked) == 13)
        assert Counter(task.result() for task in asked if task.done()) == {
            "soneium#0 has too many questions that are not answered yet": 13
        }
        assert await upstream.probe()
        assert upstream.endpoints[0].health is Health.HEALTHY
        bundler.decided.set()
        assert [await task for task in asked].count(None) == 7
        assert await ask(upstream, SLOW) is None


async def test_nor_do_those_that_are_asked_without_a_task() -> None:
    heard: list[Ended | AskingOn] = []
    async with SlowBundler() as bundler, upstream_of(bundler.url, settings=FEW) as upstream:
        await asyncio.gather(*(ask(upstream, "eth_sendUserOperation") for _ in range(8)))  # eight connections are open
        begun = [upstream.begin(SLOW, b"[]", heard.append, submit=False) for _ in range(8)]
        assert begun == [True] * 7 + [False]
        await until(lambda: bundler.thinking == 7)
        assert await ask(upstream, "eth_sendUserOperation") == OPERATION_HASH
        bundler.decided.set()
        await until(lambda: len(heard) == 7)
        assert upstream.begin(SLOW, b"[]", heard.append, submit=False)
        await until(lambda: len(heard) == 8)


@pytest.mark.parametrize("transport", Transport)
async def test_who_finds_all_connections_taken_says_nothing_of_the_bundler(transport: Transport) -> None:
    few = replace(FEW, transport=transport)
    async with SlowBundler() as bundler, upstream_of(bundler.url, settings=few) as upstream:
        assert await upstream.probe()
        bundler.answers["eth_sendUserOperation"] = bundler.answers[SLOW]
        sent = [asyncio.create_task(ask(upstream, "eth_sendUserOperation")) for _ in range(8)]
        await until(lambda: len(bundler.requests) == 2 + 8)
        assert await ask(upstream, "eth_sendUserOperation") == "soneium#0 has no connection left to be asked by"
        assert upstream.endpoints[0].health is Health.HEALTHY
        bundler.decided.set()
        await asyncio.gather(*sent)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 12), st.lists(st.tuples(st.integers(0, 6), st.integers(0, 12)), max_size=30))
def test_whoever_asked_or_was_given_up_leaves_its_place(connections: int, asked: list[tuple[int, int]]) -> None:
    places = ReadPlaces(connections, 3)
    most = max(1, connections - max(1, connections // 8))
    at_hand = 0

    async def one(seconds: int, patience: int) -> None:
        nonlocal at_hand
        with suppress(TimeoutError, UpstreamUnavailable):
            async with asyncio.timeout(patience), places.place("one"):
                at_hand += 1
                assert at_hand <= most
                try:
                    await asyncio.sleep(seconds)
                finally:
                    at_hand -= 1

    async def all_of_them() -> None:
        async with asyncio.TaskGroup() as group:
            for seconds, patience in asked:
                group.create_task(one(seconds, patience))

    run(all_of_them())
    taken: Callable[[], bool] = places.take
    assert [taken() for _ in range(most + 1)] == [True] * most + [False]
