"""One hash under several sessions, and grants that rival for one enable nonce: nothing is spent that nobody charged,
and nothing is held for what can never be mined."""

from __future__ import annotations

from dataclasses import replace

import pytest

from proxy.errors import Code
from proxy.session.known import Status
from proxy.userop.session_data import SessionData
from proxy.userop.user_operation import UserOperation
from tests.admission.builders import enabling, key_of, known, lane
from tests.app.builders import ONCE, refusal
from tests.app.followed import MANY, in_flight, settled
from tests.app.live_node import LiveNode
from tests.bypass_list.desk import a_session, use
from tests.chain.on_chain import put_absent
from tests.running_gate import RunningGate, running_gate
from tests.session.builders import TOKEN, TRANSFER, action, usage

SINGLE = a_session(action(TOKEN, TRANSFER, usage(1)), salt=21)
"""A session that may transfer a token once."""


def under(op: UserOperation, session: SessionData) -> UserOperation:
    """The same operation, which its key signed, as another session's: its hash does not cover which."""
    return replace(op, signature=op.signature[:1] + session.permission_id + op.signature[33:])


def used_by(gate: RunningGate, session: SessionData) -> int:
    found = gate.running.registry.get(key_of(session))
    assert found is not None
    assert found.state is not None
    return sum(found.state.used.values())


def in_force(gate: RunningGate, session: SessionData) -> bool:
    found = gate.running.registry.get(key_of(session))
    return found is not None and found.status is Status.IN_FORCE


@pytest.mark.parametrize("first", [MANY, SINGLE], ids=["the wide session first", "the narrow session first"])
async def test_of_six_operations_under_two_sessions_the_narrow_one_takes_as_many_as_it_may(
    live: LiveNode, first: SessionData
) -> None:
    for session in (MANY, SINGLE):
        live.grant(session)
    async with running_gate(node_url=live.url) as gate:
        taken = 0
        for number in range(6):
            wide = use(MANY, ONCE, nonce=lane(number))
            narrow = under(wide, SINGLE)
            for op in (wide, narrow) if first is MANY else (narrow, wide):
                answer = await gate.send(op)
                if op is wide:
                    assert "result" in answer, answer
                else:
                    assert "result" in answer or answer["error"]["code"] == Code.LIMIT_EXCEEDED, answer
                    taken += "result" in answer
        assert (taken, await in_flight(gate)) == (1, 6)


@pytest.mark.parametrize("mined_as", [MANY, SINGLE], ids=["the wide session's", "the narrow session's"])
async def test_what_is_mined_counts_for_the_session_that_its_bundle_shows_and_leaves_the_other_free(
    live: LiveNode, mined_as: SessionData
) -> None:
    for session in (MANY, SINGLE):
        live.grant(session)
    live.bundled = True
    async with running_gate(node_url=live.url) as gate:
        op = use(MANY, ONCE, nonce=lane(1))
        for each in (op, under(op, SINGLE)):
            assert "result" in await gate.send(each)
        live.mine(under(op, mined_as))
        await settled(gate, live)
        await gate.until(lambda: used_by(gate, mined_as) == 1, "it is counted")
        assert await in_flight(gate) == 0
        answer = await gate.send(use(SINGLE, ONCE, nonce=lane(2)))
        assert ("result" in answer) == (mined_as is MANY), answer
        assert sum(used_by(gate, each) for each in (MANY, SINGLE)) == 1


async def test_without_a_node_and_a_word_of_the_bundler_both_sessions_stay_charged() -> None:
    async with running_gate() as gate:
        for session in (MANY, SINGLE):
            gate.running.registry.put(known(session))
        op = use(MANY, ONCE, nonce=lane(1))
        for each in (op, under(op, SINGLE)):
            assert "result" in await gate.send(each)
        gate.bundler.mine(op)
        await gate.until(lambda: used_by(gate, MANY) == 1, "it is settled")
        assert (await gate.send(use(SINGLE, ONCE, nonce=lane(2))))["error"]["code"] == Code.LIMIT_EXCEEDED


# grants that rival


async def test_of_two_operations_that_enable_one_session_the_second_waits_and_takes_nothing(live: LiveNode) -> None:
    fresh = a_session(action(TOKEN, TRANSFER, usage(2)), salt=22)
    first, second = (enabling(fresh, ONCE, nonce=lane(number)) for number in (1, 2))
    put_absent(live, key_of(fresh), enable_nonce=0)
    live.sessions[fresh.permission_id] = fresh
    async with running_gate(node_url=live.url) as gate:
        assert "result" in await gate.send(first)
        assert refusal(await gate.send(second)) == (Code.SESSION_UNKNOWN, True)
        assert len(gate.bundler.sent) == 1
        dearer = enabling(fresh, ONCE, nonce=lane(1), max_fee_per_gas=3 * 10**9)
        assert "result" in await gate.send(dearer), "in the same nonce it is no rival"
        live.enable(first, fresh)
        await settled(gate, live)
        await gate.until(lambda: in_force(gate, fresh), "it is in force")
        assert await in_flight(gate) == 0
        # of two uses one is gone, and what was refused or could never be mined holds nothing of the other
        assert "result" in await gate.send(use(fresh, ONCE, nonce=lane(3)))
        assert (await gate.send(use(fresh, ONCE, nonce=lane(4))))["error"]["code"] == Code.LIMIT_EXCEEDED
