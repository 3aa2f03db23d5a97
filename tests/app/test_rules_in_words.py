"""What ops can say in a rule holds for what arrives at a gate's door: several rules at once, each asked about apart."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest
from eth_abi import encode

from proxy.errors import Code
from proxy.userop.execution import Call
from proxy.userop.primitives import Address, keccak256, print_checksummed
from proxy.userop.user_operation import UserOperation
from tests.admission.builders import known, lane
from tests.app.builders import audited
from tests.app.test_rule_desk import budget
from tests.bypass_list.desk import a_session, single, use
from tests.running_gate import CHAIN_ID, RunningGate, running_gate
from tests.session.builders import FRIEND, OTHER_TOKEN, STRANGER, TOKEN, approve, fallback, sudo, time_frame, transfer

ANYTHING = a_session(fallback(sudo), salt=21)
LONG = a_session(fallback(time_frame(int(time.time()) + 90 * 86_400)), salt=22)
ROUTER, MARKET, POOL = Address(b"\x4d" * 20), Address(b"\x4e" * 20), Address(b"\x4f" * 20)
EXACT = "exactInput((bytes path, address recipient, uint256[] amounts) params)"
TOKENS = f"""\
tokens:
  ETH: {{native: true, price: "3000 USD"}}
  DEAD: {{on: {{{CHAIN_ID}: {{address: {print_checksummed(OTHER_TOKEN)}, decimals: 6}}}}}}
  USDC: {{on: {{{CHAIN_ID}: {{address: {print_checksummed(TOKEN)}, decimals: 6}}}}}}
prices: {{file: prices.json, max_age: 1h}}
"""
RULES = f"""\
lists:
  partners: {{of: address, file: partners.txt}}
rules:
  - {{id: killed, description: No more of it., mode: enforce, fail: open, match: {{moves: DEAD}}}}
  - {{id: dear, description: Gas is dear., mode: enforce, when: op.max_fee > 100 gwei or op.priority_fee > 50 gwei}}
  - id: floor
    description: A swap names what it wants at least.
    mode: enforce
    match: {{selector: "swap(uint256,address)"}}
    when: 'arg("swap(uint256 minOut, address to)", "minOut") < 1000'
  - id: nested
    description: Who is paid is a friend, in the session's own coin.
    mode: enforce
    match: {{selector: "exactInput((bytes,address,uint256[]))"}}
    when: 'arg("{EXACT}", "params.recipient") != {print_checksummed(FRIEND)}'
  - id: partners-only
    description: Allowances are for partners.
    mode: enforce
    match: {{selector: "approve(address,uint256)"}}
    when: any(m.counterparty not in $partners for m in op.moves)
  - id: hundred-dollars
    description: A hundred dollars at once.
    mode: enforce
    match: {{selector: "transfer(address,uint256)", moves: USDC}}
    limit: {{each: spend, unit: USD, max: 100}}
  - id: long
    description: A session that lasts for long.
    mode: enforce
    fail: open
    when: op.session_left > 30d
  - id: no-burning
    description: Nobody burns.
    mode: enforce
    match: {{selector: "burn(uint256)"}}
    except:
      - {{match: {{target: "0x{MARKET.hex()}"}}, until: 2020-12-31, reason: was agreed}}
      - {{match: {{target: "0x{POOL.hex()}"}}, until: 2120-12-31, reason: is agreed}}
"""


def prices(folder: Path, age: float, dollars: str = "1") -> None:
    (folder / "prices.json").write_text(
        json.dumps({"updated": int(time.time() - age), "prices": {"USDC": dollars, "ETH": "3000"}})
    )


@pytest.fixture
async def gate(tmp_path: Path) -> AsyncIterator[RunningGate]:
    (tmp_path / "a.yaml").write_text(RULES)
    (tmp_path / "tokens.yaml").write_text(TOKENS)
    (tmp_path / "partners.txt").write_text(f"# ours\n0x{FRIEND.hex()}\n")
    prices(tmp_path, age=0)
    async with running_gate(rules=[str(tmp_path / "a.yaml")]) as gate:
        for grant in (ANYTHING, LONG):
            gate.running.registry.put(known(grant))
        yield gate


async def asked(gate: RunningGate, op: UserOperation) -> str | None:
    """The rule that refuses it; `None` when it goes out."""
    error = (await gate.send(op)).get("error")
    if error is None:
        return None
    assert error["code"] == Code.RULE_REJECTED, error
    rule: str = error["data"]["rule"]
    return rule


NUMBERS = iter(range(1, 10_000))


def one(call: Call, **changes: int) -> UserOperation:
    return use(ANYTHING, single(call), nonce=lane(next(NUMBERS)), **changes)


def calling(function: str, types: Sequence[str], *values: object, target: Address = ROUTER) -> Call:
    return Call(target, 0, keccak256(function.encode())[:4] + encode(types, values))


def swap(least: int) -> Call:
    return calling("swap(uint256,address)", ["uint256", "address"], least, FRIEND)


def exact(recipient: Address) -> Call:
    types = ["(bytes,address,uint256[])"]
    return calling("exactInput((bytes,address,uint256[]))", types, (b"\x01\x02", recipient, [1, 2, 3]))


def burn(target: Address) -> Call:
    return calling("burn(uint256)", ["uint256"], 5, target=target)


async def reload(gate: RunningGate) -> None:
    told = await gate.change("POST", "/rules/reload")
    assert told["ok"], told


async def deeds(gate: RunningGate, what: str) -> list[dict[str, str]]:
    """What is on record of what people did, once some of this kind is."""
    for _ in range(1_000):
        told = [each["detail"] for each in (await gate.look("/audit?show=deeds"))["audit"]]
        if found := [each for each in told if each["what"] == what]:
            return found
        await asyncio.sleep(0.01)
    raise AssertionError(told)


async def test_a_killed_token_is_refused_and_coin_other_tokens_and_plain_transfers_pass(
    gate: RunningGate, tmp_path: Path
) -> None:
    assert await asked(gate, one(transfer(1, token=OTHER_TOKEN))) == "killed"
    assert await asked(gate, one(transfer(1))) is None
    assert await asked(gate, one(Call(STRANGER, 10**15, b""))) is None
    assert await gate.metric("rule_opened_total", rule="killed") == 0
    # what a router does that nobody can read is as `fail` says
    router = calling("zap(uint256)", ["uint256"], 1)
    assert await asked(gate, one(router)) is None
    assert await gate.metric("rule_opened_total", rule="killed") == 1
    rules = tmp_path / "a.yaml"
    rules.write_text(
        RULES.replace("mode: enforce, fail: open, match: {moves: DEAD}", "mode: enforce, match: {moves: DEAD}")
    )
    told = await gate.change("POST", "/rules/reload")
    assert told["ok"]
    assert "rule killed enforces, and so refuses operations with a call of which nobody can tell" in json.dumps(told)
    assert await asked(gate, one(router)) == "killed"
    assert await asked(gate, one(Call(STRANGER, 10**15, b""))) is None
    assert await asked(gate, one(transfer(1))) is None


async def test_fees_arguments_ends_of_sessions_and_exceptions_are_asked_of_what_arrives(gate: RunningGate) -> None:
    gwei = 10**9
    assert await asked(gate, one(transfer(1), max_fee_per_gas=101 * gwei)) == "dear"
    assert await asked(gate, one(transfer(1), max_fee_per_gas=100 * gwei, max_priority_fee_per_gas=51 * gwei)) == "dear"
    assert await asked(gate, one(transfer(1), max_fee_per_gas=100 * gwei, max_priority_fee_per_gas=50 * gwei)) is None
    assert [await asked(gate, one(swap(least))) for least in (999, 1_000)] == ["floor", None]
    assert [await asked(gate, one(exact(who))) for who in (STRANGER, FRIEND)] == ["nested", None]
    assert [await asked(gate, one(burn(target))) for target in (ROUTER, MARKET, POOL)] == [
        "no-burning",
        "no-burning",  # what was agreed is past
        None,
    ]
    lasting = use(LONG, single(transfer(1)), nonce=lane(next(NUMBERS)))
    assert await asked(gate, lasting) == "long"


async def test_lists_and_prices_of_files_are_those_that_stand_there_now(gate: RunningGate, tmp_path: Path) -> None:
    assert [await asked(gate, one(approve(5, spender=who))) for who in (FRIEND, STRANGER)] == [None, "partners-only"]
    assert [await asked(gate, one(transfer(amount * 10**6))) for amount in (100, 101)] == [None, "hundred-dollars"]
    (tmp_path / "partners.txt").write_text(f"0x{STRANGER.hex()}\n")
    prices(tmp_path, age=0, dollars="2")
    await reload(gate)
    assert [await asked(gate, one(approve(5, spender=who))) for who in (FRIEND, STRANGER)] == ["partners-only", None]
    assert [await asked(gate, one(transfer(amount * 10**6))) for amount in (50, 51)] == [None, "hundred-dollars"]
    prices(tmp_path, age=7_200)  # nobody refreshed them
    await reload(gate)
    assert await asked(gate, one(transfer(1))) == "hundred-dollars"
    prices(tmp_path, age=0)
    await reload(gate)
    assert await asked(gate, one(transfer(100 * 10**6))) is None


async def test_in_shadow_a_limit_counts_as_if_it_enforced_and_a_reset_is_on_record(tmp_path: Path) -> None:
    (tmp_path / "tokens.yaml").write_text(TOKENS.replace("prices: {file: prices.json, max_age: 1h}\n", ""))
    (tmp_path / "a.yaml").write_text(
        "rules:\n  - id: few\n    description: A hundred a day.\n    mode: shadow\n    match: {session: true}\n"
        "    limit: {sum: spend, token: USDC, max: 100, per: session, window: 24h}\n"
    )
    async with running_gate(rules=[str(tmp_path / "a.yaml")]) as gate:
        gate.running.registry.put(known(ANYTHING))
        ops = [one(transfer(dollars * 10**6)) for dollars in (98, 10, 2, 1)]
        for op in ops:
            assert await asked(gate, op) is None
        rows = await audited(gate, 4)
        # the ten are over, and refused they would not have been counted: so the two fit, and after them no more
        assert [bool(row["rules"]) for row in rows] == [False, True, False, True]
        for op in ops:
            gate.bundler.mine(op)
        row = await budget(gate, "100 USDC")
        assert (row["inFlight"], row["left"]) == ("0 USDC", "0 USDC")
        told = await gate.change("POST", "/rules/reset", {"rule": "few", "key": row["key"], "reason": "ticket 9"})
        assert told["forgotten"] == 1
        assert (await gate.look("/rules/budget?rule=few"))["budgets"] == []
        (deed,) = await deeds(gate, "rules_reset")
        assert f"permissionId 0x{ANYTHING.permission_id.hex()}" in deed["why"]
        assert deed["why"].endswith(": ticket 9")
