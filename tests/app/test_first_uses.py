"""Whoever asks first for a session waits for its reading, and for nothing that the gate asks about other operations.

Questions to the bundler are never answered here, and the bundler is waited for as long as can be set: who had to wait
for one would be told after `node_seconds` that a fact cannot be had.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.admission.builders import TWICE, known, lane
from tests.app.builders import ONCE, use_number
from tests.app.followed import MANY, in_flight, settled
from tests.app.live_node import LiveNode
from tests.bypass_list.desk import use
from tests.edge.recording_bundler import Answer, Recorded
from tests.running_gate import BY_HASH, RECEIPT, SEND, HonestBundler, RunningGate, request, running_gate, submission

PATIENT = {"request_seconds": "600"}
LOST = Answer(status=502, raw=b"bad gateway")


async def hanging(_request: Recorded) -> Answer:
    await asyncio.Event().wait()
    raise AssertionError


def hang_in_questions(bundler: HonestBundler) -> None:
    bundler.answers |= {RECEIPT: hanging, BY_HASH: hanging}


async def send_many(gate: RunningGate, count: int) -> None:
    """So many of one session, of which nobody knows whether the bundler has them."""
    take, gate.bundler.answers[SEND] = gate.bundler.answers[SEND], LOST
    for number in range(count):
        await gate.post(submission(use(MANY, ONCE, nonce=lane(1_000 + number))))
    gate.bundler.answers[SEND] = take
    assert await in_flight(gate) == count


@pytest.mark.parametrize("count", [40, 120])
async def test_the_first_use_of_a_session_waits_for_no_receipt_of_another(live: LiveNode, count: int) -> None:
    live.grant(MANY)
    async with running_gate(node_url=live.url, limits=PATIENT) as gate:
        hang_in_questions(gate.bundler)
        await send_many(gate, count)
        assert "result" in await gate.send(use_number(1))
        assert (await gate.ask(request("eth_chainId")))["result"]
        assert await in_flight(gate) == count + 1
        assert RECEIPT not in gate.bundler.methods, "the chain's blocks tell"


@pytest.mark.parametrize("count", [40, 120])
async def test_nor_does_it_after_a_restart(live: LiveNode, tmp_path: Path, count: int) -> None:
    live.grant(MANY)
    setup = {"node_url": live.url, "limits": PATIENT, "ledger": tmp_path / "gate.db"}
    async with HonestBundler() as bundler:
        hang_in_questions(bundler)
        async with running_gate(bundler=bundler, **setup) as gate:
            await send_many(gate, count)
            await settled(gate, live)
        live.mine()
        async with running_gate(bundler=bundler, **setup) as gate:
            assert "result" in await gate.send(use_number(1))
            assert "result" in await gate.send(use(MANY, ONCE, nonce=lane(999)))
            assert await in_flight(gate) == count + 2


async def test_nor_does_it_where_there_is_no_node_and_what_nobody_answered_stays_held(tmp_path: Path) -> None:
    setup = {"limits": PATIENT, "ledger": tmp_path / "gate.db"}
    async with HonestBundler() as bundler:
        hang_in_questions(bundler)
        async with running_gate(bundler=bundler, **setup) as gate:
            gate.running.registry.put(known(MANY))
            await send_many(gate, 120)
        async with running_gate(bundler=bundler, **setup) as gate:
            for session in (TWICE, MANY):
                gate.running.registry.put(known(session))
            ops = (use_number(1), use(MANY, ONCE, nonce=lane(999)))
            assert all("result" in answer for answer in await asyncio.gather(*map(gate.send, ops)))
            assert await in_flight(gate) == 122
