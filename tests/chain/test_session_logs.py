"""Which session a log tells of, and which logs tell of none."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.chain.logs import Log
from proxy.chain.session_logs import MODULE_UNINSTALLED, SESSION_TOPICS, dropped_module, is_grant, session_touched
from proxy.session.counters import SessionKey
from proxy.userop.primitives import Address, Hash32
from tests.session.builders import ACCOUNT, SMART_SESSION, STRANGER, word

PERMISSION = Hash32(b"\x9e" * 32)
KEY = SessionKey(1, SMART_SESSION, ACCOUNT, PERMISSION)
ID, WHO, OTHER = word(PERMISSION), word(ACCOUNT), word(b"\x0f" * 20)

# first topic as published, and the data with the account where the event has it
EVENTS = {
    "SessionCreated": ("c5c98ce9477fc2c88a84abed218cda086be8442fc2eecb9e1ce33941d28741b6", ID + WHO),
    "SessionRemoved": ("1ff4377bcf87e5e9c2ec7fdc4732408c1073dd4b9f49e719d783b1e4fb0f6281", ID + WHO),
    "PolicyEnabled": (
        "1c5ea73ef804151087de6d0ce7a77287b15cfc4f51654cac5bfe6c558547f827",
        ID + word(2) + OTHER + WHO,
    ),
    "PolicyDisabled": (
        "b2a53c8ed9d14361634fc2a7835a222e5dbec408b6cef4e06768e844613fa754",
        ID + word(1) + OTHER + WHO,
    ),
    "ActionIdDisabled": (
        "fb5966a10bbfa837a7964784b0eb92d624218037b24ae5d1aeae23157f21453f",
        ID + word(b"\xaa" * 32) + WHO,
    ),
    "SessionValidatorEnabled": (
        "9e1deb1dcdedd38e68d5543a9a6be8416a0e0a5627628e47780bd6ef8abc1a3c",
        ID + OTHER + WHO,
    ),
    "SessionValidatorDisabled": (
        "1b8b78a1623842b0534f626565151ce282cc88268c30bf8d525c59d0c22f21db",
        ID + word(0) + WHO,
    ),
    "NonceIterated": ("b21cd80665df6c8932e067c1fb0835dc3bc61d85bcab4c90a9992b692d8e17e2", ID + WHO + word(2**255)),
    "PermissionIdPermit4337Paymaster": (
        "2c479309476f30bc996bdf6bdea053f2a125e86e9f080ee5a87c1eff76220937",
        ID + WHO + word(1),
    ),
}


def log_of(event: str = "SessionRemoved", **parts: object) -> Log:
    topic, data = EVENTS[event]
    log = Log(
        address=SMART_SESSION,
        topics=(Hash32(bytes.fromhex(topic)),),
        data=data,
        block=7,
        block_hash=Hash32(b"\x0b" * 32),
        transaction_hash=Hash32(b"\x0c" * 32),
        log_index=0,
    )
    return log._replace(**parts)  # type: ignore[arg-type]  # passed through


def touched(log: Log) -> SessionKey | None:
    return session_touched(log, 1, {SMART_SESSION})


@pytest.mark.parametrize("event", EVENTS)
def test_every_event_of_the_module_names_its_session(event: str) -> None:
    assert touched(log_of(event)) == KEY


def test_all_events_that_tell_of_a_session_are_asked_for() -> None:
    assert {topic.hex() for topic in SESSION_TOPICS} == {topic for topic, _ in EVENTS.values()}


def test_the_same_id_of_another_account_is_another_session() -> None:
    assert touched(log_of(data=ID + word(STRANGER))) == SessionKey(1, SMART_SESSION, STRANGER, PERMISSION)


def test_a_look_alike_of_another_contract_tells_of_nothing() -> None:
    assert touched(log_of(address=STRANGER)) is None


def test_a_log_that_a_reorganisation_removed_tells_of_a_change_too() -> None:
    assert touched(log_of(removed=True)) == KEY


@pytest.mark.parametrize("event", EVENTS)
@pytest.mark.parametrize("change", ["short", "long"])
def test_an_event_of_another_length_is_another_event(event: str, change: str) -> None:
    data = EVENTS[event][1]
    assert touched(log_of(event, data=data[:-1] if change == "short" else data + b"\0")) is None


def test_a_word_that_is_more_than_an_address_names_no_account() -> None:
    assert touched(log_of(data=ID + b"\x01" + WHO[1:])) is None
    assert touched(log_of(data=ID + WHO[:11] + b"\x01" + WHO[12:])) is None


def test_the_events_have_one_topic_and_one_only() -> None:
    (topic,) = log_of().topics
    assert touched(log_of(topics=())) is None
    assert touched(log_of(topics=(topic, PERMISSION))) is None
    assert touched(log_of(topics=(Hash32(bytes(32)),))) is None


TOPICS = st.lists(st.sampled_from(SESSION_TOPICS) | st.binary(min_size=32, max_size=32).map(Hash32), max_size=4)


@given(TOPICS, st.binary(max_size=200), st.sampled_from([SMART_SESSION, STRANGER]))
def test_no_log_raises_and_what_is_named_stands_in_its_data(topics: list[Hash32], data: bytes, at: Address) -> None:
    key = touched(log_of(address=at, topics=tuple(topics), data=data))
    if key is not None:
        assert at == SMART_SESSION
        assert len(topics) == 1
        assert data.startswith(key.permission_id)
        assert word(key.account) in data


@pytest.mark.parametrize("event", EVENTS)
def test_only_a_session_that_was_created_was_granted(event: str) -> None:
    assert is_grant(log_of(event)) is (event == "SessionCreated")
    assert not is_grant(log_of(event)._replace(topics=()))


# what accounts say

DROPPED = word(1) + word(SMART_SESSION)


def test_an_account_says_that_it_has_dropped_the_module_as_a_validator() -> None:
    log = log_of(address=ACCOUNT, topics=(MODULE_UNINSTALLED,), data=DROPPED)
    assert dropped_module(log, [SMART_SESSION]) == SMART_SESSION
    assert dropped_module(log, [STRANGER]) is None
    assert dropped_module(log._replace(data=word(2) + word(SMART_SESSION)), [SMART_SESSION]) is None
    assert touched(log) is None


@given(st.binary(max_size=100) | st.just(DROPPED), st.booleans())
def test_whatever_an_account_says_is_read_or_not(data: bytes, one: bool) -> None:
    log = log_of(address=ACCOUNT, topics=(MODULE_UNINSTALLED,) * (1 if one else 2), data=data)
    assert (dropped_module(log, [SMART_SESSION]) is not None) == (one and data == DROPPED)
