"""An operation that waits behind a gap in its key's nonces is told of, or refused, as the settings say."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace

import pytest

from proxy.admission import Purpose
from proxy.admission.nonce_order import NonceOrder
from proxy.errors import Code, StateUnavailable
from proxy.ledger.reservation import NonceSlot
from proxy.userop.primitives import Address
from tests.admission.builders import TWICE, Room, granting, key_of, lane
from tests.app.builders import ONCE
from tests.bypass_list.desk import a_session, use
from tests.session.builders import ACCOUNT, TOKEN, TRANSFER, action, enabled, usage

KEY = 7 << 64


@dataclass
class Nonces:
    """What a node answers, and how often it was asked."""

    following: int | Exception = KEY
    asked: int = 0
    free: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.free.set()

    async def ask(self, _slot: NonceSlot) -> int:
        self.asked += 1
        await self.free.wait()
        if isinstance(self.following, Exception):
            raise self.following
        return self.following


def slot(sequence: int, key: int = KEY) -> NonceSlot:
    return NonceSlot(1, Address(b"\xee" * 20), ACCOUNT, key + sequence)


async def test_the_first_nonce_of_a_key_waits_for_nothing_and_nobody_is_asked() -> None:
    nonces = Nonces(KEY + 9)
    order = NonceOrder(nonces.ask, lambda _: False)
    assert await order.missing(slot(0)) is None
    assert nonces.asked == 0


async def test_a_nonce_waits_for_what_is_neither_used_nor_in_flight() -> None:
    nonces, held = Nonces(KEY + 2), {slot(3)}
    order = NonceOrder(nonces.ask, held.__contains__)
    assert await order.missing(slot(2)) is None
    assert await order.missing(slot(4)) == KEY + 2
    held.add(slot(2))
    assert await order.missing(slot(4)) is None
    assert await order.missing(slot(6)) == KEY + 5


async def test_what_blocks_told_and_what_is_in_flight_needs_no_question() -> None:
    nonces, held = Nonces(), {slot(5), slot(6)}
    order = NonceOrder(nonces.ask, held.__contains__)
    order.used(slot(4))
    assert await order.missing(slot(5)) is None
    assert await order.missing(slot(7)) is None
    order.used(slot(2))  # of an older block
    assert await order.missing(slot(5)) is None
    assert nonces.asked == 0


async def test_before_a_gap_is_told_the_chain_is_asked_once_for_each_block() -> None:
    nonces, newest = Nonces(KEY + 9), [100]
    order = NonceOrder(nonces.ask, lambda _: False, lambda: newest[0])
    order.used(slot(4))
    assert await order.missing(slot(7)) is None  # used past the gate
    nonces.following = KEY + 5
    for _ in range(3):
        assert await order.missing(slot(12)) == KEY + 11
    assert nonces.asked == 1  # at this block it was 9
    newest[0] = 101
    nonces.following = KEY + 12
    assert await order.missing(slot(12)) is None


async def test_a_key_that_nobody_can_ask_about_is_doubt_and_no_gap() -> None:
    order = NonceOrder(Nonces(StateUnavailable("no answer")).ask, lambda _: False)
    with pytest.raises(StateUnavailable):
        await order.missing(slot(3))
    told: list[int] = []
    order.watch(slot(3), told.append)
    await order.close()
    assert told == []


async def test_what_is_only_told_of_holds_nobody_up_however_many_there_are() -> None:
    nonces = Nonces()
    nonces.free.clear()
    order = NonceOrder(nonces.ask, lambda _: False)
    told: list[int] = []
    for key in range(100):
        order.watch(slot(2, key << 64), told.append)
    await asyncio.sleep(0)
    assert nonces.asked == 16
    nonces.following = 0
    nonces.free.set()
    await order.drained()
    assert len(told) == 16


# as operations are judged

MANY = a_session(action(TOKEN, TRANSFER, usage(1000)), salt=9)


def room(following: int | Exception, *, session: bool = True, **terms: object) -> tuple[Room, Nonces]:
    nonces = Nonces(following)
    made = Room(*([MANY] if session else []), node=True, **terms)
    made.order_by(nonces.ask)
    return made, nonces


@pytest.mark.parametrize("purpose", [Purpose.SUBMIT, Purpose.EXPLAIN])
async def test_an_operation_behind_a_gap_is_refused_where_the_settings_say_so(purpose: Purpose) -> None:
    at, _ = room(lane(1), nonce_gap="reject")
    reason = await at.refusal(use(MANY, ONCE, nonce=lane(1, 3)), purpose)
    assert (reason.code, reason.retryable) == (Code.RATE_LIMITED, True)
    assert "nonce 2 of its key" in reason.sentence
    await at.allowed(use(MANY, ONCE, nonce=lane(1, 0)), purpose)


async def test_a_row_of_operations_in_flight_is_no_gap() -> None:
    at, nonces = room(lane(1), nonce_gap="reject")
    for sequence in range(30):
        await at.allowed(use(MANY, ONCE, nonce=lane(1, sequence)))
    assert nonces.asked <= 1
    assert at.gaps == []


async def test_a_session_that_nobody_here_has_heard_of_is_held_to_the_same() -> None:
    at, _ = room(lane(1), session=False, nonce_gap="reject")
    at.node.sessions[key_of(MANY)] = enabled(MANY)
    reason = await at.refusal(use(MANY, ONCE, nonce=lane(1, 3)))
    assert reason.code is Code.RATE_LIMITED


async def test_a_strangers_operation_has_the_node_asked_nothing() -> None:
    at, nonces = room(lane(1), nonce_gap="reject")
    forged = use(MANY, ONCE, nonce=lane(1, 3))
    signature = forged.signature[:-65] + bytes([forged.signature[-65] ^ 1]) + forged.signature[-64:]
    reason = await at.refusal(replace(forged, signature=signature))
    assert reason.code is Code.SESSION_SCOPE
    assert nonces.asked == 0


@pytest.mark.parametrize(("node_fail", "passes"), [("closed", False), ("open", True)])
async def test_where_nobody_can_tell_it_follows_the_settings_for_missing_facts(node_fail: str, passes: bool) -> None:
    at, _ = room(StateUnavailable("no answer"), nonce_gap="reject", stale_state=node_fail)
    op = use(MANY, ONCE, nonce=lane(1, 3))
    if passes:
        await at.allowed(op)
    else:
        assert (await at.refusal(op)).code is Code.STATE_UNAVAILABLE


async def test_by_default_an_operation_behind_a_gap_is_sent_and_told_of() -> None:
    at, nonces = room(lane(1))
    nonces.free.clear()
    op = use(MANY, ONCE, nonce=lane(1, 3))
    judgement = await at.allowed(op)  # whoever sends it waits for nobody
    nonces.free.set()
    await at.order.drained()
    assert judgement.operation is not None
    assert at.gaps == [(judgement.operation.user_op_hash, lane(1, 2))]


@pytest.mark.parametrize("purpose", [Purpose.PREVIEW, Purpose.EXPLAIN])
async def test_what_is_not_sent_is_not_told_of(purpose: Purpose) -> None:
    at, nonces = room(lane(1))
    await at.allowed(use(MANY, ONCE, nonce=lane(1, 3)), purpose)
    await asyncio.sleep(0)
    assert nonces.asked == 0


async def test_the_owners_operations_are_not_looked_at() -> None:
    at, nonces = room(lane(1), nonce_gap="reject")
    await at.allowed(granting(TWICE, nonce=5))
    assert nonces.asked == 0
