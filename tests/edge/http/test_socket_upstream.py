"""A bundler over a WebSocket is asked as one over HTTP is: side by side, within the time, and never twice in doubt."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from proxy.edge.http.asker import UpstreamSettings
from proxy.edge.http.upstream import HttpUpstream
from proxy.errors import UpstreamUnavailable
from proxy.ports import Submission
from proxy.userop.entry_point import ENTRY_POINTS
from tests.edge.recording_bundler import OPERATION_HASH, Answer, Recorded, RecordingBundler

SEND = "eth_sendUserOperation"


@asynccontextmanager
async def asking(*urls: str, seconds: float = 5.0, **bounds: int) -> AsyncIterator[HttpUpstream]:
    settings = UpstreamSettings(total_seconds=seconds, **bounds)
    entry_points = frozenset(each.address for each in ENTRY_POINTS)
    async with HttpUpstream("soneium", urls, chain_id=1946, entry_points=entry_points, settings=settings) as upstream:
        yield upstream


@pytest.fixture
async def bundler() -> AsyncIterator[RecordingBundler]:
    async with RecordingBundler() as there:
        yield there


async def test_it_is_probed_asked_and_answers(bundler: RecordingBundler) -> None:
    async with asking(bundler.socket_url) as upstream:
        assert await upstream.probe()
        answer = await upstream.post(SEND, b'[{"sender":"0x"},"0x"]', Submission())
        assert (answer.reply.result, answer.status) == (OPERATION_HASH, 200)
        assert bundler.requests[-1].params == [{"sender": "0x"}, "0x"]


async def test_questions_go_side_by_side_on_one_connection_and_answers_find_who_asked(
    bundler: RecordingBundler,
) -> None:
    turn = asyncio.Event()

    async def late(request: Recorded) -> Answer:
        if request.params == ["0x0"]:
            await turn.wait()
        else:
            turn.set()
        return Answer(result=request.params[0])

    bundler.answers["eth_getUserOperationByHash"] = late
    async with asking(bundler.socket_url) as upstream:
        asked = [upstream.post("eth_getUserOperationByHash", b'["0x%d"]' % each, submission=None) for each in range(20)]
        assert [answer.reply.result for answer in await asyncio.gather(*asked)] == [f"0x{each}" for each in range(20)]


@pytest.mark.parametrize("how", ["hangs up", "says nothing", "says nonsense", "says too much"])
async def test_a_send_that_is_not_answered_may_have_been_taken_and_is_not_repeated(
    bundler: RecordingBundler, how: str
) -> None:
    if how == "hangs up":
        bundler.hang_up = True
    elif how == "says nothing":
        bundler.hold()
    else:
        bundler.answers[SEND] = Answer(
            raw=b"{" if how == "says nonsense" else b'{"id":{id},"result":"%b"}' % (b"0" * 5000)
        )
    async with (
        RecordingBundler() as second,
        asking(bundler.socket_url, second.socket_url, seconds=0.3, max_reply_bytes=2000) as upstream,
    ):
        with pytest.raises(UpstreamUnavailable) as failure:
            await upstream.post(SEND, b"[]", Submission())
        assert failure.value.may_have_been_sent
        assert bundler.socket_url not in str(failure.value)
        assert bundler.methods == [SEND]
        assert second.methods == []
        bundler.hang_up = False
        bundler.release()


async def test_one_that_cannot_be_reached_took_nothing_and_the_next_is_asked(bundler: RecordingBundler) -> None:
    async with asking("ws://127.0.0.1:1/rpc", bundler.socket_url) as upstream:
        assert (await upstream.post(SEND, b"[]", Submission())).reply.result == OPERATION_HASH


async def test_a_connection_that_ended_is_opened_again(bundler: RecordingBundler) -> None:
    async with asking(bundler.socket_url) as upstream:
        await upstream.post("eth_chainId", b"[]", submission=None)
        await bundler.stop()
        with pytest.raises(UpstreamUnavailable):
            await upstream.post("eth_chainId", b"[]", submission=None)
        await bundler.start()
        assert (await upstream.post("eth_chainId", b"[]", submission=None)).reply.result == "0x79a"
