"""A whole gate in this process, on free ports, before a bundler that hashes operations as bundlers do."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp

from proxy.app import Running, start
from proxy.config import Config
from proxy.userop.entry_point import ENTRY_POINT_BY_ADDRESS
from proxy.userop.primitives import parse_address, print_bytes, print_checksummed, print_uint
from proxy.userop.user_op_hash import user_op_hash
from proxy.userop.user_operation import UserOperation, parse_user_operation, print_user_operation
from tests.bypass_list.desk import CHAIN_ID, V07
from tests.edge.recording_bundler import Answer, Recorded, RecordingBundler
from tests.patience import patiently

SEND = "eth_sendUserOperation"
ESTIMATE = "eth_estimateUserOperationGas"
RECEIPT = "eth_getUserOperationReceipt"
BY_HASH = "eth_getUserOperationByHash"
ENTRY_POINT = print_checksummed(V07.address)
GAS = {"preVerificationGas": "0x1", "verificationGasLimit": "0x2", "callGasLimit": "0x3"}
BUNDLER_KEY = "hush-bundler-key"
NODE_KEY = "hush-node-key"


class HonestBundler(RecordingBundler):
    """Answers with the operation's own hash, and with the receipts it is given."""

    def __init__(self) -> None:
        super().__init__(chain_id=CHAIN_ID)
        self.receipts: dict[str, dict[str, Any]] = {}
        self.answers |= {
            SEND: self._take,
            "boost_sendUserOperation": self._take,
            "pimlico_sendUserOperationNow": self._take_now,
            ESTIMATE: Answer(result=GAS),
            RECEIPT: self._receipt,
        }

    @property
    def sent(self) -> list[Recorded]:
        """The submissions that arrived."""
        return [request for request in self.requests if "send" in request.method]

    def mine(self, op: UserOperation, *, success: bool = True, block: int = 200, **told: str) -> str:
        """Give the operation a receipt, which tells this besides; its hash."""
        name = hash_of(op)
        told_of = {"userOpHash": name, "success": success, "receipt": {"blockNumber": print_uint(block)}}
        self.receipts[name] = {**told_of, **told}
        return name

    async def _take(self, recorded: Recorded) -> Answer:
        return Answer(result=_hash(recorded.params))

    async def _take_now(self, recorded: Recorded) -> Answer:
        return Answer(result={"userOpHash": _hash(recorded.params), "success": True, "receipt": {"blockNumber": "0x9"}})

    async def _receipt(self, recorded: Recorded) -> Answer:
        return Answer(result=self.receipts.get(recorded.params[0]))


def _hash(params: list[Any]) -> str:
    entry_point = ENTRY_POINT_BY_ADDRESS[parse_address(params[1], "entryPoint")]
    op = parse_user_operation(params[0], entry_point.version)
    return print_bytes(user_op_hash(op, entry_point, CHAIN_ID))


def hash_of(op: UserOperation) -> str:
    """The operation's hash as bundlers print it."""
    return print_bytes(user_op_hash(op, V07, CHAIN_ID))


def request(method: str, *params: object, request_id: object = 1) -> dict[str, Any]:
    """One JSON-RPC request."""
    return {"jsonrpc": "2.0", "id": request_id, "method": method, "params": list(params)}


def submission(op: UserOperation, method: str = SEND, request_id: object = 1) -> dict[str, Any]:
    """A request that carries an operation."""
    return request(method, print_user_operation(op), ENTRY_POINT, request_id=request_id)


@dataclass
class RunningGate:
    """A gate that listens, and whoever talks to it."""

    running: Running
    bundler: HonestBundler
    http: aiohttp.ClientSession
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.running.rpc_port}/soneium"

    @property
    def admin(self) -> str:
        return f"http://127.0.0.1:{self.running.admin_port}"

    async def post(self, body: object, **headers: str) -> tuple[int, bytes]:
        """HTTP status and bytes of an answer; `body` goes out as it is when it is bytes."""
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        sent = {"content-type": "application/json", **self.headers, **headers}
        async with self.http.post(self.url, data=raw, headers=sent) as response:
            return response.status, await response.read()

    async def ask(self, body: object, **headers: str) -> Any:
        """The answer to a request, parsed; `None` when there is none."""
        status, raw = await self.post(body, **headers)
        assert status == (200 if raw else 204), (status, raw)
        return json.loads(raw) if raw else None

    async def send(self, op: UserOperation, method: str = SEND) -> Any:
        """The answer to an operation."""
        return await self.ask(submission(op, method))

    async def look(self, path: str) -> Any:
        """What the admin listener shows: JSON parsed, anything else as text."""
        async with self.http.get(f"{self.admin}{path}") as response:
            assert response.status == 200, await response.text()
            if response.content_type == "application/json":
                return await response.json()
            return await response.text()

    async def change(self, method: str, path: str, body: object = None) -> Any:
        """What the admin listener answers to a change."""
        headers = {"content-type": "application/json"}
        data = None if body is None else json.dumps(body)
        async with self.http.request(method, f"{self.admin}{path}", data=data, headers=headers) as response:
            return await response.json()

    async def metric(self, name: str, **labels: str) -> float:
        """One sample of `/metrics`."""
        wanted = ",".join(f'{key}="{value}"' for key, value in sorted(labels.items()))
        for line in (await self.look("/metrics")).splitlines():
            if line.startswith(f"sessiongate_{name}{{{wanted}}} "):
                return float(line.rpartition(" ")[2])
        raise AssertionError(f"no {name}{{{wanted}}}")

    async def until(self, ready: Callable[[], bool], what: str) -> None:
        """Wait for something that happens behind the scenes."""
        for _ in patiently():
            if ready():
                return
            await asyncio.sleep(0.01)
        raise AssertionError(f"waited in vain until {what}")


def settings(
    bundler_url: str, *, node_url: str | None = None, chain: dict[str, Any] | None = None, **top: Any
) -> Config:
    """A configuration of one chain; keys in both URLs."""
    served: dict[str, Any] = {
        "chain_id": str(CHAIN_ID),
        "bundlers": [f"{bundler_url}?apikey={BUNDLER_KEY}"],
        "poll_seconds": "0.05",
        **(chain or {}),
    }
    if node_url is not None:
        served["node"] = f"{node_url}?key={NODE_KEY}"
    return Config.model_validate(
        {
            "listen": "127.0.0.1:0",
            "admin_listen": "127.0.0.1:0",
            "ledger": "memory",
            "chains": {"soneium": served},
            # a process less to start; who tests that it is written by one says so
            "audit": {"written_by": "thread", **top.pop("audit", {})},
            **top,
        }
    )


@asynccontextmanager
async def running_gate(
    *,
    bundler: HonestBundler | None = None,
    ledger: Path | None = None,
    headers: dict[str, str] | None = None,
    node_url: str | None = None,
    chain: dict[str, Any] | None = None,
    reread: Callable[[Config], Config] | None = None,
    **top: Any,
) -> AsyncIterator[RunningGate]:
    """A gate for as long as the context lasts. A bundler that is handed in is not stopped with it.

    `reread` makes of its settings those that a reload finds.
    """
    async with AsyncExitStack() as stack:
        if bundler is None:
            bundler = await stack.enter_async_context(HonestBundler())
        if ledger is not None:
            top["ledger"] = f"sqlite://{ledger}"
        config = settings(bundler.url, node_url=node_url, chain=chain, **top)
        running = await start(config, stack, None if reread is None else partial(reread, config))
        http = await stack.enter_async_context(aiohttp.ClientSession())
        yield RunningGate(running, bundler, http, headers or {})
