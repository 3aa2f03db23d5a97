"""A gate is killed and started again while what writes the trail for the killed one is still at it; a second gate on
the same trail is another matter."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import pytest

from proxy.edge.audit.remarks import Tampering
from proxy.edge.audit.verify import verify_trail
from proxy.userop.primitives import print_bytes
from tests.chaos.gates import GateProcess, Nursery, a_nursery, a_transfer, send, spender, until_ready, writer_of
from tests.edge.audit.trails import rows
from tests.edge.recording_bundler import Answer, Recorded, RecordingBundler
from tests.patience import PATIENCE_SECONDS

GRANT = spender(1_000_000, salt=7)
BEFORE, BACKLOG = 5, 300
STILL_AT_IT = "for a gate that has ended is still at it"


@pytest.fixture(scope="module")
def nursery() -> Iterator[Nursery]:
    with a_nursery() as running:
        yield running


async def taken(recorded: Recorded) -> Answer:
    return Answer(result=print_bytes(int(recorded.params[0]["nonce"], 16).to_bytes(32, "big")))


async def until_logged(gate: GateProcess, words: str) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while words not in gate.tail():  # noqa: ASYNC110  # another process says it
            await asyncio.sleep(0.05)


async def assert_all_taken(client: aiohttp.ClientSession, gate: GateProcess, numbers: range) -> None:
    answers = await asyncio.gather(*(send(client, gate.url, a_transfer(GRANT, number, 1)) for number in numbers))
    assert all(answer is not None and "result" in answer for answer in answers)


async def test_a_gate_killed_with_a_backlog_starts_again_however_slow_what_writes_its_trail_is(
    nursery: Nursery, tmp_path: Path
) -> None:
    gate = GateProcess(nursery, tmp_path, bundler="")
    await asyncio.to_thread(gate.know, [GRANT])
    async with (
        RecordingBundler(chain_id=1, answers={"eth_sendUserOperation": taken}) as bundler,
        aiohttp.ClientSession() as client,
    ):
        gate.bundler = bundler.url
        gate.start()
        await until_ready(client, gate)
        await assert_all_taken(client, gate, range(BEFORE))
        (path,) = gate.folder.glob("*audit*.db")
        async with asyncio.timeout(PATIENCE_SECONDS):
            while len(rows(path)) < BEFORE:  # noqa: ASYNC110  # another process writes it
                await asyncio.sleep(0.05)
        writer = writer_of(gate)
        os.kill(writer, signal.SIGSTOP)
        await assert_all_taken(client, gate, range(BEFORE, BEFORE + BACKLOG))
        await asyncio.to_thread(gate.end)
        gate.start()
        await until_logged(gate, STILL_AT_IT)
        os.kill(writer, signal.SIGCONT)
        await until_ready(client, gate)
        await assert_all_taken(client, gate, range(BEFORE + BACKLOG, 2 * BEFORE + BACKLOG))
        assert await asyncio.to_thread(gate.end, signal.SIGTERM) == 0
    assert "another gate" not in gate.log.read_text()
    assert len(rows(path)) >= 2 * BEFORE
    assert [remark.what for remark in verify_trail(path).remarks] == [Tampering.CRASH]


@pytest.mark.parametrize("told", [signal.SIGTERM, signal.SIGINT])
async def test_a_gate_that_waits_for_what_writes_the_trail_of_a_killed_one_stops_when_it_is_told_to(
    nursery: Nursery, tmp_path: Path, told: int
) -> None:
    gate = GateProcess(nursery, tmp_path, bundler="http://127.0.0.1:9/")
    gate.start()
    async with aiohttp.ClientSession() as client:
        await until_listens(client, gate)
    writer = writer_of(gate)
    os.kill(writer, signal.SIGSTOP)
    try:
        await asyncio.to_thread(gate.end)
        gate.start()
        await until_logged(gate, STILL_AT_IT)
        assert await asyncio.to_thread(gate.end, told) == 0
    finally:
        os.kill(writer, signal.SIGCONT)
    said = gate.log.read_text()
    assert "told to stop before it was ready" in said
    assert "has not done so" not in said  # the wait was not sat out
    assert "Traceback" not in said
    assert verify_trail(gate.folder / "gate.audit.db").remarks == []


async def test_a_second_gate_on_the_trail_of_one_that_lives_is_told_what_to_do_and_does_not_wait(
    nursery: Nursery, tmp_path: Path
) -> None:
    trail = f"audit: {{path: {tmp_path / 'audit.db'}}}\n"
    gates = [GateProcess(nursery, tmp_path / name, bundler="http://127.0.0.1:9/", settings=trail) for name in "ab"]
    for gate in gates:
        gate.folder.mkdir()
    async with aiohttp.ClientSession() as client:
        gates[0].start()
        await until_listens(client, gates[0])
        gates[1].start()
        assert await asyncio.to_thread(gates[1].end, 0) == 2
        told = gates[1].log.read_text()
        assert "is being written by another gate; a trail has one writer: give each gate an audit.path" in told
        assert "waiting" not in told
        assert await listens(client, gates[0])
        await asyncio.to_thread(gates[0].end, signal.SIGTERM)
    assert verify_trail(tmp_path / "audit.db").remarks == []


async def until_listens(client: aiohttp.ClientSession, gate: GateProcess) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not await listens(client, gate):  # noqa: ASYNC110  # it is another process's to say
            await asyncio.sleep(0.05)


async def listens(client: aiohttp.ClientSession, gate: GateProcess) -> bool:
    try:
        async with client.get(f"{gate.admin}/readyz"):
            return True
    except aiohttp.ClientError:
        return False
