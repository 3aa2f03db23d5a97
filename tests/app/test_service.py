"""A gate as a process of its own: what it logs, how it stops, and that no secret is in anything it leaves behind."""

from __future__ import annotations

import asyncio
import base64
import json
import signal
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp
import pytest

from proxy.userop.primitives import print_bytes, print_checksummed
from tests.admission.builders import SESSION_KEY_ADDRESS, TWICE
from tests.app.builders import GOOD, OUTSIDE, SESSION_ID, use_number
from tests.bypass_list.desk import CHAIN_ID
from tests.edge.alerts.builders import Received, RecordingSink, recording_sink
from tests.patience import patiently
from tests.ports import free_port
from tests.running_gate import HonestBundler, request, submission
from tests.session.builders import ACCOUNT, TOKEN

CANARIES = {
    "audit": "canary-audit-key-of-32-characters",
    "bundler": "canary-bundler-key",
    "client": "canary-client-key",
    "collector": "canary-collector-token",
    "heads": "canary-heads-key",
    "hook": "canary-hook-secret",
    "manager": "canary-manager-key",
    "node": "canary-node-key",
    "pager": "canary-pager-key",
    "paymaster": "canary-paymaster-key",
    "reader": "canary-reader-token",
    "token": "canary-admin-token",
}
SETTINGS = """\
listen: 127.0.0.1:{rpc}
admin_listen: 127.0.0.1:{admin}
admin_token: {token}
admin_read_token: {reader}
ledger: sqlite:gate.db
log: {{format: {format}, level: debug, operations: all}}
drain_seconds: 60
audit: {{keep: {keep}, key: {audit}, heads: {{webhook: "{sink}/heads?key={heads}", every_seconds: 1}}}}
tracing: {{otlp: "{sink}/v1/traces", headers: {{authorization: "Bearer {collector}"}}}}
rules: [rules.yaml]
clients: [{{name: dapp, api_key: {client}}}]
alerts:
  alertmanager: "{sink}/{manager}"
  webhooks: [{{name: soc, url: "{sink}/hook?key={hook}", secret: {hook}}}]
  pagerduty: [{{name: oncall, url: "{sink}/pd", routing_key: {pager}}}]
chains:
  soneium:
    chain_id: {chain_id}
    bundlers: ["{bundler_url}?apikey={bundler}"]
    paymaster: "{sink}/pay/{paymaster}"
    poll_seconds: 0.05
  beside: {{chain_id: 1946, bundlers: ["{bundler_url}?apikey={bundler}"], node: "{sink}/v2/{node}", poll_seconds: 0.05}}
sessions:
  - permissionId: {permission}
    account: {account}
    chain: soneium
    sessionKey: {session_key}
    actions: [{{target: {target}, selector: "transfer(address,uint256)"}}]
"""
RULES = "rules:\n  - {id: watch, description: d, mode: alert, severity: low, match: {session: true}}\n"


class Process:
    def __init__(self, process: asyncio.subprocess.Process, folder: Path, ports: tuple[int, int]) -> None:
        self.process = process
        self.folder = folder
        self.rpc, self.admin = (f"http://127.0.0.1:{port}" for port in ports)
        self.http = aiohttp.ClientSession()

    @property
    def log(self) -> str:
        return (self.folder / "gate.log").read_text()

    async def ready(self) -> tuple[int, Any]:
        try:
            async with self.http.get(f"{self.admin}/readyz/soneium") as response:
                return response.status, await response.json()
        except aiohttp.ClientConnectionError:
            return 0, None

    async def until_ready(self) -> None:
        for _ in patiently():
            assert self.process.returncode is None, self.log
            if (await self.ready())[0] == 200:
                return
            await asyncio.sleep(0.02)
        raise AssertionError(self.log)

    async def until_said(self, words: str) -> None:
        for _ in patiently():
            if words in self.log:
                return
            await asyncio.sleep(0.02)
        raise AssertionError(self.log)

    async def look(self, path: str, token: str) -> int:
        """The status of the admin listener's answer."""
        async with self.http.get(self.admin + path, headers={"authorization": f"Bearer {token}"}) as response:
            return response.status

    async def send(self, op: Any, key: str = CANARIES["client"]) -> Any:
        return await self.ask(submission(op), key)

    async def ask(self, body: Any, key: str = CANARIES["client"]) -> Any:
        headers = {"x-api-key": key}
        async with self.http.post(f"{self.rpc}/soneium", json=body, headers=headers) as response:
            return await response.json()


@asynccontextmanager
async def serving(
    folder: Path, bundler: HonestBundler, sink: RecordingSink, style: str, keep: str = "facts"
) -> AsyncIterator[Process]:
    ports = free_port(), free_port()
    text = SETTINGS.format(
        rpc=ports[0],
        admin=ports[1],
        format=style,
        keep=keep,
        sink=sink.url,
        chain_id=CHAIN_ID,
        bundler_url=bundler.url,
        permission=print_bytes(TWICE.permission_id),
        account=print_checksummed(ACCOUNT),
        session_key=print_checksummed(SESSION_KEY_ADDRESS),
        target=print_checksummed(TOKEN),
        **CANARIES,
    )
    (folder / "sessiongate.yaml").write_text(text)
    (folder / "rules.yaml").write_text(RULES)
    with (folder / "gate.log").open("wb") as log:
        command = (sys.executable, "-m", "proxy.cli", "serve", str(folder / "sessiongate.yaml"))
        process = await asyncio.create_subprocess_exec(*command, stdout=log, stderr=log)
    gate = Process(process, folder, ports)
    try:
        await gate.until_ready()
        yield gate
    finally:
        await gate.http.close()
        if process.returncode is None:
            process.kill()
            await process.wait()


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[tuple[Path, HonestBundler, RecordingSink]]:
    async with HonestBundler() as bundler, recording_sink() as sink:
        yield tmp_path, bundler, sink


async def test_told_to_stop_it_is_not_ready_at_once_and_serves_on_until_the_second_word(
    world: tuple[Path, HonestBundler, RecordingSink],
) -> None:
    async with serving(*world, "console") as gate:
        file = gate.folder / "sessiongate.yaml"
        file.write_text(file.read_text().replace("drain_seconds: 60", "drain_seconds: 61"))
        gate.process.send_signal(signal.SIGHUP)
        await gate.until_said("drain_seconds in force")
        gate.process.send_signal(signal.SIGTERM)
        status, told = 200, None
        while status == 200:
            status, told = await gate.ready()
        assert status == 503
        assert "told to stop" in json.dumps(told)
        headers = {"x-api-key": CANARIES["client"]}
        async with gate.http.post(f"{gate.rpc}/soneium", json=submission(OUTSIDE), headers=headers) as response:
            refused = await response.json()  # an answer of the gate's: it serves
            (line,) = [line for line in gate.log.splitlines() if refused["error"]["data"]["decisionId"] in line]
            assert " verdict=reject " in line
            assert f" session={SESSION_ID} " in line
            assert response.headers["connection"].lower() == "close"  # and whoever keeps a connection goes elsewhere
        gate.process.send_signal(signal.SIGTERM)
        assert await gate.process.wait() == 0
        assert "serving for another 61 s" in gate.log  # as the settings were read again


async def test_json_lines_have_one_canonical_line_an_operation_with_its_decision_and_its_reason(
    world: tuple[Path, HonestBundler, RecordingSink],
) -> None:
    async with serving(*world, "json") as gate:
        answer = await gate.send(OUTSIDE)
        decision = answer["error"]["data"]["decisionId"]
        lines = [json.loads(line) for line in gate.log.splitlines()]
    told = [line for line in lines if line["logger"] == "proxy.operations"]
    (line,) = [line for line in told if line["decision"] == decision]
    assert (line["verdict"], line["chain"], line["client"], line["session"]) == (
        "reject",
        "soneium",
        "dapp",
        SESSION_ID,
    )
    assert line["code"] == answer["error"]["data"]["reason"]
    assert line["reason"] == answer["error"]["message"]
    assert {"time", "level", "logger", "message"} <= line.keys()


def forms(secret: bytes) -> dict[str, bytes]:
    """A secret as it may leak: as it is, in hex, in base64 at each offset, as a URL has it."""
    found = {"plain": secret, "hex": secret.hex().encode(), "HEX": secret.hex().upper().encode()}
    for offset in range(3):
        # the letters that hang on neighbouring bytes are left out
        found[f"base64+{offset}"] = base64.b64encode(b"\0" * offset + secret)[4 if offset else 0 : -4]
        found[f"base64url+{offset}"] = base64.urlsafe_b64encode(b"\0" * offset + secret)[4 if offset else 0 : -4]
    found["url"] = quote(secret, safe="").encode()
    return found


TOLD: dict[str, Callable[[Received], bool]] = {
    "alertmanager": lambda each: b'"startsAt"' in each.raw,
    "collector": lambda each: f"Bearer {CANARIES['collector']}" in each.headers.values(),
    "heads": lambda each: b'"hash"' in each.raw,
    "node": lambda each: b'"eth_chainId"' in each.raw,
    "pager": lambda each: b'"routing_key"' in each.raw,
    "paymaster": lambda each: b'"pm_getPaymasterStubData"' in each.raw,
    "webhook": lambda each: "X-Sessiongate-Signature" in each.headers,
}
"""Who has a key of the gate's, and how a message to each is told from the others."""


def told_to(whom: str, sink: RecordingSink) -> bool:
    return any(TOLD[whom](each) for each in sink.received)


def files_in(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Everything but settings and rules; what goes away meanwhile is left out."""
    for path in folder.rglob("*"):
        if path.is_file() and path.suffix != ".yaml":
            with suppress(FileNotFoundError):
                yield path.name, path.read_bytes()


@pytest.mark.parametrize(("style", "keep"), [("json", "facts"), ("console", "calldata")])
async def test_no_planted_secret_is_in_log_database_or_sinks_in_any_form(
    world: tuple[Path, HonestBundler, RecordingSink], style: str, keep: str
) -> None:
    folder, bundler, sink = world
    signature, calldata = GOOD.signature[33:], GOOD.call_data[4:]
    unsigned = replace(GOOD, signature=GOOD.signature[:33] + b"\x5e" * 65)
    async with serving(folder, bundler, sink, style, keep) as gate:
        for op in (GOOD, OUTSIDE, unsigned, use_number(1), replace(GOOD, signature=b"\x07" + b"\x5e" * 64)):
            await gate.send(op)
        await gate.send(GOOD, key="canary-wrong-key-of-a-client")
        await gate.ask(request("pm_getPaymasterStubData", *submission(GOOD)["params"], hex(CHAIN_ID), {}))
        looked = [await gate.look("/sessions", token) for token in (CANARIES["reader"], "canary-wrong-key-of-a-client")]
        assert looked == [200, 401]
        bundler.hang_up = True
        await gate.send(use_number(2))
        await sink.until(lambda: all(told_to(each, sink) for each in TOLD), "everybody was told")
        running = {f"{name}, while it runs": content for name, content in files_in(folder)}
        gate.process.send_signal(signal.SIGTERM)
        gate.process.send_signal(signal.SIGTERM)
        while (await gate.ready())[0]:
            gate.process.send_signal(signal.SIGTERM)
        assert await gate.process.wait() == 0
    left = dict(files_in(folder))
    assert {"gate.db", "gate.log"} <= left.keys()
    assert "gate.db-daybook, while it runs" in running
    left |= running
    # whoever sponsors an operation has to have it
    told = {f"sink {number}": each.raw for number, each in enumerate(sink.received) if not TOLD["paymaster"](each)}
    secrets = {**{name: value.encode() for name, value in CANARIES.items()}, "wrong": b"canary-wrong-key-of-a-client"}
    secrets |= {"signature": signature, "bad signature": b"\x5e" * 65, "call data": calldata[:96]}
    leaks = [
        (name, form, where)
        for name, secret in secrets.items()
        for form, text in forms(secret).items()
        for where, content in (*left.items(), *told.items())
        # PagerDuty is told its own key, as its interface wants it
        if text in content and not (name == "pager" and text == secret and b"routing_key" in content)
    ]
    if keep == "facts":
        assert leaks == []
    else:  # who wants the call data has it in the trail, and there alone
        assert {(name, where.partition(", ")[0].partition("-")[0]) for name, _, where in leaks} == {
            ("call data", "gate.audit.db")
        }
