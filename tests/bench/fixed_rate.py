"""A client that sends at a fixed rate, whatever the server does; latency counts from the intended moment.

    python -m tests.bench.fixed_rate URL BODIES RATE CONNECTIONS

Who waits for an answer before asking again measures a slow server less often than a fast one. Here a request that
finds no free connection waits, and its wait counts. The figures are one JSON line, in microseconds, by a clock that has
them: the loop's counts whole milliseconds.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections import deque
from pathlib import Path
from typing import Final, cast
from urllib.parse import urlsplit

import uvloop

_DONE_SECONDS: Final = 60.0  # for the last answers


class Caller(asyncio.Protocol):
    """One connection, one request at a time."""

    def __init__(self, load: Load) -> None:
        self.load = load
        self.intended = 0.0
        self.buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.WriteTransport, transport)

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        head = self.buffer.find(b"\r\n\r\n")
        if head < 0 or len(self.buffer) < head + 4 + _length(self.buffer[:head]):
            return
        answer, self.buffer = self.buffer, b""
        self.load.answered(self, good=b" 200 " in answer[:20] and b'"result"' in answer)

    def connection_lost(self, exc: Exception | None) -> None:  # asyncio's own signature
        self.load.lost(self)

    def send(self, request: bytes, intended: float) -> None:
        self.intended = intended
        self.transport.write(request)


class Load:
    """The requests that are left, and who is free to send one."""

    def __init__(self, requests: list[bytes], rate: float) -> None:
        self.requests = requests
        self.rate = rate
        self.loop = asyncio.get_running_loop()
        self.idle: deque[Caller] = deque()
        self.waiting: deque[tuple[bytes, float]] = deque()
        self.latencies: list[float] = []
        self.failed = 0
        self.done = asyncio.Event()

    def offer(self, request: bytes, intended: float) -> None:
        if self.idle:
            self.idle.popleft().send(request, intended)
        else:
            self.waiting.append((request, intended))

    def answered(self, caller: Caller, *, good: bool) -> None:
        self.latencies.append(time.monotonic() - caller.intended)
        self.failed += not good
        if self.waiting:
            caller.send(*self.waiting.popleft())
        else:
            self.idle.append(caller)
        if len(self.latencies) + self.failed >= len(self.requests):
            self.done.set()

    def lost(self, caller: Caller) -> None:
        """A server that hangs up on a waiting caller has failed him."""
        if caller in self.idle:
            self.idle.remove(caller)
        else:
            self.failed += 1

    async def run(self) -> float:
        """Send them all; the seconds it took until the last answer."""
        begun = time.monotonic()
        for number, request in enumerate(self.requests):
            intended = begun + number / self.rate
            if (wait := intended - time.monotonic()) > 0:
                await asyncio.sleep(wait)
            self.offer(request, intended)
        async with asyncio.timeout(_DONE_SECONDS):
            while len(self.latencies) < len(self.requests):
                self.done.clear()
                await self.done.wait()
        return time.monotonic() - begun


def _length(head: bytes) -> int:
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return int(value)
    return 0


def percentile(ordered: list[float], share: float) -> float:
    """Of sorted values, the one that so large a share does not exceed."""
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)]


async def main(url: str, bodies: list[bytes], rate: float, connections: int) -> None:
    parts = urlsplit(url)
    head = f"POST {parts.path or '/'} HTTP/1.1\r\nHost: {parts.netloc}\r\nContent-Type: application/json\r\n"
    requests = [f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body for body in bodies]
    load = Load(requests, rate)
    for _ in range(connections):
        _, caller = await load.loop.create_connection(lambda: Caller(load), parts.hostname, parts.port)
        load.idle.append(caller)
    seconds = await load.run()
    ordered = sorted(load.latencies)
    p50, p99, p999 = (round(1e6 * percentile(ordered, share), 1) for share in (0.5, 0.99, 0.999))
    told = {"requests": len(ordered), "seconds": seconds, "p50": p50, "p99": p99, "p999": p999, "failed": load.failed}
    print(json.dumps(told))


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1], Path(sys.argv[2]).read_bytes().splitlines(), float(sys.argv[3]), int(sys.argv[4])))
