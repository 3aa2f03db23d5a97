"""A session used under a nonce that names no module: the account's root or default validator may be the module."""

from __future__ import annotations

from dataclasses import replace

import pytest

from proxy.admission import Purpose
from proxy.errors import Code, ContractAbsent, StateUnavailable
from proxy.judge.verdict import Allow, Reject
from proxy.session.addresses import SESSION_MODULES
from proxy.session.counters import SessionKey
from proxy.session.outcome import Waived
from proxy.session.state import SessionState
from proxy.userop.primitives import Hash32
from proxy.userop.user_operation import UserOperation
from tests.admission.builders import TWICE, Room, key_of
from tests.bypass_list.desk import CHAIN_ID, OWNER_NONCE, single, use
from tests.session.builders import ACCOUNT, enabled, transfer

KERNEL_ROOT = 7 << 64
"""Mode 00, type 00: whatever follows, Kernel asks its root validator."""
NONCES = (KERNEL_ROOT, OWNER_NONCE, int.from_bytes(b"\x12\x34\x56\0" + bytes(28), "big"))
STORED = {key_of(TWICE): enabled(TWICE)}


def hidden(nonce: int = KERNEL_ROOT) -> UserOperation:
    """The session's key has signed, under another nonce than one of its module."""
    return use(TWICE, single(transfer(1)), nonce=nonce)


def by_chance() -> UserOperation:
    """An owner's signature of 65 bytes that begins with 00, as one in 256 does."""
    return replace(hidden(), signature=b"\0" + b"\x5a" * 64)


@pytest.mark.parametrize("nonce", NONCES)
async def test_a_session_that_only_the_chain_knows_is_not_let_through_unjudged(nonce: int) -> None:
    room = Room(sessions=STORED)
    reason = await room.refusal(hidden(nonce))
    assert reason.code is Code.UNDECODABLE
    assert "names no session module" in reason.sentence
    assert room.reader is not None
    asked = len(room.reader.asked)
    assert (await room.refusal(hidden(nonce))).code is Code.UNDECODABLE
    assert len(room.reader.asked) == asked, "it is known by now"


async def test_an_owners_signature_that_looks_like_one_passes_and_the_node_is_asked_once() -> None:
    room = Room(sessions=STORED)
    for _ in range(3):
        judgement = await room.judge(by_chance())
        assert isinstance(judgement.verdict, Allow)
        assert not judgement.verdict.waived
    assert room.reader is not None
    assert len(room.reader.asked) == 1


async def test_a_module_that_is_not_on_the_chain_has_no_session_that_could_hide() -> None:
    """Of the published addresses few are taken on any one chain."""
    named = Hash32(by_chance().signature[1:33])
    keys = [SessionKey(CHAIN_ID, module, ACCOUNT, named) for module in SESSION_MODULES]
    absent: dict[SessionKey, SessionState | Exception] = {key: ContractAbsent("no contract there") for key in keys}
    room = Room(sessions=absent, session_modules=frozenset(SESSION_MODULES))
    for _ in range(3):
        assert isinstance((await room.judge(by_chance())).verdict, Allow)
    assert room.reader is not None
    assert set(room.reader.asked) == set(keys)


async def test_any_other_signature_costs_the_node_nothing() -> None:
    room = Room(sessions=STORED)
    assert isinstance((await room.judge(replace(hidden(), signature=b"\x0e" * 65))).verdict, Allow)
    assert isinstance((await room.judge(hidden(), purpose=Purpose.PREVIEW)).verdict, Allow)
    assert room.reader is not None
    assert room.reader.asked == []


async def test_without_a_node_it_passes_and_that_is_told() -> None:
    judgement = await Room().judge(hidden())
    assert isinstance(judgement.verdict, Allow)
    assert judgement.verdict.waived == (Waived.SESSION,)


async def test_where_the_node_does_not_answer_the_settings_decide() -> None:
    silent = {key_of(TWICE): StateUnavailable("the node")}
    assert (await Room(sessions=silent).refusal(hidden())).code is Code.STATE_UNAVAILABLE
    judgement = await Room(sessions=silent, stale_state="open").judge(hidden())
    assert isinstance(judgement.verdict, Allow)
    assert judgement.verdict.waived == (Waived.SESSION,)


async def test_nobody_makes_the_node_look_for_ever_new_ones() -> None:
    room = Room(sessions=STORED)
    verdicts = [
        (await room.judge(replace(hidden(), signature=b"\0" + bytes([number]) * 64))).verdict for number in range(1, 60)
    ]
    assert room.reader is not None
    assert len(room.reader.asked) < 40
    refused = [verdict for verdict in verdicts if isinstance(verdict, Reject)]
    assert refused
    assert all(verdict.first.retryable for verdict in refused)
