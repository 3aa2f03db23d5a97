"""A plain use is judged in one go, and to the letter as on the long way, whatever is wrong or odd about it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from proxy.admission import Judgement
from proxy.judge.reading import Arrival
from proxy.judge.verdict import Allow
from proxy.session.addresses import SESSION_MODULES, SMART_SESSION
from proxy.session.call_plan import MOST_PLANS
from proxy.session.counters import SessionKey
from proxy.session.freezes import Freeze
from proxy.session.known import Status
from proxy.session.signers import ownable
from proxy.userop import libsecp256k1, secp256k1
from proxy.userop.entry_point import EntryPoint
from proxy.userop.execution import EXECUTE, Call
from proxy.userop.primitives import Address
from proxy.userop.user_operation import UserOperation
from tests.admission.builders import Room, key_of, known, lane
from tests.bypass_list.desk import (
    STRANGERS_KEY,
    V06,
    V07,
    V08,
    V09,
    a_session,
    an_operation,
    batch,
    session_signature,
    single,
    use,
)
from tests.judge.builders import judge_of
from tests.session.builders import (
    ACCOUNT,
    FRIEND,
    NOW,
    TOKEN,
    TRANSFER,
    action,
    approve,
    enabled,
    fallback,
    gas,
    rule,
    spending,
    sudo,
    time_frame,
    transfer,
    uni_action,
    usage,
    value_limit,
    word,
)

POKE = bytes.fromhex("b0b0b0b0")
BATCH_SEND = bytes.fromhex("2eb2c2d6")  # safeBatchTransferFrom(address,address,uint256[],uint256[],bytes)
WETH = Address(bytes.fromhex("4200000000000000000000000000000000000006"))
FREE = a_session(action(TOKEN, TRANSFER, sudo), action(TOKEN, POKE, time_frame(NOW + 60)), salt=1)
COUNTED = a_session(
    action(TOKEN, TRANSFER, usage(3), spending((TOKEN, 100)), time_frame(NOW + 60)),
    action(TOKEN, POKE, value_limit(50), uni_action(rule(4, 0, 90, limit=100), value=50)),
    user_op=[gas(2_000_000, 10**16), time_frame(NOW + 30)],
    paymaster=True,
    salt=2,
)
ANYTHING = a_session(fallback(sudo), action(TOKEN, TRANSFER, usage(2)), user_op=[time_frame(NOW + 9)], salt=3)
ENDED = a_session(action(TOKEN, TRANSFER, time_frame(NOW - 1)), salt=4)
UNKNOWN_POLICY = a_session(action(TOKEN, TRANSFER, replace(sudo, policy=Address(b"\x77" * 20))), salt=5)
SESSIONS = (FREE, COUNTED, ANYTHING, ENDED, UNKNOWN_POLICY)
RULES = """
- {id: few, mode: enforce, match: {session: true}, limit: {count: ops, max: 2, per: session, window: 1h}}
- {id: new-target, mode: alert, match: {session: true}, first_seen: {of: target, per: session, after: 1 ops}}
- {id: refusals, mode: alert, match: {session: true}, streak: {of: rejected, per: session, length: 2}}
- {id: rated, mode: enforce, match: {session: true}, rate: {max: 3, per: account, window: 10m}}
- {id: dear, mode: shadow, match: {session: true}, when: op.max_cost > 0.0001 ETH and op.lanes > 0}
- {id: full, mode: enforce, match: {session: true}, when: op.limit_used_percent > 90}
"""


def calls() -> st.SearchStrategy[Call]:
    targets = st.sampled_from([TOKEN, FRIEND, ACCOUNT, SMART_SESSION, WETH, V07.address, *sorted(SESSION_MODULES)[:2]])
    data = st.sampled_from(
        [
            b"",
            b"\x01\x02",
            POKE,
            POKE + word(40),
            POKE + bytes(600),
            transfer(60).data,
            transfer(60).data + b"\0",
            transfer(60).data + bytes(400),
            approve(7).data,
            BATCH_SEND + word(ACCOUNT) + word(FRIEND) + word(0xA0) * 2 + word(0xA0) + word(0),
            b"\xff\xff\xff\xff",
            EXECUTE + bytes(64),
        ]
    )
    return st.builds(Call, targets, st.sampled_from([0, 1, 60]), data)


ODD = ("entry point", "session", "call", "call data", "nonce", "more", "signature")
ODD_CALL_DATA: list[Callable[[Call], bytes]] = [
    lambda call: single(call, mode=b"\x00\x01"),
    lambda call: single(call, mode=b"\xff"),
    lambda call: single(call, mode=b"\x00\x00\x07"),
    batch,
    lambda call: batch(call, call),
    lambda call: single(call) + b"trailing",
    lambda call: single(call)[:-1],
    lambda call: single(call)[:120],
    lambda call: single(call)[:36] + word(96) + bytes(32) + single(call)[68:],
    lambda call: single(call)[:68] + word(2**255) + single(call)[100:],
    lambda call: single(call)[:90],
    lambda call: call.data,
]
ODD_NONCES = [
    int.from_bytes(each, "big")
    for each in (
        b"\x12\x34\x56\x00" + SMART_SESSION + bytes(8),
        b"\x12\x34\x56\x01" + SMART_SESSION + bytes(8),
        b"\x12\x34\x56\x02" + SMART_SESSION + bytes(8),
        SMART_SESSION + bytes(12),
        b"\x00\x01" + SMART_SESSION + bytes(10),
        b"\x00\x00" + SMART_SESSION + bytes(10),
        b"\x01\x01" + SMART_SESSION + bytes(10),
        b"\x12\x34\x56\x00" + b"\x0f" * 20 + bytes(8),
    )
]
MORE: list[dict[str, Any]] = [
    {"paymaster": FRIEND, "paymaster_verification_gas_limit": 5, "paymaster_post_op_gas_limit": 6},
    {"paymaster_verification_gas_limit": 0, "paymaster_post_op_gas_limit": 0},
    {"factory": FRIEND, "factory_data": b"\x01"},
    {"max_priority_fee_per_gas": 10**9},
    {"call_gas_limit": 3_000_000},
]


@st.composite
def operations(draw: st.DrawFn) -> tuple[UserOperation, EntryPoint]:
    """A plain use in which no more than two things are odd."""
    odd = draw(st.sets(st.sampled_from(ODD), max_size=2))
    entry_point = draw(st.sampled_from([V06, V08, V09])) if "entry point" in odd else V07
    grant = draw(st.sampled_from(SESSIONS if "session" in odd else [FREE, COUNTED, ANYTHING]))
    call = draw(calls() if "call" in odd else st.sampled_from([transfer(30), Call(TOKEN, 40, POKE + word(9))]))
    data = draw(st.sampled_from(ODD_CALL_DATA))(call) if "call data" in odd else single(call)
    nonce = draw(st.sampled_from(ODD_NONCES) if "nonce" in odd else st.integers(1, 9).map(lane))
    fees = {"max_priority_fee_per_gas": 2 * 10**9, **(draw(st.sampled_from(MORE)) if "more" in odd else {})}
    op = an_operation(data, nonce=nonce, **fees)
    if entry_point is V06:
        op = replace(op, init_code=b"", paymaster_and_data=b"", factory=None, factory_data=None, paymaster=None)
        op = replace(op, paymaster_verification_gas_limit=None, paymaster_post_op_gas_limit=None)
    signed = session_signature(op, entry_point)
    named = b"\0" + grant.permission_id
    strangers = named + session_signature(op, entry_point, STRANGERS_KEY)
    others = [
        *(named + signed[:-1] + bytes([55 - signed[-1]]), strangers, named + signed[:64], named + signed * 2, named),
        *(b"\0" + bytes(32) + signed, b"\x01" + named[1:] + signed, b"\x07" + named[1:] + signed, b"\0" * 9, b""),
    ]
    return replace(op, signature=draw(st.sampled_from(others)) if "signature" in odd else named + signed), entry_point


@st.composite
def worlds(draw: st.DrawFn) -> dict[str, Any]:
    return {
        "rules": draw(st.sampled_from([None, None, RULES])),
        "status": draw(st.sampled_from([*[Status.IN_FORCE] * 6, Status.PENDING, Status.REMOVED])),
        "frozen": draw(st.sampled_from([*[False] * 9, True])),
        "terms": draw(st.sampled_from([*[{}] * 6, {"keep_grounds": True}, {"unknown_session": "alert"}])),
    }


def a_room(world: dict[str, Any], *, straight: bool) -> Room:
    rules = None if world["rules"] is None else judge_of(world["rules"].replace("mode:", "description: d, mode:"))
    room = Room(rules=rules, **world["terms"])
    for grant in SESSIONS:
        state = enabled(grant).without_policy_knowledge() if world.get("unread") else enabled(grant)
        room.registry.put(known(grant, status=world["status"], state=state))
    if world["frozen"]:
        room.registry.freezes.put(Freeze(permission_id=FREE.permission_id, since=float(NOW)))
    if not straight:
        take_the_long_way(room)
    return room


def take_the_long_way(room: Room) -> None:
    room.admission._straight._is_open = False


async def judged(room: Room, sent: Sequence[tuple[UserOperation, EntryPoint]]) -> list[tuple[Judgement, int]]:
    request = Arrival(chain="chain", client="dapp", method="eth_sendUserOperation")
    judgements = []
    for op, entry_point in sent:
        judgement = await room.judge(op, entry_point, request=request)
        spent = 0 if judgement.operation is None else judgement.operation.budget.left
        judgements.append((judgement, spent if isinstance(judgement.verdict, Allow) else 0))
        room.now += 1
    return judgements


@settings(max_examples=60)
@given(worlds(), st.lists(operations(), min_size=1, max_size=5))
@example(
    {"rules": RULES, "status": Status.IN_FORCE, "frozen": False, "terms": {}}, [(use(FREE, single(transfer(1))), V07)]
)
def test_it_says_holds_and_tells_what_the_long_way_does(
    world: dict[str, Any], sent: list[tuple[UserOperation, EntryPoint]]
) -> None:
    straight, long = a_room(world, straight=True), a_room(world, straight=False)
    assert asyncio.run(judged(straight, sent)) == asyncio.run(judged(long, sent))
    for key in map(key_of, SESSIONS):
        assert straight.ledger.oldest_of_session(key, 9) == long.ledger.oldest_of_session(key, 9)
        assert straight.ledger.of_session(key) == long.ledger.of_session(key)


PACKED = TOKEN + bytes(32) + transfer(1).data
NAMED = {
    "a frozen session": ({"frozen": True}, use(FREE, single(transfer(1)))),
    "a call of the account to itself": ({}, use(ANYTHING, single(Call(ACCOUNT, 0, POKE + word(1))))),
    "a call to nobody's function": ({}, use(ANYTHING, single(Call(FRIEND, 0, b"")))),
    "calls elsewhere than where they seem": (
        {},
        use(FREE, EXECUTE + word(0) + word(96 + len(PACKED)) + word(len(PACKED)) + PACKED + word(52) + bytes(52)),
    ),
    "policies that were not read": ({"unread": True}, use(COUNTED, single(transfer(1)))),
}


@pytest.mark.parametrize("name", NAMED)
async def test_by_name(name: str) -> None:
    changes, op = NAMED[name]
    world = {"rules": None, "status": Status.IN_FORCE, "frozen": False, "terms": {}, **changes}
    straight, long = a_room(world, straight=True), a_room(world, straight=False)
    assert await judged(straight, [(op, V07)]) == await judged(long, [(op, V07)])


async def test_what_nearly_every_operation_is_goes_no_other_way(monkeypatch: pytest.MonkeyPatch) -> None:
    room = Room(*SESSIONS)
    monkeypatch.setattr(room.admission, "_hear", None)
    paid = {"paymaster": FRIEND, "paymaster_verification_gas_limit": 5, "paymaster_post_op_gas_limit": 6}
    same = {"max_priority_fee_per_gas": 2 * 10**9}
    for number, op in enumerate(
        [
            use(FREE, single(transfer(1)), nonce=lane(1)),
            use(COUNTED, single(transfer(1)), nonce=lane(2), **same),
            use(COUNTED, single(Call(TOKEN, 40, POKE + word(9))), nonce=lane(3), **same, **paid),
            use(ANYTHING, single(Call(FRIEND, 1, b"")), nonce=lane(4)),
        ]
    ):
        judgement = await room.allowed(op)
        assert judgement.reservation is not None, number


@pytest.mark.parametrize("op", [use(ENDED, single(transfer(1))), use(ENDED, single(transfer(1)), key=STRANGERS_KEY)])
async def test_a_signature_is_checked_once_whatever_else_is_wrong(
    monkeypatch: pytest.MonkeyPatch, op: UserOperation
) -> None:
    checked: list[bytes] = []

    def recover_point(digest: bytes, signature: bytes, parity: int) -> bytes | None:
        checked.append(digest)
        return libsecp256k1.recover_point(digest, signature, parity)

    monkeypatch.setattr(ownable, "recover_point", recover_point)
    monkeypatch.setattr(secp256k1, "recover_point", recover_point)
    await Room(*SESSIONS).refusal(op)
    assert checked
    assert len(checked) == len(set(checked))


async def test_a_session_remembers_so_many_functions_and_takes_more() -> None:
    room = Room(ANYTHING)
    for number in range(MOST_PLANS + 3):
        call = Call(FRIEND, 0, number.to_bytes(4, "big") + word(1))
        await room.allowed(use(ANYTHING, single(call), nonce=lane(number)))
    state = room.registry.get(key_of(ANYTHING)).state  # type: ignore[union-attr]  # it was put there
    assert len(state.bound.plans) == MOST_PLANS  # type: ignore[union-attr]  # what is bound has them


async def test_a_session_that_is_to_be_read_first_waits_for_that() -> None:
    room = Room(FREE)
    asked = []

    async def reconciled(key: SessionKey) -> None:
        asked.append(key)

    room.take(reconciled=reconciled, is_reconciled=lambda _: False)
    await room.allowed(use(FREE, single(transfer(1))))
    assert asked == [key_of(FREE)]
