"""Side by side, in one run on this machine: bare aiohttp, nginx and the gate in front of the same upstream.

python -m tests.bench [--seconds N] [--connections N]
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import urllib.request
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from proxy.userop.primitives import print_bytes
from proxy.userop.user_operation import print_user_operation
from tests.bench import servers
from tests.bench.decision import decision_parts
from tests.bench.ledger import SESSIONS, print_ledger
from tests.bench.load import Figures, drive
from tests.bench.operations import RECORDED, distinct_uses, hash_of, read, submission
from tests.bench.policies import operation_costs, policy_costs, signature_costs
from tests.bench.rules import print_rules

Server = Callable[[Path, int], AbstractContextManager[str]]

SERVERS: dict[str, Server] = {
    "bare aiohttp": servers.bare_aiohttp,
    "nginx": servers.nginx,
    "gate, off": lambda folder, upstream: servers.gate(folder, upstream, "off"),
    "gate, enforce": lambda folder, upstream: servers.gate(folder, upstream, "enforce"),
}
OPERATIONS = 20_000
DECISIONS = 2_000
WARM_UP_SECONDS = 1


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--seconds", type=int, default=5, help="of load on each server")
    parser.add_argument("--connections", type=int, default=32, help="clients that wait for their answers")
    parser.add_argument("--operations", type=int, default=OPERATIONS, help="distinct operations, sent in turn")
    parser.add_argument("--sessions", type=int, default=SESSIONS, help="known to the gate, for what each weighs")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="sessiongate-bench-") as folder:
        measured = measure(Path(folder), options.seconds, options.connections, options.operations)
    print_servers(measured)
    print_decision()
    print_policies()
    print_rules()
    print_ledger(options.sessions)
    return 0


def measure(folder: Path, seconds: int, connections: int, operations: int) -> dict[str, Figures]:
    """The figures of every server. Raises `AssertionError` when a request got lost on the way."""
    bodies, hashes = write_load(folder, operations)
    measured = {}
    with servers.upstream(folder, hashes) as upstream:
        origin = f"http://127.0.0.1:{upstream}"
        measured["no proxy at all"] = drive(
            origin, bodies, connections=connections, seconds=seconds, core=servers.CLIENT_CORE
        )
        for name, server in SERVERS.items():
            print(f"measuring {name} …", file=sys.stderr, flush=True)
            with server(folder, upstream) as url:
                grant(url)
                drive(url, bodies, connections=connections, seconds=WARM_UP_SECONDS, core=servers.CLIENT_CORE)
                before = submitted(origin)
                figures = drive(url, bodies, connections=connections, seconds=seconds, core=servers.CLIENT_CORE)
                check_all_went_through(name, figures, submitted(origin) - before, connections)
            measured[name] = figures
    return measured


def write_load(folder: Path, count: int) -> tuple[Path, Path]:
    """The requests, one a line, and the hashes the upstream is to answer."""
    bodies, hashes = folder / "bodies", folder / "hashes.json"
    operations = list(distinct_uses(count))
    bodies.write_bytes(b"".join(submission(print_user_operation(op)) + b"\n" for op in operations))
    named = {hex(op.nonce): print_bytes(hash_of(op)) for op in (read(RECORDED["grant"]), *operations)}
    hashes.write_text(json.dumps(named))
    return bodies, hashes


def grant(url: str) -> None:
    """The owner's operation that grants the session, and its receipt: from then on the gate knows it in force."""
    granted = ask(url, submission(RECORDED["grant"]))
    question = {"jsonrpc": "2.0", "id": 2, "method": "eth_getUserOperationReceipt", "params": [granted]}
    receipt = ask(url, json.dumps(question, separators=(",", ":")).encode())
    assert receipt["success"], receipt


def ask(url: str, body: bytes) -> Any:
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=10) as response:
        answer = json.load(response)
    assert "result" in answer, answer
    return answer["result"]


def submitted(origin: str) -> int:
    with urllib.request.urlopen(origin, timeout=10) as response:
        return int(response.read())


def check_all_went_through(name: str, figures: Figures, arrived: int, connections: int) -> None:
    """Fast answers prove nothing if they were refusals: the upstream must have had every operation."""
    assert figures.failed == 0, f"{name}: {figures.failed} requests failed"
    assert arrived >= figures.requests, f"{name}: {figures.requests} answered, {arrived} forwarded"
    # each connection may have had a request under way when the warm-up was over, and again when this was
    assert arrived <= figures.requests + 2 * connections, f"{name}: {figures.requests} answered, {arrived} forwarded"


def print_servers(measured: dict[str, Figures]) -> None:
    bare, nginx = measured["bare aiohttp"].per_second, measured["nginx"].per_second
    print(f"\n{'':<18}{'requests/s':>12}{'p50 ms':>10}{'p99 ms':>10}{'÷ aiohttp':>12}{'÷ nginx':>10}")
    for name, figures in measured.items():
        print(
            f"{name:<18}{figures.per_second:>12,.0f}{figures.p50 / 1000:>10.2f}{figures.p99 / 1000:>10.2f}"
            f"{figures.per_second / bare:>12.2f}{figures.per_second / nginx:>10.2f}"
        )
    print("each server has one core; wrk and the upstream share the other")


def print_decision() -> None:
    print("\none decision, single-call USE operation as recorded, best of five rounds:")
    for part in decision_parts(DECISIONS):
        print(f"  {part.name:<22}{part.microseconds:>8.1f} µs")


def print_policies() -> None:
    print("\none verdict by policy, decoded operation, signature not counted:")
    print(f"  {'':<32}{'as action':>12}{'as user-op':>12}")
    for row in policy_costs(DECISIONS):
        print(f"  {row.name:<32}{_in_microseconds(row.action):>12}{_in_microseconds(row.user_op):>12}")
    for part in operation_costs(DECISIONS):
        print(f"  {part.name:<32}{_in_microseconds(part.microseconds):>12}")
    print("\none session key's signature, by the kind of its validator:")
    for part in signature_costs(DECISIONS // 10):
        print(f"  {part.name:<32}{_in_microseconds(part.microseconds):>12}")


def _in_microseconds(cost: float | None) -> str:
    return "—" if cost is None else f"{cost:.1f} µs"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
