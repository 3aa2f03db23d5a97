"""What rules count is kept with an operation in flight: whatever it is, it comes back as it was, or is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.errors import StateUnavailable
from proxy.judge.counts import (
    CountKey,
    DistinctCharge,
    MarksLesson,
    OutcomeLesson,
    ValueLesson,
    WindowCharge,
)
from proxy.judge.rule import Calendar, OnCalendar, Sliding
from proxy.ledger.records import record_from_json, record_to_json
from proxy.ledger.reservation import Reservation
from tests.ledger.builders import reservation

keys = st.builds(CountKey, st.binary(min_size=16, max_size=16), st.binary(max_size=120))
amounts = st.integers(0, 2**300)
marks = st.binary(min_size=8, max_size=8)
windows = st.one_of(
    st.builds(Sliding, st.integers(1, 10**7)),
    st.builds(OnCalendar, st.sampled_from(Calendar), st.sampled_from(["UTC", "Asia/Tokyo"]).map(ZoneInfo)),
)
charges = st.one_of(
    st.builds(WindowCharge, keys, windows, amounts, amounts, st.booleans(), st.booleans(), st.booleans()),
    st.builds(DistinctCharge, keys, windows, marks, amounts, st.booleans(), st.booleans()),
)
lessons = st.one_of(
    st.builds(MarksLesson, keys, st.lists(marks, max_size=3).map(tuple)),
    st.builds(ValueLesson, keys, amounts),
    st.builds(OutcomeLesson, keys),
)
held = st.builds(
    lambda some, others: replace(reservation(1, 1), rule_charges=tuple(some), lessons=tuple(others)),
    st.lists(charges, max_size=5),
    st.lists(lessons, max_size=5),
)


@given(held)
def test_whatever_rules_count_comes_back_as_it_was(kept: Reservation) -> None:
    again = record_from_json(record_to_json(kept), Reservation)
    assert again == kept
    assert [type(each) for each in again.rule_charges] == [type(each) for each in kept.rule_charges]
    assert [type(each) for each in again.lessons] == [type(each) for each in kept.lessons]


def test_a_group_that_many_rules_count_for_is_written_once() -> None:
    group = b"\x5e" * 104
    many = tuple(WindowCharge(CountKey(bytes([n]) * 16, group), Sliding(60), 1, 9, False, True) for n in range(20))
    text = record_to_json(replace(reservation(1, 1), rule_charges=many))
    assert text.count(group.hex()) == 1


def test_what_an_earlier_release_wrote_is_read() -> None:
    key = {"type": "CountKey", "rule": "0x" + "07" * 16, "group": "0x01"}
    plain = json.loads(record_to_json(reservation(1, 1)))
    plain["rule_charges"] = [
        {
            "type": "WindowCharge",
            "key": key,
            "window": {"type": "Sliding", "seconds": 60},
            "amount": 3,
            "limit": 9,
            "binding": True,
            "lasting": False,
            "overflows": False,
        },
        {
            "type": "DistinctCharge",
            "key": key,
            "window": {"type": "OnCalendar", "unit": {"unit": "day"}, "zone": {"zone": "UTC"}},
            "mark": "0x" + "09" * 8,
            "limit": 2,
            "binding": False,
            "overflows": True,
        },
    ]
    plain["lessons"] = [
        {"type": "MarksLesson", "key": key, "marks": ["0x" + "09" * 8]},
        {"type": "ValueLesson", "key": key, "value": 5},
        {"type": "OutcomeLesson", "key": key},
    ]
    name = CountKey(b"\7" * 16, b"\1")
    day = OnCalendar(Calendar.DAY, ZoneInfo("UTC"))
    assert record_from_json(json.dumps(plain), Reservation) == replace(
        reservation(1, 1),
        rule_charges=(
            WindowCharge(key=name, window=Sliding(60), amount=3, limit=9, binding=True, lasting=False),
            DistinctCharge(key=name, window=day, mark=b"\t" * 8, limit=2, binding=False, overflows=True),
        ),
        lessons=(
            MarksLesson(key=name, marks=(b"\t" * 8,)),
            ValueLesson(key=name, value=5),
            OutcomeLesson(key=name),
        ),
    )


@pytest.mark.parametrize(
    "damage",
    [
        {"groups": [], "items": [["end", 0, "0x07"]]},
        {"groups": ["0x01"], "items": [["end", -1, "0x07"]]},
        {"groups": ["01"], "items": []},
        {"groups": [1], "items": []},
        {"groups": ["0x01"], "items": [["other", 0, "0x07"]]},
        {"groups": ["0x01"], "items": [["amount", 0, "0x07", "5"]]},
        {"groups": ["0x01"], "items": [["window", 0, "0x07", ["day"], 1, 1, 0]]},
        {"groups": ["0x01"], "items": [["window", 0, "0x07", ["day", "Nowhere/Land"], 1, 1, 0]]},
        {"groups": ["0x01"], "items": [5]},
        {"items": []},
    ],
)
def test_what_cannot_be_read_is_refused(damage: dict[str, Any]) -> None:
    plain = json.loads(record_to_json(reservation(1, 1)))
    plain["rule_charges"] = {"type": "counted", **damage}
    with pytest.raises(StateUnavailable):
        record_from_json(json.dumps(plain), Reservation)
