"""The alerts of the shipped rule file that the walk does not come by otherwise, each made to fire and to resolve.

    python -m tests.e2e.walk_alerts [ALERT…]

For each trouble a real gate, in a process of its own, gets into it: its bundler, its node, its disk, its files, its
sinks or whoever uses it are as they should not be. A real Prometheus evaluates the rule file that we ship, every
duration so many times shorter, and a real Alertmanager holds what it says. An alert counts when it is there for that
gate, and is gone again once what was wrong is mended. `FAULTS` says of each what it is.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp

from tests.chaos.gates import Nursery, a_nursery, until_ready
from tests.e2e.walk_faults import FAULTS
from tests.e2e.walk_stage import MANY, Fault, Stage, StagedGate, StagedNode
from tests.e2e.watchers import Watchers, watching
from tests.ports import free_port
from tests.running_gate import HonestBundler

FASTER = 60
AT_ONCE = 6
"""Gates that run at the same time."""
PATIENCE_SECONDS = 300.0


@dataclass
class Round:
    """What is looked at, and what came of it."""

    watchers: Watchers
    nurseries: dict[str, Nursery]
    folder: Path
    failed: list[str] = field(default_factory=list)
    turns: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(AT_ONCE))

    async def look(self, fault: Fault, gate: StagedGate) -> None:
        """One trouble, from before it begins until all that was told of it is over."""
        async with self.turns:
            began = time.monotonic()
            try:
                async with staged(fault, gate) as stage:
                    async with fault.trouble(stage):
                        fires = await self._fires(fault, gate)
                    over = fires and await self._resolves(fault, gate)
            except Exception as error:  # the others go on, and it is told
                fires = over = False
                print(f"      {fault.name}: {error!r}", flush=True)
        for alert in fault.alerts:
            found = "fires and resolves" if over else "fires, and does not resolve" if fires else "does not fire"
            print(f"   {'✔' if over else '✘'} {alert} {found}: {fault.name}", flush=True)
            if not over:
                self.failed.append(alert)
        if not over:
            print(f"      after {time.monotonic() - began:.0f} s; {gate.tail()[-2000:]}", flush=True)

    async def _fires(self, fault: Fault, gate: StagedGate) -> bool:
        wanted = {(alert, gate.instance) for alert in fault.alerts}
        seen: set[tuple[str, str]] = set()

        def have_fired() -> bool:
            seen.update(self.watchers.all_firing() & wanted)
            return seen == wanted

        return await _becomes(have_fired)

    async def _resolves(self, fault: Fault, gate: StagedGate) -> bool:
        return await _becomes(lambda: self.watchers.is_over(fault.alerts, gate.instance))


async def _becomes(true: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        if await asyncio.to_thread(true):
            return True
        await asyncio.sleep(0.3)
    return False


@asynccontextmanager
async def staged(fault: Fault, gate: StagedGate) -> AsyncIterator[Stage]:
    """The gate with all its neighbours, ready."""
    async with AsyncExitStack() as stack:
        http = await stack.enter_async_context(aiohttp.ClientSession())
        bundlers = [await stack.enter_async_context(HonestBundler()) for _ in range(fault.bundlers)]
        gate.bundler = ", ".join(each.url for each in bundlers)
        node = None
        if fault.node:
            node = StagedNode()
            runner = await node.serve()
            stack.push_async_callback(runner.cleanup)
            node.grant(MANY)
            gate.node = node.url
            mining = asyncio.create_task(_mine(node))
            stack.callback(mining.cancel)
        else:
            await asyncio.to_thread(gate.know, [MANY])
        stage = Stage(gate, bundlers, node, http)
        gate.settings = await fault.settings(stage, stack)
        await asyncio.to_thread(gate.start)
        stack.push_async_callback(asyncio.to_thread, gate.end)
        await until_ready(http, gate)
        yield stage


async def _mine(node: StagedNode) -> None:
    """A block a second, as long as it answers."""
    while True:
        await asyncio.sleep(1)
        if not node.refuses:
            node.mine()


async def main(names: Sequence[str]) -> int:
    faults = [fault for fault in FAULTS if not names or set(names) & set(fault.alerts)]
    with tempfile.TemporaryDirectory(prefix="sessiongate-alerts-") as name, ExitStack() as stack:
        folder = Path(name)
        nurseries = {module: stack.enter_context(a_nursery(module)) for module in {fault.nursery for fault in faults}}
        gates = []
        for number, fault in enumerate(faults):
            place = folder / f"gate{number}"
            place.mkdir()
            gates.append(StagedGate(nurseries[fault.nursery], place, bundler="", of_chain=fault.of_chain))
        hosts = [gate.instance for gate in gates]
        watchers = stack.enter_context(watching(folder / "watchers", free_port(), *hosts, faster=FASTER, bounds=True))
        looked = Round(watchers, nurseries, folder)
        await asyncio.gather(*(looked.look(*each) for each in zip(faults, gates, strict=True)))
    alerts = sum(len(fault.alerts) for fault in faults)
    print(f"{alerts - len(looked.failed)} of {alerts} alerts fire and resolve.", flush=True)
    return bool(looked.failed)


if __name__ == "__main__":
    sys.exit(asyncio.run(main(sys.argv[1:])))
