"""What a sink answers decides whether it is asked again; an alert that is news is active when it arrives."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from datetime import datetime

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from proxy.config.alerting import Webhook
from proxy.edge.alerts.board import Board
from proxy.edge.alerts.delivery import Courier
from proxy.edge.alerts.sink import Due, SinkReply
from tests.edge.alerts.builders import NOW, RecordingSink, happening, recording_sink
from tests.ports import free_port

STILL_ACTIVE = 180.0
RESOLVE = 900.0


def board() -> Board:
    return Board(max_active=10, resolve_after_seconds=RESOLVE)


@pytest.fixture
async def courier() -> AsyncIterator[Courier]:
    """Half an hour later."""
    made = Courier(
        instance="gate-1",
        ends_at=board().ends_at,
        clock=lambda: NOW + 1_800,
        still_active_seconds=STILL_ACTIVE,
        timeout_seconds=0.5,
    )
    async with made:
        yield made


@pytest.fixture
async def sink() -> AsyncIterator[RecordingSink]:
    async with recording_sink() as running:
        yield running


def due(*, resolved: bool = False, first_time: bool = False) -> Sequence[Due]:
    return [Due(alert=board().note(happening()), resolved=resolved, first_time=first_time)]


def hook(url: str) -> Webhook:
    return Webhook.model_validate({"name": "soc", "url": url, "secret": "hush-hook-secret-of-ours"})


@pytest.mark.parametrize(
    ("status", "reply"),
    [
        *((status, SinkReply.TAKEN) for status in (200, 202, 204)),
        *((status, SinkReply.LATER) for status in (408, 425, 429, 500, 502, 503, 504)),
        *((status, SinkReply.NEVER) for status in (301, 302, 400, 401, 403, 404, 410, 413)),
    ],
)
async def test_what_is_busy_or_broken_is_asked_again_and_what_refuses_is_not(
    courier: Courier, sink: RecordingSink, status: int, reply: SinkReply
) -> None:
    for deliver in (courier.to_webhook(hook(sink.url)), courier.to_alertmanager("alertmanager", sink.url)):
        sink.answers[:] = [status]
        assert await deliver(due()) is reply


async def test_nobody_there_and_one_who_does_not_answer_are_asked_again(courier: Courier) -> None:
    assert await courier.to_webhook(hook(f"http://127.0.0.1:{free_port()}"))(due()) is SinkReply.LATER
    async with recording_sink(hang=True) as silent:
        assert await courier.to_webhook(hook(silent.url))(due()) is SinkReply.LATER


async def test_where_a_sink_sends_it_elsewhere_nothing_goes(courier: Courier, sink: RecordingSink) -> None:
    async def elsewhere(_: web.Request) -> web.Response:
        raise web.HTTPTemporaryRedirect(sink.url)

    application = web.Application()
    application.router.add_post("/", elsewhere)
    async with TestServer(application) as server:
        assert await courier.to_webhook(hook(str(server.make_url("/"))))(due()) is SinkReply.NEVER
    assert sink.received == []


@pytest.mark.parametrize("path", ["", "/", "/behind", "/behind/api/v2/alerts"])
async def test_an_alertmanager_is_told_at_its_api_whatever_it_is_served_under(courier: Courier, path: str) -> None:
    asked: list[str] = []

    async def hear(request: web.Request) -> web.Response:
        asked.append(request.path)
        return web.Response()

    application = web.Application()
    application.router.add_post("/{tail:.*}", hear)
    async with TestServer(application) as server:
        url = str(server.make_url("/")).rstrip("/") + path
        assert await courier.to_alertmanager("alertmanager", url)(due()) is SinkReply.TAKEN
    assert asked == [f"{'/behind' if 'behind' in path else ''}/api/v2/alerts"]


@pytest.mark.parametrize(
    ("first_time", "resolved", "ends"),
    [(True, False, 1_800 + STILL_ACTIVE), (False, False, RESOLVE), (True, True, RESOLVE)],
    ids=["news", "known", "over"],
)
async def test_what_alertmanager_hears_late_is_active_for_a_while_all_the_same(
    courier: Courier, sink: RecordingSink, first_time: bool, resolved: bool, ends: float
) -> None:
    """One that arrived as over would be told to nobody."""
    deliver = courier.to_alertmanager("alertmanager", sink.url)
    assert await deliver(due(first_time=first_time, resolved=resolved)) is SinkReply.TAKEN
    (posted,) = sink.received[0].body
    assert datetime.fromisoformat(posted["endsAt"]).timestamp() == NOW + ends


async def test_a_webhook_is_told_when_it_was_signed_and_each_try_is_one_delivery(
    courier: Courier, sink: RecordingSink
) -> None:
    deliver = courier.to_webhook(hook(sink.url))
    for _ in range(2):
        await deliver(due())
    assert {each.headers["X-Sessiongate-Timestamp"] for each in sink.received} == {str(int(NOW + 1_800))}
    assert len({each.headers["X-Sessiongate-Delivery"] for each in sink.received}) == 1
