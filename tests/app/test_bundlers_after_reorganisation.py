"""What the chain takes back is at the bundler that it was sent to, also after a restart: what competes for its nonce,
and what follows it on its nonce key, goes there and to no other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from proxy.config import Config
from proxy.userop.user_operation import UserOperation, parse_user_operation
from tests.app.followed import MANY, in_flight, settled
from tests.app.live_node import LiveNode
from tests.app.test_bundlers import many
from tests.bypass_list.desk import V07
from tests.running_gate import HonestBundler, RunningGate, running_gate, settings

TAKEN_BACK = many(1)
REPLACEMENT = many(1, max_fee_per_gas=3 * 10**9)
FOLLOWING = many(1, sequence=1)
ELSEWHERE = many(2)  # its nonce key is at no bundler


async def is_mined(gate: RunningGate, live: LiveNode) -> None:
    """The gate sends one operation, and nothing is in flight any more."""
    assert "result" in await gate.send(TAKEN_BACK)
    live.mine(TAKEN_BACK)
    await settled(gate, live)
    assert await in_flight(gate) == 0


async def is_in_flight_again(gate: RunningGate, live: LiveNode) -> None:
    await settled(gate, live)
    assert await in_flight(gate) == 1


async def goes_where_it_was(gate: RunningGate, had: HonestBundler, other: HonestBundler) -> None:
    """Whatever nobody has goes to the other bundler, which is the first that the settings name."""
    for op in (REPLACEMENT, FOLLOWING, ELSEWHERE):
        assert "result" in await gate.send(op)
    assert received(had) == [TAKEN_BACK, REPLACEMENT, FOLLOWING]
    assert received(other) == [ELSEWHERE]


def received(bundler: HonestBundler) -> list[UserOperation]:
    return [parse_user_operation(each.params[0], V07.version) for each in bundler.sent]


async def test_what_the_chain_takes_back_is_replaced_at_the_bundler_that_had_it(live: LiveNode) -> None:
    live.grant(MANY)
    async with HonestBundler() as had, HonestBundler() as other:

        def reread(_config: Config) -> Config:
            return settings(had.url, node_url=live.url, chain={"bundlers": [other.url, had.url]})

        async with running_gate(bundler=had, node_url=live.url, reread=reread) as gate:
            await is_mined(gate, live)
            assert (await gate.change("POST", "/settings/reload", {}))["inForce"] == ["chains.soneium.bundlers"]
            live.reorganise(1)
            await is_in_flight_again(gate, live)
            await goes_where_it_was(gate, had, other)


@pytest.mark.parametrize("it_is_taken_back", ["before the restart", "meanwhile", "after it"])
async def test_a_restart_in_between_changes_nothing_of_that(
    live: LiveNode, tmp_path: Path, it_is_taken_back: str
) -> None:
    live.grant(MANY)
    async with HonestBundler() as had, HonestBundler() as other:
        setup: dict[str, Any] = {"bundler": had, "node_url": live.url, "ledger": tmp_path / "gate.db"}
        async with running_gate(**setup) as gate:
            await is_mined(gate, live)
            if it_is_taken_back == "before the restart":
                live.reorganise(1)
                await is_in_flight_again(gate, live)
        if it_is_taken_back == "meanwhile":
            live.reorganise(1)
        async with running_gate(**setup, chain={"bundlers": [other.url, had.url]}) as gate:
            if it_is_taken_back == "after it":
                await settled(gate, live)
                assert await in_flight(gate) == 0
                live.reorganise(1)
            await is_in_flight_again(gate, live)
            await goes_where_it_was(gate, had, other)
