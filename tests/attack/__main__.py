"""A good client beside strangers who ask for all a gate has: what it waits, alone and beside them, and what it is told.

    python -m tests.attack [--seconds N] [--addresses N] [--connections N] [--transport lean|aiohttp] [--ways WAY...]

With N attackers the good client is to have its even share: it waits no more than N + 2 times what it waits alone, in
the middle, and hears nothing but answers. 1 where it does not. Where the machine has other things to do, so that the
gate had a core for less than nine tenths of the time it wanted one, a clock says nothing of the gate: then a round of
its loop, of which a request waits for two, takes no more than half again what may be worked in one, by the time of its
thread. By `--ways` all addresses do the named things, or one after the other every one of them, which is what `each`
means.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from itertools import islice
from math import inf
from pathlib import Path
from statistics import median
from typing import Final

import aiohttp

from proxy.edge.http.households import TURN_SECONDS
from proxy.userop.primitives import print_uint
from tests.admission.builders import lane
from tests.attack.share import Had, Share, beside_the_loop
from tests.attack.strangers import WAYS
from tests.attack.watched import TURNS
from tests.bypass_list.desk import CHAIN_ID, single, use
from tests.chaos.gates import GateProcess, a_nursery, until_ready
from tests.cost.counter import FREE, SESSIONS
from tests.e2e.children import Child, answers
from tests.ports import free_port
from tests.running_gate import hash_of, submission
from tests.session.builders import transfer

ROOT: Final = Path(__file__).parents[2]
ALONE: Final = 300
"""Requests that the good client sends before anybody else comes, and beside them at the least."""
NEW: Final = 50
"""And before those: what is new to the gate once."""
FIRST_ADDRESS: Final = 2
GOOD: Final = "127.0.0.1"
ADDRESSES: Final = 6
MIXED: Final = ("operations", "texts", "reads", "batches", "connections", "pipelines")
OTHERS: Final = tuple(name for name in WAYS if name not in MIXED)
EACH: Final = "each"
_ALONE_ON_ITS_CORE: Final = 0.9
_LONGEST_ROUND: Final = 1.5 * TURN_SECONDS
RESULT: Final = "result"


@dataclass
class Good:
    """What the good client heard, and what it waited for it, in seconds."""

    waited: list[float] = field(default_factory=list)
    heard: Counter[str] = field(default_factory=Counter)

    def told(self) -> str:
        """In one line."""
        ordered = sorted(self.waited)
        at = {name: 1e3 * ordered[int(part * (len(ordered) - 1))] for name, part in (("p90", 0.9), ("p99", 0.99))}
        whole = f"{len(ordered)} answers, p50 {1e3 * median(ordered):.2f} ms"
        return ", ".join([whole, *(f"{name} {value:.2f} ms" for name, value in at.items()), str(dict(self.heard))])


async def ask(
    http: aiohttp.ClientSession, url: str, bodies: Iterator[bytes], *, until: float, most: int = 10**9, least: int = 0
) -> Good:
    """One after the other, until that moment has come and there were the least, or so many."""
    good = Good()
    for body in islice(bodies, most):
        began = time.perf_counter()
        try:
            async with http.post(url, data=body, headers={"content-type": "application/json"}) as response:
                answer = await response.read()
                what = RESULT if b'"result"' in answer else f"{response.status} {answer[:120].decode()}"
        except (aiohttp.ClientError, OSError) as error:
            what = type(error).__name__
        good.waited.append(time.perf_counter() - began)
        good.heard[what] += 1
        if time.monotonic() > until and len(good.waited) >= least:
            break
    return good


def operations(count: int) -> tuple[list[bytes], dict[str, str]]:
    """Bodies of good operations, and their hashes by nonce."""
    bodies, hashes = [], {}
    for number in range(1, count + 1):
        op = use(FREE, single(transfer(1)), nonce=lane(number))
        bodies.append(json.dumps(submission(op), separators=(",", ":")).encode())
        hashes[print_uint(op.nonce)] = hash_of(op)
    return bodies, hashes


@contextmanager
def on_core(core: int, nice: int) -> Iterator[None]:
    """What is started meanwhile stays on this core, where there are two; more or less urgent where that is allowed."""
    cores, before = os.sched_getaffinity(0), os.getpriority(os.PRIO_PROCESS, 0)
    if len(cores) > 1:
        os.sched_setaffinity(0, {sorted(cores)[core]})
    with suppress(PermissionError):
        os.setpriority(os.PRIO_PROCESS, 0, before + nice)
    try:
        yield
    finally:
        os.sched_setaffinity(0, cores)
        with suppress(PermissionError):
            os.setpriority(os.PRIO_PROCESS, 0, before)


def _start(stack: ExitStack, name: str, folder: Path, *arguments: object) -> Child:
    command = [sys.executable, "-m", f"tests.attack.{name}", *map(str, arguments)]
    child = Child.start(name, command, folder / f"{name}.log", cwd=ROOT)
    stack.callback(child.stop)
    return child


@dataclass(frozen=True)
class Attack:
    """How many addresses ask for how much, how long, of which listener; the good client asks `alone` times before, and
    `least` times beside them at the least."""

    seconds: float
    addresses: int = ADDRESSES
    connections: int = 256
    transport: str = "lean"
    alone: int = ALONE
    least: int = 0
    ways: tuple[str, ...] = MIXED


@dataclass(frozen=True)
class Outcome:
    """What the good client heard alone, and beside the strangers, and what the gate did with its time meanwhile."""

    alone: Good
    beside: Good
    share: Share
    bound: int

    @property
    def times(self) -> float:
        """What it waited, by what it waits alone."""
        return median(self.beside.waited) / median(self.alone.waited)

    @property
    def is_well(self) -> bool:
        """Whether it heard nothing but results, and had its share."""
        return set(self.beside.heard) == {RESULT} and (self.times <= self.bound or self.others_took_the_core)

    @property
    def others_took_the_core(self) -> bool:
        """Whether the machine made it wait, and not the gate."""
        return self.share.core < _ALONE_ON_ITS_CORE and self.share.round <= _LONGEST_ROUND

    def told(self) -> str:
        """In some lines, the last of which says whose doing it was."""
        good, asked = self.share.had.get(GOOD, Had()), len(self.beside.waited)
        took = (
            f"took the gate {1e3 * good.worked / asked:.2f} ms each, stood in line {1e3 * good.in_line / asked:.2f} ms"
        )
        lines = [
            f"alone: {self.alone.told()}",
            f"beside them: {self.beside.told()}; {took}",
            self.share.told(),
            f"waits {self.times:.1f} times what it waits alone; {self.bound} is its share: {self._judged()}",
        ]
        return "\n".join(lines)

    def _judged(self) -> str:
        if set(self.beside.heard) != {RESULT}:
            return "NOT WELL, it was turned away"
        if self.times <= self.bound:
            return "well"
        return "well, the machine made it wait" if self.others_took_the_core else "NOT WELL"


async def beside(gate: GateProcess, folder: Path, bodies: Iterator[bytes], attack: Attack) -> Outcome:
    """The good client alone, then beside the strangers."""
    assert gate.pid is not None
    async with aiohttp.ClientSession() as http:
        await until_ready(http, gate)
        beside_the_loop(gate.pid, os.sched_getaffinity(0))
        await ask(http, gate.url, bodies, until=inf, most=NEW)
        alone = await ask(http, gate.url, bodies, until=inf, most=attack.alone)
        with ExitStack() as stack:
            with on_core(1, 5):
                asked = [*gate.ports, FIRST_ADDRESS, attack.addresses, attack.connections, *attack.ways]
                strangers = _start(stack, "strangers", folder, *asked)
            await asyncio.to_thread(strangers.wait_until, lambda: strangers.log.stat().st_size > 0, "first word")
            before = await asyncio.to_thread(Share.so_far, folder / TURNS, gate.pid)
            until = time.monotonic() + attack.seconds
            good = await ask(http, gate.url, bodies, until=until, least=attack.least)
            after = await asyncio.to_thread(Share.so_far, folder / TURNS, gate.pid)
    return Outcome(alone, good, after.since(before), attack.addresses + 2)


def run(attack: Attack) -> Outcome:
    """What the good client heard alone, and beside the strangers."""
    bodies, hashes = operations(NEW + attack.alone + max(round(attack.seconds * 300), attack.least) + 1)
    with tempfile.TemporaryDirectory(prefix="sessiongate-attack-") as name, ExitStack() as stack:
        folder, port = Path(name), free_port()
        (folder / "hashes").write_text(json.dumps(hashes))
        with on_core(1, -5):
            bundler = _start(stack, "quick_bundler", folder, port, CHAIN_ID, folder / "hashes")
        bundler.wait_until(lambda: answers(f"http://127.0.0.1:{port}"), "answer")
        with on_core(0, 0):
            nursery = stack.enter_context(a_nursery("tests.attack.watched"))
        gate = GateProcess(nursery, folder, f"http://127.0.0.1:{port}", settings=f"transport: {attack.transport}\n")
        gate.know(SESSIONS)
        gate.start()
        with on_core(1, -5):
            found = asyncio.run(beside(gate, folder, iter(bodies), attack))
        gate.end()
    return found


def main() -> int:
    """See above."""
    parser = argparse.ArgumentParser(prog="python -m tests.attack")
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--addresses", type=int, default=ADDRESSES)
    parser.add_argument("--connections", type=int, default=256, help="of each address")
    parser.add_argument("--transport", default="lean")
    parser.add_argument("--ways", nargs="+", choices=[*WAYS, EACH], default=MIXED)
    attack = Attack(**vars(parser.parse_args()))
    ill = 0
    for ways in [(name,) for name in WAYS] if EACH in attack.ways else [attack.ways]:
        outcome = run(replace(attack, ways=tuple(ways)))
        print(f"{attack.addresses} addresses, {', '.join(ways)}\n{outcome.told()}", flush=True)
        ill += not outcome.is_well
    return min(ill, 1)


if __name__ == "__main__":
    sys.exit(main())
