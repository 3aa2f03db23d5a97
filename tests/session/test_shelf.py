"""Many sessions in little memory: packed or not, each comes back exactly."""

from __future__ import annotations

from dataclasses import replace

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.errors import StateUnavailable
from proxy.session.codec import state_to_json
from proxy.session.counters import SessionKey
from proxy.session.known import KnownSession, Source, Status
from proxy.session.shelf import PackedSession, Shelf
from proxy.userop.primitives import Address, Hash32
from tests.session.builders import (
    TOKEN,
    TRANSFER,
    action,
    arg,
    enabled,
    gas,
    key_of,
    node,
    only,
    rule,
    session,
    spending,
    sudo,
    time_frame,
    uni_action,
    usage,
    value_limit,
)

RICH = session(
    action(TOKEN, TRANSFER, spending((TOKEN, 7)), usage(3), uni_action(rule(0, 4, 5, limit=9)), only(TOKEN)),
    action(TOKEN, b"\x01\x02\x03\x04", arg([rule(0, 4, 5)], [node("rule")]), value_limit(2)),  # type: ignore[arg-type]  # a selector
    user_op=(gas(1, 2), time_frame(9), sudo),
)


def key(number: int) -> SessionKey:
    return key_of(RICH)._replace(account=Address(number.to_bytes(20, "big")))


def known(number: int, **changes: object) -> KnownSession:
    state = replace(enabled(RICH), key=key(number))
    whole = KnownSession(
        key=key(number),
        status=Status.IN_FORCE,
        source=Source.ENABLE,
        updated_at=1.5 + number,
        state=state,
        granted_by=Hash32(b"\x0b" * 32),
        block=2**40 + number,
    )
    return replace(whole, **changes)  # type: ignore[arg-type]  # fields of it


def stored(session: KnownSession) -> PackedSession:
    text = None if session.state is None else orjson.dumps(state_to_json(session.state))
    return PackedSession(session.status, session.source, session.updated_at, session.granted_by, session.block, text)


def test_a_session_that_was_packed_comes_back_exactly() -> None:
    shelf = Shelf(most_unpacked=1)
    sessions = [known(1), known(2, state=None, granted_by=None, block=None), known(3, status=Status.REMOVED)]
    for each in sessions:
        shelf.put(each)
    assert [shelf.get(each.key) for each in sessions] == sessions
    assert sorted(shelf, key=lambda each: each.updated_at) == sessions
    assert len(shelf) == 3


def test_a_stored_session_comes_back_exactly_and_is_not_looked_into_before() -> None:
    shelf = Shelf()
    shelf.put_packed(key(1), stored(known(1)))
    shelf.put_packed(key(2), stored(known(2))._replace(state=b'{"key":{}}'))
    assert shelf.get(key(1)) == known(1)
    assert shelf.status_of(key(2)) is Status.IN_FORCE
    with pytest.raises(StateUnavailable, match="cannot be read"):
        shelf.get(key(2))


def test_a_session_used_lately_is_the_same_object_and_one_changed_is_the_change() -> None:
    shelf = Shelf(most_unpacked=2)
    shelf.put_packed(key(1), stored(known(1)))
    first = shelf.get(key(1))
    assert shelf.get(key(1)) is first
    changed = known(1, status=Status.REMOVED)
    shelf.put(changed)
    assert shelf.get(key(1)) is changed
    for number in (2, 3, 4):
        shelf.put(known(number))
    assert shelf.get(key(1)) == changed
    assert len(shelf) == 4


def test_where_a_session_stands_is_known_packed_or_not_until_it_is_forgotten() -> None:
    shelf = Shelf(most_unpacked=1)
    for number in (1, 2):
        shelf.put(known(number, status=Status.REMOVED))
    assert [shelf.standing_of(key(number)) for number in (1, 2)] == [(Status.REMOVED, 2.5), (Status.REMOVED, 3.5)]
    shelf.remove(key(1))
    assert (shelf.get(key(1)), shelf.standing_of(key(1)), len(shelf)) == (None, None, 1)
    shelf.remove(key(2))
    assert (len(shelf), list(shelf)) == (0, [])


def test_sessions_that_are_alike_weigh_little() -> None:
    shelf = Shelf()
    for number in range(50):
        shelf.put_packed(key(number), stored(known(number)))
    text = stored(known(49)).state
    packed = shelf._packed[key(49)].state
    assert text is not None
    assert packed is not None
    assert len(packed) < len(text) / 10


@given(st.lists(st.tuples(st.sampled_from(["put", "get", "remove"]), st.integers(0, 6)), max_size=40))
def test_it_is_a_dictionary_whatever_is_packed(steps: list[tuple[str, int]]) -> None:
    shelf, model = Shelf(most_unpacked=2), dict[SessionKey, KnownSession]()
    for index, (step, number) in enumerate(steps):
        if step == "put":
            model[key(number)] = known(number, updated_at=float(index))
            shelf.put(model[key(number)])
        elif step == "get":
            assert shelf.get(key(number)) == model.get(key(number))
        else:
            model.pop(key(number), None)
            shelf.remove(key(number))
    assert {each.key: each for each in shelf} == model
    assert (len(shelf), set(shelf.keys())) == (len(model), model.keys())
