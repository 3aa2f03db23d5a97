"""A ledger that is locked, full, read-only or damaged: what was configured happens, and the reason is said."""

from __future__ import annotations

import asyncio
import itertools
import signal
import sqlite3
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from proxy.errors import Code
from proxy.ledger.daybook import daybook_of
from proxy.userop.primitives import print_bytes
from tests.bypass_list.desk import reading
from tests.chaos.gates import GateProcess, Nursery, a_nursery, a_transfer, send, spender, until_ready
from tests.edge.recording_bundler import Answer, Recorded, RecordingBundler
from tests.patience import PATIENCE_SECONDS

GRANT = spender(1_000_000, salt=7)


@pytest.fixture(scope="module")
def nursery() -> Iterator[Nursery]:
    with a_nursery() as running:
        yield running


@pytest.fixture
def gate(nursery: Nursery, tmp_path: Path) -> Iterator[GateProcess]:
    gate = GateProcess(nursery, tmp_path, bundler="")
    gate.know([GRANT])
    yield gate
    if gate.pid is not None:
        gate.end()


@asynccontextmanager
async def running(
    gate: GateProcess, most_bytes: int = 0
) -> AsyncIterator[tuple[aiohttp.ClientSession, RecordingBundler]]:
    async def take(recorded: Recorded) -> Answer:
        nonce = int(recorded.params[0]["nonce"], 16)
        return Answer(result=print_bytes(nonce.to_bytes(32, "big")))

    async with RecordingBundler(chain_id=1, answers={"eth_sendUserOperation": take}) as bundler:
        gate.bundler = bundler.url
        gate.start(most_bytes)
        async with aiohttp.ClientSession() as client:
            await until_ready(client, gate)
            yield client, bundler


def sent(bundler: RecordingBundler) -> int:
    return bundler.methods.count("eth_sendUserOperation")


async def metric(client: aiohttp.ClientSession, gate: GateProcess, name: str) -> float:
    async with client.get(f"{gate.admin}/metrics") as response:
        lines = (await response.text()).splitlines()
    (line,) = [line for line in lines if line.startswith(f"sessiongate_{name} ")]
    return float(line.split()[1])


async def readiness(client: aiohttp.ClientSession, gate: GateProcess) -> tuple[int, str]:
    async with client.get(f"{gate.admin}/readyz") as response:
        return response.status, await response.text()


def assert_closed(answer: dict[str, Any] | None) -> None:
    assert answer is not None
    error = answer["error"]
    assert error["code"] == Code.STATE_UNAVAILABLE
    assert "ledger" in error["message"]
    assert "look at its ledger" in error["data"]["remedy"]
    assert error["data"]["retryable"]


async def test_a_lock_for_a_moment_refuses_nobody_and_what_is_sent_meanwhile_is_on_disk(gate: GateProcess) -> None:
    async with running(gate) as (client, bundler):
        with closing(sqlite3.connect(gate.database, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            answer = await send(client, gate.url, a_transfer(GRANT, 1, 1))
            assert answer is not None
            assert "result" in answer
            assert sent(bundler) == 1
            await asyncio.to_thread(gate.end, signal.SIGKILL)
            other.execute("ROLLBACK")
        assert is_on_disk(gate, 1)
        gate.start()
        await until_ready(client, gate)
        assert await asyncio.to_thread(is_in_database, gate, 1)


async def refused(client: aiohttp.ClientSession, gate: GateProcess) -> tuple[int, dict[str, Any]]:
    """How many are sent before one is refused, and its answer."""
    for number in itertools.count(1):
        answer = await send(client, gate.url, a_transfer(GRANT, number, 1))
        assert answer is not None
        if "error" in answer:
            return number - 1, answer
        await asyncio.sleep(0.05)
    raise AssertionError


async def test_a_locked_ledger_rejects_by_default_and_serves_again_when_it_is_free(gate: GateProcess) -> None:
    async with running(gate) as (client, bundler):
        with closing(sqlite3.connect(gate.database, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            async with asyncio.timeout(PATIENCE_SECONDS):
                taken, answer = await refused(client, gate)
            assert_closed(answer)
            assert sent(bundler) == taken
            assert await metric(client, gate, 'state_unavailable_total{what="ledger"}') == 1
            status, text = await readiness(client, gate)
            assert status == 503
            assert "ledger" in text
            other.execute("ROLLBACK")
        answer = await send(client, gate.url, a_transfer(GRANT, 1_000, 1))
        assert answer is not None
        assert "result" in answer
        assert sent(bundler) == taken + 1


async def test_a_locked_ledger_lets_through_where_it_is_to_fail_open_and_that_is_counted(gate: GateProcess) -> None:
    gate.settings = "ledger_fail: open\n"
    async with running(gate) as (client, bundler):
        with closing(sqlite3.connect(gate.database, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            number = 0
            async with asyncio.timeout(PATIENCE_SECONDS):
                while not await metric(client, gate, 'fail_open_total{what="ledger"}'):
                    number += 1
                    answer = await send(client, gate.url, a_transfer(GRANT, number, 1))
                    assert answer is not None
                    assert "result" in answer
            other.execute("ROLLBACK")
        assert sent(bundler) == number
        # what was held in memory only is on disk as soon as the ledger can be written
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not await asyncio.to_thread(is_on_disk, gate, number):  # noqa: ASYNC110  # another process writes
                await asyncio.sleep(0.05)


def is_on_disk(gate: GateProcess, number: int) -> bool:
    wanted = reading(a_transfer(GRANT, number, 1)).user_op_hash
    return wanted in daybook_of(gate.database).read_bytes() or is_in_database(gate, number)


def is_in_database(gate: GateProcess, number: int) -> bool:
    wanted = reading(a_transfer(GRANT, number, 1)).user_op_hash
    with closing(sqlite3.connect(gate.database)) as reader:
        found = reader.execute("SELECT 1 FROM operations_in_flight WHERE user_op_hash = ?", (wanted,)).fetchone()
    return found is not None


async def test_a_full_disk_rejects_and_says_so(gate: GateProcess) -> None:
    async with running(gate, most_bytes=400_000) as (client, bundler):
        answers = []
        for number in range(1, 400):
            answer = await send(client, gate.url, a_transfer(GRANT, number, 1))
            assert answer is not None
            answers.append(answer)
            if "error" in answer:
                break
        assert_closed(answers[-1])
        assert "disk" in answers[-1]["error"]["message"]
        assert len(answers) > 1
        # all that went out is on disk, and nothing went out that is not
        assert sent(bundler) == len(answers) - 1
        assert all([await asyncio.to_thread(is_on_disk, gate, number) for number in range(1, len(answers))])
        status, text = await readiness(client, gate)
        assert status == 503
        assert "disk" in text


def start_and_wait(gate: GateProcess, most_bytes: int = 0) -> int:
    gate.bundler = "http://127.0.0.1:9/"
    gate.start(most_bytes)
    return gate.end(0)  # it ends by itself


def test_a_read_only_ledger_is_refused_at_start_with_a_clear_message(nursery: Nursery) -> None:
    with tempfile.TemporaryDirectory() as folder:
        gate = GateProcess(nursery, Path(folder), bundler="")
        gate.know([GRANT])
        gate.database.chmod(0o444)
        Path(folder).chmod(0o555)
        code = start_and_wait(gate, most_bytes=-1)
        Path(folder).chmod(0o755)
        assert code == 2, gate.tail()
        assert "the ledger sqlite://" in gate.tail()
        assert "cannot be used" in gate.tail()
        assert "Traceback" not in gate.tail()


@pytest.mark.parametrize("left", [50, 4096, 12_000])
def test_a_truncated_ledger_is_refused_at_start_with_a_clear_message(gate: GateProcess, left: int) -> None:
    with gate.database.open("r+b") as file:
        file.truncate(left)
    assert start_and_wait(gate) == 2
    assert "cannot be used" in gate.tail()
    assert "it is damaged" in gate.tail() or "it is no database" in gate.tail()
    assert "restore it from a copy" in gate.tail()
    assert "Traceback" not in gate.tail()


def test_a_ledger_whose_records_are_broken_is_refused_at_start_with_a_clear_message(gate: GateProcess) -> None:
    with closing(sqlite3.connect(gate.database, isolation_level=None)) as vandal:
        vandal.execute("UPDATE sessions SET state = '{}'")
    assert start_and_wait(gate) == 2
    assert "a stored session cannot be read" in gate.tail()
    assert "Traceback" not in gate.tail()


def test_a_gate_told_to_stop_ends_well(gate: GateProcess) -> None:
    async def live() -> None:
        async with running(gate):
            assert await asyncio.to_thread(gate.end, signal.SIGTERM) == 0

    asyncio.run(live())
