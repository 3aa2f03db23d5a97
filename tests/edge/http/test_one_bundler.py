"""What is sent in one nonce goes to one bundler, whatever becomes of another that is sent in it at the same time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import replace

import pytest

from proxy.edge.http.asker import UpstreamSettings
from proxy.edge.http.client import HttpReply, UnreachedError
from proxy.edge.http.upstream import HttpUpstream
from proxy.errors import StateUnavailable, UpstreamUnavailable
from proxy.ledger.reservation import NonceSlot
from proxy.ports import Submission
from proxy.userop.entry_point import ENTRY_POINTS
from proxy.userop.primitives import Address
from tests.edge.recording_bundler import OPERATION_HASH, Answer, Recorded, RecordingBundler
from tests.patience import PATIENCE_SECONDS, patiently

V07 = ENTRY_POINTS[1].address
SEND = "eth_sendUserOperation"
SLOT = NonceSlot(1946, V07, Address(b"\xaa" * 20), 1)
OTHER_SLOT = NonceSlot(1946, V07, Address(b"\xbb" * 20), 1)
FORGED, SIGNED = b'[{"signature":"forged"},"0x"]', b'[{"signature":"signed"},"0x"]'
SETTINGS = UpstreamSettings(connect_seconds=PATIENCE_SECONDS, total_seconds=0.3)


def before(*bundlers: RecordingBundler, settings: UpstreamSettings = SETTINGS) -> HttpUpstream:
    """Before these, with all that is sent held."""
    urls, entry_points = [each.url for each in bundlers], frozenset({V07})
    return HttpUpstream(
        "soneium", urls, chain_id=1946, entry_points=entry_points, settings=settings, in_flight=lambda _slot: True
    )


@pytest.fixture
async def first() -> AsyncIterator[RecordingBundler]:
    async with RecordingBundler() as bundler:
        yield bundler


@pytest.fixture
async def second() -> AsyncIterator[RecordingBundler]:
    async with RecordingBundler() as bundler:
        yield bundler


async def until(ready: Callable[[], bool]) -> None:
    for _ in patiently():
        if ready():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("waited in vain")


async def refuse_the_forged(recorded: Recorded) -> Answer:
    """As a bundler does that then thinks for long."""
    if b"forged" in recorded.body:
        return Answer(error={"code": -32507, "message": "AA24 signature error"})
    await asyncio.Event().wait()
    raise AssertionError


def bodies(bundler: RecordingBundler) -> list[bytes]:
    return [each.body for each in bundler.requests if each.method == SEND]


async def test_that_one_is_refused_leaves_the_other_where_it_may_be(
    first: RecordingBundler, second: RecordingBundler
) -> None:
    first.answers[SEND] = refuse_the_forged
    async with before(first, second) as upstream:
        forged = asyncio.create_task(upstream.post(SEND, FORGED, Submission(SLOT)))
        signed = asyncio.create_task(upstream.post(SEND, SIGNED, Submission(SLOT)))
        assert (await forged).reply.is_error
        with pytest.raises(UpstreamUnavailable, match="did not answer"):
            await signed
        with pytest.raises(UpstreamUnavailable, match="did not answer"):
            await upstream.post(SEND, SIGNED, Submission(OTHER_SLOT))
        assert (await upstream.post(SEND, FORGED, Submission())).endpoint == "soneium#1", "the first one rests"
        with pytest.raises(UpstreamUnavailable, match="soneium#0 did not answer"):
            await upstream.post(SEND, SIGNED, Submission(SLOT))
    assert not any(b"signed" in each for each in bodies(second))


class Unreached:
    """Connections as they are, but for the first that is wanted: it waits, and is not had."""

    def __init__(self, upstream: HttpUpstream) -> None:
        assert upstream._client is not None
        self._post, self._is_first = upstream._client.post, True
        self.wanted, self.gives_up = asyncio.Event(), asyncio.Event()
        upstream._client.post = self.post  # type: ignore[method-assign]  # on purpose

    async def post(self, *asked: object) -> HttpReply:
        if self._is_first:
            self._is_first = False
            self.wanted.set()
            await self.gives_up.wait()
            raise UnreachedError
        return await self._post(*asked)  # type: ignore[arg-type]  # as it was asked


async def test_one_that_finds_no_connection_goes_to_no_bundler_but_that_of_the_other(
    first: RecordingBundler, second: RecordingBundler
) -> None:
    async with before(first, second) as upstream:
        unreached = Unreached(upstream)
        forged = asyncio.create_task(upstream.post(SEND, FORGED, Submission(SLOT)))
        await unreached.wanted.wait()
        signed = await upstream.post(SEND, SIGNED, Submission(SLOT))
        assert signed.reply.result == OPERATION_HASH
        unreached.gives_up.set()
        with pytest.raises(UpstreamUnavailable, match="soneium#0 cannot be reached") as failure:
            await forged
    assert not failure.value.may_have_been_sent
    assert (len(bodies(first)), bodies(second)) == (1, [])


async def test_of_two_that_find_no_connection_both_are_where_the_last_one_went(second: RecordingBundler) -> None:
    async with RecordingBundler() as gone:
        upstream = before(gone, second, settings=replace(SETTINGS, total_seconds=PATIENCE_SECONDS))
    async with upstream:
        unreached = Unreached(upstream)
        early = asyncio.create_task(upstream.post(SEND, FORGED, Submission(SLOT)))
        await unreached.wanted.wait()
        with pytest.raises(UpstreamUnavailable, match="soneium#0 cannot be reached"):
            await upstream.post(SEND, SIGNED, Submission(SLOT))
        unreached.gives_up.set()
        assert (await early).endpoint == "soneium#1"
        assert (await upstream.post(SEND, SIGNED, Submission(SLOT))).endpoint == "soneium#1"


async def test_what_is_refused_after_there_came_to_be_another_bundler_is_nowhere(
    first: RecordingBundler, second: RecordingBundler
) -> None:
    async with before(first, settings=replace(SETTINGS, total_seconds=PATIENCE_SECONDS)) as upstream:
        await upstream.post(SEND, SIGNED, Submission(OTHER_SLOT))  # which leaves a connection
        first.answers[SEND] = Answer(error={"code": -32507, "message": "AA24 signature error"})
        first.hold()
        told: list[object] = []
        assert upstream.begin(SEND, FORGED, told.append, Submission(SLOT))
        upstream.take([second.url], total_seconds=PATIENCE_SECONDS)
        first.release()
        await until(lambda: bool(told))
        assert (await upstream.post(SEND, SIGNED, Submission(SLOT))).endpoint == "soneium#0"
    assert len(bodies(second)) == 1


async def test_nothing_goes_where_it_cannot_be_written_down_that_it_goes(
    first: RecordingBundler, second: RecordingBundler
) -> None:
    async def cannot(_slot: NonceSlot, _mark: str) -> None:
        raise StateUnavailable("the ledger cannot be written", fact="ledger")

    upstream = HttpUpstream(
        "soneium",
        [first.url, second.url],
        chain_id=1946,
        entry_points=frozenset({V07}),
        in_flight=lambda _slot: True,
        send_to=cannot,
    )
    async with upstream:
        with pytest.raises(UpstreamUnavailable, match="the ledger cannot be written") as failure:
            await upstream.post(SEND, SIGNED, Submission(SLOT))
    assert not failure.value.may_have_been_sent
    assert bodies(first) == bodies(second) == []
