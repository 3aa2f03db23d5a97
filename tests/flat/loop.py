"""How long the longest pieces of work of a running gate hold its loop, with much known: processor time of its thread.

    python -m tests.flat.loop [--sessions 100000] [--settled 200000] [--seconds 20] [--rules 1]

A gate in this process on asyncio's own loop, so that each piece can be looked at; load, chain and bundler are in
another thread, whose work does not count. What is printed is what took longest, and how often.
"""

from __future__ import annotations

import argparse
import asyncio
import sqlite3
import sys
import tempfile
import threading
import time
from asyncio import events
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import AsyncExitStack, closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

from proxy.app import Running, start
from proxy.chain.blocks.header import Header
from proxy.chain.settlement.outcome import Outcome, SettledUpTo
from proxy.chain.settlement.slices import BlockName
from proxy.config import Config
from proxy.edge.collector import Collector
from proxy.edge.storage.database import Synchronous
from proxy.edge.storage.store import Store
from proxy.ledger.operations import Cause, Ended, Evidence, Mined
from proxy.userop.user_operation import UserOperation
from tests.admission.builders import key_of, known, lane
from tests.app.live_node import LiveNode
from tests.bypass_list.desk import CHAIN_ID, a_session, single, use
from tests.chain.builders import accepted
from tests.flat.pieces import name_of
from tests.running_gate import HonestBundler, request, settings, submission
from tests.session.builders import TOKEN, TRANSFER, action, transfer, usage

BUSY = a_session(action(TOKEN, TRANSFER, usage(1_000_000)), salt=77)
LONG = 0.005
RULE = """
  - id: operations-{number}
    description: An account sends so many operations in a day.
    mode: enforce
    fail: open
    match: {{session: true}}
    limit: {{count: ops, max: {most}, per: account, window: 24h}}
"""


def rules_of(many: int) -> str:
    """So many, which all count every operation of a session, each by itself."""
    return "rules:" + "".join(RULE.format(number=number, most=1_000_000 + number) for number in range(many))


@dataclass
class Watchdog:
    """Every piece of work of one thread's loop: how long its thread was at it, by what it was."""

    thread: int = 0
    longest: dict[str, float] = field(default_factory=dict)
    long: Counter[str] = field(default_factory=Counter)
    pieces: int = 0

    def __enter__(self) -> Watchdog:
        self._run = events.Handle._run
        watchdog = self

        def watched(handle: events.Handle) -> None:
            if threading.get_ident() != watchdog.thread:
                watchdog._run(handle)
                return
            name = name_of(handle)
            begun = time.thread_time()
            watchdog._run(handle)
            watchdog.took(name, time.thread_time() - begun)

        events.Handle._run = watched  # type: ignore[method-assign]  # to be looked at from inside
        return self

    def __exit__(self, *_failure: object) -> None:
        events.Handle._run = self._run  # type: ignore[method-assign]  # as it was

    def took(self, name: str, seconds: float) -> None:
        self.pieces += 1
        if seconds > self.longest.get(name, 0.0):
            self.longest[name] = seconds
        if seconds > LONG:
            self.long[name] += 1


def write(path: Path, sessions: int, settled: int, newest: Header) -> None:
    """So many sessions in force, and operations that ended just now, all as of this block."""
    store, now = Store(path, synchronous=Synchronous.NORMAL), time.time()
    operation = accepted(1, key_of(BUSY), nonce=lane(1))
    mined = Mined(user_op_hash=operation.user_op_hash, success=True, block=10)
    ended = Ended(operation=operation, ended_at=now, mined=mined, cause=Cause.MINED, evidence=Evidence(block=10))
    asyncio.run(store.keep(Outcome(sessions=(known(BUSY),), begun=operation)))
    asyncio.run(store.keep(Outcome(ended=(operation.name,), remembered=(ended,))))
    block = BlockName(newest.number, newest.hash)
    cursor = SettledUpTo(CHAIN_ID, block, newest.timestamp, 0.0)
    asyncio.run(store.keep(Outcome(cursor=cursor, blocks=(block,))))
    store.close()
    with closing(sqlite3.connect(path)) as connection:
        (row,) = connection.execute("SELECT * FROM sessions").fetchall()
        rows = (
            (*row[:2], number.to_bytes(20, "big"), number.to_bytes(32, "big"), *row[4:]) for number in range(sessions)
        )
        connection.executemany(f"INSERT INTO sessions VALUES ({','.join('?' * len(row))})", rows)
        (row,) = connection.execute("SELECT * FROM operations_ended").fetchall()
        more = ((number + 10, (number + 10).to_bytes(32, "big"), *row[2:]) for number in range(settled))
        connection.executemany(f"INSERT INTO operations_ended VALUES ({','.join('?' * len(row))})", more)
        connection.commit()


async def _load(gate: str, admin: str, live: LiveNode, seconds: float) -> None:
    """Operations, blocks, scrapes, lists and reloads, all at once."""
    ends, numbers, sent = time.monotonic() + seconds, iter(range(1, 10_000_000)), list[UserOperation]()
    json_type = {"content-type": "application/json"}

    async def keep_on(work: Callable[[], Awaitable[object]], pause: float) -> None:
        while time.monotonic() < ends:
            with suppress(aiohttp.ClientError):
                await work()
            await asyncio.sleep(pause)

    async with aiohttp.ClientSession() as http:

        async def send() -> None:
            op = use(BUSY, single(transfer(1)), nonce=lane(next(numbers)))
            async with http.post(gate, json=submission(op)) as response:
                answer = await response.json()
                if "result" in answer:
                    sent.append(op)
                elif not int(op.nonce >> 64) % 50:
                    sys.stderr.write(f"{answer}\n")

        async def mine() -> None:
            mined = sent[:60]
            del sent[:60]
            live.mine(*mined)

        async def look(path: str) -> None:
            async with http.get(admin + path) as response:
                await response.read()

        async def change(path: str) -> None:
            async with http.post(admin + path, data=b"{}", headers=json_type) as response:
                await response.read()

        paths = ("/metrics", "/sessions", "/sessions?status=in_force", "/readyz", "/rules", "/rules/budget")
        paths += ("/rules/allowances", "/audit", "/freezes", "/healthz")
        named = request("sessiongate_getSession", "0x" + bytes(key_of(BUSY).account).hex())

        async def ask() -> None:
            async with http.post(gate, json=named) as response:
                await response.read()

        works = [(send, 0.005)] * 6 + [(mine, 0.5), (ask, 0.05)]
        works += [((lambda path=path: look(path)), 0.3) for path in paths]
        works += [((lambda path=path: change(path)), 1.0) for path in ("/rules/reload", "/settings/reload")]
        await asyncio.gather(*(keep_on(work, pause) for work, pause in works))


class Aside:
    """A loop in a thread of its own, until it is stopped."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()

    def stop(self) -> None:
        """Nothing must be under way any more."""
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()
        self.loop.close()

    async def do(self, work: Coroutine[Any, Any, Any]) -> Any:
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, self.loop))


async def watch(path: Path, live: LiveNode, seconds: float, watchdog: Watchdog, rules_text: str) -> None:
    aside, bundler = Aside(), HonestBundler()
    await aside.do(live.serve())
    await aside.do(bundler.__aenter__())
    rules = path.with_name("ours.yaml")
    rules.write_text(rules_text)
    top: dict[str, Any] = {"ledger": f"sqlite://{path}", "rules": [str(rules)], "session_queries": True}

    def config() -> Config:
        return settings(bundler.url, node_url=live.url, chain={"poll_seconds": "0.2"}, **top)

    async with AsyncExitStack() as stack:
        watchdog.thread = threading.get_ident()
        running: Running = await start(config(), stack, config)
        loop = asyncio.get_running_loop()
        collector = Collector(loop.call_soon_threadsafe, loop.call_later)
        collector.begin()
        stack.callback(collector.end)
        await asyncio.sleep(0)
        _print("start", watchdog)
        gate = f"http://127.0.0.1:{running.rpc_port}/soneium"
        await aside.do(_load(gate, f"http://127.0.0.1:{running.admin_port}", live, seconds))
        _print("at work", watchdog)
    _print("end", watchdog)


def _print(what: str, watchdog: Watchdog) -> None:
    print(f"== {what}: {watchdog.pieces} pieces of work")
    for name, seconds in sorted(watchdog.longest.items(), key=lambda each: -each[1])[:14]:
        if seconds > LONG:
            print(f"{1_000 * seconds:8.1f} ms at most, {watchdog.long[name]:5d} over {1_000 * LONG:g} ms: {name}")
    watchdog.longest.clear()
    watchdog.long.clear()
    watchdog.pieces = 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sessions", type=int, default=100_000)
    parser.add_argument("--settled", type=int, default=200_000)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--rules", type=int, default=1)
    wanted = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, Watchdog() as watchdog:
        path, live = Path(folder) / "gate.db", LiveNode()
        live.grant(BUSY)
        live.chain.mine()
        write(path, wanted.sessions, wanted.settled, live.chain.headers[-1])
        asyncio.run(watch(path, live, wanted.seconds, watchdog, rules_of(wanted.rules)))


if __name__ == "__main__":
    main()
