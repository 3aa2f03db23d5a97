"""One step of the walk after the other, and what the steps look at: a gate, its watchers, and a webhook."""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.e2e.children import bound
from tests.e2e.gate import Gate
from tests.e2e.rig import HERE, Rig, node_binary
from tests.e2e.watchers import Watchers

PATIENCE_SECONDS = 90.0
RULE = "tusd-per-session-per-hour"
SECRET = "walk-walk-walk-walk"


class Walk:
    """Steps, each printed with what came of it, and what alerts that are new say; `alerts` gives those by name."""

    def __init__(self, alerts: Callable[[], Mapping[str, Mapping[str, Any]]]) -> None:
        self.failed: list[str] = []
        self._alerts = alerts
        self._told: set[str] = set()

    def step(self, what: str, holds: Callable[[], bool]) -> None:
        """Wait until it holds; one that never does is told and remembered."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not (found := holds()) and time.monotonic() < deadline:
            time.sleep(0.2)
        print(f"   {'✔' if found else '✘'} {what}", flush=True)
        if not found:
            self.failed.append(what)
        for name, alert in self._alerts().items():
            if name not in self._told:
                self._told.add(name)
                print(f"      {name} {alert['labels']}", *alert["annotations"].values(), sep="\n        ", flush=True)


@dataclass
class Hook:
    """A webhook that checks who sent a message; while it `hangs` it answers nobody."""

    port: int = 0
    taken: list[dict[str, Any]] = field(default_factory=list)
    forged: int = 0
    answers: threading.Event = field(default_factory=threading.Event)

    @property
    def hangs(self) -> bool:
        return not self.answers.is_set()

    @hangs.setter
    def hangs(self, hangs: bool) -> None:
        self.answers.clear() if hangs else self.answers.set()

    def take(self, headers: Mapping[str, str], body: bytes) -> None:
        self.answers.wait()
        stamp = headers["x-sessiongate-timestamp"].encode()
        signature = hmac.new(SECRET.encode(), stamp + b"." + body, hashlib.sha256).hexdigest()
        if headers["x-sessiongate-signature"] == f"v1={signature}":
            self.taken.append(json.loads(body))
        else:
            self.forged += 1

    def alerts(self) -> set[str]:
        return {each["labels"]["alertname"] for each in self.taken}


@contextmanager
def listening() -> Iterator[Hook]:
    """A webhook on a free port, for as long as the context lasts."""
    hook = Hook()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            hook.take({name.lower(): value for name, value in self.headers.items()}, body)
            with suppress(OSError):  # who waited has gone
                self.send_response(204)
                self.end_headers()

        def log_message(self, *arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    hook.port, hook.hangs = server.server_port, False
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hook
    finally:
        hook.hangs = False
        server.shutdown()
        server.server_close()


@dataclass(frozen=True)
class Scene:
    """All that a step may look at."""

    rig: Rig
    gate: Gate
    watchers: Watchers
    hook: Hook
    settings: str

    def story(self) -> int:
        """A session lives through the gate; how often it went otherwise than told."""
        of_ours = {
            "RIG": str(self.rig.state_file),
            "BUNDLER_URL": self.gate.url,
            "RUN": "walk",
            "REPORT": os.devnull,
        }
        command = bound([node_binary(), "demo/story.mjs"])
        told = subprocess.run(command, cwd=HERE, env={**os.environ, **of_ours}, capture_output=True, check=False)
        return told.returncode

    def sends(self) -> list[dict[str, Any]]:
        """The requests that handed an operation to the bundler, oldest first."""
        asked = (line["request"] for line in self.rig.traffic(""))
        return [request for request in asked if request["method"] == "eth_sendUserOperation"]

    def mine(self, blocks: int) -> None:
        """Blocks without anything in them."""
        post(self.rig.node, {"jsonrpc": "2.0", "id": 1, "method": "anvil_mine", "params": [hex(blocks)]})

    def ask(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """What the gate answers a dapp."""
        return post(self.gate.url, request)

    def alert(self, name: str) -> Mapping[str, Any] | None:
        return self.watchers.firing().get(name)

    def says(self, name: str, *words: str) -> bool:
        """Whether the alert is active, and its texts have these words."""
        alert = self.alert(name)
        return alert is not None and all(word in json.dumps([alert["labels"], alert["annotations"]]) for word in words)

    def is_over(self, name: str) -> bool:
        """Whether the alert is not there any more, nor about to be, while the gate is scraped."""
        return self.watchers.is_over([name], self.gate.admin.removeprefix("http://"))

    def readiness(self) -> tuple[int, str]:
        """Status and text of /readyz."""
        try:
            with urllib.request.urlopen(f"{self.gate.admin}/readyz", timeout=PATIENCE_SECONDS) as response:
                return response.status, response.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except OSError:
            return 0, ""

    def output(self, *words: str) -> str:
        """What `sessiongate WORDS` prints, whatever it comes to."""
        return self._run(*words).stdout

    def typed(self, *words: str, has: str = "") -> bool:
        """Whether `sessiongate WORDS` does what it is to, and prints this."""
        done = self._run(*words)
        return done.returncode == 0 and has in done.stdout

    def _run(self, *words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "proxy.cli", *words, "--config", str(self.gate.config_file)]
        return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False)

    def log(self) -> str:
        return (self.gate.folder / "gate.log").read_text(errors="replace")


def post(url: str, body: Mapping[str, Any]) -> dict[str, Any]:
    request = urllib.request.Request(url, json.dumps(body).encode(), {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=PATIENCE_SECONDS) as response:
        answer: dict[str, Any] = json.load(response)
        return answer
