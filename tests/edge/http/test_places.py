"""What callers ask and send nothing by takes no connection from what is sent, however long a bundler thinks of it."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Coroutine
from contextlib import suppress
from dataclasses import replace
from ipaddress import ip_network
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.edge.http.bundler_health import QuestionKind
from proxy.edge.http.endpoints import Health
from proxy.edge.http.exchange import Ended
from proxy.edge.http.forwarded import TrustedProxies
from proxy.edge.http.households import HouseholdTurns
from proxy.edge.http.listener import ListenerSettings, Transport
from proxy.edge.http.places import BundlerPlaces
from proxy.edge.http.server import RpcServer
from proxy.edge.http.upstream import HttpUpstream
from proxy.errors import UpstreamUnavailable
from proxy.jsonrpc import Request
from proxy.ports import Answer as Answered
from proxy.ports import AskingOn, RequestContext, Submission
from tests.edge.http.corpus import CALL, JSON, post
from tests.edge.http.peers import SETTINGS as LISTENING
from tests.edge.http.peers import Peer, until
from tests.edge.http.test_upstream import CHAIN_ID, SETTINGS, upstream_of
from tests.edge.recording_bundler import OPERATION_HASH, Answer, Recorded, RecordingBundler
from tests.virtual_time import run

READ, SEND = QuestionKind
SLOW = "eth_getUserOperationByHash"
FEW = replace(SETTINGS, max_connections=8, total_seconds=100, connect_seconds=60)


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


def impatient(upstream: HttpUpstream) -> None:
    """A place is not waited for as long as a busy machine may take to connect."""
    upstream._places._wait_seconds = 0.05


async def ask(upstream: HttpUpstream, method: str) -> object:
    try:
        return (await upstream.post(method, b"[]", None if method == SLOW else Submission())).reply.result
    except UpstreamUnavailable as error:
        return error.problem


async def turned(turns: HouseholdTurns, household: str, work: Coroutine[Any, Any, None]) -> None:
    await turns.work(household, work)


@pytest.mark.parametrize("transport", Transport)
async def test_questions_that_a_bundler_is_slow_with_take_no_connection_from_what_is_sent(transport: Transport) -> None:
    async with (
        SlowBundler() as bundler,
        upstream_of(bundler.url, settings=replace(FEW, transport=transport)) as upstream,
    ):
        impatient(upstream)
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


async def test_nor_do_questions_about_an_operation_in_another_dialect_and_those_of_the_gate_need_no_place() -> None:
    """`find`, by which statuses are told in any dialect, and `find_out`, by which the settlement looks."""
    async with SlowBundler() as bundler, upstream_of(bundler.url, settings=FEW) as upstream:
        impatient(upstream)
        heard: list[object] = []

        async def find() -> None:
            try:
                heard.append((await upstream.find(SLOW, b"[]")).reply.result)
            except UpstreamUnavailable as error:
                heard.append(error.problem)

        asked = [asyncio.create_task(find()) for _ in range(20)]
        await until(lambda: bundler.thinking == 7)
        assert await ask(upstream, "eth_sendUserOperation") == OPERATION_HASH
        await until(lambda: len(heard) == 13)
        assert set(heard) == {"soneium#0 has too many questions that are not answered yet"}
        own = asyncio.create_task(upstream.find_out(SLOW, b"[]", None))
        await until(lambda: bundler.thinking == 8)
        bundler.decided.set()
        assert (await own).reply.result is None
        await asyncio.gather(*asked)
        assert heard[13:] == [None] * 7


async def test_nor_do_those_that_are_asked_without_a_task() -> None:
    heard: list[Ended | AskingOn] = []
    async with SlowBundler() as bundler, upstream_of(bundler.url, settings=FEW) as upstream:
        await asyncio.gather(*(ask(upstream, "eth_sendUserOperation") for _ in range(8)))  # eight connections are open
        begun = [upstream.begin(SLOW, b"[]", heard.append, submission=None) for _ in range(8)]
        assert begun == [True] * 7 + [False]
        await until(lambda: bundler.thinking == 7)
        assert await ask(upstream, "eth_sendUserOperation") == OPERATION_HASH
        bundler.decided.set()
        await until(lambda: len(heard) == 7)
        assert upstream.begin(SLOW, b"[]", heard.append, submission=None)
        await until(lambda: len(heard) == 8)


@pytest.mark.parametrize("transport", Transport)
async def test_who_finds_all_connections_taken_says_nothing_of_the_bundler(transport: Transport) -> None:
    few = replace(FEW, transport=transport, connect_seconds=1)
    async with SlowBundler() as bundler, upstream_of(bundler.url, settings=few) as upstream:
        assert await upstream.probe()
        bundler.answers["eth_sendUserOperation"] = bundler.answers[SLOW]
        sent = [asyncio.create_task(ask(upstream, "eth_sendUserOperation")) for _ in range(8)]
        await until(lambda: len(bundler.requests) == 2 + 8)
        told = await ask(upstream, "eth_sendUserOperation")
        assert told == "soneium has too many operations that are not answered yet"
        assert await upstream.probe()
        assert upstream.endpoints[0].health is Health.HEALTHY
        bundler.decided.set()
        await asyncio.gather(*sent)


async def test_nor_does_who_finds_them_taken_of_one_that_is_asked_over_a_websocket() -> None:
    async with SlowBundler() as bundler, upstream_of(bundler.socket_url, settings=FEW) as upstream:
        assert await upstream.probe()
        bundler.answers["eth_sendUserOperation"] = bundler.answers[SLOW]
        sent = [asyncio.create_task(ask(upstream, "eth_sendUserOperation")) for _ in range(8)]
        await until(lambda: bundler.methods.count("eth_sendUserOperation") == 8)
        assert await upstream.probe()
        bundler.decided.set()
        assert [await each for each in sent] == [None] * 8


@pytest.mark.parametrize("kind", QuestionKind)
def test_who_asks_for_one_thing_has_a_place_before_the_hundredth_of_another(kind: QuestionKind) -> None:
    turns, places = HouseholdTurns(256), BundlerPlaces(1, 3)
    served: list[str] = []

    async def one(household: str) -> None:
        async with places.place(kind, "one"):
            served.append(household)
            await asyncio.sleep(0.01)

    async def all_of_them() -> None:
        async with asyncio.TaskGroup() as group:
            for household in ("much",) * 100 + ("little", "less") + ("much",) * 100:
                group.create_task(turned(turns, household, one(household)))

    run(all_of_them())
    assert len(served) == 202
    assert served[:4] == ["much", "little", "less", "much"]


@pytest.mark.parametrize("transport", Transport)
async def test_a_household_has_its_turn_at_a_slow_bundler_however_many_questions_of_another_wait(
    transport: Transport,
) -> None:
    """Of a whole listener: whose question it is goes along with it, out of a batch and from whoever asks one."""
    places = BundlerPlaces(1, 100)
    served: list[str] = []
    waiting: list[str] = []
    ended = asyncio.Event()

    async def answer(request: Request, context: RequestContext) -> Answered | None:
        waiting.append(str(context.remote))
        async with places.place(READ, "one"):
            served.append(str(context.remote))
            await ended.wait()
        return Answered(b"{}")

    bounds = ListenerSettings(shutdown_seconds=0.1)
    proxies = TrustedProxies((ip_network("127.0.0.1/32"),))
    quiet = replace(LISTENING, transport=transport, bounds=bounds, proxies=proxies)
    server = await RpcServer(answer, quiet).start("127.0.0.1", 0)
    much, little = await Peer.at(server.port), await Peer.at(server.port)
    batch = b"[" + b",".join([CALL] * 20) + b"]"
    await much.say(post(batch, fields=JSON + b"X-Forwarded-For: 203.0.113.1\r\n"))
    await until(lambda: len(waiting) == LISTENING.batch_concurrency)
    await little.say(post(fields=JSON + b"X-Forwarded-For: 203.0.113.2\r\n"))
    await until(lambda: "203.0.113.2" in waiting)
    ended.set()
    assert (await little.hear())[0] == 200
    assert (await much.hear())[0] == 200
    much.leave()
    little.leave()
    await server.stop()
    assert served.index("203.0.113.2") == 1
    assert len(served) == 21


@pytest.mark.parametrize("connections", [8, 16, 1000])
def test_however_many_places_others_hold_for_long_a_newcomer_has_one_at_once(connections: int) -> None:
    turns, places, over = HouseholdTurns(256), BundlerPlaces(connections, 3), asyncio.Event()
    heard: dict[str, list[object]] = {}

    async def one(household: str) -> None:
        try:
            async with places.place(READ, "one"):
                heard.setdefault(household, []).append(None)
                await over.wait()
        except UpstreamUnavailable as error:
            heard.setdefault(household, []).append(error.problem)

    async def all_of_them() -> None:
        async with asyncio.TaskGroup() as group:
            for household in ("first", "second", "third"):
                for _ in range(connections):
                    group.create_task(turned(turns, household, one(household)))
                await asyncio.sleep(0)
            group.create_task(turned(turns, "newcomer", one("newcomer")))
            await asyncio.sleep(1)
            over.set()

    run(all_of_them())
    assert heard["newcomer"] == [None]
    assert all(None in heard[household] for household in ("first", "second", "third"))


async def test_what_is_asked_without_a_task_takes_a_place_of_whose_question_it_is() -> None:
    heard: list[Ended | AskingOn] = []
    begun: list[bool] = []
    turns = HouseholdTurns(256)
    async with SlowBundler() as bundler, upstream_of(bundler.url, settings=FEW) as upstream:
        await asyncio.gather(*(ask(upstream, "eth_sendUserOperation") for _ in range(8)))  # eight connections are open

        def asks() -> None:
            begun.append(upstream.begin(SLOW, b"[]", heard.append, submission=None))

        for household in ("much", "little"):
            for _ in range(8):
                turns.begin(household, asks)
                await until(lambda: not turns.is_due)
        assert begun == [True] * 4 + [False] * 4 + [True] * 2 + [False] * 6
        bundler.decided.set()
        await until(lambda: len(heard) == 6)


@pytest.mark.parametrize("connections", [96, 1000])
def test_whatever_six_households_hold_of_reads_and_sends_a_newcomers_send_has_a_place(connections: int) -> None:
    places = BundlerPlaces(connections, 3)

    def take(kind: QuestionKind, household: str) -> bool:
        """As upstreams do."""
        if kind is SEND and places.free > places.plenty:
            places.free -= 1
            return True
        return places.take(kind, household)

    for kinds in ((SEND,), (READ, SEND), (SEND, READ)):
        for kind in kinds:
            for household in "abcdef":
                while take(kind, household):
                    pass
        assert take(SEND, "newcomer")
        places = BundlerPlaces(connections, 3)


@pytest.mark.parametrize("connections", [16, 32, 96, 1000])
@pytest.mark.parametrize("kinds", [(SEND,), (READ, SEND), (SEND, READ)])
def test_whatever_number_of_strangers_an_eighth_is_left_to_what_is_vouched_for(
    connections: int, kinds: tuple[QuestionKind, ...]
) -> None:
    places, eighth = BundlerPlaces(connections, 3), connections // 8
    for household in map(str, range(2 * connections)):
        for kind in kinds:
            while places.take(kind, household):
                pass
    assert eighth <= places.free < eighth + 8 + connections // 100
    for household in map(str, range(10_000, 10_000 + eighth)):
        assert places.take(SEND, household, vouched=True)
        assert not places.take(SEND, "another"), "which is not"
        assert not places.take(READ, household)


def test_of_all_who_wait_what_is_vouched_for_has_the_next_place() -> None:
    turns, places, served = HouseholdTurns(256), BundlerPlaces(1, 3), list[str]()

    async def one(household: str, *, vouched: bool) -> None:
        async with places.place(SEND, "one", vouched=vouched):
            served.append(household)
            await asyncio.sleep(0.01)

    async def all_of_them() -> None:
        async with asyncio.TaskGroup() as group:
            for household in (*map(str, range(20)), "session", "20"):
                group.create_task(turned(turns, household, one(household, vouched=household == "session")))

    run(all_of_them())
    assert served[:3] == ["0", "session", "1"]
    assert len(served) == 22


_STEPS = st.lists(
    st.tuples(st.sampled_from([*QuestionKind, None]), st.sampled_from("abcd"), st.integers(0, 99), st.booleans())
)


@settings(max_examples=200)
@given(st.integers(1, 40), _STEPS)
def test_no_more_is_with_the_bundlers_than_may_be_and_all_that_left_is_free_again(
    connections: int, steps: list[tuple[QuestionKind | None, str, int, bool]]
) -> None:
    places = BundlerPlaces(connections, 3)
    held: list[str | None] = []
    for kind, household, number, vouched in steps:
        if kind is None:
            if held:
                places.leave(held.pop(number % len(held)))
        elif kind is SEND and places.free > places.plenty:
            places.free -= 1
            held.append(None)
        else:
            of_it, others = held.count(household), len(set(held) - {household, None})
            free = places.free
            if places.take(kind, household, vouched=vouched):
                held.append(household)
                assert not (of_it and others) or of_it < free, "beside others nobody has more than are free"
            else:
                left = 0 if vouched or connections < 16 else connections // 8
                assert kind is READ or of_it or free <= left, "who has none finds one for what is sent"
        assert places.free == connections - len(held) >= 0
    for of in held:
        places.leave(of)
    assert places.free == connections
    assert places.take(SEND, "newcomer")


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 12),
    st.lists(
        st.tuples(st.integers(0, 6), st.integers(0, 12), st.sampled_from("abc"), st.sampled_from(QuestionKind)),
        max_size=30,
    ),
)
def test_whoever_asked_or_was_given_up_leaves_its_place(
    connections: int, asked: list[tuple[int, int, str, QuestionKind]]
) -> None:
    turns, places = HouseholdTurns(256), BundlerPlaces(connections, 3)
    most = max(1, connections - max(1, connections // 8))
    at_hand = 0

    async def one(seconds: int, patience: int, kind: QuestionKind) -> None:
        nonlocal at_hand
        with suppress(TimeoutError, UpstreamUnavailable):
            async with asyncio.timeout(patience), places.place(kind, "one"):
                at_hand += 1
                assert at_hand <= (most if kind is READ else connections)
                try:
                    await asyncio.sleep(seconds)
                finally:
                    at_hand -= 1

    async def all_of_them() -> None:
        async with asyncio.TaskGroup() as group:
            for seconds, patience, household, kind in asked:
                group.create_task(turned(turns, household, one(seconds, patience, kind)))

    run(all_of_them())
    assert [places.take(READ) for _ in range(most + 1)] == [True] * most + [False]
