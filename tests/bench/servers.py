"""The servers that are compared, all in front of the same kind of upstream and all on one core."""

from __future__ import annotations

import json
import sqlite3
import sys
import urllib.request
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from tests.bench.known import write_sessions
from tests.bench.load import pinned, program
from tests.bench.operations import CHAIN_ID
from tests.bench.usage import Usage, usage_of
from tests.e2e.children import Child, answers, is_ok
from tests.ports import free_port, free_ports

ROOT: Final = Path(__file__).parents[2]
VIEM: Final = ROOT / "tests" / "e2e" / "node_modules"
SERVER_CORE: Final = 0
CLIENT_CORE: Final = 1

NGINX = """\
daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/nginx.log;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    client_body_buffer_size 64k;
    keepalive_requests 1000000000;
    upstream bundler {{ server 127.0.0.1:{upstream}; keepalive 256; keepalive_requests 1000000000; }}
    server {{
        listen 127.0.0.1:{port};
        location / {{
            proxy_pass http://bundler;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
        }}
    }}
}}
"""

HAPROXY = """\
global
    nbthread 1
    maxconn 2048
defaults
    mode http
    timeout connect 5s
    timeout client 60s
    timeout server 60s
    http-reuse always
frontend callers
    bind 127.0.0.1:{port}
    default_backend bundler
backend bundler
    server upstream 127.0.0.1:{upstream}
"""

GATE = """\
listen: 127.0.0.1:{port}
admin_listen: 127.0.0.1:{admin}
mode: {mode}
ledger: sqlite:ledger.db
ledger_synchronous: {synchronous}
chains:
  bench:
    chain_id: {chain_id}
    bundlers: [http://127.0.0.1:{upstream}]
    poll_seconds: {poll_seconds}
    {node}
rules: [{rules}]
log: {{level: warning, operations: none}}
# one session has ten thousand parked, and what a fast gate passes on before it is mined beside them
limits: {{in_flight_per_session: 100000, in_flight_per_account: 100000}}
"""


@dataclass
class Server:
    """One that runs: where it listens, its process, and the upstream behind it."""

    name: str
    url: str
    upstream: str
    child: Child
    remembers: bool = False  # a gate that judges, which never gets an operation twice
    takes_turns: bool = False  # one that does not, which gets each as seldom as there are others
    admin: str = ""
    ledger: Path | None = None
    taken: dict[str, int] = field(default_factory=dict)  # of each kind of body, how many it has had

    def usage(self) -> Usage:
        return usage_of(self.child.process.pid)

    def counts(self) -> dict[str, Any]:
        """What its upstream has seen."""
        with urllib.request.urlopen(f"{self.upstream}/counts", timeout=30) as response:
            counts: dict[str, Any] = json.load(response)
        return counts

    def in_flight(self) -> int:
        """How many operations a gate holds, by its database."""
        assert self.ledger is not None
        with closing(sqlite3.connect(f"file:{self.ledger}?mode=ro", uri=True, timeout=5)) as reader:
            (found,) = reader.execute("SELECT count(*) FROM operations_in_flight").fetchone()
        return int(found)

    def ended(self) -> int:
        """How many it knows to be mined, likewise."""
        assert self.ledger is not None
        with closing(sqlite3.connect(f"file:{self.ledger}?mode=ro", uri=True, timeout=5)) as reader:
            found = reader.execute("SELECT count(*) FROM operations_ended WHERE success IS NOT NULL").fetchone()
        return int(found[0])


@dataclass(frozen=True)
class GateKind:
    """How a gate is set up for one measurement; `without` are the parts that are taken out of it."""

    mode: str = "enforce"
    node: bool = True
    rules: bool = False
    synchronous: str = "normal"
    without: frozenset[str] = frozenset()
    known: int = 0  # sessions in its ledger that no operation of the load is of


@contextmanager
def running(
    name: str,
    command: list[str],
    folder: Path,
    *,
    core: int,
    ready: Callable[[], bool],
    env: Mapping[str, str] | None = None,
) -> Iterator[Child]:
    child = Child.start(name, pinned(core, command), folder / f"{name}.log", cwd=ROOT, env=env)
    try:
        child.wait_until(ready, "answer", seconds=300)
        yield child
    finally:
        child.stop()


@contextmanager
def upstream(folder: Path, known: Path, *, block: float = 1.0, age: float = 2.0, delay: float = 0.0) -> Iterator[int]:
    """The port of an upstream. It shares the client's core: what is measured has a core to itself."""
    port = free_port()
    command = [sys.executable, "-m", "tests.bench.upstream", str(port), str(known)]
    command += ["--block-seconds", str(block), "--age-seconds", str(age), "--delay-seconds", str(delay)]
    with running(
        f"upstream-{port}", command, folder, core=CLIENT_CORE, ready=lambda: answers(f"http://127.0.0.1:{port}")
    ):
        yield port


@contextmanager
def _plain(name: str, folder: Path, upstream: int, command: Callable[[int], list[str]]) -> Iterator[Server]:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    with running(name.replace(" ", "-"), command(port), folder, core=SERVER_CORE, ready=lambda: answers(url)) as child:
        yield Server(name, url, f"http://127.0.0.1:{upstream}", child)


def bare_aiohttp(folder: Path, upstream: int) -> Any:
    module = [sys.executable, "-m", "tests.bench.bare_aiohttp"]
    return _plain("bare aiohttp", folder, upstream, lambda port: [*module, str(port), f"http://127.0.0.1:{upstream}"])


def nginx(folder: Path, upstream: int) -> Any:
    def command(port: int) -> list[str]:
        config = folder / "nginx.conf"
        config.write_text(NGINX.format(folder=folder, port=port, upstream=upstream))
        return [program("nginx", "nginx-light"), "-c", str(config), "-e", str(folder / "nginx.log")]

    return _plain("nginx", folder, upstream, command)


def haproxy(folder: Path, upstream: int) -> Any:
    def command(port: int) -> list[str]:
        config = folder / "haproxy.cfg"
        config.write_text(HAPROXY.format(port=port, upstream=upstream))
        return [program("haproxy", "haproxy"), "-db", "-f", str(config)]

    return _plain("haproxy", folder, upstream, command)


def lean_parse(folder: Path, upstream: int) -> Any:
    return _lean("lean, parses", "parse", folder, upstream)


def lean_recover(folder: Path, upstream: int) -> Any:
    return _lean("lean, recovers", "recover", folder, upstream)


def _lean(name: str, mode: str, folder: Path, upstream: int) -> Any:
    module = [sys.executable, "-m", "tests.bench.lean"]
    return _plain(name, folder, upstream, lambda port: [*module, str(port), str(upstream), mode])


def viem(folder: Path, upstream: int) -> Any:
    script = str(Path(__file__).parent / "viem_proxy.mjs")
    node = program("node", "nodejs")
    return _plain("node, viem", folder, upstream, lambda port: [node, script, str(port), str(upstream), str(VIEM)])


@contextmanager
def gate(
    folder: Path,
    upstream: int,
    name: str,
    kind: GateKind,
    *,
    poll: float = 0.5,
    tasks: Path | None = None,
    clocks: Path | None = None,
) -> Iterator[Server]:
    """A gate with a ledger of its own. `tasks` is a file that it writes the number of its tasks to; `clocks` is
    one that it writes what it takes to tell ops to."""
    port, admin = free_ports(2)
    own = folder / f"gate-{port}"
    own.mkdir()
    config = own / "gate.yaml"
    config.write_text(
        GATE.format(
            port=port,
            admin=admin,
            mode=kind.mode,
            upstream=upstream,
            chain_id=CHAIN_ID,
            synchronous=kind.synchronous,
            poll_seconds=poll,
            node=f"node: http://127.0.0.1:{upstream}" if kind.node else "",
            rules=", ".join(str(path) for path in _packs()) if kind.rules else "",
        )
    )
    if kind.known:
        write_sessions(own / "ledger.db", kind.known)
    command = [sys.executable, "-m", "tests.bench.gate_without", ",".join(sorted(kind.without))]
    command += ["serve", "--config", str(config)]
    origin = f"http://127.0.0.1:{admin}"
    env = {name: str(path) for name, path in (("TASKS", tasks), ("CLOCKS", clocks)) if path is not None} or None
    with running("gate", command, own, core=SERVER_CORE, ready=lambda: is_ok(f"{origin}/readyz"), env=env) as child:
        url, behind = f"http://127.0.0.1:{port}/bench", f"http://127.0.0.1:{upstream}"
        kept = "ledger" not in kind.without and kind.mode != "off"
        yield Server(
            name,
            url,
            behind,
            child,
            remembers=kind.mode != "off",
            takes_turns=kind.mode == "off",
            admin=origin,
            ledger=own / "ledger.db" if kept else None,
        )


def _packs() -> list[Path]:
    """The shipped rules, as the example configuration has them."""
    return [path for path in sorted((ROOT / "rules").glob("*.yaml")) if not path.name.endswith(".cases.yaml")]


YARDSTICKS: Final[Mapping[str, Callable[[Path, int], Any]]] = {
    "bare aiohttp": bare_aiohttp,
    "nginx": nginx,
    "haproxy": haproxy,
    "lean, parses": lean_parse,
    "lean, recovers": lean_recover,
    "node, viem": viem,
}
GATES: Final[Mapping[str, GateKind]] = {
    "gate, off": GateKind(mode="off"),
    "gate, enforce": GateKind(),
    "gate, packs": GateKind(rules=True),
}
PARTS: Final[Mapping[str, GateKind]] = {
    "whole": GateKind(),
    "without audit": GateKind(without=frozenset({"audit"})),
    "without metrics": GateKind(without=frozenset({"metrics"})),
    "without audit, metrics, events": GateKind(without=frozenset({"audit", "metrics", "events"})),
    "without ledger on disk": GateKind(without=frozenset({"ledger"})),
    "without a node": GateKind(node=False),
    "with the shipped rules": GateKind(rules=True),
    "ledger safe from power cuts": GateKind(synchronous="full"),
}


def stack_of_servers(
    stack: ExitStack,
    folder: Path,
    known: Path,
    names: Collection[str] = (*YARDSTICKS, *GATES),
    *,
    poll: float = 0.5,
    **options: float,
) -> dict[str, Server]:
    """Several at once. Yardsticks share an upstream; each gate has one of its own, on a chain of its own.

    `options` are those of the upstreams.
    """
    servers: dict[str, Server] = {}
    shared = stack.enter_context(upstream(folder, known, **options))
    for name in names:
        if name in YARDSTICKS:
            servers[name] = stack.enter_context(YARDSTICKS[name](folder, shared))
        else:
            own = stack.enter_context(upstream(folder, known, **options))
            servers[name] = stack.enter_context(gate(folder, own, name, GATES[name], poll=poll))
    return servers
