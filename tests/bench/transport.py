"""What carrying the bytes costs: CPU a request of the gate with either transport, beside bare aiohttp, interleaved.

python -m tests.bench.transport [--rounds N] [--seconds N] [--floor PROGRAM]

`--floor` is a Python pass-through that takes PORT UPSTREAM_PORT parse: the least that parsing every body costs.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median

from tests.bench import servers
from tests.bench.__main__ import grant, write_load
from tests.bench.load import drive
from tests.bench.operations import CHAIN_ID
from tests.e2e.children import Child, answers, is_ok
from tests.ports import free_port, free_ports

Place = tuple[str, int]
"""Where a server is asked, and the process that works."""

_TICKS = os.sysconf("SC_CLK_TCK")


def cpu_seconds(pid: int) -> float:
    """Of a process with all its threads, and of those it started."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    own = (int(fields[11]) + int(fields[12])) / _TICKS
    return own + sum(cpu_seconds(int(child)) for child in children)


@contextmanager
def server(name: str, command: list[str], folder: Path, ready: Callable[[], bool]) -> Iterator[int]:
    """The process of a server on the core that is measured."""
    pinned = servers.pinned(servers.SERVER_CORE, command)
    child = Child.start(name, pinned, folder / f"{name}.log", cwd=servers.ROOT)
    try:
        child.wait_until(ready, "answer", seconds=60)
        yield child.process.pid
    finally:
        child.stop()


@contextmanager
def gate(folder: Path, upstream: int, mode: str, transport: str) -> Iterator[Place]:
    """A gate that knows the session whose operations are sent."""
    port, admin = free_ports(2)
    config = folder / f"{mode}-{transport}.yaml"
    text = servers.GATE.format(port=port, admin=admin, mode=mode, upstream=upstream, chain_id=CHAIN_ID)
    config.write_text(text.replace(f"sqlite:{mode}.db", f"sqlite:{mode}-{transport}.db") + f"transport: {transport}\n")
    command = [sys.executable, "-m", "proxy.cli", "serve", "--config", str(config)]
    with server(f"gate-{mode}-{transport}", command, folder, lambda: is_ok(f"http://127.0.0.1:{admin}/readyz")) as pid:
        url = f"http://127.0.0.1:{port}/bench"
        grant(url)
        yield url, pid


@contextmanager
def bare(folder: Path, upstream: int) -> Iterator[Place]:
    """The least a proxy on aiohttp can do."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "tests.bench.bare_aiohttp", str(port), f"http://127.0.0.1:{upstream}"]
    with server("aiohttp", command, folder, lambda: answers(url)) as pid:
        yield url, pid


@contextmanager
def floor(folder: Path, upstream: int, program: str) -> Iterator[Place]:
    """The pass-through that was handed in."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    command = [sys.executable, program, str(port), str(upstream), "parse"]
    with server("floor", command, folder, lambda: answers(url)) as pid:
        yield url, pid


def measure(place: Place, bodies: Path, seconds: int) -> float:
    """CPU microseconds a request. Raises `AssertionError` when requests failed."""
    url, pid = place
    before = cpu_seconds(pid)
    figures = drive(url, bodies, connections=32, seconds=seconds, core=servers.CLIENT_CORE)
    assert figures.failed == 0, f"{url}: {figures.failed} requests failed"
    return (cpu_seconds(pid) - before) / max(1, figures.requests) * 1e6


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.transport", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=3, help="of load on each server in each round")
    parser.add_argument("--floor", help="a pass-through to measure beside them")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="sessiongate-transport-") as name, ExitStack() as stack:
        folder = Path(name)
        bodies, hashes = write_load(folder, 20_000)
        upstream = stack.enter_context(servers.upstream(folder, hashes))
        places = {"bare aiohttp": stack.enter_context(bare(folder, upstream))}
        if options.floor is not None:
            places["pass-through that parses"] = stack.enter_context(floor(folder, upstream, options.floor))
        for mode in ("off", "enforce"):
            for transport in ("aiohttp", "lean"):
                label = f"gate, {mode}, {transport}"
                places[label] = stack.enter_context(gate(folder, upstream, mode, transport))
        costs: dict[str, list[float]] = {label: [] for label in places}
        for turn in range(options.rounds + 1):  # the first one warms up
            for label, place in places.items():
                cost = measure(place, bodies, options.seconds)
                if turn:
                    costs[label].append(cost)
    reference = median(costs["bare aiohttp"])
    print(f"{'':<28}{'µs a request':>14}{'÷ aiohttp':>12}{'least':>10}{'most':>10}")
    for label, found in costs.items():
        middle = median(found)
        print(f"{label:<28}{middle:>14,.0f}{middle / reference:>12.2f}{min(found):>10,.0f}{max(found):>10,.0f}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
