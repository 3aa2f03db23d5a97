"""Operations of one session against a running gate, and what to look at afterwards."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

from proxy.session.known import Status
from proxy.userop.execution import Call
from proxy.userop.primitives import print_bytes, print_checksummed
from tests.admission.builders import (
    SESSION_KEY_ADDRESS,
    TWICE,
    key_of,
    lane,
)
from tests.bypass_list.desk import single, use
from tests.patience import patiently
from tests.running_gate import (
    RunningGate,
)
from tests.session.builders import ACCOUNT, STRANGER, TOKEN, transfer

ONCE = single(transfer(1))
GOOD = use(TWICE, ONCE)
OUTSIDE = use(TWICE, single(Call(STRANGER, 0, bytes.fromhex("a9059cbb"))))
SESSION_ID = print_bytes(TWICE.permission_id)
DECLARED = {
    "permissionId": SESSION_ID,
    "account": print_checksummed(ACCOUNT),
    "chain": "soneium",
    "sessionKey": print_checksummed(SESSION_KEY_ADDRESS),
    "actions": [{"target": print_checksummed(TOKEN), "selector": "transfer(address,uint256)", "maxUses": "1"}],
}


def use_number(number: int) -> Any:
    return use(TWICE, ONCE, nonce=lane(number))


def refusal(answer: Any) -> tuple[int, bool]:
    """Code and retryable of an error."""
    return answer["error"]["code"], answer["error"]["data"]["retryable"]


async def audited(gate: RunningGate, count: int) -> list[dict[str, Any]]:
    """The audit's rows, once there are so many and none waits for its answer any more."""
    for _ in patiently():
        rows: list[dict[str, Any]] = (await gate.look("/audit"))["audit"]
        if len(rows) >= count and all(row["forward"] != "pending" for row in rows):
            return rows
        await asyncio.sleep(0.01)
    raise AssertionError(rows)


def used_of(gate: RunningGate) -> int:
    session = gate.running.registry.get(key_of(TWICE))
    assert session is not None
    assert session.state is not None
    return sum(session.state.used.values())


def status_of(gate: RunningGate) -> Status | None:
    session = gate.running.registry.get(key_of(TWICE))
    return None if session is None else session.status


def rows_of(path: Path, table: str) -> list[Any]:
    with closing(sqlite3.connect(path)) as reader:
        return list(reader.execute(f"SELECT * FROM {table}"))
