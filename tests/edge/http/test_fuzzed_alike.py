"""One corpus of fuzzed streams over both listeners: what the lean one serves of a stream, aiohttp answers likewise."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import uvloop
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.edge.http.listener import Transport
from proxy.edge.http.wire.fields import BrokenHttp
from proxy.edge.http.wire.heads import read_request_head
from proxy.edge.http.wire.reader import MessageReader, ReadBounds, ReaderStage, TooLongError
from tests.edge.http.corpus import BAD_CHUNKS, SERVED, TRICKS
from tests.edge.http.peers import SETTINGS, EchoGate, Line, Peer, listener
from tests.fuzz.targets import kept
from tests.patience import PATIENCE_SECONDS

OWN_WORDS = {"date", "server", "connection"}
KNOWN_METHODS = {"POST", "GET", "OPTIONS", "HEAD", "DELETE"}
"""Others are no HTTP to aiohttp, whose parser knows a closed set; here they are refused by name."""
SEEDS = [path.read_bytes() for path in kept("http")]
MADE = [each for each in (*SERVED.values(), *TRICKS.values(), *BAD_CHUNKS.values()) if len(each) < 4096]
MARKS = [b"", b"\n", b"\r", b"\r\n", b" ", b"\t", b"\0", b":", b",", b";", b"0", b"f", b'"', b"\x0b", b"\xff"]
Told = list[tuple[int, dict[str, str], bytes]]


def whole_requests(stream: bytes) -> tuple[int, bytes]:
    """How many requests of a stream are whole, as the lean listener reads, and the bytes they are."""
    reader = MessageReader(read_request_head, ReadBounds(body_bytes=SETTINGS.limits.max_bytes))
    reader.feed(stream)
    count, end = 0, 0
    try:
        while reader.advance() is ReaderStage.COMPLETE:
            if reader.take()[0].method not in KNOWN_METHODS:
                break
            count, end = count + 1, len(stream) - reader.buffered
    except (BrokenHttp, TooLongError):
        pass
    return count, stream[:end]


async def all_told(line: Line, said: bytes) -> Told:
    """Every answer to somebody who says this and stops talking."""
    peer = await line.peer(said)
    peer.writer.write_eof()
    told: Told = []
    try:
        while True:
            told.append(await hear(peer))
    except (asyncio.IncompleteReadError, ConnectionError):
        return told
    finally:
        line.peers.remove(peer)
        peer.leave()


async def first_told(line: Line, said: bytes, count: int) -> Told:
    """So many answers to somebody who says this and stays: aiohttp leaves who has stopped talking."""
    peer = await line.peer(said)
    try:
        return [await hear(peer) for _ in range(count)]
    finally:
        line.peers.remove(peer)
        peer.leave()


async def hear(peer: Peer) -> tuple[int, dict[str, str], bytes]:
    status, headers, body = await peer.hear()
    return status, {name: value for name, value in headers.items() if name not in OWN_WORDS}, body


class Both:
    """Two listeners, and what their gates were asked."""

    def __init__(self, lines: dict[Transport, tuple[Line, EchoGate]]) -> None:
        self.lines = lines

    async def compare(self, stream: bytes) -> int:
        """How many requests were served, by both alike."""
        count, served = whole_requests(stream)
        lean, reference = self.lines[Transport.LEAN], self.lines[Transport.AIOHTTP]
        for _, gate in (lean, reference):
            gate.asked.clear()
        async with asyncio.timeout(PATIENCE_SECONDS):
            told = await all_told(lean[0], stream)
            assert len(told) >= count or _ends(served)
            told = told[:count]
            assert await first_told(reference[0], served, len(told)) == told
        assert reference[1].asked == lean[1].asked[: len(reference[1].asked)]
        return len(told)


def _ends(served: bytes) -> bool:
    """Whether one of these requests is the last of its connection, whatever follows."""
    return b"HTTP/1.0" in served or b"close" in served.lower() or b"upgrade" in served.lower()


@asynccontextmanager
async def both() -> AsyncIterator[Both]:
    gates = {transport: EchoGate() for transport in Transport}
    async with (
        listener(gates[Transport.LEAN], Transport.LEAN, linger_seconds=0.01) as lean,
        listener(gates[Transport.AIOHTTP], Transport.AIOHTTP, linger_seconds=0.01) as reference,
    ):
        lines = {Transport.LEAN: lean, Transport.AIOHTTP: reference}
        yield Both({transport: (lines[transport], gates[transport]) for transport in Transport})


async def test_what_fuzzing_found_is_answered_alike() -> None:
    async with both() as listeners:
        served = [await listeners.compare(stream) for stream in SEEDS]
    assert sum(served) > 20


@pytest.mark.parametrize("seeds", [SEEDS, MADE], ids=["found", "made"])
def test_and_so_is_what_is_near_it(seeds: list[bytes]) -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        context = both()
        listeners = runner.run(context.__aenter__())

        @settings(max_examples=150, deadline=None)
        @given(
            st.lists(st.integers(0, len(seeds) - 1), min_size=1, max_size=3),
            st.randoms(use_true_random=False),
            st.lists(st.sampled_from(MARKS), max_size=3),
        )
        def search(chosen: list[int], chance: random.Random, marks: list[bytes]) -> None:
            data = bytearray(b"".join(seeds[each] for each in chosen))
            for mark in marks:
                at = chance.randint(0, len(data))
                data[at : at + chance.choice([0, 0, 1, len(mark)])] = mark
            runner.run(listeners.compare(bytes(data)))

        search()
        runner.run(context.__aexit__(None, None, None))
