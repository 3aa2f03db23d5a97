"""Whatever is said on a connection, in whatever pieces: each request is answered in order, as if it had come alone."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress

import pytest
import uvloop
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.edge.http.listener import Transport
from tests.edge.http.corpus import BAD_CHUNKS, SERVED, TRICKS
from tests.edge.http.peers import EchoGate, Line, listener, until
from tests.edge.http.test_fuzzed_alike import Told, hear
from tests.patience import PATIENCE_SECONDS

WAYS = [
    pytest.param(Transport.LEAN, False, True, id="lean, stops talking"),
    pytest.param(Transport.LEAN, False, False, id="lean"),
    pytest.param(Transport.LEAN, True, True, id="lean, by task, stops talking"),
    pytest.param(Transport.AIOHTTP, False, False, id="aiohttp"),
]
LASTS = {"a body over the bound", "chunks over the bound", "an unknown path and chunks", "a look with a body"}
"""What their connection ends with: their bodies are not read."""
ASKED = {name: said for name, said in SERVED.items() if name not in LASTS}


async def _told(line: Line, pieces: Sequence[bytes], count: int, *, stops: bool) -> Told:
    peer = await line.peer()
    try:
        for piece in pieces:
            peer.writer.write(piece)
            await asyncio.sleep(0)
        if stops:
            peer.writer.write_eof()
        told = [await hear(peer) for _ in range(count)]
        if stops:
            assert await peer.rest() == b""
        return told
    finally:
        line.peers.remove(peer)
        peer.leave()


@pytest.mark.parametrize(("transport", "by_task", "stops"), WAYS)
def test_each_request_is_answered_as_if_it_had_come_alone(transport: Transport, by_task: bool, stops: bool) -> None:
    gate = EchoGate()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        context = listener(gate, transport, by_task=by_task, linger_seconds=0.01)
        line = runner.run(context.__aenter__())
        alone = {name: runner.run(_told(line, [said], 1, stops=False)) for name, said in ASKED.items()}

        @settings(max_examples=120, deadline=None)
        @given(st.lists(st.sampled_from(sorted(ASKED)), min_size=1, max_size=6), st.data())
        def converse(names: list[str], data: st.DataObject) -> None:
            stream = b"".join(ASKED[name] for name in names)
            cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
            pieces = [stream[start:end] for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True)]

            async def within_time() -> Told:
                async with asyncio.timeout(PATIENCE_SECONDS):
                    return await _told(line, pieces, len(names), stops=stops)

            assert runner.run(within_time()) == [alone[name][0] for name in names]
            assert gate.in_flight == 0

        converse()
        runner.run(context.__aexit__(None, None, None))


SAID = {name: said for name, said in (SERVED | TRICKS | BAD_CHUNKS).items() if len(said) < 8192}
LEAVES = ["stops talking", "leaves", "breaks off"]


async def _come_and_go(line: Line, gate: EchoGate, pieces: Sequence[bytes], how: str, *, early: bool) -> None:
    """`early`: before anything it asked is answered."""
    if early:
        gate.open.clear()
    peer = await line.peer()
    try:
        for piece in pieces:
            peer.writer.write(piece)
            await asyncio.sleep(0)
        if how == "stops talking":
            with suppress(OSError):  # it has been shown out
                peer.writer.write_eof()
        elif how == "breaks off":
            peer.break_off()
    finally:
        line.peers.remove(peer)
        peer.leave()
        gate.open.set()
    await until(lambda: not (line.present or line.waiting or gate.in_flight))


@pytest.mark.parametrize(
    ("transport", "by_task"), [(Transport.LEAN, False), (Transport.LEAN, True), (Transport.AIOHTTP, False)]
)
def test_nothing_is_left_of_whoever_comes_and_goes_and_others_are_served(transport: Transport, by_task: bool) -> None:
    gate = EchoGate()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        context = listener(gate, transport, by_task=by_task, linger_seconds=0.01)
        line = runner.run(context.__aenter__())
        good = ASKED["a call"]
        alone = runner.run(_told(line, [good], 1, stops=False))

        @settings(max_examples=100, deadline=None)
        @given(
            st.lists(st.sampled_from(sorted(SAID)), min_size=1, max_size=4),
            st.sampled_from(LEAVES),
            st.booleans(),
            st.data(),
        )
        def visit(names: list[str], how: str, early: bool, data: st.DataObject) -> None:
            stream = b"".join(SAID[name] for name in names)
            stream = stream[: data.draw(st.integers(1, len(stream)))]
            cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=4)))
            pieces = [stream[start:end] for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
            runner.run(_come_and_go(line, gate, pieces, how, early=early))
            assert runner.run(_told(line, [good], 1, stops=False)) == alone
            runner.run(until(lambda: not line.present))

        visit()
        runner.run(context.__aexit__(None, None, None))
