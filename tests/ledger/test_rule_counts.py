"""What the ledger promises about the counts of rules: one step with everything else, on every chain the same."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from proxy.edge.storage.database import MIGRATIONS, open_database
from proxy.errors import StateUnavailable
from proxy.judge.counts import (
    CountKey,
    DistinctCharge,
    Lesson,
    MarksLesson,
    OutcomeLesson,
    Row,
    RuleCharge,
    Seen,
    Sight,
    ValueLesson,
    WindowCharge,
)
from proxy.judge.history import history_to_text
from proxy.judge.rule import Calendar, OnCalendar, Sliding, Window
from proxy.ledger import rule_tables
from proxy.ledger.hindrance import Hindered, Refusal, RuleRefusal
from proxy.ledger.memory import MemoryLedger
from proxy.ledger.records import record_from_json, record_to_json
from proxy.ledger.reservation import NOTHING_USED, Held, NonceSlot, Reservation, RuleRows
from proxy.ledger.rule_counts import RuleCounts
from proxy.ledger.transactions import transact
from tests.cost.units import units_of
from tests.ledger.builders import hold_name, reservation

NOW = 1_700_000_000
DAY = Sliding(86_400)
KEY = CountKey(b"r" * 16, b"one")
OTHER = CountKey(b"s" * 16, b"one")


def spend(
    amount: int, *, key: CountKey = KEY, limit: int = 10, binding: bool = True, lasting: bool = False
) -> WindowCharge:
    return WindowCharge(key=key, window=DAY, amount=amount, limit=limit, binding=binding, lasting=lasting)


def brings(number: int, *, limit: int = 2, binding: bool = True) -> DistinctCharge:
    return DistinctCharge(key=KEY, window=DAY, mark=mark(number), limit=limit, binding=binding)


def mark(number: int) -> bytes:
    return bytes([number]) * 8


def charged(
    number: int, *charges: RuleCharge, nonce: int | None = None, lessons: tuple[Lesson, ...] = ()
) -> Reservation:
    return replace(reservation(number, 1, nonce=nonce), rule_charges=charges, lessons=lessons)


def reserve(ledger: MemoryLedger, wanted: Reservation, now: float = NOW) -> Held | Refusal | RuleRefusal | Hindered:
    return ledger.reserve(wanted, NOTHING_USED, now)


def mined(ledger: MemoryLedger, wanted: Reservation, *, success: bool = True, now: float = NOW) -> None:
    ledger.settle(wanted.slot)
    ledger.conclude(wanted, now, success=success)


def total(ledger: MemoryLedger, key: CountKey = KEY, nonce: int = 99, now: float = NOW) -> int:
    return ledger.counts(slot(nonce), now).total(key, DAY)


KEYS = [CountKey(bytes([place]) * 16, b"one") for place in range(4)]


@st.composite
def all_sorts(draw: st.DrawFn) -> RuleCharge:
    key, binding, overflows = draw(st.sampled_from(KEYS)), draw(st.booleans()), draw(st.booleans())
    limit = draw(st.integers(0, 5))
    if key in KEYS[:2]:
        amount = draw(st.integers(1, 3))
        return WindowCharge(key, DAY, amount, limit, binding=binding, lasting=True, overflows=overflows)
    return DistinctCharge(key, DAY, mark(draw(st.integers(1, 4))), limit, binding=binding, overflows=overflows)


@given(st.lists(st.tuples(st.lists(all_sorts(), min_size=1, max_size=4), st.booleans()), min_size=1, max_size=6))
@example(
    [
        ([DistinctCharge(KEYS[2], DAY, mark(1), 5, binding=True)], True),
        ([DistinctCharge(KEYS[2], DAY, mark(1), 5, binding=True)], False),
        ([DistinctCharge(KEYS[2], DAY, mark(2), 1, binding=False, overflows=True)], False),
    ]
)
def test_counts_looked_up_all_at_once_say_what_they_say_one_by_one(sent: list[tuple[list[RuleCharge], bool]]) -> None:
    heard: list[list[object]] = []
    for at_once in (True, False):
        told: list[object] = []
        counts = RuleCounts()
        if not at_once:
            counts._all_fit = lambda *_: False  # type: ignore[method-assign]  # the short cut is closed
        ledger = MemoryLedger(counts)
        for number, (charges, ends) in enumerate(sent):
            wanted = charged(number, *charges, nonce=number)
            held = reserve(ledger, wanted)
            told += [held, [*counts.fullest.take()]]
            if ends and isinstance(held, Held):
                mined(ledger, held.reservation)
        heard.append(told)
    assert heard[0] == heard[1]


def slot(nonce: int) -> NonceSlot:
    return reservation(1, nonce=nonce).slot


def test_what_is_mined_and_what_is_in_flight_fit_the_limit_exactly_and_not_one_more() -> None:
    ledger = MemoryLedger()
    first = charged(1, spend(6))
    assert isinstance(reserve(ledger, first), Held)
    mined(ledger, first)
    assert isinstance(reserve(ledger, charged(2, spend(3))), Held)
    assert reserve(ledger, charged(3, spend(2))) == RuleRefusal(KEY, 10, 6, 3, 2)
    assert isinstance(reserve(ledger, charged(3, spend(1))), Held)
    assert total(ledger) == 10


def test_charges_of_one_count_are_added_up() -> None:
    assert isinstance(reserve(MemoryLedger(), charged(1, spend(5), spend(5))), Held)
    assert reserve(MemoryLedger(), charged(1, spend(5), spend(6))) == RuleRefusal(KEY, 10, 0, 0, 11)


def test_what_one_rule_refuses_is_held_by_none_and_by_no_counter_of_the_chain() -> None:
    ledger = MemoryLedger()
    assert isinstance(reserve(ledger, charged(1, spend(1, key=OTHER), spend(11))), RuleRefusal)
    assert (total(ledger, OTHER), len(ledger)) == (0, 0)
    over = replace(reservation(1, 101), rule_charges=(spend(1),))
    assert isinstance(reserve(ledger, over), Refusal)
    assert total(ledger) == 0


def test_a_rule_that_refuses_nobody_counts_nothing_of_what_it_would_have_refused() -> None:
    ledger = MemoryLedger()
    elsewhere = KEY._replace(group=b"two")
    wanted = charged(1, spend(11, binding=False), spend(1, key=elsewhere, binding=False), spend(3, key=OTHER))
    held = reserve(ledger, wanted)
    assert isinstance(held, Held)
    assert held.reservation.rule_charges == (spend(3, key=OTHER),)
    assert (total(ledger), total(ledger, elsewhere), total(ledger, OTHER)) == (0, 0, 3)
    assert reserve(ledger, wanted) == Held(held.reservation, again=True)
    assert isinstance(reserve(ledger, charged(2, spend(10, binding=False))), Held)
    assert total(ledger) == 10


def test_of_rivals_for_one_nonce_the_largest_counts_and_a_replacement_is_judged_without_them() -> None:
    ledger = MemoryLedger()
    reserve(ledger, charged(1, spend(8)))
    ledger.accept(hold_name(1))
    assert total(ledger, nonce=1) == 0
    assert isinstance(reserve(ledger, charged(2, spend(10), nonce=1)), Held)
    assert total(ledger) == 10
    ledger.release(hold_name(2))
    assert total(ledger) == 8
    reserve(ledger, charged(3, spend(2), nonce=1))
    ledger.accept(hold_name(3))
    assert total(ledger) == 8, "either of the two may be mined"


def test_what_is_dropped_or_released_counts_nowhere() -> None:
    ledger = MemoryLedger()
    for number in (1, 2):
        reserve(ledger, charged(number, spend(5), brings(1, limit=9)))
    ledger.release(hold_name(1))
    ledger.expire(hold_name(2))
    assert total(ledger) == 0
    assert ledger.counts(slot(9), NOW).marks(KEY, DAY) == frozenset()


def test_operations_that_add_nothing_to_a_count_end_in_any_order_beside_those_that_do() -> None:
    ledger = MemoryLedger()
    adding = [charged(number, spend(amount)) for number, amount in enumerate((0, 5, 0, 0), 1)]
    for each in adding:
        assert isinstance(reserve(ledger, each), Held)
    for each, left in zip(adding, (5, 0, 0, 0), strict=True):
        ledger.settle(each.slot)
        assert total(ledger) == left


def test_a_reverted_operation_gives_value_back_and_keeps_its_uses_and_marks() -> None:
    ledger = MemoryLedger()
    wanted = charged(1, spend(5), spend(1, key=OTHER, lasting=True), brings(1))
    reserve(ledger, wanted)
    mined(ledger, wanted, success=False)
    assert (total(ledger), total(ledger, OTHER)) == (0, 1)
    assert ledger.counts(slot(9), NOW).marks(KEY, DAY) == {mark(1)}


@pytest.mark.parametrize("success", [True, False])
def test_what_the_chain_takes_back_leaves_the_bucket_it_went_into_and_histories_stay_learnt(success: bool) -> None:
    ledger = MemoryLedger()
    wanted = charged(1, spend(5), spend(1, key=OTHER, lasting=True), brings(1), lessons=(OutcomeLesson(key=OTHER),))
    earlier = charged(2, spend(2))
    mined(ledger, earlier)
    concluded = ledger.conclude(wanted, NOW + 4_000, success=success)
    ledger.reopen(wanted, concluded.at, success=success)
    later = NOW + 5_000
    assert (total(ledger, now=later), total(ledger, OTHER, now=later)) == (2, 0)
    assert ledger.counts(slot(9), later).marks(KEY, DAY) == frozenset()
    assert ledger.counts(slot(9), later).history(OTHER) == (None if success else Row(length=1))


def test_different_marks_are_counted_once_wherever_they_are() -> None:
    ledger = MemoryLedger()
    first = charged(1, brings(1))
    reserve(ledger, first)
    mined(ledger, first)
    assert isinstance(reserve(ledger, charged(2, brings(1))), Held)
    assert isinstance(reserve(ledger, charged(3, brings(2))), Held)
    assert reserve(ledger, charged(4, brings(3))) == RuleRefusal(KEY, 2, 1, 1, 1)
    assert isinstance(reserve(ledger, charged(5, brings(3), nonce=3)), Held)
    assert ledger.counts(slot(3), NOW).marks(KEY, DAY) == {mark(1)}
    assert ledger.counts(slot(9), NOW).marks(KEY, DAY) == {mark(1), mark(2), mark(3)}
    assert len(ledger.counts(slot(9), NOW).marks(KEY, DAY)) == 3


@pytest.mark.parametrize("in_flight", [10, 2_000])
def test_different_marks_are_looked_into_without_a_walk_over_what_is_in_flight(in_flight: int) -> None:
    def paying(number: int) -> Reservation:
        some = brings(0)._replace(mark=number.to_bytes(8, "big"), limit=10_000)
        return replace(charged(number, some, nonce=number), charges=())

    ledger = MemoryLedger()
    for number in range(in_flight):
        assert isinstance(reserve(ledger, paying(number)), Held)
    known = ledger.counts(slot(in_flight), NOW).marks(KEY, DAY)
    assert len(known) == in_flight
    again = replace(paying(3), slot=slot(in_flight), user_op_hash=paying(in_flight).user_op_hash)
    assert units_of(lambda: len(known)) + units_of(lambda: bytes(8) in known) < 60
    assert units_of(lambda: reserve(ledger, again)) < 400


def test_ledgers_of_two_chains_share_what_rules_count() -> None:
    rules = RuleCounts()
    here, there = MemoryLedger(rules), MemoryLedger(rules)
    reserve(here, charged(1, spend(6)))
    assert reserve(there, charged(1, spend(5))) == RuleRefusal(KEY, 10, 0, 6, 5)
    mined(here, charged(1, spend(6)))
    assert reserve(there, charged(1, spend(5))) == RuleRefusal(KEY, 10, 6, 0, 5)


def test_requests_are_counted_at_once_up_to_the_limit_and_come_back_after_the_window() -> None:
    ledger, minute = MemoryLedger(), Sliding(60)
    assert [ledger.rate(KEY, minute, 1, 2, NOW) for _ in range(3)] == [True, True, False]
    assert not ledger.rate(KEY, minute, 1, 2, NOW + 60)
    assert ledger.rate(KEY, minute, 1, 2, NOW + 61)


def test_rows_of_rejections_grow_at_once_and_end_with_what_was_not_rejected() -> None:
    rules = RuleCounts()
    ledger = MemoryLedger(rules)
    for _ in range(2):
        ledger.learn_now(OutcomeLesson(key=KEY), NOW, success=False)
    assert ledger.counts(slot(1), NOW).history(KEY) == Row(length=2)
    ledger.learn_now(OutcomeLesson(key=KEY), NOW, success=True)
    ledger.learn_now(OutcomeLesson(key=OTHER), NOW, success=True)
    assert ledger.counts(slot(1), NOW).history(KEY) is None
    assert len(rules) == 0  # a row of none costs nothing


def test_what_rules_that_are_gone_have_counted_is_forgotten_and_no_more_of_it_comes() -> None:
    ledger = MemoryLedger()
    flying = charged(2, spend(1), spend(1, key=OTHER), lessons=(OutcomeLesson(key=KEY),))
    mined(ledger, charged(1, spend(5), spend(5, key=OTHER)))
    reserve(ledger, flying)
    ledger.keep_only({OTHER.rule})
    mined(ledger, flying, success=True)
    assert (total(ledger), total(ledger, OTHER)) == (0, 6)
    assert ledger.counts(slot(1), NOW).history(KEY) is None


WINDOWS: list[Window] = [DAY, OnCalendar(Calendar.MONTH, ZoneInfo("Europe/Berlin"))]


@pytest.mark.parametrize("window", WINDOWS)
def test_rule_charges_and_lessons_are_kept_with_the_reservation_exactly(window: Window) -> None:
    lessons: tuple[Lesson, ...] = (
        MarksLesson(key=KEY, marks=(mark(1), mark(2))),
        ValueLesson(key=KEY, value=2**256),
        OutcomeLesson(key=OTHER),
    )
    wanted = charged(1, spend(2**255)._replace(window=window), brings(3)._replace(window=window), lessons=lessons)
    assert record_from_json(record_to_json(wanted), Reservation) == wanted


def test_a_zone_that_is_not_known_any_more_is_not_passed_over() -> None:
    text = record_to_json(charged(1, spend(1)._replace(window=WINDOWS[1]))).replace("Europe/Berlin", "Nowhere/Land")
    with pytest.raises(StateUnavailable):
        record_from_json(text, Reservation)


def test_counts_and_histories_come_back_from_disk_and_what_is_taken_back_is_gone_there_too() -> None:
    database, rules = open_database(":memory:"), RuleCounts()
    ledger = MemoryLedger(rules)
    lessons = (MarksLesson(key=OTHER, marks=(mark(7),)),)
    wanted = charged(1, spend(2**200, limit=2**255), brings(1), lessons=lessons)
    at, rows = ledger.conclude(wanted, NOW, success=True)
    rules.rate(OTHER, DAY, 3, 9, NOW)
    transact(database, [*rule_tables.save(rows), *rule_tables.save(rules.take_unsaved())], None)
    again = RuleCounts()
    again.restore(rule_tables.load(database))
    restored = MemoryLedger(again)
    assert (total(restored), total(restored, OTHER)) == (2**200, 3)
    assert restored.counts(slot(9), NOW).marks(KEY, DAY) == {mark(1)}
    seen = Seen(operations=1, since=NOW, sights={mark(7): Sight(mark(7), 1, NOW)})
    assert restored.counts(slot(9), NOW).history(OTHER) == seen
    transact(database, rule_tables.save(restored.reopen(wanted, at, success=True)), None)
    left = rule_tables.load(database)
    assert ([row.key for row in left.buckets], left.marks) == ([OTHER], ())
    for table in rule_tables.NAMES:
        for statement in rule_tables.drop(table, rule_tables.named_after(database, table, rule_tables.BEFORE_ALL)):
            database.execute(*statement)
    assert rule_tables.load(database) == ((), (), ())


def test_of_a_block_full_of_operations_each_count_is_written_once_as_it_stands_at_the_end() -> None:
    database, rules = open_database(":memory:"), RuleCounts()
    ledger, ends = MemoryLedger(rules), []
    for number in range(1, 6):
        lessons = (MarksLesson(key=OTHER, marks=(mark(number),)), ValueLesson(key=KEY, value=number))
        wanted = charged(number, spend(1), brings(1), lessons=lessons)
        ends.append(ledger.conclude(wanted, NOW, success=True).rows)
    rows = RuleRows(*(tuple(row for each in ends for row in each[kind]) for kind in range(3)))
    ((_, (_, _, histories)),) = statements = rule_tables.save(rows)
    assert len(histories) == 2
    transact(database, statements, None)
    again = RuleCounts()
    again.restore(rule_tables.load(database))
    assert again.used(KEY, NOW) == rules.used(KEY, NOW)
    assert [again.history(key, NOW) for key in (KEY, OTHER)] == [rules.history(key, NOW) for key in (KEY, OTHER)]


def test_what_ends_well_and_ends_no_row_is_written_nowhere() -> None:
    ledger, wanted = MemoryLedger(), charged(1, lessons=(OutcomeLesson(key=KEY),))
    assert ledger.conclude(wanted, NOW, success=True).rows.histories == ()
    (grown,) = ledger.conclude(wanted, NOW, success=False).rows.histories
    (ended,) = ledger.conclude(wanted, NOW, success=True).rows.histories
    assert (grown.history, ended.history) == (Row(length=1), None)


def test_a_history_that_is_forgotten_for_its_age_is_not_found_again_after_a_restart() -> None:
    database, rules = open_database(":memory:"), RuleCounts()
    ledger = MemoryLedger(rules)
    reverted = charged(1, lessons=(OutcomeLesson(key=KEY),))
    later = charged(2, lessons=(ValueLesson(key=OTHER, value=1),))
    ends = [
        ledger.conclude(reverted, NOW, success=False).rows,
        ledger.conclude(later, NOW + 91 * 86_400, success=True).rows,
    ]
    for rows in (*ends, rules.take_unsaved()):
        transact(database, rule_tables.save(rows), None)
    assert [row.key for row in rule_tables.load(database).histories] == [OTHER]


def test_what_an_earlier_release_counted_is_there_when_its_tables_are_brought_up_to_date(tmp_path: Path) -> None:
    path, rules = tmp_path / "gate.db", RuleCounts()
    lessons = (MarksLesson(key=OTHER, marks=(mark(7),)), ValueLesson(key=KEY, value=9))
    rows = MemoryLedger(rules).conclude(charged(1, spend(4), brings(1), lessons=lessons), NOW, success=True).rows
    done = MIGRATIONS.index(rule_tables.BY_GROUP[0])
    with closing(sqlite3.connect(path)) as old:
        for statement in (*MIGRATIONS[:done], f"PRAGMA user_version = {done}"):
            old.execute(statement)
        for bucket in rows.buckets:
            values = (*bucket.key, bucket.start, str(bucket.amount), bucket.expires)
            old.execute("INSERT INTO rule_windows VALUES (?, ?, ?, ?, ?)", values)
        for each in rows.marks:
            old.execute("INSERT INTO rule_marks VALUES (?, ?, ?, ?, ?, ?)", (*each.key, each.mark, *(each.known or ())))
        for row in rows.histories:
            assert row.history is not None
            values = (*row.key, history_to_text(row.history), row.updated)
            old.execute("INSERT INTO rule_histories VALUES (?, ?, ?, ?)", values)
        old.commit()
    with closing(open_database(path)) as database:
        assert rule_tables.load(database) == RuleRows(
            rows.buckets, rows.marks, tuple(sorted(rows.histories, key=lambda row: row.key[::-1]))
        )


def test_what_counts_no_more_is_pruned_an_hour_later_and_nothing_else() -> None:
    database, ledger = open_database(":memory:"), MemoryLedger()
    rows = ledger.conclude(charged(1, spend(1), brings(1), lessons=(ValueLesson(key=KEY, value=1),)), NOW, success=True)
    transact(database, rule_tables.save(rows.rows), None)
    expires = rows.rows.buckets[0].expires

    def left_after(now: float) -> tuple[int, ...]:
        for statement in rule_tables.prune(now):
            database.execute(*statement)
        return tuple(map(len, rule_tables.load(database)))

    assert left_after(expires + 3_600) == (1, 1, 1)
    assert left_after(expires + 3_601) == (0, 0, 1)


@pytest.mark.parametrize(
    "damage",
    [
        "INSERT INTO rule_windows VALUES (x'00', x'00', 1, 'much', 2)",
        "INSERT INTO rule_histories VALUES (x'00', x'00', '{}', 1.0)",
    ],
)
def test_a_count_that_cannot_be_read_is_not_passed_over(damage: str) -> None:
    database = open_database(":memory:")
    database.execute(damage)
    with pytest.raises(StateUnavailable, match="count of a rule"):
        rule_tables.load(database)


def test_groups_of_whom_nothing_counts_any_more_are_swept_out_by_operations_of_others_as_they_end() -> None:
    ledger = MemoryLedger(counts := RuleCounts())
    for number in range(300):
        key = CountKey(KEY.rule, number.to_bytes(4, "big"))
        mined(ledger, charged(number, spend(1, key=key), brings(1)._replace(key=key), nonce=number))
    assert len(counts) == 300
    for number in range(160):
        mined(ledger, charged(number, spend(1), nonce=number), now=NOW + 2 * 86_400)
    assert list(counts.keys_now()) == [KEY]


def test_what_comes_in_never_outruns_what_is_swept_out() -> None:
    ledger, most = MemoryLedger(counts := RuleCounts()), 0
    for number in range(2_000):
        keys = [CountKey(KEY.rule, b"%d %d" % (number, place)) for place in range(4)]
        mined(ledger, charged(number, *(spend(1, key=key) for key in keys), nonce=number), now=NOW + number * 1_000)
        most = max(most, len(counts))
    assert most <= 2 * 4 * (86_400 // 1_000 + 2)  # twice what counts at any time
