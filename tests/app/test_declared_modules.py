"""A whole gate with a module of one's own: learnt without a node, kept over a restart, judged again from the trail."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from proxy.cli.audit.session_again import judge_session_again
from proxy.edge.audit.reading import Trail, read_audit
from proxy.errors import Code
from proxy.session.known import Status
from proxy.session.outcome import Accepted, Refused
from proxy.userop.execution import Call
from proxy.userop.primitives import print_bytes, print_checksummed
from proxy.userop.user_operation import UserOperation
from tests.admission.test_declared_modules import PAY, by_owner, using
from tests.app.builders import audited, refusal
from tests.app.test_audit import trail_of
from tests.bypass_list.desk import CHAIN_ID, single
from tests.running_gate import ESTIMATE, HonestBundler, RunningGate, running_gate
from tests.session.builders import STRANGER, TOKEN, TRANSFER
from tests.session.declared_modules import CREATED, PLAIN, REVOKE, REVOKED, call_of, name_of_key
from tests.session.signing import SESSION_KEY

LIMITED = (
    "createLimited(uint32 maxUses, address sessionKey, bytes4 selector, address target, uint256 maxValue,"
    " uint48 validUntil)"
)
CHAIN: dict[str, Any] = {
    "session_modules": [
        "default",
        {
            "kind": "declared",
            "address": print_checksummed(PLAIN),
            "grants": [LIMITED, CREATED],
            "revokes": [REVOKE, REVOKED],
        },
    ]
}
GRANTING = by_owner(call_of(LIMITED, 2, SESSION_KEY, TRANSFER, TOKEN, 0, 0))
REVOKING = by_owner(call_of(REVOKE, SESSION_KEY), lane=1)
OUTSIDE = single(Call(STRANGER, 0, PAY.data))
KEY = name_of_key(SESSION_KEY)


async def mined(gate: RunningGate, op: UserOperation, status: Status) -> None:
    """The bundler tells of it, and the session stands so."""
    assert "result" in await gate.send(op)
    gate.bundler.mine(op)
    await gate.until(lambda: gate.running.registry.status_of(KEY) is status, f"it is {status}")


@pytest.fixture
async def bundler() -> Any:
    async with HonestBundler() as running:
        yield running


async def test_what_was_granted_and_used_is_known_after_a_restart_without_a_node(
    tmp_path: Path, bundler: HonestBundler
) -> None:
    ledger = tmp_path / "gate.db"
    async with running_gate(ledger=ledger, chain=CHAIN, bundler=bundler) as gate:
        assert refusal(await gate.send(using())) == (Code.SESSION_UNKNOWN, False)
        assert "result" in await gate.send(GRANTING)
        assert refusal(await gate.send(using(lane=1))) == (Code.SESSION_UNKNOWN, True)
        bundler.mine(GRANTING)
        await gate.until(lambda: gate.running.registry.status_of(KEY) is Status.IN_FORCE, "it is granted")
        assert "result" in await gate.send(using(lane=2))
        assert refusal(await gate.send(using(OUTSIDE, lane=3))) == (Code.SESSION_SCOPE, False)
        bundler.mine(using(lane=2))
    async with running_gate(ledger=ledger, chain=CHAIN, bundler=bundler) as gate:
        assert "result" in await gate.send(using(lane=4))
        assert refusal(await gate.send(using(lane=5)))[0] == Code.LIMIT_EXCEEDED
        (shown,) = (await gate.look("/sessions"))["sessions"]
        assert (shown["status"], shown["permissionId"]) == ("in_force", print_bytes(KEY.permission_id))
        await mined(gate, REVOKING, Status.REMOVED)
        assert refusal(await gate.send(using(lane=6)))[0] == Code.SESSION_REVOKED


async def test_an_estimate_of_a_session_named_by_its_signature_alone_goes_on_and_one_outside_does_not(
    tmp_path: Path,
) -> None:
    async with running_gate(ledger=tmp_path / "gate.db", chain=CHAIN) as gate:
        await mined(gate, GRANTING, Status.IN_FORCE)
        for op, allowed in ((using(), True), (using(OUTSIDE), False)):
            answer = await gate.send(replace(op, signature=b"\xff" * 65), ESTIMATE)
            assert ("result" in answer) is allowed


async def test_the_verdict_of_such_a_session_is_given_again_from_the_trail(tmp_path: Path) -> None:
    ledger = tmp_path / "gate.db"
    async with running_gate(ledger=ledger, chain=CHAIN, audit={"keep": "calldata"}) as gate:
        await mined(gate, GRANTING, Status.IN_FORCE)
        await gate.send(using(lane=1))
        await gate.send(using(OUTSIDE, lane=2))
        await audited(gate, 3)
    _, allowed, refused = read_audit(Trail(trail_of(ledger)))
    assert isinstance(judge_session_again(allowed, CHAIN_ID), Accepted)
    again = judge_session_again(refused, CHAIN_ID)
    assert isinstance(again, Refused)
    assert again.reason.code is Code.SESSION_SCOPE
