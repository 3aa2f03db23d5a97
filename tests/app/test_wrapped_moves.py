"""What an account's wrapper moves is heard of by the rules of a whole gate, and the operation goes on as it came."""

from __future__ import annotations

from pathlib import Path

import pytest

from proxy.userop import abi
from proxy.userop.arguments import selector
from proxy.userop.primitives import Address, print_bytes
from tests.app.builders import audited
from tests.bypass_list.desk import OWNER_NONCE, an_operation
from tests.running_gate import RunningGate, running_gate
from tests.session.builders import APPROVE, TRANSFER, word

TOKEN, SPENDER, FRIEND = (Address(bytes([byte]) * 20) for byte in (0xC2, 0xD3, 0xE4))
ONE = (abi.ADDRESS, abi.UINT256, abi.BYTES)
SEVERAL = (abi.list_of(abi.tuple_of(*ONE)),)
ALLOWANCE = APPROVE + word(SPENDER) + word(655_360)
PAYMENT = TRANSFER + word(FRIEND) + word(1000)

RULES = f"""
rules:
  - id: exposes
    description: An owner lets the spender take 655,360 of the token.
    mode: alert
    match: {{session: false}}
    when: any(m.kind == "exposure" and m.token == {print_bytes(TOKEN)} and m.amount == 655360
      and m.counterparty == {print_bytes(SPENDER)} for m in op.moves)
  - id: sends-coin
    description: An owner sends 5 wei to the friend.
    mode: alert
    match: {{session: false}}
    when: any(m.kind == "spend" and m.asset == "native" and m.amount == 5
      and m.counterparty == {print_bytes(FRIEND)} for m in op.moves)
  - id: pays
    description: An owner pays the friend 1,000 of the token.
    mode: alert
    match: {{session: false, moves: "{print_bytes(TOKEN)}"}}
    when: any(m.kind == "spend" and m.amount == 1000 and m.counterparty == {print_bytes(FRIEND)} for m in op.moves)
  - id: moves-anything-else
    description: An owner's operation moves something that it is not known to move.
    mode: alert
    match: {{session: false}}
    when: any(m.kind != "exposure" and m.kind != "spend" for m in op.moves)
"""


def called(signature: str, types: tuple[abi.AbiType, ...], *values: object) -> bytes:
    return selector(signature) + abi.encode(abi.tuple_of(*types), values)


WRAPPED = {
    "Trust's one": (called("execute4337Op(address,uint256,bytes)", ONE, TOKEN, 0, ALLOWANCE), ["exposes"]),
    "Trust's several": (
        called("execute4337Ops((address,uint256,bytes)[])", SEVERAL, [(TOKEN, 0, ALLOWANCE), (FRIEND, 5, b"")]),
        ["exposes", "sends-coin"],
    ),
    "SimpleAccount's older": (called("execFromEntryPoint(address,uint256,bytes)", ONE, TOKEN, 0, PAYMENT), ["pays"]),
}


@pytest.fixture
def rules(tmp_path: Path) -> list[str]:
    (tmp_path / "own.yaml").write_text(RULES, encoding="utf-8")
    return [str(tmp_path / "own.yaml")]


async def heard_of(gate: RunningGate, call_data: bytes) -> list[str]:
    """The rules that fired; what was sent has the call data unchanged."""
    op = an_operation(call_data, nonce=OWNER_NONCE, signature=b"\x0e" * 65)
    assert "result" in await gate.send(op)
    (sent,) = gate.bundler.sent
    assert sent.params[0]["callData"] == print_bytes(call_data)
    (row,) = await audited(gate, 1)
    return [hit["rule"] for hit in row["rules"]]


@pytest.mark.parametrize("wrapper", WRAPPED)
async def test_rules_hear_of_what_a_wrapper_moves_and_of_nothing_else(wrapper: str, rules: list[str]) -> None:
    call_data, fired = WRAPPED[wrapper]
    async with running_gate(rules=rules) as gate:
        assert await heard_of(gate, call_data) == fired
