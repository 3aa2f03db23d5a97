"""What a start takes to know again what was in flight and what has ended: CPU seconds, of a ledger made for it, by part
and of a whole process until it is ready, with a node and without.

python -m tests.bench.start [--ended N] [--in-flight N]
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import os
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TypeVar

from proxy.app.memory import remains_in
from proxy.chain.settlement.lookout import Lookout
from proxy.chain.settlement.patience import Patience
from proxy.chain.settlement.receipts import Receipt
from proxy.chain.settlement.settlement import Settlement
from proxy.chain.settlement.taker import Taker
from proxy.edge.storage.store import Store
from proxy.ledger import ending
from proxy.ledger import sqlite as rows
from proxy.ledger.memory import MemoryLedger
from proxy.ledger.operations import AcceptedOperation, Cause, Ended, Evidence, Mined
from proxy.ledger.statement import Statement
from proxy.ledger.transactions import transact
from proxy.session.registry import Registry
from proxy.userop.primitives import Hash32
from tests.bench.ledger import key_of, operations
from tests.bench.servers import ROOT
from tests.bench.usage import usage_of
from tests.chain.builders import FakeNode
from tests.e2e.children import bound, is_ok
from tests.edge.recording_bundler import RecordingBundler
from tests.patience import patiently
from tests.ports import free_ports

ENDED = 200_000
IN_FLIGHT = 20_000
A_BLOCK = 200
_T = TypeVar("_T")


def write_ledger(path: Path, ended: int, in_flight: int) -> None:
    """As a gate leaves it that was killed."""
    Store(path).close()
    supply = operations(key_of(0))
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        statements: list[Statement] = []
        for number, operation in enumerate(islice(supply, ended)):
            statements += [rows.begin(operation), *ending.end([operation.name], [_mined(operation, number)])]
        for operation in islice(supply, in_flight):
            statements.append(rows.begin(operation))  # of the last seconds: that a bundler took them is not noted yet
        transact(connection, statements, None)


def _mined(operation: AcceptedOperation, number: int) -> Ended:
    block, name = number // A_BLOCK, Hash32((number // A_BLOCK).to_bytes(32, "big"))
    return Ended(
        operation=operation,
        ended_at=time.time(),
        mined=Mined(user_op_hash=operation.user_op_hash, success=True, block=block, block_hash=name),
        cause=Cause.MINED,
        evidence=Evidence(block=block, block_hash=name),
    )


def start(path: Path) -> Iterator[tuple[str, float]]:
    """Each part of it with its CPU seconds, as a gate does it: nothing is looked through by the collector meanwhile."""
    key, registry, ledger, patience = key_of(0), Registry(), MemoryLedger(), Patience()
    with closing(Store(path)) as store:
        clock, monotonic = time.time, time.monotonic
        settlement = Settlement(
            registry=registry, ledger=ledger, keeper=store, clock=clock, patience=patience, tell=lambda _: None
        )
        taker = Taker(
            settlement, chain_id=key.chain_id, registry=registry, clock=clock, monotonic=monotonic, patience=patience
        )
        lookout = Lookout(
            settlement, registry=registry, receipt=_nobody, clock=clock, monotonic=monotonic, patience=patience
        )
        gc.disable()
        remains, seconds = _timed(lambda: remains_in(store))
        yield "read", seconds
        yield (
            "what ended",
            _timed(lambda: taker.restore(None, (), (), remains.ended))[1]
            + _timed(lambda: settlement.restore((), remains.ended))[1],
        )
        yield "what is in flight", _timed(lambda: settlement.restore(remains.flights))[1]
        names = [flight.operation.user_op_hash for flight in remains.flights]
        yield "whom to ask", _timed(lambda: lookout.restored(names, [key]))[1]
        gc.enable()
        assert len(settlement) == len(remains.flights)
        assert len(settlement.remembered) == len(remains.ended)


_SETTINGS = """
listen: 127.0.0.1:{port}
admin_listen: 127.0.0.1:{admin}
ledger: sqlite:ledger.db
chains:
  local: {{chain_id: {chain_id}, bundlers: ["{bundler}"]{node}}}
"""


_AS_INSTALLED = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
"""pip compiles what it installs: no gate of an operator's reads its own source at a start."""
_COMPILE = "import proxy.cli.serve, proxy.chain.web3_asking"


@dataclass(frozen=True)
class Started:
    """A gate until it was ready: seconds of CPU, its imports included, and of waiting."""

    cpu: float
    seconds: float


async def process(folder: Path, *, has_node: bool) -> Started:
    """A gate in a process of its own, on the ledger that is in the folder."""
    chain_id, (port, admin) = key_of(0).chain_id, free_ports(2)
    node, bundler = await FakeNode(chain_id=chain_id, timestamp=int(time.time())).start(), RecordingBundler(chain_id)
    await bundler.start()
    config = folder / "gate.yaml"
    at = f", node: {node.make_url('/')}" if has_node else ""
    config.write_text(_SETTINGS.format(port=port, admin=admin, chain_id=chain_id, bundler=bundler.url, node=at))
    command = bound([sys.executable, "-m", "proxy.cli", "serve", "--config", str(config)])
    subprocess.run([sys.executable, "-c", _COMPILE], cwd=ROOT, env=_AS_INSTALLED, check=True)  # noqa: ASYNC221  # nothing else goes on
    began = time.monotonic()
    try:
        with (
            (folder / "log").open("wb") as log,
            subprocess.Popen(command, cwd=ROOT, env=_AS_INSTALLED, stdout=log, stderr=log) as gate,  # noqa: ASYNC220  # it is only begun here
        ):
            try:
                for _ in patiently():
                    if await asyncio.to_thread(is_ok, f"http://127.0.0.1:{admin}/readyz"):
                        break
                    await asyncio.sleep(0.01)
                else:
                    raise AssertionError((folder / "log").read_text())
                return Started(usage_of(gate.pid).own_seconds, time.monotonic() - began)
            finally:
                gate.kill()
    finally:
        await node.close()
        await bundler.stop()


async def _nobody(_: Hash32) -> Receipt | None:
    return None


def _timed(work: Callable[[], _T]) -> tuple[_T, float]:
    began = time.process_time()
    done = work()
    return done, time.process_time() - began


async def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.start")
    parser.add_argument("--ended", type=int, default=ENDED)
    parser.add_argument("--in-flight", type=int, default=IN_FLIGHT)
    options = parser.parse_args(arguments)
    for ended, in_flight in ((options.ended, 0), (0, options.in_flight)):
        with tempfile.TemporaryDirectory(prefix="sessiongate-bench-") as folder:
            write_ledger(Path(folder) / "ledger.db", ended, in_flight)
            parts = list(start(Path(folder) / "ledger.db"))
            processes = {has_node: await process(Path(folder), has_node=has_node) for has_node in (False, True)}
        whole = sum(seconds for _, seconds in parts)
        print(f"{ended:,} ended, {in_flight:,} in flight: {whole:.2f} s of CPU")
        for name, seconds in parts:
            print(f"  {name:<20}{seconds:>8.2f}")
        for has_node, each in processes.items():
            name = f"process, {'with' if has_node else 'without'} a node"
            print(f"  {name:<28}{each.cpu:>8.2f} s of CPU, ready after {each.seconds:.2f} s")
    return 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main(sys.argv[1:])))
