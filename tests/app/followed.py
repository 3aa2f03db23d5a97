"""What a gate that follows a chain shows of operations and sessions, for tests that look from outside."""

from __future__ import annotations

import asyncio

from proxy.errors import Code
from proxy.userop.user_operation import UserOperation
from tests.admission.builders import TWICE, key_of
from tests.app.builders import ONCE, use_number
from tests.app.live_node import LiveNode
from tests.bypass_list.desk import a_session, use
from tests.patience import patiently
from tests.running_gate import RunningGate
from tests.session.builders import TOKEN, TRANSFER, action, usage

MANY = a_session(action(TOKEN, TRANSFER, usage(1000)), salt=9)
"""A session that may transfer a token often."""


async def in_flight(gate: RunningGate) -> float:
    return await gate.metric("operations_in_flight", chain="soneium")


async def counted(gate: RunningGate, wanted: float, name: str, **labels: str) -> None:
    """Returns when a metric of the chain has come to this."""
    for _ in patiently():
        if (found := await gate.metric(name, chain="soneium", **labels)) == wanted:
            return
        await asyncio.sleep(0.01)
    raise AssertionError(f"{name} is {found}")


def rival_of(number: int) -> UserOperation:
    """An operation of another session with its nonce."""
    return use(MANY, ONCE, nonce=use_number(number).nonce, call_gas_limit=49_999)


def has_used(gate: RunningGate, uses: int) -> bool:
    """Whether TWICE is known, and known to have been used so often."""
    session = gate.running.registry.get(key_of(TWICE))
    return session is not None and session.state is not None and sum(session.state.used.values()) == uses


async def settled(gate: RunningGate, live: LiveNode) -> None:
    """Returns when the gate has read all blocks that the node shows."""
    newest = live.chain.headers[-1 - live.behind].number
    for _ in patiently():
        async with gate.http.get(f"{gate.admin}/readyz/soneium") as response:
            (shown,) = (each for each in (await response.json())["checks"] if each["name"] == "node soneium")
        lag = await gate.metric("settlement_lag_blocks", chain="soneium")
        if shown["ok"] and f"block {newest}," in shown["why"] and lag == 0:
            return
        await asyncio.sleep(0.01)
    raise AssertionError(shown)


async def is_full(gate: RunningGate, number: int = 9) -> bool:
    """Whether TWICE has no use left."""
    answer = await gate.send(use_number(number))
    if "result" in answer:
        return False
    assert answer["error"]["code"] == Code.LIMIT_EXCEEDED, answer
    return True
