"""A gate in a process of its own for as long as you like, before neighbours of whom one after the other fails.

    python -m tests.weather [--seconds 600] [--rate 50] [--known 20000] [--parked 0] [--seed 1] [--keep FOLDER]

Two nodes, two bundlers: each hangs, errs and says what is not so in turn, and comes back, while the chain goes back and
clients send, replace, estimate, ask for receipts, use sessions that the gate has never seen, and grant and remove
others; some goes past the gate, and the gate is killed. After every round of weather there is rest: then nothing may be
in flight, and of memory, descriptors and threads no more than at the rest before. At the end the ledger is held against
the chain, and each session that is left uses is used to its last one. Exit code 1 when something is not so.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from enum import StrEnum
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import aiohttp

from proxy.edge.storage.store import Store
from proxy.errors import Code
from proxy.userop.primitives import print_bytes
from proxy.userop.session_data import SessionData
from tests.bench.usage import Usage, usage_of
from tests.bypass_list.desk import a_session
from tests.chaos.gates import (
    GateProcess,
    a_nursery,
    counted_on_disk,
    in_flight_on_disk,
    is_entered,
    until_ready,
)
from tests.patience import PATIENCE_SECONDS
from tests.session.builders import TOKEN, TRANSFER, action, usage
from tests.weather.clients import AT_ONCE, PARKED_A_SESSION, SEND, Clients, Pools, Sky, load
from tests.weather.lives import Lives
from tests.weather.neighbours import Bundler, BundlerWeather, Node, NodeWeather
from tests.weather.world import World

USES, FAR = 100, 10_000
_Spell = tuple[str, Callable[[], None]]
ROUND_SECONDS, SPELL_SECONDS = 60.0, 8.0
LIFE_SECONDS = 5.0
BLOCK_SECONDS = 2.0
DEPTHS = (1, 2, 6, 12)
REST_SECONDS, COMPARED_SECONDS = 240.0, 900.0
MEMORY_SLACK_AN_OPERATION = 4_096
KILLED_IN = (1, 2)
"""The rounds in which the gate is killed; what it has grown by is told of the others."""
_VARYING = re.compile(r"0x[0-9a-fA-F]+|[0-9a-f]{20,}|[0-9.]+")
_SHOWN = 3
SETTINGS = "rules: [ours.yaml]\nsession_queries: true\nlimits: {request_seconds: 10}\n"
RULE = f"""
rules:
  - id: operations
    description: A session sends so many operations in a day.
    mode: enforce
    match: {{session: true}}
    limit: {{count: ops, max: {USES}, per: session, window: 24h}}
"""


def sessions_for(seconds: float, rate: float) -> list[SessionData]:
    """Enough of them; every second one is bounded by the rule alone."""
    return [
        a_session(action(TOKEN, TRANSFER, usage(USES if number % 2 else FAR)), salt=10_000 + number)
        for number in range(AT_ONCE + int(seconds * rate / 2 / USES) + 8)
    ]


async def mine(world: World) -> None:
    while True:
        await asyncio.sleep(BLOCK_SECONDS)
        world.mine(time.monotonic())
        if world.random.random() < 0.05:
            world.go_back(world.random.choice(DEPTHS))


async def weather(nodes: list[Node], bundlers: list[Bundler], spells: Iterator[_Spell], clients: Clients) -> None:
    for name, begin in spells:
        _be_fair(nodes, bundlers)
        begin()
        turn(clients.sky, name, nodes, bundlers)
        await asyncio.sleep(clients.world.random.uniform(0.5, 1.5) * SPELL_SECONDS)
        print(f"{time.strftime('%X')} {clients.told()}", flush=True)


def turn(sky: Sky, name: str, nodes: list[Node], bundlers: list[Bundler]) -> None:
    is_node_well = any(node.weather is NodeWeather.FAIR for node in nodes)
    is_bundler_well = any(bundler.weather is BundlerWeather.FAIR for bundler in bundlers)
    sky.turns(name, node=is_node_well, bundler=is_bundler_well)


async def kill(clients: Clients) -> None:
    """kill -9 at some time, and a gate that goes on from what is there."""
    gate, sky = clients.gate, clients.sky
    await asyncio.sleep(clients.world.random.uniform(0.2, 0.8) * ROUND_SECONDS)
    sky.restart()
    await asyncio.to_thread(gate.end)
    await asyncio.to_thread(gate.start)
    await until_listening(clients.http, gate)
    sky.restart()
    print(f"{time.strftime('%X')} the gate was killed, and is there again", flush=True)
    await asyncio.Event().wait()  # the round goes on


async def until_listening(http: aiohttp.ClientSession, gate: GateProcess) -> None:
    """Whatever the weather is."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            try:
                async with http.get(gate.url):
                    return
            except aiohttp.ClientError:
                await asyncio.sleep(0.05)


def all_weather(nodes: list[Node], bundlers: list[Bundler], random: Random) -> Iterator[_Spell]:
    """Each kind of it at each neighbour and at all of a kind, one after the other and in any order, again and again."""
    spells = [*_spells(nodes, NodeWeather), *_spells(bundlers, BundlerWeather)]
    while True:
        random.shuffle(spells)
        yield from spells


def _spells(neighbours: Sequence[Node] | Sequence[Bundler], kinds: type[StrEnum]) -> Iterator[_Spell]:
    """Each kind of weather at the first, at the second, and at both."""
    for kind in list(kinds)[1:]:
        for some in (neighbours[:1], neighbours[1:], neighbours):
            yield f"{' and '.join(each.named for each in some)}: {kind}", partial(_all_be, some, kind)


def _all_be(neighbours: Sequence[Any], kind: StrEnum) -> None:
    for each in neighbours:
        each.be(kind)


def _be_fair(nodes: list[Node], bundlers: list[Bundler]) -> None:
    for node in nodes:
        node.be(NodeWeather.FAIR)
    for bundler in bundlers:
        bundler.be(BundlerWeather.FAIR)


async def rest(clients: Clients, pools: Pools, nodes: list[Node], bundlers: list[Bundler]) -> Usage:
    """All is mined, and seen; what never arrived comes again."""
    world, gate, clients.resting = clients.world, clients.gate, True
    _be_fair(nodes, bundlers)
    turn(clients.sky, "rest", nodes, bundlers)
    await asyncio.gather(*clients.under_way)
    async with asyncio.timeout(REST_SECONDS):
        await until_ready(clients.http, gate)
        await clients.fill_gaps(pools)
        while True:
            world.mine(float("inf"))
            await asyncio.sleep(1.0)
            while not await asyncio.to_thread(is_entered, gate):  # noqa: ASYNC110  # it is another process's to say
                await asyncio.sleep(0.1)
            left = await asyncio.to_thread(in_flight_on_disk, gate)
            if not left and not world.waiting:
                break
            lost = [name for name in left if name not in world.operations]
            for name in lost[:200]:
                await clients.again(name)
    assert gate.pid is not None
    clients.resting = False
    return usage_of(gate.pid)


async def spend_the_rest(clients: Clients, grants: list[SessionData]) -> None:
    """What is left of each session may be used, and not one use more."""
    world = clients.world
    for grant in grants:
        for _ in range(USES - world.committed[grant.permission_id]):
            answer = await clients.ask("last", SEND, clients.operation(grant))
            if "result" not in answer:
                world.faults.append(
                    f"of {USES} uses {world.committed[grant.permission_id]} are out, and then: {answer}"
                )
                break
        answer = await clients.ask("over", SEND, clients.operation(grant))
        error = answer.get("error")
        if not isinstance(error, dict) or error["code"] not in (Code.LIMIT_EXCEEDED, Code.RULE_REJECTED):
            world.faults.append(f"one use more than {USES}: {answer}")


async def try_lives(clients: Clients, lives: Lives) -> None:
    """Who was removed is out, and who was granted is in."""
    for grant in lives.over:
        answer = await clients.ask("a life over", SEND, clients.operation(grant))
        error = answer.get("error")
        if not isinstance(error, dict) or error["code"] not in (Code.SESSION_REVOKED, Code.SESSION_UNKNOWN):
            clients.world.faults.append(f"{print_bytes(grant.permission_id)} was removed: {answer}")
    await spend_the_rest(clients, lives.left[:3])


async def until_compared(gate: GateProcess, world: World) -> None:
    """A node that answered from another state than it was asked for may have made a count wrong: not for good, as each
    session is read again once it is quiet, and compared."""
    begun = time.monotonic()
    while faults := await asyncio.to_thread(lambda: list(disagreements(gate, world))):
        if time.monotonic() - begun > COMPARED_SECONDS:
            world.faults += faults
            return
        if time.monotonic() - begun < 2 * BLOCK_SECONDS:
            print(f"  {len(faults)} sessions are not as the chain is, yet: {faults[:3]}", flush=True)
        world.mine(float("inf"))
        await asyncio.sleep(BLOCK_SECONDS)
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
    if late.resident > 1.05 * early.resident + MEMORY_SLACK_AN_OPERATION * (after - before):
        yield f"memory {early.resident >> 20} -> {late.resident >> 20} MiB for {after - before} operations"


def pools_for(world: World, wanted: argparse.Namespace) -> Pools:
    """Sessions in force, most of which the gate is to know."""
    grants = sessions_for(wanted.seconds, wanted.rate)
    unseen = (a_session(action(TOKEN, TRANSFER, usage(USES)), salt=number) for number in range(1_000_000, 9_000_000))
    idle = [a_session(action(TOKEN, TRANSFER, usage(USES)), salt=100_000 + number) for number in range(wanted.known)]
    rounds = wanted.seconds / ROUND_SECONDS + 1
    parked = [
        a_session(action(TOKEN, TRANSFER, usage(FAR)), salt=50_000 + number)
        for number in range(
            8 + int(rounds + rounds * (wanted.parked + ROUND_SECONDS * wanted.rate * 0.03) / PARKED_A_SESSION)
        )
    ]
    for grant in (*grants, *idle, *parked):
        world.grant(grant, USES)
    far = frozenset(grant.permission_id for grant in grants[::2])
    return Pools(grants, idle, parked, _granted(unseen, world), far)


async def spend_time(gate: GateProcess, world: World, wanted: argparse.Namespace) -> None:
    pools = pools_for(world, wanted)
    await asyncio.to_thread(gate.know, [*pools.grants, *pools.idle, *pools.parked])
    nodes = [Node(chain=world.chain, world=world, named=f"node {name}") for name in "ab"]
    bundlers = [Bundler(world=world, chain_id=1, named=f"bundler {name}") for name in "ab"]
    servers = [await node.serve() for node in nodes]
    spells = all_weather(nodes, bundlers, world.random)
    async with (
        bundlers[0],
        bundlers[1],
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=1_000)) as http,
    ):
        gate.node = f"[{', '.join(node.url for node in nodes)}]\n    max_state_age: 20"
        gate.bundler = ", ".join(bundler.url for bundler in bundlers)
        clients = Clients(gate, http, world)
        lives = Lives(clients, USES)
        mining = asyncio.create_task(mine(world))
        gate.start()
        await until_ready(http, gate)
        rests, begun, number = list[tuple[int, Usage]](), time.monotonic(), 0
        while time.monotonic() < begun + wanted.seconds:
            await clients.park_many(pools, wanted.parked)
            works = [
                weather(nodes, bundlers, spells, clients),
                load(clients, pools, wanted.rate, uses=USES),
                lives.begin_some(LIFE_SECONDS),
                *([kill(clients)] if number in KILLED_IN else []),
            ]
            await _for_a_while(works, min(ROUND_SECONDS, wanted.seconds))
            waiting, number = world.waiting, number + 1
            rests.append((len(world.operations), await rest(clients, pools, nodes, bundlers)))
            _print(clients, waiting, rests[-1][1])
        await lives.until_over()
        await spend_the_rest(clients, pools.grants[:6])
        await try_lives(clients, lives)
        await rest(clients, pools, nodes, bundlers)
        mining.cancel()
        await until_compared(gate, world)
        await asyncio.to_thread(gate.end)
        world.faults += grown(rests[max(KILLED_IN) + 1 :])
    for server in servers:
        await server.cleanup()


async def _for_a_while(works: Sequence[Coroutine[Any, Any, None]], seconds: float) -> None:
    tasks = [asyncio.create_task(work) for work in works]
    done, _ = await asyncio.wait(tasks, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*(set(tasks) - done), return_exceptions=True)
    for task in done:
        task.result()


def _granted(unseen: Iterator[SessionData], world: World) -> Iterator[SessionData]:
    for grant in unseen:
        world.grant(grant, USES)
        yield grant


def _print(clients: Clients, waiting: int, usage: Usage) -> None:
    world = clients.world
    print(
        f"{len(world.operations)} operations, {waiting} were in flight, {world.reorganised} reorganisations; "
        f"{usage.resident >> 20} MiB, {usage.sockets} sockets, {usage.files} files, {usage.own_seconds:.0f} s of CPU"
    )
    for kind, seconds in clients.all_waited.items():
        seconds.sort()
        print(f"  {kind}: {len(seconds)}, half {seconds[len(seconds) // 2]:.3f} s, most {seconds[-1]:.2f} s")
    print(summary(world.faults), flush=True)


def summary(faults: list[str]) -> str:
    """How many there are of each kind, and the first few of it whole."""
    kinds: dict[str, list[str]] = {}
    for fault in faults:
        kinds.setdefault(_VARYING.sub("#", fault), []).append(fault)
    lines = []
    for of_kind in sorted(kinds.values(), key=len, reverse=True):
        lines += [f"  {len(of_kind)} times:", *(f"    {fault}" for fault in of_kind[:_SHOWN])]
    return "\n".join(lines or ["  no fault"])


def keep(folder: Path, gate: GateProcess, world: World) -> None:
    """What one looks for a cause in."""
    shutil.copytree(gate.folder, folder, dirs_exist_ok=True)
    (folder / "faults").write_text("\n".join(world.faults))
    (folder / "history").write_text(
        "".join(f"{print_bytes(name)} {each}\n" for name, history in world.history.items() for each in history)
    )


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.weather", description=__doc__)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--rate", type=float, default=50, help="requests a second")
    parser.add_argument("--known", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--parked", type=int, default=0, help="operations behind an unused nonce, more in every round")
    parser.add_argument("--keep", type=Path, help="where to put the gate's files, and what happened to each session")
    wanted = parser.parse_args()
    world = World(Random(wanted.seed))
    logging.getLogger("aiohttp.server").setLevel(logging.CRITICAL)  # who hangs is left
    with a_nursery() as nursery, tempfile.TemporaryDirectory(prefix="sessiongate-weather-") as name:
        gate = GateProcess(nursery, Path(name), bundler="", settings=SETTINGS)
        (gate.folder / "ours.yaml").write_text(RULE)
        try:
            asyncio.run(spend_time(gate, world, wanted))
        finally:
            if wanted.keep is not None:
                keep(wanted.keep, gate, world)
        print(summary(world.faults), flush=True)
    return 1 if world.faults else 0


if __name__ == "__main__":
    sys.exit(main())
