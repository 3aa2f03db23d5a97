"""The ledger on disk held against the chain, and what a gate has grown by."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator

from proxy.edge.storage.store import Store
from proxy.userop.primitives import print_bytes
from tests.bench.usage import Usage
from tests.chaos.gates import GateProcess, counted_on_disk
from tests.weather.machine import Machine
from tests.weather.world import World

_COMPARED_SECONDS = 900.0
_PAUSE_SECONDS = 2.0
_MEMORY_SLACK_AN_OPERATION = 4_096


async def until_compared(gate: GateProcess, world: World, machine: Machine) -> None:
    """A node that answered from another state than it was asked for may have made a count wrong: not for good, as each
    session is read again once it is quiet, and compared."""
    begun = time.monotonic()
    while faults := await asyncio.to_thread(lambda: list(disagreements(gate, world))):
        if time.monotonic() - begun > machine.patience(_COMPARED_SECONDS, begun):
            world.faults += faults
            return
        if time.monotonic() - begun < 2 * _PAUSE_SECONDS:
            print(f"  {len(faults)} sessions are not as the chain is, yet: {faults[:3]}", flush=True)
        world.mine(float("inf"))
        await asyncio.sleep(_PAUSE_SECONDS)
    print(f"  the ledger is as the chain is, {time.monotonic() - begun:.0f} s after the last of it was mined")


def disagreements(gate: GateProcess, world: World) -> Iterator[str]:
    """Of the ledger on disk with what has happened on chain."""
    mined, store = {name: (used, ours) for name, used, ours in world.mined() if used}, Store(gate.database)
    try:
        known = {each.key.permission_id: each for each in store.sessions() if each.key.permission_id in mined}
    finally:
        store.close()
    for name, (used, ours) in mined.items():
        session = known.get(name)
        if session is None and ours:
            yield f"{print_bytes(name)} was used {used} times and is not known"
        elif session is None:
            continue
        elif session.state is not None:
            ((counter, counted),) = session.state.used.items() or ((None, 0),)
            if counted != used:
                yield f"{print_bytes(name)} was used {used} times, {counted} are counted ({counter})"
    (counted_by_rule,) = counted_on_disk(gate).values()
    for name, (_, ours) in mined.items():
        if counted_by_rule.get(name, 0) != ours:
            yield f"{print_bytes(name)}: {ours} mined, {counted_by_rule.get(name)} counted by the rule"


def grown(rests: list[tuple[int, Usage]]) -> Iterator[str]:
    """Of what there is more at the last rest than at any before, by more than what is remembered of operations."""
    if len(rests) < 3:
        return
    (before, early), (after, late) = max(rests[:-1], key=lambda each: each[1].resident), rests[-1]
    if late.files > early.files + 8 or late.sockets > early.sockets + 24:
        yield f"files {early.files} -> {late.files}, sockets {early.sockets} -> {late.sockets}"
    if late.resident > 1.05 * early.resident + _MEMORY_SLACK_AN_OPERATION * (after - before):
        yield f"memory {early.resident >> 20} -> {late.resident >> 20} MiB for {after - before} operations"
