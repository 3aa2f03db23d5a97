"""The servers that are compared, all in front of the same upstream and all on one core of their own."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.bench.load import pinned, program
from tests.bench.operations import CHAIN_ID
from tests.e2e.children import Child, answers, free_ports, is_ok

ROOT = Path(__file__).parents[2]
SERVER_CORE = 0
CLIENT_CORE = 1

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

GATE = """\
listen: 127.0.0.1:{port}
admin_listen: 127.0.0.1:{admin}
mode: {mode}
ledger: sqlite:{mode}.db
chains:
  bench:
    chain_id: {chain_id}
    bundlers: [http://127.0.0.1:{upstream}]
    poll_seconds: 0.2
"""


@contextmanager
def running(name: str, command: list[str], folder: Path, core: int, ready: Callable[[], bool]) -> Iterator[None]:
    child = Child.start(name, pinned(core, command), folder / f"{name}.log", cwd=ROOT)
    try:
        child.wait_until(ready, "answer", seconds=30)
        yield
    finally:
        child.stop()


@contextmanager
def upstream(folder: Path, hashes: Path) -> Iterator[int]:
    """The port of the upstream. It shares the client's core: what is measured has a core to itself."""
    (port,) = free_ports(1)
    command = [sys.executable, "-m", "tests.bench.upstream", str(port), str(hashes)]
    with running("upstream", command, folder, CLIENT_CORE, lambda: answers(f"http://127.0.0.1:{port}")):
        yield port


@contextmanager
def bare_aiohttp(folder: Path, upstream: int) -> Iterator[str]:
    (port,) = free_ports(1)
    url = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "tests.bench.bare_aiohttp", str(port), f"http://127.0.0.1:{upstream}"]
    with running("aiohttp", command, folder, SERVER_CORE, lambda: answers(url)):
        yield url


@contextmanager
def nginx(folder: Path, upstream: int) -> Iterator[str]:
    (port,) = free_ports(1)
    url = f"http://127.0.0.1:{port}"
    config = folder / "nginx.conf"
    config.write_text(NGINX.format(folder=folder, port=port, upstream=upstream))
    command = [program("nginx", "nginx-light"), "-c", str(config), "-e", str(folder / "nginx.log")]
    with running("nginx", command, folder, SERVER_CORE, lambda: answers(url)):
        yield url


@contextmanager
def gate(folder: Path, upstream: int, mode: str) -> Iterator[str]:
    port, admin = free_ports(2)
    config = folder / f"{mode}.yaml"
    config.write_text(GATE.format(port=port, admin=admin, mode=mode, upstream=upstream, chain_id=CHAIN_ID))
    command = [sys.executable, "-m", "proxy.cli", "serve", "--config", str(config)]
    with running(f"gate-{mode}", command, folder, SERVER_CORE, lambda: is_ok(f"http://127.0.0.1:{admin}/readyz")):
        yield f"http://127.0.0.1:{port}/bench"
