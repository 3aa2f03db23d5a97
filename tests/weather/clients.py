"""Who asks the gate, how long each waited, and what came of it."""

from __future__ import annotations

import asyncio
import os
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import Any

import aiohttp

from proxy.errors import Code
from proxy.userop.primitives import Hash32, print_bytes, print_checksummed
from proxy.userop.session_data import SessionData
from proxy.userop.user_operation import UserOperation, print_user_operation
from tests.admission.builders import lane
from tests.bypass_list.desk import V07, reading, single, use
from tests.chaos.gates import GateProcess
from tests.session.builders import ACCOUNT, transfer
from tests.weather.world import World

ANSWER_SECONDS = 30.0
"""The longest that anybody may wait beside what the machine makes him wait: twice what the settings allow."""
AT_ONCE = 4
"""Sessions that are used at a time, each until it is refused for a while."""
SEND, ESTIMATE = "eth_sendUserOperation", "eth_estimateUserOperationGas"


@dataclass
class Clients:
    """`spell`: the weather there is; what is told is told by it."""

    gate: GateProcess
    http: aiohttp.ClientSession
    world: World
    numbers: Iterator[int] = field(default_factory=lambda: iter(range(1, 10_000_000)))
    sent: dict[Hash32, UserOperation] = field(default_factory=dict)
    accepted: list[Hash32] = field(default_factory=list)
    spell: str = "fair"
    all_waited: dict[str, list[float]] = field(default_factory=dict)
    under_way: set[asyncio.Task[object]] = field(default_factory=set)
    _waited: dict[str, list[float]] = field(default_factory=dict)
    _errors: Counter[tuple[str, object]] = field(default_factory=Counter)

    def told(self) -> str:
        """Of the spell that is over."""
        waited = ", ".join(f"{kind} {len(seconds)} ({max(seconds):.1f} s)" for kind, seconds in self._waited.items())
        errors = ", ".join(f"{kind} {_named(code)} {times}" for (kind, code), times in self._errors.items())
        self._waited.clear()
        self._errors.clear()
        return f"{self.spell}: {waited}; {errors}"

    def begin(self, kind: str, method: str, params: list[object]) -> None:
        task: asyncio.Task[object] = asyncio.create_task(self.ask(kind, method, params))
        self.under_way.add(task)
        task.add_done_callback(self.under_way.discard)

    async def ask(self, kind: str, method: str, params: list[object]) -> dict[str, Any]:
        began, body = time.monotonic(), {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
        answer: dict[str, Any] = {}
        starved = self._starved()
        try:
            async with self.http.post(self.gate.url, json=body) as response:
                if response.status == HTTPStatus.SERVICE_UNAVAILABLE:
                    answer = {"error": {"code": "busy"}}  # all its places are taken; it says when to come again
                else:
                    answer = await response.json()
        except (aiohttp.ClientError, OSError, ValueError) as error:
            self.world.faults.append(f"{kind} had no answer: {error!r}")
        seconds = time.monotonic() - began
        for waited in (self._waited, self.all_waited):
            waited.setdefault(kind, []).append(seconds)
        if seconds - (self._starved() - starved) > ANSWER_SECONDS:
            self.world.faults.append(f"{kind} was answered after {seconds:.1f} s")
        if "error" in answer:
            self._errors[kind, answer["error"]["code"]] += 1
        elif method == SEND and "result" in answer:
            self.accepted.append(Hash32(bytes.fromhex(answer["result"][2:])))
        return answer

    def _starved(self) -> float:
        """For how long the gate, and who asks it, have waited for a processor so far: that is the machine's fault."""
        return sum(waited_for_a_processor(pid) for pid in (os.getpid(), self.gate.pid) if pid is not None)

    def operation(self, grant: SessionData) -> list[object]:
        op = use(grant, single(transfer(1)), nonce=lane(next(self.numbers)))
        self.sent[reading(op).user_op_hash] = op
        return [print_user_operation(op), print_checksummed(V07.address)]

    async def again(self, name: Hash32) -> None:
        """A client that has heard nothing sends it again."""
        await self.ask("sent again", SEND, [print_user_operation(self.sent[name]), print_checksummed(V07.address)])


def waited_for_a_processor(pid: int) -> float:
    """In seconds."""
    try:
        return int(Path(f"/proc/{pid}/schedstat").read_text().split()[1]) / 1e9
    except OSError:  # it has ended, or nobody counts that here
        return 0.0


def _named(code: object) -> object:
    return Code(code).name.lower() if isinstance(code, int) and code in set(Code) else code


async def load(
    clients: Clients, grants: list[SessionData], unseen: Iterator[SessionData], rate: float, *, uses: int
) -> None:
    """Half of it are operations, the rest what clients ask beside. Each session is asked for more than its `uses`."""
    random, begun = clients.world.random, time.monotonic()
    for number in range(1, 10_000_000):
        if number % (2 * uses) == 0 and len(grants) > AT_ONCE:
            grants.pop(0)
        luck, grant = random.random(), grants[random.randrange(min(AT_ONCE, len(grants)))]
        if luck < 0.5:
            clients.begin("send", SEND, clients.operation(grant))
        elif luck < 0.7:
            clients.begin("estimate", ESTIMATE, clients.operation(grant))
        elif luck < 0.85 and clients.accepted:
            clients.begin("receipt", "eth_getUserOperationReceipt", [print_bytes(random.choice(clients.accepted))])
        elif luck < 0.95:
            clients.begin("first use", SEND, clients.operation(next(unseen)))
        else:
            name = [print_checksummed(ACCOUNT), print_bytes(grant.permission_id)]
            clients.begin("session", "sessiongate_getSession", [*name])
        await asyncio.sleep(max(0.0, begun + number / rate - time.monotonic()))
