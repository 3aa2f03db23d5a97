"""What a server says of a request it could not read tells nothing that was in it."""

from __future__ import annotations

import asyncio
import logging

import pytest

from proxy.edge.http.http_log import HTTP_LOG, Discreet
from proxy.edge.http.listener import Transport
from proxy.edge.http.server import RpcServer, ServerSettings
from proxy.jsonrpc import Request
from proxy.ports import Answer, RequestContext


async def _never(_request: Request, _context: RequestContext) -> Answer | None:
    raise AssertionError("nothing readable was sent")


@pytest.mark.parametrize("transport", Transport)
@pytest.mark.parametrize(
    "request_bytes",
    [
        b"POST /local HTTP/1.1\r\nHost: x\r\nX-Api-Key: SECRETKEY\x01\r\n\r\n",
        b"POST /local?apikey=SECRETKEY junk HTTP/1.1\r\nHost: x\r\n\r\n",
    ],
)
async def test_no_key_of_a_broken_request_is_logged(
    request_bytes: bytes, transport: Transport, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.DEBUG)
    monkeypatch.setattr(HTTP_LOG, "filters", [Discreet()])  # which has counted nothing of other tests
    server = await RpcServer(_never, ServerSettings(chains=("local",), transport=transport)).start("127.0.0.1", 0)
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(request_bytes)
    assert b" 400 " in await reader.readline()
    writer.close()
    await writer.wait_closed()
    await server.stop()
    assert "a request was answered without being read" in caplog.text
    assert "SECRETKEY" not in caplog.text
    assert "Traceback" not in caplog.text


def test_however_many_requests_are_broken_the_log_grows_by_few_lines_and_counts_the_rest() -> None:
    now = 0.0
    discreet, lines = Discreet(lambda: now), []
    for second in range(20):
        now = float(second)
        for _ in range(1_000):
            record = logging.LogRecord("a", logging.INFO, "", 0, "broken", None, None)
            if discreet.filter(record):
                lines.append(record.getMessage())
    assert len(lines) <= 50 + 20 * 5
    assert lines[-5].endswith("(and 995 more without a line)")
    grave = logging.LogRecord("a", logging.ERROR, "", 0, "failed", None, None)
    assert discreet.filter(grave)
