"""Neither silence nor a clock that jumps is an answer: what becomes of operations is known, or it stays held."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from proxy.errors import Code
from tests.admission.builders import TWICE, known, lane
from tests.app.builders import ONCE, refusal, use_number, used_of
from tests.app.conftest import Hours
from tests.app.followed import counted, has_used, in_flight, is_full, settled
from tests.app.live_node import LiveNode
from tests.bypass_list.desk import a_session, use
from tests.edge.recording_bundler import Answer, Behaviour, Recorded
from tests.patience import patiently
from tests.running_gate import RECEIPT, HonestBundler, RunningGate, running_gate
from tests.session.builders import TOKEN, TRANSFER, action, time_frame, usage


async def hanging(_request: Recorded) -> Answer:
    await asyncio.Event().wait()
    raise AssertionError


UNANSWERED: dict[str, Answer | Behaviour] = {
    "502": Answer(status=502, raw=b"bad gateway"),
    "429": Answer(status=429, raw=b"slow down", content_type="text/plain"),
    "an internal error": Answer(error={"code": -32603, "message": ""}),
    "hangs": hanging,
}
RULE = """
rules:
  - id: one-in-ten-minutes
    description: No session acts twice in ten minutes.
    mode: enforce
    severity: high
    match: {session: true}
    limit: {count: ops, max: 1, per: session, window: 10m}
"""


@pytest.mark.parametrize("answer", UNANSWERED)
@pytest.mark.parametrize("jump", ["an hour goes by", "a time of day an hour ahead", "a time of day a day behind"])
async def test_receipts_that_nobody_answers_for_release_nothing(hours: Hours, answer: str, jump: str) -> None:
    async with running_gate(limits={"request_seconds": "0.2"}) as gate:
        gate.running.registry.put(known(TWICE))
        honest, gate.bundler.answers[RECEIPT] = gate.bundler.answers[RECEIPT], UNANSWERED[answer]
        for number in (1, 2):
            assert "result" in await gate.send(use_number(number))
        asked = gate.bundler.methods.count(RECEIPT)
        if jump == "an hour goes by":
            hours.ahead += 3_600
        else:
            hours.astray += 3_600 if jump == "a time of day an hour ahead" else -86_400
        await gate.until(lambda: gate.bundler.methods.count(RECEIPT) > asked + 4, "they were asked for again")
        assert await is_full(gate)
        assert await in_flight(gate) == 2
        # who answers again is heard, whatever the clock has done
        gate.bundler.answers[RECEIPT] = honest
        gate.bundler.mine(use_number(1))
        await gate.until(lambda: used_of(gate) == 1, "the one that was mined is counted")
        assert (await in_flight(gate), await is_full(gate)) == (1, True)


@pytest.mark.parametrize("answer", UNANSWERED)
async def test_that_another_bundler_knows_nothing_of_it_releases_nothing_while_the_one_that_has_it_says_nothing(
    hours: Hours, answer: str
) -> None:
    timed = a_session(action(TOKEN, TRANSFER, usage(2), time_frame(int(time.time()) + 600)), salt=33)
    async with HonestBundler() as first, HonestBundler() as second:
        urls = [first.url, second.url]
        async with running_gate(bundler=first, chain={"bundlers": urls}, limits={"request_seconds": "0.2"}) as gate:
            gate.running.registry.put(known(timed))
            honest, first.answers[RECEIPT] = first.answers[RECEIPT], UNANSWERED[answer]
            assert "result" in await gate.send(use(timed, ONCE, nonce=lane(1)))
            for number in range(1, 5):
                hours.ahead += 300
                second.requests.clear()
                await gate.until(lambda: second.methods.count(RECEIPT) > 1, "the other says that it knows of nothing")
                assert await in_flight(gate) == 1, number
            first.answers[RECEIPT] = honest
            second.answers[RECEIPT] = UNANSWERED[answer]  # whose word nobody needs
            await counted(gate, 1, "operations_ended_total", cause="expired")


@pytest.mark.parametrize("answer", UNANSWERED)
async def test_that_a_block_is_gone_is_the_word_of_the_bundler_that_has_its_operation_whatever_another_one_says(
    answer: str,
) -> None:
    async with HonestBundler() as first, HonestBundler() as second:
        second.answers[RECEIPT] = UNANSWERED[answer]
        async with running_gate(bundler=first, chain={"bundlers": [first.url, second.url]}) as gate:
            gate.running.registry.put(known(TWICE))
            await gate.send(use_number(1))
            mined = first.mine(use_number(1))
            first.receipts[mined]["receipt"]["blockHash"] = "0x" + "b1" * 32
            await gate.until(lambda: used_of(gate) == 1, "it is counted")
            del first.receipts[mined]  # the chain has another block in the place of that one
            await counted(gate, 1, "operations_in_flight")


@pytest.mark.parametrize("answer", UNANSWERED)
async def test_a_node_and_a_bundler_that_answer_nothing_release_nothing(
    hours: Hours, live: LiveNode, answer: str
) -> None:
    limits = {"request_seconds": "0.2"}
    async with running_gate(node_url=live.url, chain={"node_fail": "open"}, limits=limits) as gate:
        for number in (1, 2):
            assert "result" in await gate.send(use_number(number))
        await settled(gate, live)
        live.refuses = True
        gate.bundler.answers[RECEIPT] = UNANSWERED[answer]
        hours.ahead += 3_600
        asked = gate.bundler.methods.count(RECEIPT)
        assert await is_full(gate)
        await gate.until(lambda: gate.bundler.methods.count(RECEIPT) > asked, "it is asked in place of the node")
        live.refuses = False
        live.mine()
        await settled(gate, live)
        assert await is_full(gate)
        assert await in_flight(gate) == 2
        live.mine(use_number(1))
        await settled(gate, live)
        assert (await in_flight(gate), has_used(gate, 1), await is_full(gate)) == (1, True, True)


async def looked(gate: RunningGate) -> None:
    """Returns when the gate has heard of the node's newest block."""
    for _ in patiently():
        async with gate.http.get(f"{gate.admin}/readyz/soneium") as response:
            (shown,) = (each for each in (await response.json())["checks"] if each["name"] == "node soneium")
        if "newest block" in shown["why"] or shown["ok"]:
            return
        await asyncio.sleep(0.01)
    raise AssertionError(shown)


@pytest.mark.parametrize("wrong", [-86_400, 2 * 86_400])
async def test_a_clock_that_is_wrong_when_a_gate_first_starts_or_its_machine_is_booted_empties_no_window(
    live: LiveNode, hours: Hours, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wrong: float
) -> None:
    (tmp_path / "rules.yaml").write_text(RULE)
    boot = tmp_path / "boot"
    monkeypatch.setattr("proxy.app.memory._BOOT", boot)
    setup = {"node_url": live.url, "rules": [str(tmp_path / "rules.yaml")], "ledger": tmp_path / "gate.db"}
    for life in ("the first one", "another"):
        boot.write_text(life)
        hours.astray = wrong
        async with running_gate(**setup) as gate:
            if life == "the first one":
                assert "result" in await gate.send(use_number(1))
                live.mine(use_number(1))
            else:
                await looked(gate)
                live.mine()  # until then its newest block is two days old, by the clock
            await settled(gate, live)
            assert refusal(await gate.send(use_number(2)))[0] == Code.RULE_REJECTED
            hours.astray = 0.0  # the time service sets it
            live.mine()
            await settled(gate, live)
            assert refusal(await gate.send(use_number(2)))[0] == Code.RULE_REJECTED
            if life == "another":
                hours.ahead += 11 * 60
                live.mine()
                await settled(gate, live)
                assert "result" in await gate.send(use_number(2))  # nor did it stay for longer


@pytest.mark.parametrize("jump", [15 * 60, -86_400, 86_400])
async def test_no_window_of_a_rule_is_emptied_by_a_jump_of_the_time_of_day(
    live: LiveNode, hours: Hours, tmp_path: Path, jump: float
) -> None:
    (tmp_path / "rules.yaml").write_text(RULE)
    setup = {"node_url": live.url, "rules": [str(tmp_path / "rules.yaml")], "ledger": tmp_path / "gate.db"}
    async with running_gate(**setup) as gate:
        assert "result" in await gate.send(use_number(1))
        live.mine(use_number(1))
        await settled(gate, live)
        hours.astray += jump
        assert refusal(await gate.send(use_number(2)))[0] == Code.RULE_REJECTED
    async with running_gate(**setup) as gate:
        assert refusal(await gate.send(use_number(2)))[0] == Code.RULE_REJECTED
        hours.ahead += 11 * 60
        live.mine()
        await settled(gate, live)
        assert "result" in await gate.send(use_number(2))


async def test_an_operation_is_counted_when_its_chain_says_that_it_was_mined(hours: Hours, tmp_path: Path) -> None:
    behind = LiveNode()  # its time is a day behind this machine's
    behind.chain.epoch -= 86_400
    behind.grant(TWICE)
    server = await behind.serve()
    (tmp_path / "rules.yaml").write_text(RULE)
    try:
        async with running_gate(node_url=behind.url, rules=[str(tmp_path / "rules.yaml")]) as gate:
            behind.mine()
            assert "result" in await gate.send(use_number(1))
            behind.mine(use_number(1))
            await settled(gate, behind)
            assert refusal(await gate.send(use_number(2)))[0] == Code.RULE_REJECTED
            hours.ahead += 11 * 60
            behind.mine()
            await settled(gate, behind)
            assert "result" in await gate.send(use_number(2))
    finally:
        await server.cleanup()


async def test_a_time_of_day_that_jumps_ends_no_operation_that_is_still_valid(hours: Hours) -> None:
    timed = a_session(action(TOKEN, TRANSFER, usage(2), time_frame(int(time.time()) + 600)), salt=11)
    async with running_gate() as gate:
        gate.running.registry.put(known(timed))
        assert "result" in await gate.send(use(timed, ONCE, nonce=lane(1)))
        hours.astray += 86_400
        asked = gate.bundler.methods.count(RECEIPT)
        await gate.until(lambda: gate.bundler.methods.count(RECEIPT) > asked + 4, "it was asked for again")
        assert await in_flight(gate) == 1
