"""Decisions of a whole gate judged again from its trail come out as they did, for as long as its rules are the same."""

from __future__ import annotations

import asyncio
import json
import random
import time
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from proxy.cli import application
from proxy.userop.execution import Call
from proxy.userop.primitives import print_checksummed
from proxy.userop.user_operation import UserOperation
from tests.admission.builders import TWICE, known, lane
from tests.app.builders import OUTSIDE, audited, use_number
from tests.bypass_list.desk import CHAIN_ID, a_session, single, use
from tests.edge.recording_bundler import Answer
from tests.patience import patiently
from tests.running_gate import ESTIMATE, SEND, HonestBundler, RunningGate, running_gate, submission
from tests.session.builders import FRIEND, STRANGER, TOKEN, fallback, sudo, transfer

ONE, TWO = a_session(fallback(sudo), salt=31), a_session(fallback(sudo), salt=32)
TOKENS = f"""\
tokens:
  ETH: {{native: true, price: "3000 USD"}}
  USDC: {{price: "1 USD", on: {{{CHAIN_ID}: {{address: {print_checksummed(TOKEN)}, decimals: 6}}}}}}
"""
RULES = """\
rules:
  - id: a-day
    description: A session moves 500 USDC a day.
    mode: enforce
    match: {session: true, moves: USDC}
    limit: {sum: spend, token: USDC, max: 500, per: session, window: 24h}
  - id: watched
    description: A session moves 200 USDC an hour.
    mode: alert
    match: {session: true, moves: USDC}
    limit: {sum: spend, token: USDC, max: 200, per: session, window: 1h}
  - id: tried
    description: An account moves 400 USDC an hour.
    mode: shadow
    match: {session: true, moves: USDC}
    limit: {sum: spend, token: USDC, max: 400, per: account, window: 1h}
  - id: stranger
    description: Somebody new.
    mode: alert
    match: {session: true, moves: any}
    first_seen: {of: recipient, per: session, after: 3 ops}
  - id: reverts
    description: Two in a row failed.
    mode: alert
    match: {session: true}
    streak: {of: reverted, length: 2, per: session}
  - id: fees
    description: Gas is dear.
    mode: enforce
    match: {session: true}
    when: op.max_fee > 100 gwei
"""
NUMBERS = iter(range(1, 10_000))


def payment(dice: random.Random) -> UserOperation:
    to = dice.choice([FRIEND, STRANGER, *[bytes([number]) * 20 for number in range(0x21, 0x25)]])
    amount = dice.choice([1, 20, 60, 120, 300]) * 10**6
    call = transfer(amount, to=to) if dice.random() < 0.9 else Call(to, 10**15, b"")
    fee = 10**9 * dice.choice([1, 1, 1, 1, 1, 101])
    return use(dice.choice([ONE, TWO]), single(call), nonce=lane(next(NUMBERS)), max_fee_per_gas=fee)


async def what_stands(gate: RunningGate, sent: int) -> list[dict[str, Any]]:
    """The decisions, once so many are there and each of those that were mined has its end."""
    for _ in patiently():
        rows: list[dict[str, Any]] = (await gate.look("/audit?limit=1000"))["audit"]
        mined = {row["userOpHash"] for row in rows} & gate.bundler.receipts.keys()
        ended = {row["userOpHash"] for row in rows if row["end"] is not None}
        if len(rows) >= sent and mined <= ended and all(row["forward"] != "pending" for row in rows):
            return rows
        await asyncio.sleep(0.01)
    raise AssertionError("decisions without their ends")


def replayed(settings: Path, decision_id: str) -> tuple[int, dict[str, Any]]:
    done = CliRunner().invoke(application, ["audit", "replay", decision_id, "--json", "--config", str(settings)])
    return done.exit_code, json.loads(done.stdout)


async def test_fifty_mixed_decisions_come_out_as_they_did(tmp_path: Path) -> None:
    (tmp_path / "tokens.yaml").write_text(TOKENS)
    (tmp_path / "rules.yaml").write_text(RULES)
    settings = tmp_path / "sessiongate.yaml"
    dice = random.Random(7)
    async with (
        HonestBundler() as bundler,
        running_gate(bundler=bundler, ledger=tmp_path / "ledger.db", rules=[str(tmp_path / "rules.yaml")]) as gate,
    ):
        settings.write_text(
            f"ledger: sqlite:ledger.db\nrules: [rules.yaml]\nchains:\n  soneium:\n    chain_id: {CHAIN_ID}\n"
            f"    bundlers: [{bundler.url}]\n"
        )
        gate.running.registry.put(known(ONE))
        gate.running.registry.put(known(TWO))
        in_flight: list[UserOperation] = []
        for number in range(50):
            op = payment(dice)
            taken = bundler.answers[SEND]
            if dice.random() < 0.1:
                bundler.answers[SEND] = Answer(error={"code": -32500, "message": "AA25 invalid account nonce"})
            if dice.random() < 0.1:
                await gate.ask(submission(op, ESTIMATE))
            elif "result" in await gate.send(op):
                in_flight.append(op)
            bundler.answers[SEND] = taken
            if number == 30:
                (fullest, *_) = (await gate.look("/rules/budget?rule=a-day"))["budgets"]
                wanted = {"rule": "a-day", "key": fullest["key"], "reason": "a new month"}
                assert (await gate.change("POST", "/rules/reset", wanted))["forgotten"] == 1
            if number in (10, 25):
                wanted = {
                    "rule": "stranger",
                    "thing": print_checksummed(bytes([0x21 + number % 4]) * 20),
                    "reason": "paid",
                }
                wanted |= {} if number == 10 else {"until": time.time() + 86_400}
                assert "error" not in await gate.change("POST", "/rules/allowances", wanted)
            if number == 35:
                gone = print_checksummed(bytes([0x21 + 10 % 4]) * 20)
                assert await gate.change("DELETE", f"/rules/allowances?rule=stranger&thing={gone}") == {"dropped": 1}
            if number == 40:
                wanted = {"rule": "watched", "reason": "agreed"}
                assert (await gate.change("POST", "/rules/reset", wanted))["forgotten"] > 0
            if number % 5 == 4:  # some of what is on its way is mined, later than others were asked
                for mined in in_flight[::2]:
                    bundler.mine(mined, success=dice.random() < 0.4)
                in_flight = in_flight[1::2]
                await what_stands(gate, number + 1)
        rows = await what_stands(gate, 50)
    assert {len(row["rules"]) > 0 for row in rows} == {True, False}
    fired = {hit["rule"] for row in rows for hit in row["rules"]}
    assert fired == {"a-day", "watched", "tried", "stranger", "reverts", "fees"}
    differing = []
    for row in rows:
        code, told = replayed(settings, row["decisionId"])
        assert told["counts"]["notRedone"] == []
        if code != 0:
            differing.append((told["rules"]["now"], told["rules"]["then"]))
    assert differing == []
    # with another limit each is judged as things stood then, and what had gone out stays counted
    (tmp_path / "rules.yaml").write_text(RULES.replace("max: 500", "max: 1"))
    last = max(
        (row for row in rows if any(hit["rule"] == "watched" for hit in row["rules"])), key=lambda row: row["id"]
    )
    code, told = replayed(settings, last["decisionId"])
    assert (code, told["counts"]["resets"]) == (1, 2)
    (hit,) = [hit for hit in told["rules"]["now"] if hit["rule"] == "a-day"]
    assert "counted" in hit["sentence"]


@pytest.mark.parametrize("keep", ["facts", "calldata"])
async def test_what_is_judged_anew_and_what_is_only_repeated_is_marked(tmp_path: Path, keep: str) -> None:
    settings = tmp_path / "sessiongate.yaml"
    settings.write_text(
        f"ledger: sqlite:ledger.db\nchains:\n  soneium:\n    chain_id: {CHAIN_ID}\n    bundlers: [http://127.0.0.1:1]\n"
    )
    async with running_gate(ledger=tmp_path / "ledger.db", audit={"keep": keep}) as gate:
        gate.running.registry.put(known(TWICE))
        for number in range(3):  # the third is one too many, as two are in flight
            await gate.send(use_number(number))
        await gate.send(OUTSIDE)
        rows = await audited(gate, 4)
    told = [replayed(settings, row["decisionId"])[1] for row in rows]
    assert {each["verdict"]["how"] for each in told} == {"recorded"}
    assert {each["rules"]["how"] for each in told} == {"recomputed"}
    sessions = [each["session"] for each in told]
    assert [each["was"] for each in sessions] == ["allow", "allow", "limit_exceeded", "session_scope"]
    if keep == "facts":
        assert {(each["how"], each["why"]) for each in sessions} == {
            ("recorded", "the trail keeps facts only (audit.keep)")
        }
    else:
        assert {each["how"] for each in sessions} == {"recomputed"}
        assert [each["now"] for each in sessions] == [each["was"] for each in sessions]
        assert all(each["recorded"] == ["the signature", "the state", "what was in flight"] for each in sessions)
