"""A chain that mines what a test says when it says so, and a bundler that keeps what it is handed and sends nothing.

    test -> [gate] -> doors -> bundler (here) and anvil

The operations are real ones of real accounts, signed ahead (flows/prepared.mjs); "mining" one is a bundle of one.
"""

from __future__ import annotations

import json
import threading
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.e2e.differential.wallet import receipt_of
from tests.e2e.flow import Flow, run_flow
from tests.e2e.rig import CHAIN_ID, ENTRY_POINT, Rig, install
from tests.patience import PATIENCE_SECONDS
from tests.ports import free_port

MODULE = "0x00000000008bDABA73cD9815d79069c247Eb4bDA"
TOKEN = "0x00000000000000000000000000000000dadadada"
IS_PERMISSION_ENABLED, BALANCE_OF = "0xadbc532f", "0x70a08231"
INCREMENT_NONCE = "0x0bd28e3b"  # incrementNonce(uint192 key) of the entry point


@dataclass
class HandMined(Rig):
    """An anvil of its own behind a door that can be shut, and a bundler that never sends."""

    anvil: str = ""
    hashes: dict[tuple[str, str], str] = field(default_factory=dict)  # by sender and nonce, as the flow told them
    kept: list[str] = field(default_factory=list)  # hashes of what the bundler was handed, in order
    shut: threading.Event = field(default_factory=threading.Event)
    opened: threading.Event = field(default_factory=threading.Event)
    dark_seconds: float = 0.0
    knocks: int = 0  # questions that met a shut door
    turn: threading.Lock = field(default_factory=threading.Lock)
    server: ThreadingHTTPServer | None = None

    def start(self) -> HandMined:
        install()
        port = free_port()
        self.anvil = self.node = f"http://127.0.0.1:{port}"
        try:
            self._start_chain(port)
            self._open_doors()
        except BaseException:
            self.stop()
            raise
        self.state_file.write_text(
            json.dumps({"node": self.anvil, "bundler": "", "recorder": self.bundler, "deployed": self.deployed})
        )
        return self

    def stop(self) -> None:
        if self.server is not None:
            self.server.shutdown()
            self.server.server_close()
        super().stop()

    def _open_doors(self) -> None:
        rig = self

        class Door(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                if rig.shut.is_set():
                    rig.knock()
                    self.close_connection = True  # and not a word
                    return
                answer = rig.forward(body) if self.path == "/node" else rig.answer(self.path, body)
                self.send_response(200)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_words: object) -> None:
                """Nobody reads it."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Door)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()
        url = f"http://127.0.0.1:{self.server.server_address[1]}"
        self.node, self.bundler = f"{url}/node", f"{url}/bundler"

    def shut_for(self, seconds: float) -> None:
        """Neither node nor bundler says a word, from now on until so long after the first who asks; then `opened`."""
        self.knocks, self.dark_seconds = 0, seconds
        self.opened.clear()
        self.shut.set()

    def knock(self) -> None:
        """Somebody asks at the shut door."""
        with self.turn:
            self.knocks += 1
            if self.knocks == 1:
                threading.Timer(self.dark_seconds, self._open).start()

    def _open(self) -> None:
        self.shut.clear()
        self.opened.set()

    def forward(self, body: bytes) -> bytes:
        """What anvil says."""
        return _post(self.anvil, body)

    def answer(self, path: str, body: bytes) -> bytes:
        """What a bundler says whose operations are never mined by itself. `…/mark` is of the flow's report."""
        if path.endswith("/mark"):
            return b"{}"
        asked = json.loads(body)
        results: dict[str, object] = {"eth_chainId": hex(CHAIN_ID), "eth_supportedEntryPoints": [ENTRY_POINT]}
        result = results.get(asked["method"])
        if asked["method"] == "eth_sendUserOperation":
            handed = asked["params"][0]
            result = self.hashes[handed["sender"].lower(), handed["nonce"]]
            self.kept.append(result)
        return json.dumps({"jsonrpc": "2.0", "id": asked["id"], "result": result}).encode()

    def ask(self, method: str, *params: object) -> Any:
        """What anvil answers, past the door."""
        return _ask(self.anvil, method, *params)

    def number(self) -> int:
        """The newest block's."""
        return int(self.ask("eth_blockNumber"), 16)

    def call(self, to: str, selector: str, *words: str) -> int:
        """One word, of a view asked at the newest block."""
        data = selector + "".join(word.removeprefix("0x").rjust(64, "0") for word in words)
        return int(self.ask("eth_call", {"to": to, "data": data}, "latest"), 16)


class Prepared:
    """One account with its signed operations, the gate they go through and the chain they are mined on."""

    def __init__(self, rig: HandMined, *, run: str, account_index: int, spends: tuple[str, ...]) -> None:
        flow = Flow(run, "flows/prepared.mjs", spends)
        (told,) = run_flow(rig, flow, run=run, bundler_url=rig.bundler, account_index=account_index)
        self.rig = rig
        self.account: str = told["account"]
        self.sessions: dict[str, str] = told["sessions"]
        self.receivers: dict[str, str] = told["receivers"]
        self.operations: dict[str, dict[str, Any]] = told["operations"]
        for each in self.operations.values():
            rig.hashes[self.account.lower(), each["op"]["nonce"]] = each["hash"]

    def hand_in(self, url: str, name: str) -> Any:
        """The hash, or the error."""
        asked = {
            "jsonrpc": "2.0",
            "id": 1,
            "method": "eth_sendUserOperation",
            "params": [self.operations[name]["op"], ENTRY_POINT],
        }
        answer = json.loads(_post(url, json.dumps(asked).encode()))
        return answer.get("error") or answer["result"]

    def mine(self, *names: str, blocks: int = 1, seconds: int = 2) -> None:
        """Bundles with these operations in one block, and others after it."""
        self.rig.ask("evm_setAutomine", False)
        (sender, *_) = self.rig.ask("eth_accounts")
        for name in names:
            bundle = {
                "from": sender,
                "to": ENTRY_POINT,
                "data": self.operations[name]["callData"],
                "gas": hex(5_000_000),
            }
            self.rig.ask("eth_sendTransaction", bundle)
        self.rig.ask("anvil_mine", hex(blocks), hex(seconds))
        self.rig.ask("evm_setAutomine", True)

    def burn_nonce(self, name: str) -> None:
        """The account itself uses up the nonce of this operation, by a transaction of its own."""
        key = int(self.operations[name]["op"]["nonce"], 16) >> 64
        self.rig.ask("anvil_setBalance", self.account, hex(10**18))
        self.rig.ask("anvil_impersonateAccount", self.account)
        data = INCREMENT_NONCE + f"{key:064x}"
        burnt = {"from": self.account, "to": ENTRY_POINT, "data": data, "gas": hex(200_000)}
        transaction = self.rig.ask("eth_sendTransaction", burnt)
        self.rig.ask("anvil_stopImpersonatingAccount", self.account)
        receipt_of(self.rig.anvil, transaction)

    def on_chain(self, session: str) -> tuple[bool, int]:
        """Whether it is enabled, and what it has spent."""
        enabled = self.rig.call(MODULE, IS_PERMISSION_ENABLED, self.sessions[session], self.account)
        return bool(enabled), self.rig.call(TOKEN, BALANCE_OF, self.receivers[session])

    def at_gate(self, url: str, session: str) -> dict[str, Any]:
        """What the gate says of it: status, used, inFlight, operations in flight and mined."""
        (found, *_) = _ask(url, "sessiongate_getSession", self.account, self.sessions[session]) or [None]
        if found is None:
            return {"status": None}
        # of a session whose policies are not known nothing can be told as used
        limit = next(
            (limit for policy in found["policies"] or () for limit in policy["limits"]),
            {"used": "0x0", "inFlight": "0x0"},
        )
        return {
            "status": found["status"],
            "used": int(limit["used"], 16),
            "inFlight": int(limit["inFlight"], 16),
            "operations": found["inFlight"],
            "mined": found["operations"]["mined"],
        }


def _ask(url: str, method: str, *params: object) -> Any:
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": list(params)}).encode()
    answer = json.loads(_post(url, body))
    assert "error" not in answer, (method, answer)
    return answer["result"]


def _post(url: str, body: bytes) -> bytes:
    request = urllib.request.Request(url, body, {"content-type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE_SECONDS) as response:
            read: bytes = response.read()
    except urllib.error.HTTPError as refused:
        read = refused.read()
    return read
