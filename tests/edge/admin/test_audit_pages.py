"""Whoever reads the trail keeps nobody from the gate: its pages are read elsewhere, one at a time, and are bounded."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from proxy.edge.admin import audit_page, audit_reading
from proxy.edge.admin.audit_page import Page, read_page, wanted_page
from proxy.edge.admin.audit_reading import PageReading
from proxy.edge.audit.reading import Trail
from proxy.edge.http.households import HouseholdTurns
from proxy.errors import StateUnavailable
from tests.edge.admin.test_server import listening
from tests.edge.audit.trails import record, writing
from tests.edge.builders import decision
from tests.virtual_time import run

LETTERS = "abcdefg"
LONG = {"limit": "1000"}


@pytest.fixture
def trail(tmp_path: Path) -> Trail:
    path = tmp_path / "gate.db"
    with writing(path) as writer:
        for name in LETTERS:
            record(writer, decision(name))
    return Trail(path)


async def test_a_long_page_is_read_by_another_process(trail: Trail, monkeypatch: pytest.MonkeyPatch) -> None:
    def here(*_: object) -> None:
        raise AssertionError("this process serves operations")

    monkeypatch.setattr(audit_page, "read_page", here)
    async with listening(audit=trail) as call:
        page = await call("GET", "/audit?limit=101")
    assert [row["decisionId"] for row in page.body["audit"]] == list(LETTERS)


def test_the_process_that_reads_a_page_imports_little_else(trail: Trail) -> None:
    """Its start is most of what a page takes: what settings, rules and ABIs are made of would treble it."""
    say = (
        "import sys; from proxy.edge.admin import audit_page as page; page.main(); print(*sys.modules, file=sys.stderr)"
    )
    asked = audit_reading._printed(trail, {"limit": "101"}, 0.0)
    done = subprocess.run([sys.executable, "-c", say], input=asked, capture_output=True, check=True)
    assert [row["decisionId"] for row in json.loads(done.stdout.partition(b"\n")[2])["audit"]] == list(LETTERS)
    imported = done.stderr.decode().split()
    assert not {"aiohttp", "asyncio", "pydantic", "yaml", "eth_abi", "coincurve", "cryptography"} & set(imported)
    assert len(imported) < 260


async def test_between_two_short_pages_is_a_rest_of_nine_times_what_the_first_took(
    trail: Trail, monkeypatch: pytest.MonkeyPatch
) -> None:
    slept, sleep = list[float](), asyncio.sleep

    async def noted(seconds: float) -> None:
        slept.append(seconds)
        await sleep(0)

    def timed(of: Trail, wanted: Any) -> tuple[Page, float]:
        return read_page(of, *wanted), 100.0

    monkeypatch.setattr(audit_reading, "_timed", timed)
    monkeypatch.setattr(audit_reading.asyncio, "sleep", noted)
    pages = PageReading()
    for _ in range(2):
        assert b'"g"' in (await pages.read(trail, {"limit": "1"}, 0.0)).body
    assert slept[0] <= 0
    assert 800 < slept[1] <= 900


async def test_a_trail_that_cannot_be_read_is_not_there_just_now(tmp_path: Path) -> None:
    async with listening(audit=Trail(tmp_path / "none.db", tmp_path)) as call:
        assert (await call("GET", "/audit")).status == 503


def test_one_page_is_read_at_a_time_and_who_asks_for_one_has_it_before_the_hundredth_of_another(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    at_once, most, order = 0, 0, list[str]()

    async def told(asked: bytes) -> bytes:
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        await asyncio.sleep(0.1)
        at_once -= 1
        order.append(json.loads(asked)["parameters"]["client"])
        return b'["application/json", {}]\n{}'

    monkeypatch.setattr(audit_reading, "_told_apart", told)

    async def all_of_them() -> None:
        pages, turns = PageReading(), HouseholdTurns(256)

        async def one(household: str) -> None:
            await turns.work(household, pages.read(Trail(Path("trail")), {"client": household, "limit": "1000"}, 0.0))

        async with asyncio.TaskGroup() as group:
            for _ in range(100):
                group.create_task(one("much"))
            await asyncio.sleep(0.05)
            group.create_task(one("little"))

    run(all_of_them())
    assert most == 1
    assert order.index("little") <= 2
    assert len(order) == 101


async def test_who_waits_too_long_for_others_pages_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    over = asyncio.Event()

    async def told(_: bytes) -> bytes:
        await over.wait()
        return b'["application/json", {}]\n{}'

    monkeypatch.setattr(audit_reading, "_told_apart", told)
    monkeypatch.setattr(audit_reading, "_WAIT_SECONDS", 0.01)
    pages = PageReading()
    first = asyncio.create_task(pages.read(Trail(Path("trail")), LONG, 0.0))
    await asyncio.sleep(0)
    with pytest.raises(StateUnavailable, match="others are reading"):
        await pages.read(Trail(Path("trail")), LONG, 0.0)
    over.set()
    assert (await first).body == b"{}"


async def test_a_process_that_reads_for_too_long_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit_reading, "_COMMAND", ("-c", "import time; time.sleep(1000)"))
    monkeypatch.setattr(audit_reading, "_READ_SECONDS", 0.2)
    with pytest.raises(StateUnavailable, match="could not be read"):
        await PageReading().read(Trail(Path("trail")), LONG, 0.0)


@pytest.mark.parametrize("form", ["json", "jsonl", "csv"])
def test_one_page_is_bounded_in_bytes_and_says_where_the_rest_is(
    trail: Trail, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = read_page(trail, *wanted_page({"format": "jsonl"}, 0.0)).body
    monkeypatch.setattr(audit_page, "_MOST_BYTES", len(whole) // 2)
    read, before = list[str](), {}
    while True:
        page = read_page(trail, *wanted_page({"format": form, **before}, 0.0))
        text = page.body.decode()
        read = [name for name in LETTERS if f'"{name}"' in text or f",{name}," in text] + read
        assert form == "csv" or len(page.body) <= len(whole) // 2 + 200
        if "sessiongate-before" not in page.headers:
            break
        before = {"before": page.headers["sessiongate-before"]}
    assert read == list(LETTERS)
