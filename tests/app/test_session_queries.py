"""A dapp asks the gate where its sessions stand, what is left, and what became of their operations."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from proxy.edge.storage.store import Store
from proxy.errors import Code
from proxy.session.known import Status
from proxy.userop.primitives import print_bytes, print_checksummed
from tests.admission.builders import TWICE, granting, key_of, known, lane, removing
from tests.app.builders import DECLARED, GOOD, SESSION_ID, status_of, use_number, used_of
from tests.bypass_list.desk import a_session, single, use
from tests.chain.builders import FakeNode
from tests.chain.on_chain import put_session, put_unlisted
from tests.patience import patiently
from tests.running_gate import RunningGate, request, running_gate
from tests.session.builders import (
    ACCOUNT,
    OTHER_TOKEN,
    STRANGER,
    TOKEN,
    TRANSFER,
    action,
    enabled,
    spending,
    time_frame,
    transfer,
    usage,
)

GET, LIST = "sessiongate_getSession", "sessiongate_listSessions"
NAME = print_checksummed(ACCOUNT)
KEY = "hush-hush-hush-key"
DAPP: dict[str, Any] = {"clients": [{"name": "dapp", "api_key": KEY, "list_sessions": "true"}]}
HEADERS = {"x-api-key": KEY}


async def asked(gate: RunningGate) -> dict[str, Any]:
    (session,) = (await gate.ask(request(GET, NAME, SESSION_ID)))["result"]
    found: dict[str, Any] = session
    return found


async def told(gate: RunningGate, ready: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """The session, once what is kept of it is on file: that comes a moment after it is known."""
    for _ in patiently():
        session = await asked(gate)
        if ready(session):
            return session
        await asyncio.sleep(0.01)
    raise AssertionError(session)


async def listed(gate: RunningGate, *params: object) -> Any:
    return (await gate.ask(request(LIST, *params)))["result"]


async def test_a_sessions_life_is_told_from_its_grant_to_after_its_removal(tmp_path: Path) -> None:
    async with running_gate(session_queries="true", ledger=tmp_path / "ledger.db") as gate:
        grant = granting(TWICE)
        await gate.send(grant)
        pending = await asked(gate)
        assert (pending["status"], pending["operations"]["mined"]) == ("pending", 0)
        gate.bundler.mine(grant)
        assert "result" in await gate.send(GOOD)
        flying = await asked(gate)
        assert flying["status"] == "in_force"
        assert flying["policies"][0]["limits"][0]["inFlight"] == "0x1"
        gate.bundler.mine(GOOD, actualGasUsed="0x64", actualGasCost="0x6400")
        await gate.until(lambda: used_of(gate) == 1, "the first is counted")
        second = use_number(7)
        assert "result" in await gate.send(second)
        gate.bundler.mine(second, success=False, actualGasUsed="0x9c", actualGasCost="0x1")
        used = await told(gate, lambda session: session["operations"]["mined"] == 2)
        assert used["operations"]["reverted"] == 1
        assert (used["operations"]["gasUsed"], used["operations"]["gasCost"]) == ("0x100", "0x6401")
        assert used["operations"]["lastUsed"] is not None
        assert used["policies"][0]["limits"][0]["left"] == "0x0"
        removal = removing(TWICE)
        await gate.send(removal)
        gate.bundler.mine(removal)
        await gate.until(lambda: status_of(gate) is Status.REMOVED, "it is removed")
        kept = await told(gate, lambda session: session["scope"] == used["scope"])
        assert (kept["status"], kept["secondsLeft"]) == ("removed", 0)
        assert {name: kept[name] for name in ("operations", "scope", "policies")} == {
            name: used[name] for name in ("operations", "scope", "policies")
        }
    async with running_gate(session_queries="true", ledger=tmp_path / "ledger.db") as gate:
        assert await asked(gate) == kept


async def test_the_scope_names_targets_functions_and_policies() -> None:
    async with running_gate(session_queries="true") as gate:
        gate.running.registry.put(known(TWICE))
        scope = (await asked(gate))["scope"]
        (may,) = scope["actions"]
        assert (may["target"], may["selector"]) == (print_checksummed(TOKEN), print_bytes(TRANSFER))
        assert may["policies"] == ["UsageLimitPolicy"]


@pytest.mark.parametrize(
    ("until", "after", "status"),
    [(4_000_000_000, 0, "in_force"), (1_000_000_000, 0, "expired"), (4_000_000_000, 3_999_999_999, "upcoming")],
)
async def test_time_tells_upcoming_and_expired_apart_from_in_force(until: int, after: int, status: str) -> None:
    grant = a_session(action(TOKEN, TRANSFER, usage(2), time_frame(until, after)))
    async with running_gate(session_queries="true", **DAPP, headers=HEADERS) as gate:
        gate.running.registry.put(known(grant))
        (session,) = (await listed(gate, NAME))["sessions"]
        assert session["status"] == status
        assert (session["validUntil"], session["validAfter"]) == (until, after)
        assert (session["secondsLeft"] == 0) is (status == "expired")
        assert (session["secondsUntilValid"] > 0) is (status == "upcoming")
        (shown,) = (await gate.look("/sessions"))["sessions"]
        assert shown["status"] == status


async def test_a_session_without_an_end_has_no_seconds_to_count() -> None:
    async with running_gate(session_queries="true") as gate:
        gate.running.registry.put(known(TWICE))
        session = await asked(gate)
        assert (session["status"], session["secondsLeft"], session["validUntil"]) == ("in_force", None, None)


async def test_an_account_with_many_sessions_is_told_in_pages_newest_first_none_twice() -> None:
    async with running_gate(**DAPP, headers=HEADERS) as gate:
        grants = [a_session(action(TOKEN, TRANSFER, usage(2)), salt=number) for number in range(120)]
        for grant in grants:
            gate.running.registry.put(known(grant))
        seen: list[str] = []
        after: str | None = None
        while True:
            page = await listed(gate, {"account": NAME, "after": after})
            seen += [each["permissionId"] for each in page["sessions"]]
            after = page["next"]
            if after is None:
                break
        assert seen == [print_bytes(grant.permission_id) for grant in reversed(grants)]
        assert (await listed(gate, NAME, "0x" + "00" * 32)) == {"sessions": [], "next": None}
        assert (await listed(gate, print_checksummed(STRANGER))) == {"sessions": [], "next": None}


async def test_a_declared_session_is_listed_once() -> None:
    async with running_gate(**DAPP, headers=HEADERS, sessions=[DECLARED]) as gate:
        (session,) = (await listed(gate, NAME))["sessions"]
        assert (session["status"], session["permissionId"]) == ("declared", SESSION_ID)
        assert session["scope"]["actions"][0]["target"] == print_checksummed(TOKEN)
        gate.running.registry.put(known(TWICE))
        (session,) = (await listed(gate, NAME))["sessions"]
        assert session["status"] == "in_force"


async def test_only_clients_that_may_list_can() -> None:
    clients = [*DAPP["clients"], {"name": "other", "api_key": "hush-other-key"}]
    async with running_gate(session_queries="true", clients=clients) as gate:
        gate.running.registry.put(known(TWICE))
        answer = await gate.ask(request(LIST, NAME), **{"x-api-key": "hush-other-key"})
        assert answer["error"]["code"] == Code.METHOD_NOT_FOUND
        assert answer["error"]["data"]["setting"] == "list_sessions"
        assert len((await gate.ask(request(LIST, NAME), **HEADERS))["result"]["sessions"]) == 1
        assert (await gate.ask(request(LIST, NAME)))["error"]["code"] == Code.INVALID_REQUEST
    async with running_gate(session_queries="true") as gate:
        assert (await gate.ask(request(LIST, NAME)))["error"]["code"] == Code.METHOD_NOT_FOUND


async def test_who_may_list_may_not_ask_for_single_sessions_unless_that_is_set_too() -> None:
    async with running_gate(**DAPP, headers=HEADERS) as gate:
        answer = await gate.ask(request(GET, NAME, SESSION_ID))
        assert answer["error"]["data"]["setting"] == "session_queries"


async def test_what_became_of_operations_is_counted_once_and_outlives_the_session_until_it_is_pruned(
    tmp_path: Path,
) -> None:
    path = tmp_path / "ledger.db"
    async with running_gate(ledger=path) as gate:
        grant = granting(TWICE)
        await gate.send(grant)
        gate.bundler.mine(grant)
        await gate.send(GOOD)
        gate.bundler.mine(GOOD)
        await gate.until(lambda: used_of(gate) == 1, "it is counted")
        removal = removing(TWICE)
        await gate.send(removal)
        gate.bundler.mine(removal)
        await gate.until(lambda: status_of(gate) is Status.REMOVED, "it is removed")
    with closing(Store(path)) as store:
        key = key_of(TWICE)
        record = store.session_records([key])[key]
        assert record.use.mined == 1
        assert record.former is not None
        await store.prune(removed_before=4e9, chains=[1868])
        record = store.session_records([key])[key]
        assert (record.use.mined, record.former) == (0, None)


async def test_a_token_that_a_policy_does_not_list_is_refused_as_such_and_shown_with_no_limit_of_zero(
    chain: FakeNode, node_url: str
) -> None:
    limits = spending((TOKEN, 250))
    grant = a_session(action(TOKEN, TRANSFER, limits), action(OTHER_TOKEN, TRANSFER, limits))
    put_session(chain, enabled(grant))
    put_unlisted(chain, enabled(grant), OTHER_TOKEN)
    of_listed, of_other = (single(transfer(100, token=token)) for token in (TOKEN, OTHER_TOKEN))
    async with running_gate(session_queries="true", node_url=node_url) as gate:
        refused = (await gate.send(use(grant, of_other)))["error"]
        assert refused["code"] == Code.LIMIT_EXCEEDED, refused
        assert "result" in await gate.send(use(grant, of_listed, nonce=lane(1)))
        assert f"names no limit for {print_checksummed(OTHER_TOKEN)}" in refused["message"]
        (session,) = (await gate.ask(request(GET, NAME, print_bytes(grant.permission_id))))["result"]
        shown = [limit for policy in session["policies"] for limit in policy["limits"]]
        assert {limit["token"] for limit in shown} == {print_checksummed(TOKEN)}
        assert {int(limit["limit"], 16) for limit in shown} == {250}
