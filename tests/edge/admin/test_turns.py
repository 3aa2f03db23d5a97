"""Whoever asks the admin listener for much takes no more of the gate's time than whoever calls the other one."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack

import aiohttp

from proxy.edge.admin.guard import AdminAccess
from proxy.edge.admin.metrics_page import MetricsPage
from proxy.edge.admin.query import SessionFilter
from proxy.edge.admin.server import AdminServer
from proxy.edge.http.households import HouseholdTurns
from proxy.edge.http.server import RpcServer
from tests.edge.builders import FakeBackend, gate_metrics
from tests.edge.http.corpus import post
from tests.edge.http.peers import SETTINGS, Line, until
from tests.edge.http.test_shares import PIECE, DearGate, calling_from, peer_from

MANY = 40


class DearBackend(FakeBackend):
    """Each question takes `PIECE` seconds by the gate's clock."""

    def __init__(self, gate: DearGate) -> None:
        super().__init__()
        self.gate = gate

    async def list_sessions(self, wanted: SessionFilter) -> Mapping[str, object]:
        self.gate.now += PIECE
        self.gate.served.append("admin")
        return await super().list_sessions(wanted)


async def test_who_calls_is_served_before_the_hundredth_question_to_the_admin_listener() -> None:
    gate = DearGate()
    turns = HouseholdTurns(8, clock=lambda: gate.now)
    server = await RpcServer(gate.answer, SETTINGS, gate.hooks, turns=turns).start("127.0.0.1", 0)
    admin = AdminServer(DearBackend(gate), metrics=gate_metrics(), audit=None, access=AdminAccess(), turns=turns)
    port, line = await admin.start("127.0.0.1", 0), Line(server)
    good = await peer_from("127.0.0.3", line)
    with ExitStack() as stack:
        loop = asyncio.get_running_loop()
        asking = [stack.enter_context(await calling_from("127.0.0.2", line, port)) for _ in range(MANY)]
        runner = admin._runner
        assert runner is not None
        assert runner.server is not None
        await until(lambda: len(runner.server.connections) == MANY)
        for sock in asking:
            await loop.sock_sendall(sock, b"GET /sessions HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        for _ in range(3):
            await good.say(post())
            assert (await good.hear())[0] == 200
        await until(lambda: len(gate.served) == MANY + 3)
    good.leave()
    await admin.stop()
    await server.stop()
    third = [number for number, whom in enumerate(gate.served) if whom == "127.0.0.3"][2]
    assert third < MANY / 2


async def test_what_is_asked_of_the_admin_listener_is_paid_for_also_where_it_is_refused() -> None:
    turns = HouseholdTurns(8, clock=lambda: 0.0)
    access = AdminAccess(token="a token of some length", loopback=False)
    admin = AdminServer(FakeBackend(), metrics=gate_metrics(), audit=None, access=access, turns=turns)
    port = await admin.start("127.0.0.1", 0)
    async with aiohttp.ClientSession() as http:
        for _ in range(10):
            async with http.get(f"http://127.0.0.1:{port}/sessions") as response:
                assert response.status == 401
    await admin.stop()
    assert turns._of("127.0.0.1").spent >= 10 * 0.0001


class CountedMetrics:
    """Metrics whose page is the number of the print, printed when the test says so."""

    def __init__(self) -> None:
        self.printed = 0
        self.at_once = 0

    def refreshing(self) -> Iterator[None]:
        self.printed += 1
        yield

    def render(self) -> bytes:
        self.at_once += 1
        assert self.at_once == 1
        time.sleep(0.001)  # lets the loop on, which is what is tried
        self.at_once -= 1
        return b"%d" % self.printed


async def test_however_many_ask_for_the_metrics_at_once_one_page_is_printed_at_a_time_and_no_older_one_is_shown() -> (
    None
):
    metrics = CountedMetrics()
    page = MetricsPage(metrics, clock=lambda: 0.0)  # type: ignore[arg-type]  # what it asks of metrics

    async def asked() -> None:
        before = metrics.printed
        assert int(await page.print()) > before

    await asyncio.gather(*[asked() for _ in range(100)])
    assert metrics.printed <= 2
    await asked()
    leaving = asyncio.ensure_future(page.print())
    staying = asyncio.ensure_future(asked())
    await asyncio.sleep(0)
    leaving.cancel()
    await staying


async def test_between_two_pages_of_metrics_is_a_rest_of_nine_times_what_the_last_one_took() -> None:
    metrics, took = CountedMetrics(), iter((0.0, 0.01, 0.0, 0.0))
    page = MetricsPage(metrics, clock=lambda: next(took))  # type: ignore[arg-type]  # what it asks of metrics
    loop = asyncio.get_running_loop()
    await page.print()
    began = loop.time()
    await page.print()
    assert loop.time() - began >= 0.085
