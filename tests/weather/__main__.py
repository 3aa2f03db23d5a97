"""A gate in a process of its own for as long as you like, before neighbours of whom one after the other fails.

    python -m tests.weather [--seconds 600] [--rate 50] [--known 20000] [--parked 0] [--seed 1] [--keep FOLDER]

Two nodes, two bundlers: each hangs, errs and says what is not so in turn, and comes back, while the chain goes back and
clients send, replace, estimate, ask for receipts, use sessions that the gate has never seen, and grant and remove
others; some goes past the gate, and the gate is killed. After every round of weather there is rest: then nothing may be
in flight, and of memory, descriptors and threads no more than at the rest before. What is late because the machine had
no processor for it is counted, and no fault. At the end the ledger is held against the chain, and each session that is
left uses is used to its last one. Exit code 1 when something is not so.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import re
import shutil
import sys
import tempfile
from pathlib import Path
from random import Random

from proxy.userop.primitives import print_bytes
from tests.bench.usage import Usage
from tests.chaos.gates import GateProcess, a_nursery
from tests.weather.clients import Clients
from tests.weather.course import SETTINGS, Plan, spend_time
from tests.weather.world import World

_VARYING = re.compile(r"0x[0-9a-fA-F]+|[0-9a-f]{20,}|[0-9.]+")
_SHOWN = 3


def _print(clients: Clients, waiting: int, usage: Usage) -> None:
    world = clients.world
    print(
        f"{len(world.operations)} operations, {waiting} were in flight, {world.reorganised} reorganisations; "
        f"{usage.resident >> 20} MiB, {usage.sockets} sockets, {usage.files} files, {usage.own_seconds:.0f} s of CPU"
    )
    if clients.owed:
        print(f"  {clients.owed} answers were late that would have been in time, had nobody waited for a processor")
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
    shutil.copytree(gate.folder, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("*-shm", "*.audit.*"))
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
    plan = Plan(seconds=wanted.seconds, rate=wanted.rate, known=wanted.known, parked=wanted.parked)
    world = World(Random(wanted.seed))
    logging.getLogger("aiohttp.server").setLevel(logging.CRITICAL)  # who hangs is left
    with a_nursery() as nursery, tempfile.TemporaryDirectory(prefix="sessiongate-weather-") as name:
        gate = GateProcess(nursery, Path(name), bundler="", settings=SETTINGS)
        try:
            asyncio.run(spend_time(gate, world, plan, _print))
        finally:
            if wanted.keep is not None:
                keep(wanted.keep, gate, world)
        print(summary(world.faults), flush=True)
    return 1 if world.faults else 0


if __name__ == "__main__":
    sys.exit(main())
