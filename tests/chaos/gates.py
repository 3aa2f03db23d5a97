"""Real gates in processes of their own, before a bundler of ours, with sessions that they know from the start."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

from proxy.chain.settlement.outcome import Outcome
from proxy.edge.storage.store import Store
from proxy.ledger.daybook import daybook_of, read_records
from proxy.session.counters import Counter
from proxy.userop.primitives import Hash32, print_checksummed
from proxy.userop.session_data import SessionData
from proxy.userop.user_operation import UserOperation, print_user_operation
from tests.admission.builders import key_of, known, lane
from tests.bypass_list.desk import CHAIN_ID, V07, a_session, single, use
from tests.e2e.children import bound
from tests.patience import PATIENCE_SECONDS
from tests.ports import free_ports
from tests.session.builders import SPENDING, TOKEN, TRANSFER, action, enabled, spending, transfer

ROOT = Path(__file__).parents[2]


def spender(limit: int, salt: int) -> SessionData:
    """A session that may transfer so much of a token."""
    return a_session(action(TOKEN, TRANSFER, spending((TOKEN, limit))), salt=salt)


def so_many_a_day(most: int) -> str:
    """A rule file: a session sends no more than so many operations in a day."""
    return f"""
rules:
  - id: operations
    description: A session sends so many operations in a day.
    mode: enforce
    match: {{session: true}}
    limit: {{count: ops, max: {most}, per: session, window: 24h}}
"""


def spent(grant: SessionData) -> Counter:
    """What counts the session's transfers."""
    state = enabled(grant)
    ((action_id, _),) = state.actions.items()
    return Counter(*state.config_key(SPENDING, state.action_config_id(action_id)), TOKEN)


def a_transfer(grant: SessionData, number: int, amount: int) -> UserOperation:
    """Operation `number`, on a nonce lane of its own."""
    return use(grant, single(transfer(amount)), nonce=lane(number))


@dataclass
class Nursery:
    """See `tests.chaos.nursery`."""

    process: subprocess.Popen[str]

    def start(self, config: Path, log: Path, most_bytes: int = 0, astray: tuple[float, float] = (0, 0)) -> int:
        return int(self._ask(f"start {config} {log} {most_bytes} {astray[0]:g},{astray[1]:g}"))

    def end(self, pid: int, number: int = signal.SIGKILL) -> int:
        """Send it a signal (0: none, it ends by itself) and wait for its end."""
        os.kill(pid, number)
        return int(self._ask(f"wait {pid}"))

    def _ask(self, line: str) -> str:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        return self.process.stdout.readline()


@contextmanager
def a_nursery(module: str = "tests.chaos.nursery") -> Iterator[Nursery]:
    command = bound([sys.executable, "-m", module])
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        yield Nursery(process)


@dataclass
class GateProcess:
    """A gate that may be ended and started again, on the same ports and the same database."""

    nursery: Nursery
    folder: Path
    bundler: str
    settings: str = ""
    node: str = ""  # its URL
    ports: list[int] = field(default_factory=lambda: free_ports(2))
    pid: int | None = None

    @property
    def database(self) -> Path:
        return self.folder / "gate.db"

    @property
    def log(self) -> Path:
        return self.folder / "gate.log"

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.ports[0]}/"

    @property
    def admin(self) -> str:
        return f"http://127.0.0.1:{self.ports[1]}"

    def know(self, grants: Sequence[SessionData]) -> None:
        """Write these sessions into the database, as in force."""
        store = Store(self.database)
        asyncio.run(store.keep(Outcome(sessions=tuple(known(grant) for grant in grants))))
        store.close()

    def configure(self) -> Path:
        """Write its settings down."""
        config = self.folder / "sessiongate.yaml"
        config.write_text(
            f"listen: 127.0.0.1:{self.ports[0]}\nadmin_listen: 127.0.0.1:{self.ports[1]}\n"
            f"ledger: sqlite:gate.db\n{self.settings}"
            f"chains:\n  local:\n    chain_id: {CHAIN_ID}\n    bundlers: [{self.bundler}]\n    poll_seconds: 0.05\n"
            + (f"    node: {self.node}\n" if self.node else "")
        )
        return config

    def start(self, most_bytes: int = 0, *, astray: tuple[float, float] = (0, 0)) -> None:
        """`astray`: see `tests.chaos.nursery`."""
        self.pid = self.nursery.start(self.configure(), self.log, most_bytes, astray)

    def end(self, number: int = signal.SIGKILL) -> int:
        assert self.pid is not None
        pid, self.pid = self.pid, None
        return self.nursery.end(pid, number)

    def tail(self) -> str:
        return self.log.read_text()[-4000:] if self.log.exists() else ""


async def until_ready(client: aiohttp.ClientSession, gate: GateProcess) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            try:
                async with client.get(f"{gate.admin}/readyz") as response:
                    if response.status == 200:
                        return
            except aiohttp.ClientError:
                pass
            await asyncio.sleep(0.01)


async def send(client: aiohttp.ClientSession, url: str, op: UserOperation) -> dict[str, Any] | None:
    """The gate's reply to a submission; `None` when there was none."""
    params = [print_user_operation(op), print_checksummed(V07.address)]
    return await rpc(client, url, "eth_sendUserOperation", params)


async def rpc(client: aiohttp.ClientSession, url: str, method: str, params: list[Any]) -> dict[str, Any] | None:
    body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
    try:
        async with client.post(url, json=body) as response:
            answer: dict[str, Any] = json.loads(await response.read())
            return answer
    except (aiohttp.ClientError, OSError, ValueError):
        return None


def writer_of(gate: GateProcess) -> int:
    """The process that writes the trail of this gate, and of no other."""
    found = []
    for each in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((each / "stat").read_text().rpartition(")")[2].split()[1])
            command = (each / "cmdline").read_bytes()
        except OSError:
            continue  # it has just ended
        if parent == gate.pid and b"proxy.edge.audit.child" in command:
            found.append(int(each.name))
    (writer,) = found
    return writer


def used_on_disk(gate: GateProcess, grant: SessionData) -> int:
    """What the gate has written down as used on chain of a session."""
    store = Store(gate.database)
    try:
        (session,) = [each for each in store.sessions() if each.key == key_of(grant)]
    finally:
        store.close()
    assert session.state is not None
    return session.state.used.get(spent(grant), 0)


def counted_on_disk(gate: GateProcess) -> dict[bytes, dict[Hash32, int]]:
    """What rules have counted for sessions: by the rule's identity and the session's permission id."""
    store = Store(gate.database)
    try:
        rows = store.rule_rows().buckets
    finally:
        store.close()
    counted: dict[bytes, dict[Hash32, int]] = {}
    for row in rows:
        by_session, permission_id = counted.setdefault(row.key.rule, {}), Hash32(row.key.group[-32:])
        by_session[permission_id] = by_session.get(permission_id, 0) + row.amount
    return counted


def is_entered(gate: GateProcess) -> bool:
    """Whether the database has all that the daybook has."""
    records, _ = read_records(daybook_of(gate.database).read_bytes())
    with closing(sqlite3.connect(gate.database)) as reader:
        ((entered,),) = reader.execute("SELECT entered FROM daybook").fetchall()
    return not records or records[-1].number <= entered


def in_flight_on_disk(gate: GateProcess) -> list[Hash32]:
    store = Store(gate.database)
    try:
        return [operation.user_op_hash for operation in store.operations_in_flight()]
    finally:
        store.close()
