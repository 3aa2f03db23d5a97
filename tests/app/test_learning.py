"""What a rule knows it learnt from all that a running gate sent and the chain mined, from nothing that was refused, and
from what an operator says."""

from __future__ import annotations

import json
import time
from pathlib import Path

from proxy.errors import Code
from proxy.userop.primitives import Address, print_checksummed
from proxy.userop.user_operation import UserOperation
from tests.admission.builders import known, lane
from tests.app.builders import audited
from tests.app.followed import counted
from tests.bypass_list.desk import a_session, single, use
from tests.running_gate import CHAIN_ID, HonestBundler, RunningGate, running_gate
from tests.session.builders import TOKEN, fallback, sudo, transfer

PAYER = a_session(fallback(sudo), salt=4)
BOB, STRANGER = Address(b"\xb0" * 20), Address(b"\x57" * 20)
RULES = """\
rules:
  - id: new-recipient
    description: Somebody gets 250 USD or more who was not paid three times before.
    mode: enforce
    match: {session: true, moves: any}
    first_seen: {of: recipient, per: session, after: 20 ops, at_least: 250 USD, known: {times: 3, at_least: 1 USD}}
"""
LIMIT = """\
rules:
  - id: dollars-a-day
    description: A session moves at most 100 USDC a day.
    mode: {mode}
    match: {{session: true, moves: USDC}}
    limit: {{sum: spend, token: USDC, max: 100, per: session, window: 24h}}
"""
TOKENS = """\
tokens:
  USDC: {{price: "1 USD", on: {{{chain}: {{address: "{address}", decimals: 6}}}}}}
"""


def payment(number: int, to: Address, dollars: int) -> UserOperation:
    return use(PAYER, single(transfer(dollars * 10**6, to=to)), nonce=lane(number))


async def refused(gate: RunningGate, op: UserOperation) -> bool:
    answer = await gate.send(op)
    assert answer.get("error", {}).get("code") in (None, Code.RULE_REJECTED), answer
    return "error" in answer


async def test_after_sixty_payments_to_one_a_large_one_to_a_stranger_is_heard_until_somebody_vouches_for_him(
    bundler: HonestBundler, tmp_path: Path
) -> None:
    (tmp_path / "a.yaml").write_text(RULES)
    (tmp_path / "tokens.yaml").write_text(TOKENS.format(chain=CHAIN_ID, address=print_checksummed(TOKEN)))
    async with running_gate(bundler=bundler, rules=[str(tmp_path / "a.yaml")]) as gate:
        gate.running.registry.put(known(PAYER))
        payments = [payment(number, BOB, 100) for number in range(1, 61)]
        for op in payments:
            assert not await refused(gate, op)
            bundler.mine(op)
        await counted(gate, 60, "operations_ended_total", cause="mined")
        assert not await refused(gate, payment(100, BOB, 2_000))
        for number in range(101, 105):  # what is refused pays nobody, however often it is tried
            assert await refused(gate, payment(number, STRANGER, 2_000))
        told = {"rule": "new-recipient", "thing": print_checksummed(STRANGER), "reason": "ticket 7"}
        allowed = await gate.change("POST", "/rules/allowances", {**told, "until": time.time() + 86_400})
        assert allowed.get("ended") is False, allowed
        assert not await refused(gate, payment(105, STRANGER, 2_000))
        await gate.change("DELETE", f"/rules/allowances?rule=new-recipient&thing={print_checksummed(STRANGER)}")
        assert await refused(gate, payment(106, STRANGER, 2_000))


async def test_in_alert_a_limit_counts_all_that_was_mined_and_one_that_enforces_after_it_begins_with_that(
    bundler: HonestBundler, tmp_path: Path
) -> None:
    rules = tmp_path / "a.yaml"
    rules.write_text(LIMIT.format(mode="alert"))
    (tmp_path / "tokens.yaml").write_text(TOKENS.format(chain=CHAIN_ID, address=print_checksummed(TOKEN)))
    async with running_gate(bundler=bundler, rules=[str(rules)]) as gate:
        gate.running.registry.put(known(PAYER))
        for number in range(1, 6):
            op = payment(number, BOB, 98)
            assert not await refused(gate, op)
            bundler.mine(op)
            await counted(gate, number, "operations_ended_total", cause="mined")
        assert not await refused(gate, payment(6, BOB, 10))
        told = json.dumps((await audited(gate, 6))[-1])
        assert "100 USDC spend allowed in 1d, 490 USDC counted, 10 USDC asked" in told
        rules.write_text(LIMIT.format(mode="enforce"))
        (change,) = (await gate.look("/rules/difference"))["difference"]["changed"]
        assert (change["countsAnew"], change["inherits"]) == (False, True)
        assert (await gate.change("POST", "/rules/reload"))["ok"]
        assert await refused(gate, payment(7, BOB, 1))
