"""Pages in a real Chromium call the gate from an origin of their own, with whatever headers tracers and SDKs add."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from tests.app.builders import DECLARED, GOOD, OUTSIDE
from tests.running_gate import RunningGate, request, running_gate, submission
from tests.stopping import AppRunner

KEY = "hush-client-key"
TRACED = {
    "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    "tracestate": "vendor=1",
    "baggage": "user=1",
}
"""What OpenTelemetry's fetch instrumentation sends along."""
OF_SDKS = {
    "Alchemy-AA-Sdk-Version": "4.0.0",
    "Alchemy-Aa-Sdk-Signer": "local",
    "X-Alchemy-Client-Trace-Id": "1",
    "X-Alchemy-Client-Breadcrumb": "sendUserOperation",
    "X-Requested-With": "XMLHttpRequest",
}
"""What Alchemy's aa-sdk sends to whatever URL it is given."""
_PAGE = """<!doctype html><script>
(async () => {
  const asked = %s, told = []
  for (const { url, method, headers, body, socket } of asked) {
    try {
      if (socket) {
        told.push(await new Promise((done, failed) => {
          const ws = new WebSocket(url)
          ws.onopen = () => ws.send(body)
          ws.onmessage = (message) => done({ body: JSON.parse(message.data) })
          ws.onerror = () => failed(new Error("refused"))
        }))
        continue
      }
      const answer = await fetch(url, { method, headers, body })
      const text = await answer.text()
      const decision = answer.headers.get("X-Sessiongate-Decision-Id")
      told.push({ status: answer.status, body: JSON.parse(text), decision })
    } catch (error) { told.push({ failed: String(error) }) }
  }
  await fetch("/told", { method: "POST", body: JSON.stringify(told) })
})()
</script>"""


def _chromium() -> str:
    for name in ("chromium-headless-shell", "chromium"):
        if (found := shutil.which(name)) is not None:
            return found
    raise AssertionError("no Chromium here: apt-get install chromium-headless-shell, or run .ci/run")


class Browser:
    """Serves one page and opens it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._asked: list[dict[str, Any]] = []
        self._told: asyncio.Future[list[Any]] = asyncio.get_running_loop().create_future()
        self.port = 0

    @property
    def origin(self) -> str:
        """Where the page is served from."""
        return f"http://127.0.0.1:{self.port}"

    async def show(self, _request: web.Request) -> web.Response:
        """The page."""
        return web.Response(text=_PAGE % json.dumps(self._asked), content_type="text/html")

    async def hear(self, request: web.Request) -> web.Response:
        """What came of its calls."""
        self._told.set_result(await request.json())
        return web.Response()

    async def ask(self, *asked: dict[str, Any]) -> list[Any]:
        """What a page hears that asks this."""
        self._asked, self._told = list(asked), asyncio.get_running_loop().create_future()
        browser = await asyncio.create_subprocess_exec(
            *(_chromium(), "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"),
            *("--disable-background-networking", f"--user-data-dir={self._folder}", "--remote-debugging-port=0"),
            f"{self.origin}/",
            start_new_session=True,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        try:
            async with asyncio.timeout(120):
                return await self._told
        finally:
            os.killpg(browser.pid, signal.SIGKILL)  # what is found may be a script that starts it, and it starts more
            await browser.wait()


@asynccontextmanager
async def _browsing(folder: Path) -> AsyncIterator[Browser]:
    browser = Browser(folder)
    application = web.Application()
    application.add_routes([web.get("/", browser.show), web.post("/told", browser.hear)])
    runner = AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    browser.port = runner.addresses[0][1]
    try:
        yield browser
    finally:
        await runner.cleanup()


_gate = partial(running_gate, sessions=[DECLARED])


def _call(gate: RunningGate, body: object, headers: Mapping[str, str], suffix: str = "") -> dict[str, Any]:
    sent = {"content-type": "application/json", **headers}
    return {"url": gate.url + suffix, "method": "POST", "headers": sent, "body": json.dumps(body)}


@pytest.mark.parametrize("transport", ["lean", "aiohttp"])
async def test_a_page_calls_with_its_key_and_with_what_tracers_and_sdks_add(transport: str, tmp_path: Path) -> None:
    clients = [{"name": "dapp", "api_key": KEY}]
    asked = request("eth_chainId")
    async with _gate(transport=transport, clients=clients) as gate, _browsing(tmp_path) as browser:
        told = await browser.ask(
            _call(gate, submission(GOOD), {"x-api-key": KEY, **TRACED}),
            _call(gate, submission(OUTSIDE), {"authorization": f"Bearer {KEY}", **OF_SDKS}),
            _call(gate, [asked, asked], TRACED, f"/{KEY}"),
            _call(gate, asked, {"x-api-key": "hush-not-a-key"}),
            _call(gate, asked, {"x-api-key": KEY, "x-unheard-of": "1"}),
            {"url": f"{gate.url.replace('http', 'ws')}/{KEY}", "body": json.dumps(asked), "socket": True},
            {"url": f"{gate.admin}/sessions", "method": "GET"},
        )
    taken, refused, batch, keyless, unheard, socket, admin = told
    assert taken["body"]["result"].startswith("0x")
    assert taken["decision"]
    assert refused["body"]["error"]["data"]["decisionId"] == refused["decision"]
    assert [each["result"] for each in batch["body"]] == [socket["body"]["result"]] * 2
    assert "error" in keyless["body"]
    assert "Failed to fetch" in unheard["failed"]
    assert "Failed to fetch" in admin["failed"]


async def test_a_page_of_another_origin_is_refused_by_browser_and_gate(tmp_path: Path) -> None:
    async with _gate(cors={"origins": ["https://dapp.example"]}) as gate, _browsing(tmp_path) as browser:
        socket = {"url": gate.url.replace("http", "ws"), "body": json.dumps(request("eth_chainId")), "socket": True}
        posted, opened = await browser.ask(_call(gate, submission(GOOD), {}), socket)
        assert "Failed to fetch" in posted["failed"]
        assert "refused" in opened["failed"]
        assert gate.bundler.sent == []


async def test_a_header_that_the_settings_name_passes(tmp_path: Path) -> None:
    async with _gate(cors={"headers": ["x-unheard-of"]}) as gate, _browsing(tmp_path) as browser:
        (told,) = await browser.ask(_call(gate, request("eth_chainId"), {"x-unheard-of": "1"}))
    assert told["status"] == 200
