"""Each way in which a hold ends, from outside: one end, with what shows it, in metrics, log and audit."""

from __future__ import annotations

import asyncio
import logging
import time
from pathlib import Path
from typing import Any

import pytest

from proxy.errors import Code
from proxy.userop.primitives import print_bytes
from proxy.userop.user_operation import UserOperation
from tests.admission.builders import TWICE, enabling, key_of, lane
from tests.app.builders import ONCE, refusal, use_number
from tests.app.conftest import Hours
from tests.app.followed import MANY, counted, has_used, in_flight, is_full, rival_of, settled
from tests.app.live_node import LiveNode, executed_by
from tests.bypass_list.desk import a_session, use
from tests.chain.blocks.builders import reverted
from tests.chain.on_chain import put_absent
from tests.edge.recording_bundler import Answer
from tests.patience import patiently
from tests.running_gate import SEND, RunningGate, hash_of, running_gate
from tests.session.builders import TOKEN, TRANSFER, action, time_frame, usage

CAUSES = ("mined", "nonce_used", "grant_nonce_used", "expired", "refused", "released", "unmined")
UNMINED = {"unmined_after": "60"}
RULE = """
rules:
  - id: two-a-day
    description: No session acts three times a day.
    mode: enforce
    severity: high
    match: {session: true}
    limit: {count: ops, max: 2, per: session, window: 24h}
"""


async def ended(gate: RunningGate, op: UserOperation) -> dict[str, Any]:
    """What the audit says of its end."""
    for _ in patiently():
        for row in (await gate.look("/audit"))["audit"]:
            if row["userOpHash"] == hash_of(op) and row["end"] is not None:
                return dict(row["end"])
        await asyncio.sleep(0.01)
    raise AssertionError("the audit tells of no end")


async def told_once(gate: RunningGate, op: UserOperation, cause: str, caplog: pytest.LogCaptureFixture) -> None:
    """In every place, and of no other cause."""
    found = {each: await gate.metric("operations_ended_total", chain="soneium", cause=each) for each in CAUSES}
    assert found == {each: float(each == cause) for each in CAUSES}
    assert caplog.text.count(f"{hash_of(op)} of soneium ended: {cause}") == 1


async def wait(gate: RunningGate, live: LiveNode, hours: Hours, seconds: int) -> None:
    """So much time goes by, in which the chain has blocks and the gate sees them."""
    for _ in range(seconds // 30):
        await settled(gate, live)
        hours.ahead += 30
        live.mine()
    await settled(gate, live)


@pytest.mark.parametrize("success", [True, False])
async def test_what_is_mined(live: LiveNode, caplog: pytest.LogCaptureFixture, success: bool) -> None:
    caplog.set_level(logging.INFO)
    async with running_gate(node_url=live.url) as gate:
        op = use_number(1)
        assert "result" in await gate.send(op)
        event = executed_by(op, success=success)
        live.claims[event.topics[1]] = TWICE.permission_id
        why = [] if success else [reverted(0, b"\x08\xc3\x79\xa0", name=event.topics[1])]
        live.tell(*why, event)
        found = await ended(gate, op)
        block = live.chain.headers[-1].number
        assert 0 <= found.pop("seconds") < 600
        assert found | {"cause": "mined", "success": success, "block": block, "gasUsed": "900", "cost": "7000"} == found
        assert found["transaction"] == print_bytes(event.transaction)
        assert found.get("revertReason") == (None if success else "0x08c379a0")
        await told_once(gate, op, "mined", caplog)
        await gate.until(lambda: has_used(gate, 1), "it is counted, reverted or not")


async def test_what_another_operation_took_the_nonce_of(live: LiveNode, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    async with running_gate(node_url=live.url) as gate:
        op = use_number(1)
        assert "result" in await gate.send(op)
        live.mine(rival_of(1))
        found = await ended(gate, op)
        assert (found["cause"], found["block"]) == ("nonce_used", live.chain.headers[-1].number)
        await told_once(gate, op, "nonce_used", caplog)
        assert not await is_full(gate)


async def test_a_grant_whose_enable_nonce_another_one_used(live: LiveNode, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    fresh = a_session(action(TOKEN, TRANSFER, usage(2)), salt=31)
    put_absent(live, key_of(fresh), enable_nonce=0)
    live.sessions[fresh.permission_id] = fresh
    async with running_gate(node_url=live.url) as gate:
        assert "result" in await gate.send(use_number(5))
        await settled(gate, live)
        op, other = (enabling(fresh, ONCE, nonce=lane(number)) for number in (1, 2))
        assert "result" in await gate.send(op)
        live.enable(other, fresh)
        assert (await ended(gate, op))["cause"] == "grant_nonce_used"
        await told_once(gate, op, "grant_nonce_used", caplog)
        assert await in_flight(gate) == 1


async def test_what_is_past_its_validity(live: LiveNode, hours: Hours, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    timed = a_session(action(TOKEN, TRANSFER, usage(2), time_frame(int(time.time()) + 300)), salt=32)
    live.grant(timed)
    async with running_gate(node_url=live.url, chain={"unmined_after": "86400"}) as gate:
        op = use(timed, ONCE, nonce=lane(1))
        assert "result" in await gate.send(op)
        await settled(gate, live)
        hours.astray += 3_600  # no clock of ours ends it
        live.mine()
        await settled(gate, live)
        assert await in_flight(gate) == 1
        live.chain.epoch += 400
        live.mine()
        live.mine()
        found = await ended(gate, op)
        assert (found["cause"], found["block"] is not None) == ("expired", True)
        await told_once(gate, op, "expired", caplog)


async def test_what_the_bundler_refuses(live: LiveNode, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    async with running_gate(node_url=live.url) as gate:
        op = use_number(1)
        gate.bundler.answers[SEND] = Answer(error={"code": -32500, "message": "AA21 didn't pay prefund"})
        assert "error" in await gate.send(op)
        await counted(gate, 1, "operations_ended_total", cause="refused")
        await told_once(gate, op, "refused", caplog)
        assert await in_flight(gate) == 0


async def test_what_an_operator_lets_go_of(live: LiveNode, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    async with running_gate(node_url=live.url) as gate:
        op = use_number(1)
        assert "result" in await gate.send(op)
        await gate.change("POST", f"/operations/{hash_of(op)}/release", {"note": "its bundler is gone"})
        assert (await ended(gate, op))["cause"] == "released"
        await told_once(gate, op, "released", caplog)
        assert not await is_full(gate)
        (deed,) = (await gate.look("/audit?show=deeds"))["audit"]
        assert (deed["detail"]["what"], deed["detail"]["why"]) == ("hold_released", "its bundler is gone")


# what was let go, and is mined after all


@pytest.mark.parametrize("how", ["unmined", "released"])
async def test_what_was_let_go_and_is_mined_later_is_counted_and_told(
    live: LiveNode, hours: Hours, tmp_path: Path, caplog: pytest.LogCaptureFixture, how: str
) -> None:
    caplog.set_level(logging.INFO)
    (tmp_path / "rules.yaml").write_text(RULE)
    live.grant(MANY)
    setup = {"node_url": live.url, "chain": UNMINED, "rules": [str(tmp_path / "rules.yaml")]}
    async with running_gate(**setup) as gate:
        parked = use(MANY, ONCE, nonce=lane(1, 1))
        assert "result" in await gate.send(parked)
        if how == "unmined":
            await wait(gate, live, hours, 120)
        else:
            await gate.change("POST", f"/operations/{hash_of(parked)}/release", {"note": "to see"})
        assert (await ended(gate, parked))["cause"] == how
        await told_once(gate, parked, how, caplog)
        assert await gate.metric("operations_let_go", chain="soneium") == 1
        # whoever had the missing nonce uses it past the gate, and the parked one follows
        before = await gate.metric("happenings_total", kind="never_mined")
        live.mine(use(MANY, ONCE, nonce=lane(1)), parked)
        await counted(gate, 1, "operations_ended_total", cause="mined")
        assert await gate.metric("happenings_total", kind="never_mined") == before + 1
        assert f"{hash_of(parked)}, of which something had been let go, has ended after all: mined" in caplog.text
        assert await gate.metric("operations_let_go", chain="soneium") == 0
        await settled(gate, live)
        # the rule counts it, whatever was let go: one of two is left
        assert "result" in await gate.send(use(MANY, ONCE, nonce=lane(2)))
        assert refusal(await gate.send(use(MANY, ONCE, nonce=lane(3))))[0] == Code.RULE_REJECTED
