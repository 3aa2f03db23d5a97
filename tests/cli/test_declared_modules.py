"""Commands know the session modules that settings declare: two of them, told about in different words, by events."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from proxy.cli import application
from proxy.errors import Code
from proxy.session.counters import SessionKey
from proxy.session.known import Status
from proxy.userop.declared_module import key_id
from proxy.userop.execution import Call
from proxy.userop.primitives import Address, Hash32, print_bytes, print_checksummed
from proxy.userop.user_operation import UserOperation, print_user_operation
from tests.admission.test_declared_modules import PAY, by_owner, using, using_named
from tests.app.builders import audited, refusal
from tests.app.live_node import FIRST, LiveNode
from tests.bypass_list.desk import CHAIN_ID, single
from tests.chain.blocks.builders import Ledgerless
from tests.patience import patiently
from tests.running_gate import RunningGate, running_gate, submission
from tests.session.builders import ACCOUNT, STRANGER, TOKEN, TRANSFER
from tests.session.declared_modules import (
    CLOSE,
    CLOSED,
    CREATE,
    CREATED,
    GRANT_LIST,
    GRANTED_LIST,
    NAMED,
    PLAIN,
    REVOKE,
    REVOKED,
    an_id,
    log_of,
)
from tests.session.signing import SESSION_KEY

ID = an_id("first")
GUIDE_MODULE = {
    "kind": "declared",
    "from_block": FIRST,
    "address": print_checksummed(PLAIN),
    "grants": [CREATE, CREATED],
    "revokes": [REVOKE, REVOKED],
}
NAMED_MODULE = {
    "kind": "declared",
    "from_block": FIRST,
    "address": print_checksummed(NAMED),
    "signature": "packed(bytes1 _, bytes32 id, bytes signature)",
    "key_signs": "hash",
    "grants": [GRANT_LIST, GRANTED_LIST],
    "revokes": [CLOSE, CLOSED],
}
OUTSIDE = single(Call(STRANGER, 0, PAY.data))
RULES = (
    "rules:\n  - id: no-sessions\n    description: No session acts.\n    mode: enforce\n    match: {session: true}\n"
)


def event(module: Address, prototype: str, *values: Any) -> Ledgerless:
    topics, data = log_of(prototype, *values)
    return Ledgerless(module, topics, data)


def named(module: Address, permission_id: Hash32) -> SessionKey:
    return SessionKey(CHAIN_ID, module, ACCOUNT, permission_id)


@dataclass
class Place:
    """A gate before a chain, and the commands beside it, by the same settings."""

    gate: RunningGate
    node: LiveNode
    folder: Path

    async def knows(self, key: SessionKey, status: Status) -> None:
        """The gate has heard what the chain tells of it."""
        await self.gate.until(lambda: self.gate.running.registry.status_of(key) is status, f"{key} is {status}")

    async def command(self, *arguments: str) -> tuple[int, str]:
        """Exit code and output of `sessiongate ARGUMENTS --config …`."""
        config = str(self.folder / "sessiongate.yaml")
        result = await asyncio.to_thread(CliRunner().invoke, application, [*arguments, "--config", config])
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result.exit_code, result.stdout

    async def explained(self, op: UserOperation, *more: str) -> tuple[int, dict[str, Any]]:
        path = self.folder / "operation.json"
        path.write_text(json.dumps(print_user_operation(op)), encoding="utf-8")
        code, told = await self.command("explain", str(path), "--entry-point", "v0.7", "--json", *more)
        verdict: dict[str, Any] = json.loads(told)
        return code, verdict


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Place]:
    chain = {"session_modules": ["default", GUIDE_MODULE, NAMED_MODULE]}
    node = LiveNode()
    node.tell(GRANTED, GRANTED_BY_NAME)  # before the gate is there
    server = await node.serve()
    async with running_gate(ledger=tmp_path / "ledger.db", node_url=node.url, chain=chain) as gate:
        settings = {
            "admin_listen": f"127.0.0.1:{gate.running.admin_port}",
            "ledger": f"sqlite://{tmp_path / 'ledger.db'}",
            "chains": {
                "soneium": {"chain_id": CHAIN_ID, "bundlers": [gate.bundler.url], "node": node.url, **chain},
            },
        }
        (tmp_path / "sessiongate.yaml").write_text(yaml.safe_dump(settings, width=1000), encoding="utf-8")
        (tmp_path / "new.yaml").write_text(RULES, encoding="utf-8")
        (tmp_path / "old.yaml").write_text("rules: []\n", encoding="utf-8")
        place = Place(gate, node, tmp_path)
        await place.knows(GUIDES, Status.IN_FORCE)
        await place.knows(NAMES, Status.IN_FORCE)
        yield place
    await server.cleanup()


GUIDES, NAMES = named(PLAIN, key_id(SESSION_KEY)), named(NAMED, ID)
GRANTED = event(PLAIN, CREATED, ACCOUNT, SESSION_KEY, TOKEN, TRANSFER, 0, 0, 0)
GRANTED_BY_NAME = event(NAMED, GRANTED_LIST, ID, 0, [(TRANSFER, TOKEN, 0)], 2, 0, SESSION_KEY, ACCOUNT)


async def test_explain_gives_the_verdict_on_sessions_that_events_granted(place: Place) -> None:
    for make in (using, using_named):
        code, allowed = await place.explained(make())
        assert (code, allowed["verdict"]) == (0, "allow")
        code, refused = await place.explained(make(OUTSIDE))
        assert (code, refused["verdict"], refused["reason"]) == (1, "reject", "session_scope")
    place.node.tell(event(NAMED, CLOSED, ACCOUNT, ID))
    await place.knows(NAMES, Status.REMOVED)
    code, refused = await place.explained(using_named())
    assert (code, refused["reason"]) == (1, "session_revoked")
    assert (await place.explained(using()))[0] == 0


async def test_explain_judges_by_settings_and_ledger_where_no_gate_is_asked(place: Place) -> None:
    for make in (using, using_named):
        code, allowed = await place.explained(make(), "--offline")
        assert (code, allowed["verdict"]) == (0, "allow")
        code, refused = await place.explained(make(OUTSIDE), "--offline")
        assert (code, refused["reason"]) == (1, "session_scope")


async def test_explain_counts_what_the_gate_has_in_flight(place: Place) -> None:
    for lane in (1, 2):
        assert "result" in await place.gate.send(using_named(lane=lane))
    code, refused = await place.explained(using_named(lane=3))
    assert (code, refused["reason"]) == (1, "limit_exceeded")


async def test_lint_reviews_sessions_that_events_granted(place: Place) -> None:
    for key in (GUIDES, NAMES):
        asked = ("lint", "--permission-id", print_bytes(key.permission_id), "--json")
        code, told = await place.command(*asked)
        for _ in patiently():  # a session is on file a moment after it is known
            if told:
                break
            await asyncio.sleep(0.01)
            code, told = await place.command(*asked)
        (review,) = json.loads(told)["sessions"]
        assert (review["account"], review["module"]) == (print_checksummed(ACCOUNT), print_checksummed(key.module))
        assert "no_expiry" in [finding["id"] for finding in review["findings"]]
        assert code == 1


async def test_backtest_knows_whose_sessions_acted(place: Place) -> None:
    assert "result" in await place.gate.send(using())
    assert "result" in await place.gate.send(using_named())
    assert refusal(await place.gate.send(using(OUTSIDE, lane=1)))[0] == Code.SESSION_SCOPE
    assert "result" in await place.gate.send(by_owner(PAY))
    await audited(place.gate, 4)
    compared = await backtested(place)
    assert (compared["operations"], compared["refusedByTheChain"]) == (4, 1)
    assert (compared["newlyRejected"]["operations"], compared["newlyRejected"]["sessions"]) == (2, 2)


async def test_backtest_of_recorded_traffic_tells_their_operations_from_the_owners(place: Place) -> None:
    recorded = place.folder / "recorded.jsonl"
    lines = [{"request": submission(op)} for op in (using(), using_named(), by_owner(PAY))]
    recorded.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    compared = await backtested(place, "--traffic", str(recorded))
    assert compared["operations"] == 3
    assert (compared["newlyRejected"]["operations"], compared["newlyRejected"]["sessions"]) == (2, 2)


async def backtested(place: Place, *more: str) -> dict[str, Any]:
    sets = ("--old", str(place.folder / "old.yaml"), "--new", str(place.folder / "new.yaml"))
    code, told = await place.command("rules", "backtest", *sets, "--json", *more)
    assert code == 0
    compared: dict[str, Any] = json.loads(told)
    return compared
