"""Operations whose hash covers an EIP-7702 delegate that nobody told: it is wanted only by what needs it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from proxy.admission import Purpose
from proxy.errors import Code, StateUnavailable
from proxy.judge.verdict import Reject
from proxy.userop.primitives import Address, Hash32, print_bytes
from proxy.userop.user_op_hash import user_op_hash
from proxy.userop.user_operation import EIP7702_MARKER, UserOperation, print_user_operation
from tests.admission.builders import TWICE, Room, granting
from tests.bypass_list.desk import CHAIN_ID, OWNER_NONCE, V08, an_operation, single, use
from tests.gate_parts import ESTIMATE, SEND, Answered, Scene, error, result
from tests.judge.builders import judge_of
from tests.session.builders import ACCOUNT, transfer

FOREIGN = an_operation(single(transfer(1)), nonce=OWNER_NONCE, signature=b"\x33" * 65, factory=EIP7702_MARKER)
SESSIONS = use(TWICE, single(transfer(1)), factory=EIP7702_MARKER)
GRANT = replace(granting(TWICE), factory=EIP7702_MARKER)
DELEGATE = Address(b"\xde" * 20)
NAME = Hash32(b"\x5a" * 32)
COUNTED = """
- {id: few, description: d, mode: %s, fail: %s, limit: {count: ops, max: 2, per: account, window: 1h}}
"""


def room_without_answer() -> Room:
    """A gate whose node cannot be reached."""
    room = Room(TWICE, node=True)
    room.node.delegates[ACCOUNT] = StateUnavailable("the code of the account")
    return room


@pytest.mark.parametrize("purpose", list(Purpose))
@pytest.mark.parametrize("unreachable", [True, False])
async def test_a_foreign_operation_passes_without_its_hash(purpose: Purpose, unreachable: bool) -> None:
    room = room_without_answer() if unreachable else Room(TWICE)
    judgement = await room.judge(FOREIGN, V08, purpose)
    assert not isinstance(judgement.verdict, Reject)
    assert judgement.reservation is None
    assert judgement.operation is not None
    assert judgement.operation.told_hash is None


@pytest.mark.parametrize("unreachable", [True, False])
async def test_an_estimate_of_a_sessions_operation_needs_no_hash_and_asks_nobody(unreachable: bool) -> None:
    room = room_without_answer() if unreachable else Room(TWICE)
    judgement = await room.judge(SESSIONS, V08, Purpose.PREVIEW)
    assert not isinstance(judgement.verdict, Reject)


async def test_a_sessions_operation_is_refused_where_nobody_can_tell_what_its_key_signed() -> None:
    judgement = await Room(TWICE).judge(SESSIONS, V08)
    assert isinstance(judgement.verdict, Reject)
    assert judgement.verdict.first.code is Code.UNDECODABLE
    assert "eip7702Auth" in judgement.verdict.first.remedy


async def test_the_hash_is_asked_for_where_a_node_can_tell_it() -> None:
    room = Room(TWICE, node=True)
    room.node.delegates[ACCOUNT] = DELEGATE
    judgement = await room.judge(FOREIGN, V08)
    assert judgement.operation is not None
    assert judgement.operation.told_hash == user_op_hash(FOREIGN, V08, CHAIN_ID, delegate=DELEGATE)


@pytest.mark.parametrize(
    ("mode", "fail", "passes"),
    [("enforce", "closed", False), ("enforce", "open", True), ("alert", "closed", True), ("shadow", "closed", True)],
)
async def test_a_rule_that_counts_to_the_end_cannot_do_without_a_name(mode: str, fail: str, passes: bool) -> None:
    room = Room(rules=judge_of(COUNTED % (mode, fail)))
    judgement = await room.judge(FOREIGN, V08)
    assert isinstance(judgement.verdict, Reject) is not passes
    if isinstance(judgement.verdict, Reject):
        assert (judgement.verdict.first.code, judgement.verdict.first.rule) == (Code.STATE_UNAVAILABLE, "few")
        assert "eip7702Auth" in judgement.verdict.first.remedy
    assert len(room.ledger) == 0
    assert judgement.reservation is None


async def send(scene: Scene, op: UserOperation, method: str = SEND) -> Any:
    return await scene.ask(method, print_user_operation(op), print_bytes(V08.address))


def a_scene() -> Scene:
    return Scene(Room(), entry_points={V08.address: V08})


async def test_it_goes_out_as_it_came_and_is_followed_under_the_name_the_bundler_gives_it() -> None:
    scene = a_scene()
    scene.upstream.answers = [result(print_bytes(NAME))]
    assert (await send(scene, GRANT))["result"] == print_bytes(NAME)
    ((operation, reservation, _),) = scene.follower.accepted_
    assert (operation.told_hash, reservation) == (NAME, None)
    assert scene.upstream.sent[0].operation == print_user_operation(GRANT)


@pytest.mark.parametrize("answer", [result("taken"), result(None), result({"success": True}), error(-32500, "AA23")])
async def test_it_is_not_followed_where_the_bundler_gives_it_no_name(answer: Answered) -> None:
    scene = a_scene()
    scene.upstream.answers = [answer]
    await send(scene, GRANT)
    assert not scene.follower.accepted_
    assert len(scene.upstream.sent) == 1


async def test_its_estimate_goes_out_too() -> None:
    scene = a_scene()
    scene.upstream.answers = [result({"callGasLimit": "0x1"})]
    assert (await send(scene, FOREIGN, ESTIMATE))["result"] == {"callGasLimit": "0x1"}
    decision, forwarding = scene.recorder.decisions[0]
    assert (decision.user_op_hash, forwarding) == (None, True)
