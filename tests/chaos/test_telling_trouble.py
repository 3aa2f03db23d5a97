"""Where a real gate tells ops meets trouble: the trail's disk is full, a sink hangs, the time of day jumps."""

from __future__ import annotations

import asyncio
import os
import re
import resource
import socket
import sqlite3
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, closing
from pathlib import Path

import aiohttp
import pytest

from proxy.edge.audit.reading import Trail, read_entries
from proxy.edge.audit.schema import RecordKind
from proxy.edge.audit.verify import verify_trail
from proxy.errors import Code
from proxy.userop.primitives import print_bytes
from proxy.userop.session_data import SessionData
from tests.admission.builders import lane
from tests.bypass_list.desk import STRANGERS_KEY, reading, single, use
from tests.chaos.gates import ROOT, GateProcess, Nursery, a_nursery, a_transfer, send, spender, until_ready, writer_of
from tests.clocks.shifted import ahead
from tests.e2e.children import Child
from tests.edge.audit.trails import rows
from tests.edge.recording_bundler import Answer, Recorded, RecordingBundler
from tests.patience import PATIENCE_SECONDS
from tests.session.builders import transfer

GRANT = spender(1_000_000, salt=7)
SESSIONS = 250
RULES = 40
LOUD = 200  # a transfer of more than 100 is what each of the rules fires on


@pytest.fixture(scope="module")
def nursery() -> Iterator[Nursery]:
    with a_nursery() as running:
        yield running


@pytest.fixture
def gate(nursery: Nursery, tmp_path: Path) -> Iterator[GateProcess]:
    gate = GateProcess(nursery, tmp_path, bundler="")
    yield gate
    if gate.pid is not None:
        gate.end()


@asynccontextmanager
async def a_bundler(gate: GateProcess) -> AsyncIterator[aiohttp.ClientSession]:
    """One that takes everything; and whoever talks to the gate."""

    async def take(recorded: Recorded) -> Answer:
        return Answer(result=print_bytes(int(recorded.params[0]["nonce"], 16).to_bytes(32, "big")))

    async with (
        RecordingBundler(chain_id=1, answers={"eth_sendUserOperation": take}) as bundler,
        aiohttp.ClientSession() as client,
    ):
        gate.bundler = bundler.url
        yield client


async def metric(client: aiohttp.ClientSession, gate: GateProcess, name: str) -> float:
    async with client.get(f"{gate.admin}/metrics") as response:
        lines = (await response.text()).splitlines()
    found = [float(line.split()[-1]) for line in lines if re.match(rf"sessiongate_{name}(\{{.*\}})? ", line)]
    assert found, name
    return sum(found)


async def until_metric(client: aiohttp.ClientSession, gate: GateProcess, name: str, value: float) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while await metric(client, gate, name) != value:  # noqa: ASYNC110  # another process counts
            await asyncio.sleep(0.05)


async def assert_taken(client: aiohttp.ClientSession, gate: GateProcess, *numbers: int) -> None:
    for number in numbers:
        answer = await send(client, gate.url, a_transfer(GRANT, number, 1))
        assert answer is not None
        assert "result" in answer, answer


async def test_a_full_disk_under_the_trail_costs_no_operation_and_no_record_once_there_is_room(
    gate: GateProcess,
) -> None:
    await asyncio.to_thread(gate.know, [GRANT])
    async with a_bundler(gate) as client:
        gate.start()
        await until_ready(client, gate)
        await assert_taken(client, gate, 1)
        await until_metric(client, gate, "audit_queue", 0)
        writer = writer_of(gate)
        before = resource.prlimit(writer, resource.RLIMIT_FSIZE)
        resource.prlimit(writer, resource.RLIMIT_FSIZE, (1, before[1]))
        await assert_taken(client, gate, *range(2, 20))
        await until_metric(client, gate, "audit_writable", 0)
        async with client.get(f"{gate.admin}/readyz") as response:
            assert response.status == 503
            assert "records wait" in await response.text()
        await assert_taken(client, gate, *range(20, 40))
        resource.prlimit(writer, resource.RLIMIT_FSIZE, before)
        await until_metric(client, gate, "audit_queue", 0)
        await until_ready(client, gate)
        assert await metric(client, gate, "audit_dropped_total") == 0
        assert await asyncio.to_thread(gate.end, 15) == 0
    (path,) = gate.folder.glob("*audit*.db")
    assert len(rows(path)) == 39
    assert verify_trail(path).remarks == []


async def flood(gate: GateProcess, address: str, count: int) -> int:
    """So many operations that their session's key did not sign; how many of them were refused for that."""
    connector = aiohttp.TCPConnector(local_addr=(address, 0), limit=4)
    async with aiohttp.ClientSession(connector=connector) as stranger:
        ops = [
            use(GRANT, single(transfer(1)), nonce=lane(10_000 + number), key=STRANGERS_KEY) for number in range(count)
        ]
        answers = await asyncio.gather(*[send(stranger, gate.url, op) for op in ops])
    return sum(answer is not None and answer["error"]["code"] == Code.SESSION_SCOPE for answer in answers)


def refusals_on_file(path: Path) -> tuple[int, int]:
    """How many are kept, and how many counted."""
    counted = sum(int(entry.detail["refusals"]) for entry in read_entries(Trail(path), kinds=(RecordKind.SAMPLED,)))
    return sum(row.verdict == "reject" for row in rows(path)), counted


async def test_six_addresses_that_flood_the_trail_of_a_full_disk_cost_no_operation_and_each_refusal_is_counted(
    gate: GateProcess,
) -> None:
    await asyncio.to_thread(gate.know, [GRANT])
    addresses, each = [f"127.0.0.{number}" for number in range(2, 8)], 60
    async with a_bundler(gate) as client:
        gate.start()
        await until_ready(client, gate)
        await assert_taken(client, gate, 1)
        await until_metric(client, gate, "audit_queue", 0)
        writer = writer_of(gate)
        before = resource.prlimit(writer, resource.RLIMIT_FSIZE)
        resource.prlimit(writer, resource.RLIMIT_FSIZE, (1, before[1]))
        refused, _ = await asyncio.gather(
            asyncio.gather(*[flood(gate, address, each) for address in addresses]),
            assert_taken(client, gate, *range(2, 30)),
        )
        assert refused == [each] * len(addresses)
        await until_metric(client, gate, "audit_writable", 0)
        left_out = await metric(client, gate, "audit_refusals_left_out_total")
        resource.prlimit(writer, resource.RLIMIT_FSIZE, before)
        await until_metric(client, gate, "audit_queue", 0)
        await until_ready(client, gate)
        assert await metric(client, gate, "audit_dropped_total") == 0
        assert await asyncio.to_thread(gate.end, 15) == 0
    (path,) = gate.folder.glob("*audit*.db")
    assert refusals_on_file(path) == (each * len(addresses) - left_out, left_out)
    assert sum(row.verdict == "allow" for row in rows(path)) == 29
    assert verify_trail(path).remarks == []
    with closing(sqlite3.connect(gate.database)) as reader:
        held = {bytes(name) for (name,) in reader.execute("SELECT user_op_hash FROM operations_in_flight")}
    assert held == {reading(a_transfer(GRANT, number, 1)).user_op_hash for number in range(1, 30)}


async def test_ten_thousand_hits_that_a_sink_leaves_waiting_hold_up_no_verdict(gate: GateProcess) -> None:
    grants = [spender(1_000_000, salt=number) for number in range(1, SESSIONS + 1)]
    await asyncio.to_thread(gate.know, [GRANT, *grants])
    # a peer that takes the connection and never says a word
    with socket.create_server(("127.0.0.1", 0), backlog=100) as sink:
        async with a_bundler(gate) as client:
            await tell_a_hung_sink(gate, client, sink.getsockname()[1], grants)


async def tell_a_hung_sink(
    gate: GateProcess, client: aiohttp.ClientSession, port: int, grants: Sequence[SessionData]
) -> None:
    (gate.folder / "many.yaml").write_text(
        "rules:\n"
        + "".join(
            f"- {{id: r{number}, description: d, mode: alert, severity: high,"
            " when: any(m.amount > 100 for m in op.moves)}\n"
            for number in range(RULES)
        )
    )
    gate.settings = (
        f"rules: [many.yaml]\nalerts:\n  max_active: 20000\n  queue_limit: 20000\n  webhooks:\n"
        f"    - {{name: soc, url: 'http://127.0.0.1:{port}/', secret: 0123456789abcdef}}\n"
    )
    gate.start()
    await until_ready(client, gate)
    for number, grant in enumerate(grants, 1_000):
        answer = await send(client, gate.url, use(grant, single(transfer(LOUD)), nonce=lane(number)))
        assert answer is not None
        assert "result" in answer, answer
    await until_metric(client, gate, 'queue_depth{queue="alerts"}', SESSIONS * RULES)
    # the sink has answered nothing, and everybody else is answered
    await assert_taken(client, gate, *range(1, 50))
    assert await metric(client, gate, "alerts_dropped_total") == 0
    assert await metric(client, gate, 'alerts_sent_total{result="taken",sink="soc"}') == 0


async def test_a_time_of_day_that_jumps_is_logged_and_the_gate_serves_on(
    gate: GateProcess, program: Callable[[str, str], str]
) -> None:
    program("faketime", "faketime")
    await asyncio.to_thread(gate.know, [GRANT])
    astray = gate.folder / "astray"
    astray.write_text("+0\n")
    shifted = {**ahead(0), "FAKETIME_TIMESTAMP_FILE": str(astray), "FAKETIME_CACHE_DURATION": "1"}
    del shifted["FAKETIME"]
    async with a_bundler(gate) as client:
        config = gate.configure()
        command = [sys.executable, "-m", "proxy.cli", "serve", "--config", config]
        child = Child.start("gate", command, gate.log, cwd=ROOT, env={**os.environ, **shifted})
        try:
            await until_ready(client, gate)
            for moment, jump in (("-3600\n", r"jumped by -3[56]\d\d"), ("+0\n", r"jumped by \+3[56]\d\d")):
                (new := gate.folder / "new").write_text(moment)
                new.rename(astray)
                await asyncio.to_thread(child.wait_until, lambda said=jump: re.search(said, gate.tail()), jump)
            await assert_taken(client, gate, 1)
        finally:
            child.stop()
