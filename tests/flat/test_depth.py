"""A send takes a gate as much work with five thousand operations in flight as with none: steps of Python
from its first byte to its answer, through listener, verdict, ledger, disk, bundler and metrics.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from proxy.app import settling, start
from proxy.chain.settlement.settlement import Settlement
from proxy.config import Config
from proxy.ledger.operations import InFlight, Stage
from proxy.session.counters import Charge, Counter, SessionKey
from proxy.userop.primitives import Address, Hash32
from tests.admission.builders import key_of, lane
from tests.app.live_node import LiveNode
from tests.bypass_list.desk import single, use
from tests.chain.builders import accepted
from tests.flat.loop import BUSY, Aside
from tests.flat.pieces import Pieces
from tests.running_gate import HonestBundler, settings, submission
from tests.session.builders import USAGE, enabled, transfer

MANY = 5_000
MORE = 1.25
"""A send that stands in line takes a seventh more than one that does not; a step for each in flight would double it."""
SENDS = 9
LEAST = 3_000
"""Steps that a verdict takes at least: less, and it was not looked at."""
KEY, STATE = key_of(BUSY), enabled(BUSY)
USES = Counter(KEY.module, KEY.account, USAGE, STATE.action_config_id(next(iter(STATE.actions))))


def in_one_session(_number: int) -> SessionKey:
    return KEY


def in_many_sessions(number: int) -> SessionKey:
    own = number.to_bytes(32, "big")
    return SessionKey(KEY.chain_id, KEY.module, Address(own[12:]), Hash32(own))


def least_steps(looks: Sequence[Pieces]) -> int:
    """What the cheapest of these sends took, all pieces together: one that stood in line is done by another piece than
    one that did not. What else a gate does now and then, more of it on a slow machine, is not beside all of them."""
    return min(sum(piece.steps for piece in each.most.values()) for each in looks)


@pytest.fixture
def kept(monkeypatch: pytest.MonkeyPatch) -> list[Settlement]:
    """What follows the operations of the gates that are started."""
    made: list[Settlement] = []

    def settlement(**parts: Any) -> Settlement:  # Any: whatever it takes
        made.append(Settlement(**parts))
        return made[-1]

    monkeypatch.setattr(settling, "Settlement", settlement)
    return made


@pytest.fixture
def aside() -> Iterator[Aside]:
    """Where node, bundler and client are, whose work does not count."""
    aside = Aside()
    yield aside
    aside.stop()


@pytest.mark.parametrize("key", [in_one_session, in_many_sessions])
async def test_a_send_takes_no_more_with_thousands_in_flight(
    key: Callable[[int], SessionKey], kept: list[Settlement], aside: Aside, tmp_path: Path
) -> None:
    node, bundler = LiveNode(), HonestBundler()
    node.grant(BUSY)
    numbers = iter(range(1, 1_000))

    async with AsyncExitStack() as stack:
        served = await aside.do(node.serve())
        stack.push_async_callback(aside.do, served.cleanup())
        await aside.do(bundler.__aenter__())
        stack.push_async_callback(aside.do, bundler.__aexit__(None, None, None))

        def config() -> Config:
            return settings(bundler.url, node_url=node.url, ledger=f"sqlite://{tmp_path / 'gate.db'}")

        running = await start(config(), stack, config)

        async def send() -> None:
            op = use(BUSY, single(transfer(1)), nonce=lane(next(numbers)))
            gate = f"http://127.0.0.1:{running.rpc_port}/soneium"
            async with aiohttp.ClientSession() as http, http.post(gate, json=submission(op)) as response:
                assert "result" in await response.json()

        async def looked_at() -> list[Pieces]:
            looks = []
            for _ in range(SENDS):
                with Pieces(counts_steps=True) as pieces:
                    await aside.do(send())
                looks.append(pieces)
            return looks

        await looked_at()  # until all that is done once only is done
        few = await looked_at()
        (settlement,) = kept
        charges = (Charge(USES, 1, 1_000_000),)
        for number in range(1, MANY + 1):
            of = key(number)
            operation = accepted(number, of, *(charges if of == KEY else ()), nonce=number)
            settlement.restore([InFlight(operation=operation, stage=Stage.ACCEPTED)])
        await looked_at()  # as above
        many = await looked_at()
        assert len(settlement) >= MANY
    before, after = least_steps(few), least_steps(many)
    assert before > LEAST
    assert before / MORE <= after <= before * MORE
