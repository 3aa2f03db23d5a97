"""A gate that follows a chain, from outside: what becomes of operations is known, and where it is not nothing is let
go."""

from __future__ import annotations

import asyncio
import hashlib
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from proxy.errors import Code
from proxy.session.known import Status
from tests.admission.builders import TWICE, enabling, granting, lane
from tests.app.builders import ONCE, refusal, status_of, use_number
from tests.app.conftest import Hours
from tests.app.followed import MANY, counted, has_used, in_flight, is_full, rival_of, settled
from tests.app.live_node import FIRST, LiveNode
from tests.bypass_list.desk import a_session, use
from tests.chain.blocks.builders import FakeChain
from tests.patience import patiently
from tests.running_gate import HonestBundler, running_gate
from tests.session.builders import TOKEN, TRANSFER, action, usage

OTHER = a_session(action(TOKEN, TRANSFER, usage(2)), salt=7)
RULE = """
rules:
  - id: one-a-day
    description: No session acts twice a day.
    mode: enforce
    severity: high
    match: {session: true}
    limit: {count: ops, max: 1, per: session, window: 24h}
"""


def contents(folder: Path) -> dict[Path, bytes]:
    return {file: file.read_bytes() for file in folder.iterdir()}


def put_back(folder: Path, copies: dict[Path, bytes]) -> None:
    """The folder has the files of this copy, and no others."""
    for file in folder.iterdir():
        file.unlink()
    for file, content in copies.items():
        file.write_bytes(content)


# restarts


async def test_a_restart_before_a_node_that_is_one_block_behind_spends_nothing_twice(
    live: LiveNode, tmp_path: Path
) -> None:
    ledger = tmp_path / "gate.db"
    async with HonestBundler() as bundler:
        async with running_gate(bundler=bundler, ledger=ledger, node_url=live.url) as gate:
            for number in (1, 2):
                assert "result" in await gate.send(use_number(number))
        live.mine(use_number(1))
        live.behind = 1
        async with running_gate(bundler=bundler, ledger=ledger, node_url=live.url) as gate:
            assert await is_full(gate)
            await settled(gate, live)
            assert (await in_flight(gate), await is_full(gate)) == (2, True)
            live.behind = 0
            await settled(gate, live)
            assert (await in_flight(gate), await is_full(gate)) == (1, True)
            live.mine(use_number(2))
            await settled(gate, live)
            assert (await in_flight(gate), has_used(gate, 2), await is_full(gate)) == (0, True, True)


async def test_what_was_kept_is_judged_by_its_age_after_a_restart(live: LiveNode, tmp_path: Path, hours: Hours) -> None:
    ledger = tmp_path / "gate.db"
    async with running_gate(ledger=ledger, node_url=live.url) as gate:
        assert "result" in await gate.send(use_number(1))
        await settled(gate, live)
    hours.ahead += 600
    live.chain.epoch += 600
    live.revoke(TWICE)
    live.refuses = True
    async with running_gate(ledger=ledger, node_url=live.url) as gate:
        assert refusal(await gate.send(use_number(2))) == (Code.STATE_UNAVAILABLE, True)
        assert await gate.metric("state_age_seconds", chain="soneium") > 500
        live.refuses = False
        await settled(gate, live)
        assert (await gate.send(use_number(2)))["error"]["code"] == Code.SESSION_REVOKED
    async with running_gate(ledger=ledger, node_url=live.url) as gate:
        # the node is there, but nothing was read yet: whoever comes first waits for it
        assert (await gate.send(use_number(2)))["error"]["code"] == Code.SESSION_REVOKED


# revoked on chain


async def test_a_session_revoked_on_chain_is_refused_within_a_poll(live: LiveNode) -> None:
    async with running_gate(node_url=live.url) as gate:
        assert "result" in await gate.send(use_number(1))
        live.revoke(TWICE)
        await gate.until(lambda: status_of(gate) is Status.REMOVED, "its end is read")
        assert refusal(await gate.send(use_number(2))) == (Code.SESSION_REVOKED, False)


async def test_a_gate_that_ended_before_it_could_read_what_changed_on_chain_does_not_judge_by_what_it_knew(
    live: LiveNode, tmp_path: Path
) -> None:
    ledger = tmp_path / "gate.db"
    async with running_gate(ledger=ledger, node_url=live.url) as gate:
        assert "result" in await gate.send(use_number(1))
        live.mine(use_number(1))
        await settled(gate, live)
        live.mute = True
        live.revoke(TWICE)
        await settled(gate, live)
    async with running_gate(ledger=ledger, node_url=live.url) as gate:
        assert refusal(await gate.send(use_number(2))) == (Code.STATE_UNAVAILABLE, True)
        live.mute = False
        for _ in patiently():
            answer = await gate.send(use_number(2))
            if refusal(answer) != (Code.STATE_UNAVAILABLE, True):
                break
            await asyncio.sleep(0.01)
        assert answer["error"]["code"] == Code.SESSION_REVOKED


@pytest.mark.parametrize("trouble", ["refuses", "limits rates", "hangs", "frozen"])
@pytest.mark.parametrize("fail", ["closed", "open"])
async def test_past_the_bound_known_sessions_follow_the_settings(
    live: LiveNode, hours: Hours, trouble: str, fail: str
) -> None:
    limits = {"node_seconds": "3"}  # of which the first reading needs a part, on a machine that is busy
    async with running_gate(node_url=live.url, chain={"node_fail": fail}, limits=limits) as gate:
        assert "result" in await gate.send(use_number(1))
        await settled(gate, live)
        live.behind, live.refusal = int(trouble == "frozen"), 429 if trouble == "limits rates" else 502
        live.revoke(TWICE)
        live.refuses, live.hangs = trouble in ("refuses", "limits rates"), trouble == "hangs"
        hours.ahead += 90
        await gate.until(lambda: status_of(gate) is not Status.REMOVED, "nobody knows that it was revoked")
        answer = await gate.send(use_number(2))
        if fail == "closed":
            assert refusal(answer) == (Code.STATE_UNAVAILABLE, True)
        else:
            assert "result" in answer
            assert await gate.metric("fail_open_total", what="state") == 1
        assert await gate.metric("state_age_seconds", chain="soneium") > 60
        async with gate.http.get(f"{gate.admin}/readyz/soneium") as response:
            assert response.status == 503


async def test_a_chain_that_makes_blocks_on_demand_may_rest_all_night(hours: Hours) -> None:
    # as a development node leaves it after contracts were deployed: a second apart, and as many as there were calls
    on_demand = FakeChain(FIRST, epoch=int(time.time()) - FIRST - 60, beat=1)
    on_demand.mine(blocks=50)
    node = LiveNode(chain=on_demand)
    node.grant(TWICE)
    server = await node.serve()
    try:
        async with running_gate(node_url=node.url) as gate:
            assert "result" in await gate.send(use_number(1))
            node.mine(use_number(1))
            await settled(gate, node)
            hours.ahead += 8 * 3_600
            await settled(gate, node)
            assert "result" in await gate.send(use_number(2))
            async with gate.http.get(f"{gate.admin}/readyz/soneium") as response:
                assert response.status == 200
    finally:
        await server.cleanup()


async def test_before_a_hold_ends_because_another_operation_was_mined_a_second_node_has_to_say_so(
    live: LiveNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    for waits in ("proofs._AGAIN_SECONDS", "lookout._LONGEST_SLEEP"):  # it is asked again and again
        monkeypatch.setattr(f"proxy.chain.settlement.{waits}", 0.02)
    second = LiveNode(chain=live.chain, sessions=live.sessions, claims=live.claims, behind=1)
    server = await second.serve()
    try:
        async with running_gate(chain={"node": [live.url, second.url]}) as gate:
            await settled(gate, live)
            assert "result" in await gate.send(use_number(1))
            live.mine(rival_of(1))
            await settled(gate, live)
            assert await in_flight(gate) == 1
            second.behind = 0
            await counted(gate, 1, "operations_ended_total", cause="nonce_used")
            assert await in_flight(gate) == 0
    finally:
        await server.cleanup()


@pytest.mark.parametrize("handling", ["alert", "reject"])
async def test_an_operation_behind_a_gap_is_told_of_or_refused(live: LiveNode, handling: str) -> None:
    async with running_gate(node_url=live.url, chain={"nonce_gap": handling}) as gate:
        answer = await gate.send(use(TWICE, ONCE, nonce=lane(1, 2)))
        if handling == "alert":
            assert "result" in answer
            await counted(gate, 1, "nonce_gaps_total")
        else:
            assert refusal(answer) == (Code.RATE_LIMITED, True)
        assert "result" in await gate.send(use_number(2))
        assert await gate.metric("nonce_gaps_total", chain="soneium") == (handling == "alert")


async def test_each_question_to_a_node_is_counted_also_of_those_that_go_together(live: LiveNode) -> None:
    async with running_gate(node_url=live.url, chain={"poll_seconds": "15"}) as gate:
        assert "result" in await gate.send(use_number(1))
        before = None
        for _ in patiently():  # until nothing more is asked
            counted_now = await gate.metric("node_questions_total", chain="soneium")
            if counted_now == before == len(live.asked):
                break
            before = counted_now
        assert before == len(live.asked) > 0


# past the gate


async def test_a_use_past_the_gate_is_counted_and_told_within_a_poll(live: LiveNode) -> None:
    async with running_gate(node_url=live.url) as gate:
        assert "result" in await gate.send(use_number(1))
        live.mine(use_number(1))
        await settled(gate, live)
        assert await gate.metric("past_gate_total", chain="soneium", what="use") == 0
        live.mine(use_number(5))
        await gate.until(lambda: has_used(gate, 2), "the session is read again")
        assert await is_full(gate)
        assert await gate.metric("past_gate_total", chain="soneium", what="use") == 1
        assert await in_flight(gate) == 0


async def test_a_ledger_put_back_with_its_mark_and_the_trail_shows_by_what_the_chain_has_and_it_does_not(
    live: LiveNode, tmp_path: Path, hours: Hours, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "gate.db"
    async with running_gate(node_url=live.url, ledger=path) as gate:
        assert "result" in await gate.send(use_number(1))
        live.mine(use_number(1))
        await settled(gate, live)
    copies = contents(tmp_path)
    async with running_gate(node_url=live.url, ledger=path) as gate:
        assert "result" in await gate.send(use_number(2))
        live.mine(use_number(2))
        await settled(gate, live)
        assert await gate.metric("past_gate_total", chain="soneium", what="use") == 0
    put_back(tmp_path, copies)
    hours.ahead += 3_600  # the chain's blocks are older than the start, whatever their seconds
    assert "before this gate started" not in caplog.text
    async with running_gate(node_url=live.url, ledger=path) as gate:
        await counted(gate, 1, "past_gate_total", what="use")
        assert "before this gate started: it went past the gate, or ledger, mark and audit trail" in caplog.text
        assert "SessiongateLedgerRewound" in caplog.text


async def test_a_grant_is_told_only_where_it_came_past_the_gate(live: LiveNode) -> None:
    async with running_gate(node_url=live.url) as gate:
        assert "result" in await gate.send(use_number(1))
        await settled(gate, live)
        grant = granting(OTHER)
        assert "result" in await gate.send(grant)
        live.grant(OTHER, by=grant)
        await settled(gate, live)
        assert await gate.metric("past_gate_total", chain="soneium", what="grant") == 0
        live.grant(a_session(action(TOKEN, TRANSFER, usage(2)), salt=8))
        await settled(gate, live)
        assert await gate.metric("past_gate_total", chain="soneium", what="grant") == 1


async def test_a_session_enabled_past_the_gate_by_its_own_operation_is_told_as_granted(live: LiveNode) -> None:
    async with running_gate(node_url=live.url) as gate:
        assert "result" in await gate.send(use_number(1))
        await settled(gate, live)
        live.enable(enabling(TWICE, ONCE, nonce=lane(6)), TWICE)
        await gate.until(lambda: has_used(gate, 1), "the session is read again")
        assert await gate.metric("past_gate_total", chain="soneium", what="grant") == 1
        assert await gate.metric("past_gate_total", chain="soneium", what="use") == 0


# a chain that takes blocks back


async def test_a_reorganisation_gives_back_and_the_operation_is_in_flight_again(live: LiveNode) -> None:
    async with running_gate(node_url=live.url) as gate:
        for number in (1, 2):
            assert "result" in await gate.send(use_number(number))
        live.mine(use_number(1))
        live.mine(use_number(2))
        await settled(gate, live)
        assert (await in_flight(gate), has_used(gate, 2)) == (0, True)
        live.reorganise(1)
        await settled(gate, live)
        await gate.until(lambda: has_used(gate, 1), "the session is read again")
        assert (await in_flight(gate), await is_full(gate)) == (1, True)
        live.mine(rival_of(2))
        await settled(gate, live)
        await gate.until(lambda: has_used(gate, 1), "what took its place has used nothing of the session")
        assert (await in_flight(gate), await is_full(gate)) == (0, False)


async def test_a_revocation_that_a_reorganisation_takes_back_is_taken_back_here(live: LiveNode) -> None:
    async with running_gate(node_url=live.url) as gate:
        assert "result" in await gate.send(use_number(1))
        await settled(gate, live)
        live.revoke(TWICE)
        await gate.until(lambda: status_of(gate) is Status.REMOVED, "its end is read")
        live.reorganise(1)
        await gate.until(lambda: status_of(gate) is Status.IN_FORCE, "it is read again")
        assert "result" in await gate.send(use_number(2))


# what rules hold


@pytest.mark.parametrize("unmined_rules", ["hold", "release"])
async def test_an_operation_behind_a_nonce_gap_keeps_what_rules_hold_for_it_unless_the_settings_let_that_go_too(
    live: LiveNode, hours: Hours, tmp_path: Path, unmined_rules: str
) -> None:
    (tmp_path / "rules.yaml").write_text(RULE)
    live.grant(MANY)
    chain = {"unmined_after": "60", "unmined_rules": unmined_rules}
    async with running_gate(node_url=live.url, chain=chain, rules=[str(tmp_path / "rules.yaml")]) as gate:
        parked = use(MANY, ONCE, nonce=lane(1, 7))
        assert "result" in await gate.send(parked)
        for _ in range(4):
            await settled(gate, live)
            hours.ahead += 30
            live.mine()
        await settled(gate, live)
        await counted(gate, 1, "operations_ended_total", cause="unmined")
        answer = await gate.send(use(MANY, ONCE, nonce=lane(2)))
        if unmined_rules == "release":
            assert "result" in answer
        else:
            assert answer["error"]["code"] == Code.RULE_REJECTED


# a node that tells of its blocks


async def test_a_node_that_tells_of_its_blocks_is_heard_between_polls(live: LiveNode) -> None:
    chain = {"poll_seconds": "300", "max_state_age": "900"}
    async with running_gate(node_url=live.socket_url, chain=chain) as gate:
        assert "result" in await gate.send(use_number(1))
        await gate.until(lambda: len(live.sockets) == 2, "both of its clients are connected")
        live.revoke(TWICE)
        await gate.until(lambda: status_of(gate) is Status.REMOVED, "its end is read")


def misnamed(node: LiveNode, body: dict[str, Any]) -> web.StreamResponse | None:
    """No block is the parent of the next, and none is the same twice."""
    if body["method"] != "eth_getBlockByNumber":
        return None
    answer: Any = node._answer(body["method"], body["params"])
    if (block := answer["result"]) is not None:
        block["hash"] = "0x" + hashlib.sha256(f"{block['hash']} {len(node.asked)}".encode()).hexdigest()
    return web.json_response({"jsonrpc": "2.0", "id": body["id"], **answer})


def without_blocks(body: dict[str, Any]) -> web.StreamResponse | None:
    if body["method"] != "eth_getBlockByNumber" or body["params"][0] == "latest":
        return None
    return web.json_response({"jsonrpc": "2.0", "id": body["id"], "result": None})


FAULTS = ("misnamed blocks", "no blocks", "another chain", "behind")


def go_wrong(node: LiveNode, fault: str) -> None:
    if fault == "misnamed blocks":
        node.reply = partial(misnamed, node)
    elif fault == "no blocks":
        node.reply = without_blocks
    elif fault == "another chain":
        node.chain_id += 1
        node.reply = partial(misnamed, node)
    else:
        node.behind = 5


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("at", ["from the start", "later"])
async def test_a_node_whose_word_is_in_vain_is_left_for_another_that_has_the_chain(
    live: LiveNode, hours: Hours, fault: str, at: str
) -> None:
    first = LiveNode(chain=live.chain, sessions=live.sessions, claims=live.claims)
    server = await first.serve()
    if at == "from the start":
        go_wrong(first, fault)
    try:
        async with running_gate(chain={"node": [first.url, live.url], "poll_seconds": "0.05"}) as gate:
            if at == "later":
                await settled(gate, live)
                assert "result" in await gate.send(use_number(1))
                go_wrong(first, fault)
                live.revoke(TWICE)
            live.mine()
            number, answer = 2, await gate.send(use_number(2))
            for _ in patiently():
                if answer.get("error", {}).get("code") == (Code.SESSION_REVOKED if at == "later" else None):
                    break
                hours.ahead += 0.5  # what is frozen shows by the time that goes by
                await asyncio.sleep(0.02)
                number += 1
                answer = await gate.send(use_number(number))
            assert ("result" in answer) == (at == "from the start"), answer
            await settled(gate, live)
    finally:
        await server.cleanup()
