"""The newest record is told to others, so that what is cut off is noticed."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from proxy.edge.audit.appending import Head
from proxy.edge.audit.head_lines import read_heads
from proxy.edge.audit.heads import HeadSinks, tell_heads
from tests.patience import patiently
from tests.stopping import TestServer

NEWEST = Head(7, bytes(range(32)))


async def told_to(file: Path, webhook: str | None = None, *, newest: Head | None = NEWEST) -> None:
    """A gate that runs for a moment and ends."""
    sinks = HeadSinks(file=file, webhook=webhook, every_seconds=3_600)
    task = asyncio.ensure_future(tell_heads(lambda: newest, sinks, key="k1", clock=lambda: 5.0))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_the_last_head_is_told_when_the_gate_ends(tmp_path: Path) -> None:
    await told_to(tmp_path / "heads")
    await told_to(tmp_path / "heads", newest=Head(9, bytes(32)))
    first, _ = (tmp_path / "heads").read_text().splitlines()
    assert json.loads(first) == {"time": 5.0, "id": 7, "hash": NEWEST.hash.hex(), "key": "k1"}
    assert read_heads((tmp_path / "heads").read_text()) == (NEWEST, Head(9, bytes(32)))


async def test_each_new_head_is_told_while_the_gate_runs_none_twice_and_one_that_was_refused_again(
    tmp_path: Path,
) -> None:
    newest, looks = NEWEST, 0

    def head() -> Head:
        nonlocal looks
        looks += 1
        return newest

    async def until(true: Callable[[], bool]) -> None:
        for _ in patiently():
            if true():
                return
            await asyncio.sleep(0.01)
        raise AssertionError("waited in vain")

    file = tmp_path / "elsewhere" / "heads"
    sinks = HeadSinks(file=file, webhook=None, every_seconds=0.01)
    task = asyncio.ensure_future(tell_heads(head, sinks, key="k1", clock=lambda: 5.0))
    await until(lambda: looks > 2)  # there is no such folder yet
    file.parent.mkdir()
    await until(file.exists)
    newest, looks = Head(9, bytes(32)), 0
    await until(lambda: looks > 5)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert read_heads(file.read_text()) == (NEWEST, newest)


async def test_a_webhook_is_told_the_same(tmp_path: Path) -> None:
    heard: list[str] = []

    async def hear(request: web.Request) -> web.Response:
        heard.append(await request.text())
        return web.Response()

    application = web.Application()
    application.router.add_post("/", hear)
    async with TestServer(application) as server:
        await told_to(tmp_path / "heads", str(server.make_url("/")))
    assert read_heads(heard[0]) == (NEWEST,)


async def test_a_sink_that_refuses_is_logged_without_its_url(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    await told_to(tmp_path / "nowhere" / "heads", "http://127.0.0.1:9/hush")
    assert "not told to its file" in caplog.text
    assert "not told to its webhook" in caplog.text
    assert "hush" not in caplog.text


@given(st.text() | st.recursive(st.none() | st.integers() | st.text(), st.lists).map(json.dumps))
def test_what_is_no_head_names_its_line(text: str) -> None:
    lines = text.splitlines()
    if any(line.strip() for line in lines):
        with pytest.raises(ValueError, match=r"^line \d+ is no head$"):
            read_heads(text)
    else:
        assert read_heads(text) == ()
