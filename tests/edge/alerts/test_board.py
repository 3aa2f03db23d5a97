"""Happenings alike are one alert, which ends when nothing like it has happened for a while."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from proxy.edge.alerts.board import DECISIONS_KEPT, Board, key_of
from proxy.happening import HappeningKind
from proxy.session.lint.findings import Severity
from tests.edge.alerts.builders import NOW, happening

RESOLVE = 900.0


def board(most: int = 100) -> Board:
    return Board(max_active=most, resolve_after_seconds=RESOLVE)


def test_ten_thousand_happenings_of_one_kind_are_one_alert_that_counts_them() -> None:
    active = board()
    for number in range(10_000):
        alert = active.note(happening(unix_time=NOW + number / 1000, decision_id=f"d-{number}"))
    assert len(active) == 1
    assert alert.count == 10_000
    assert alert.first == NOW
    assert alert.decisions == tuple(f"d-{number}" for number in range(10_000 - DECISIONS_KEPT, 10_000))


def test_sessions_rules_severities_and_kinds_are_told_apart() -> None:
    active = board()
    for each in (
        happening(),
        happening(2),
        happening(rule="other"),
        happening(severity=Severity.LOW),
        happening(kind=HappeningKind.FAILED_OPEN),
    ):
        active.note(each)
    assert len(active) == 5


def test_an_alert_ends_resolve_after_its_last_happening_and_not_a_moment_before() -> None:
    active = board()
    active.note(happening(unix_time=NOW))
    alert = active.note(happening(unix_time=NOW + 100))
    assert active.ends_at(alert) == NOW + 100 + RESOLVE
    assert list(active.take_ended(NOW + 100 + RESOLVE - 0.001)) == [None]
    assert list(active.take_ended(NOW + 100 + RESOLVE)) == [alert]
    assert len(active) == 0


def test_past_the_cap_nothing_is_lost_but_the_names_of_sessions() -> None:
    active = board(most=10)
    for number in range(100):
        active.note(happening(number))
    assert len(active) == 11
    assert sum(alert.count for alert in active) == 100
    (folded,) = [alert for alert in active if alert.key.folded]
    assert (folded.count, folded.key.permission_id, folded.key.rule) == (90, None, "burst")


def test_a_known_session_keeps_its_alert_when_the_cap_is_reached() -> None:
    active = board(most=1)
    active.note(happening(1))
    active.note(happening(2))
    assert active.note(happening(1)).count == 2


def test_the_digest_is_the_same_for_the_same_alert_and_for_no_other() -> None:
    keys = [key_of(happening(number, rule=rule)) for number in range(20) for rule in ("a", "b", None)]
    assert len({key.digest for key in keys}) == len(keys)
    assert key_of(happening(3, unix_time=NOW + 5, what="else")).digest == key_of(happening(3)).digest


@given(
    st.lists(
        st.tuples(st.integers(0, 5), st.floats(0, 3000, allow_nan=False)).map(lambda pair: (pair[0], NOW + pair[1])),
        max_size=40,
    ),
    st.floats(0, 5000, allow_nan=False),
)
def test_whatever_happens_in_whatever_order_what_is_left_is_what_is_not_over(
    events: list[tuple[int, float]], after: float
) -> None:
    active = board()
    for number, moment in events:
        active.note(happening(number, unix_time=moment))
    last = {number: max(moment for each, moment in events if each == number) for number, _ in events}
    ended = [alert for alert in active.take_ended(NOW + after) if alert is not None]
    over = {number for number, moment in last.items() if moment + RESOLVE <= NOW + after}
    assert {int.from_bytes(alert.key.permission_id or b"") for alert in ended} == over
    assert {int.from_bytes(alert.key.permission_id or b"") for alert in active} == last.keys() - over
