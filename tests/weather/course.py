"""A gate lives through weather that is planned, and the world notes what is not so."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from math import inf
from random import Random
from typing import Any

import aiohttp

from proxy.errors import Code
from proxy.userop.primitives import Hash32, print_bytes
from proxy.userop.session_data import SessionData
from tests.bench.usage import Usage, usage_of
from tests.bypass_list.desk import a_session
from tests.chaos.gates import GateProcess, in_flight_on_disk, is_entered, so_many_a_day, until_ready
from tests.patience import PATIENCE_SECONDS, patiently
from tests.session.builders import TOKEN, TRANSFER, action, usage
from tests.weather.clients import AT_ONCE, PARKED_A_SESSION, Clients, Pools, Sky, load
from tests.weather.comparing import grown, until_compared
from tests.weather.lives import Lives
from tests.weather.neighbours import Bundler, BundlerWeather, Node, NodeWeather
from tests.weather.world import World

USES, FAR = 100, 10_000
_Spell = tuple[str, Callable[[], None]]
_DEPTHS = (1, 2, 6, 12)
_OUT = (Code.SESSION_REVOKED, Code.SESSION_UNKNOWN)
"""What is told of a session that was removed."""
_REST_SECONDS = 240.0
_CONNECTIONS = 1_000
"""Of all clients together. They have one address, of which a gate takes as many here, and a few that are just ending:
whoever is told to go because his address has too many may not hear it, and would count as hung up on."""
SETTINGS = (
    "rules: [ours.yaml]\nsession_queries: true\nlimits: {request_seconds: 10}\n"
    f"connections: {{max: {2 * _CONNECTIONS}, max_per_peer: {2 * _CONNECTIONS}}}\n"
)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """In seconds, but for `rate` (requests a second), and how many sessions are `known` and idle and how many
    operations are `parked` behind an unused nonce in every round. `killed_in`: the rounds in which the gate is killed;
    what it has grown by is told of those after them. `spent`: so many sessions are used to the last. `on_time`: it is a
    fault to be late, which a busy machine may make anybody. `idle`: see `rest`."""

    seconds: float
    rate: float
    known: int
    parked: int = 0
    a_round: float = 60.0
    a_spell: float = 8.0
    a_life: float = 5.0
    a_block: int = 2
    idle: float = 20.0
    in_mempool: float = 150.0
    killed_in: tuple[int, ...] = (1, 2)
    spent: int = 6
    on_time: bool = True


def sessions_for(seconds: float, rate: float) -> list[SessionData]:
    """Enough of them; every second one is bounded by the rule alone."""
    return [
        a_session(action(TOKEN, TRANSFER, usage(USES if number % 2 else FAR)), salt=10_000 + number)
        for number in range(AT_ONCE + int(seconds * rate / 2 / USES) + 8)
    ]


async def mine(world: World, pause: float) -> None:
    while True:
        await asyncio.sleep(pause)
        world.mine(time.monotonic())
        # what goes back beyond the blocks that a gate has seen is a chain that it does not know: it begins anew
        depth = min(world.random.choice(_DEPTHS), (world.head - world.followed_from) // 2)
        if depth > 0 and world.random.random() < 0.05:
            world.go_back(depth)


async def weather(
    nodes: list[Node], bundlers: list[Bundler], spells: Iterator[_Spell], clients: Clients, a_spell: float
) -> None:
    for name, begin in spells:
        _be_fair(nodes, bundlers)
        begin()
        turn(clients.sky, name, nodes, bundlers)
        await asyncio.sleep(clients.world.random.uniform(0.5, 1.5) * a_spell)
        print(f"{time.strftime('%X')} {clients.told()}", flush=True)


def turn(sky: Sky, name: str, nodes: list[Node], bundlers: list[Bundler]) -> None:
    sky.turns(
        name,
        nodes=frozenset(node.named for node in nodes if node.weather is NodeWeather.FAIR),
        bundlers=frozenset(bundler.named for bundler in bundlers if bundler.weather is BundlerWeather.FAIR),
    )


async def kill(clients: Clients, a_round: float) -> None:
    """kill -9 at some time, and a gate that goes on from what is there."""
    gate, sky = clients.gate, clients.sky
    await asyncio.sleep(clients.world.random.uniform(0.2, 0.8) * a_round)
    sky.gate_goes()
    await asyncio.to_thread(gate.end)
    await asyncio.to_thread(gate.start)
    await until_listening(clients.http, gate)
    clients.world.followed_from = clients.world.head
    sky.gate_comes()
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


async def rest(
    clients: Clients, pools: Pools, nodes: list[Node], bundlers: list[Bundler], *, idle: float = 0.0
) -> Usage:
    """All is mined, and seen; what never arrived comes again. What is used is looked at after so many seconds more, in
    which connections that are `idle` end."""
    world, gate, clients.resting = clients.world, clients.gate, True
    _be_fair(nodes, bundlers)
    turn(clients.sky, "rest", nodes, bundlers)
    await asyncio.gather(*clients.under_way)
    left: list[Hash32] = []
    begun = time.monotonic()
    try:
        async with asyncio.timeout(_REST_SECONDS) as until:
            await until_ready(clients.http, gate)
            await clients.fill_gaps(pools)
            while True:
                until.reschedule(begun + clients.machine.patience(_REST_SECONDS, begun))
                world.mine(inf)
                await asyncio.sleep(1.0)
                while not await asyncio.to_thread(is_entered, gate):  # noqa: ASYNC110  # it is another process's to say
                    await asyncio.sleep(0.1)
                left = await asyncio.to_thread(in_flight_on_disk, gate)
                if not left and not world.waiting:
                    break
                for name in [name for name in left if name not in world.operations][:200]:
                    await clients.again(name)
    except TimeoutError:
        told = ", ".join(print_bytes(name) for name in left[:3])
        world.faults.append(f"there is no rest: {world.waiting} wait, {len(left)} are in flight on disk: {told}")
    await asyncio.sleep(idle)
    assert gate.pid is not None
    clients.resting = False
    return usage_of(gate.pid)


async def spend_the_rest(clients: Clients, grants: list[SessionData]) -> None:
    """What is left of each session may be used, and not one use more."""
    world = clients.world
    for grant in grants:
        for _ in range(USES - world.committed[grant.permission_id]):
            answer = await clients.ask_until_told("last", clients.operation(grant))
            if "result" not in answer:
                world.faults.append(
                    f"of {USES} uses {world.committed[grant.permission_id]} are out, and then: {answer}"
                )
                break
        answer = await clients.ask_until_told("over", clients.operation(grant))
        error = answer.get("error")
        if not isinstance(error, dict) or error["code"] not in (Code.LIMIT_EXCEEDED, Code.RULE_REJECTED):
            world.faults.append(f"one use more than {USES}: {answer}")


async def _when_removed(clients: Clients, grant: SessionData) -> dict[str, Any]:
    """What is told of a session whose removal stands; it may have been taken back meanwhile. A gate that has not seen
    it yet leaves it to the bundler to refuse, which one that follows its chain does not for long."""
    world, answer = clients.world, dict[str, Any]()
    for _ in patiently():
        before = world.reorganised
        if not world.is_in_force(grant.permission_id, world.head):
            answer = await clients.ask_until_told("a life over", clients.operation(grant))
            if answer.get("error", {}).get("code") in _OUT or ("result" in answer and world.reorganised == before):
                break
        await asyncio.sleep(0.5)
    return answer


async def try_lives(clients: Clients, lives: Lives) -> None:
    """Who was removed is out, and who was granted is in."""
    for grant in lives.over:
        answer = await _when_removed(clients, grant)
        if answer.get("error", {}).get("code") not in _OUT:
            clients.world.faults.append(f"{print_bytes(grant.permission_id)} was removed: {answer}")
    await spend_the_rest(clients, lives.left[:1])


def pools_for(world: World, plan: Plan) -> Pools:
    """Sessions in force, most of which the gate is to know."""
    grants = sessions_for(plan.seconds, plan.rate)
    unseen = (a_session(action(TOKEN, TRANSFER, usage(USES)), salt=number) for number in range(1_000_000, 9_000_000))
    idle = [a_session(action(TOKEN, TRANSFER, usage(USES)), salt=100_000 + number) for number in range(plan.known)]
    rounds = plan.seconds / plan.a_round + 1
    parked = [
        a_session(action(TOKEN, TRANSFER, usage(FAR)), salt=50_000 + number)
        for number in range(
            8 + int(rounds + rounds * (plan.parked + plan.a_round * plan.rate * 0.03) / PARKED_A_SESSION)
        )
    ]
    for grant in (*grants, *idle, *parked):
        world.grant(grant, USES)
    far = frozenset(grant.permission_id for grant in grants[::2])
    return Pools(grants, idle, parked, _granted(unseen, world), far)


def _nothing(_clients: Clients, _waiting: int, _usage: Usage) -> None:
    return None


async def spend_time(
    gate: GateProcess, world: World, plan: Plan, show: Callable[[Clients, int, Usage], None] = _nothing
) -> None:
    """`show` is told of every rest."""
    (gate.folder / "ours.yaml").write_text(so_many_a_day(USES))
    pools = pools_for(world, plan)
    await asyncio.to_thread(gate.know, [*pools.grants, *pools.idle, *pools.parked])
    nodes = [Node(chain=world.chain, world=world, named=f"node {name}") for name in "ab"]
    bundlers = [Bundler(world=world, chain_id=1, named=f"bundler {name}", longest=plan.in_mempool) for name in "ab"]
    servers = [await node.serve() for node in nodes]
    spells = all_weather(nodes, bundlers, world.random)
    async with (
        bundlers[0],
        bundlers[1],
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=_CONNECTIONS)) as http,
    ):
        gate.node = f"[{', '.join(node.url for node in nodes)}]\n    max_state_age: 20"
        gate.bundler = ", ".join(bundler.url for bundler in bundlers)
        clients = Clients(gate, http, world, on_time=plan.on_time)
        lives = Lives(clients, USES)
        mining = asyncio.create_task(mine(world, plan.a_block))
        gate.start()
        await until_ready(http, gate)
        world.followed_from = world.head
        rests, begun, number = list[tuple[int, Usage]](), time.monotonic(), 0
        while time.monotonic() < begun + plan.seconds:
            await clients.park_many(pools, plan.parked)
            works = [
                weather(nodes, bundlers, spells, clients, plan.a_spell),
                load(clients, pools, plan.rate, uses=USES),
                lives.begin_some(plan.a_life),
                *([kill(clients, plan.a_round)] if number in plan.killed_in else []),
            ]
            await _for_a_while(works, min(plan.a_round, plan.seconds))
            waiting, number = world.waiting, number + 1
            rests.append((len(world.operations), await rest(clients, pools, nodes, bundlers, idle=plan.idle)))
            show(clients, waiting, rests[-1][1])
        await lives.until_over()
        await spend_the_rest(clients, pools.grants[: plan.spent])
        await try_lives(clients, lives)
        await rest(clients, pools, nodes, bundlers)
        mining.cancel()
        await until_compared(gate, world, clients.machine)
        await asyncio.to_thread(gate.end)
        world.faults += grown(rests[max(plan.killed_in, default=-1) + 1 :])
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
