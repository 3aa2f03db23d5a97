"""The store keeps what rules count: with the end of an operation at once, of requests within seconds."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from proxy.chain.settlement.outcome import Outcome
from proxy.edge.storage import housekeeping
from proxy.edge.storage.store import Store
from proxy.judge.counts import CountKey, OutcomeLesson, Row, WindowCharge
from proxy.judge.rule import Sliding
from proxy.judge.windows import BucketRow
from proxy.ledger.counting_time import CountingTime, KeptTime
from proxy.ledger.prompt_commit import Statement
from proxy.ledger.reservation import Reservation, RuleRows
from proxy.ledger.rule_counts import RuleCounts
from tests.ledger.builders import reservation

KEY = CountKey(b"r" * 16, b"one")
OTHER = CountKey(b"s" * 16, b"one")
HOUR = Sliding(3_600)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with closing(Store(tmp_path / "gate.db")) as store:
        yield store


def charged(key: CountKey) -> Reservation:
    charge = WindowCharge(key=key, window=HOUR, amount=3, limit=9, binding=True, lasting=True)
    return replace(reservation(1, 1), rule_charges=(charge,))


async def test_what_was_mined_is_on_disk_when_the_outcome_is(store: Store) -> None:
    await store.keep(Outcome(rules=RuleCounts().conclude(charged(KEY), time.time(), success=True).rows))
    assert [(row.key, row.amount) for row in store.rule_rows().buckets] == [(KEY, 3)]


async def test_requests_and_rows_of_rejections_are_handed_over_at_the_latest_when_the_gate_stops(store: Store) -> None:
    counts = RuleCounts()
    counts.rate(KEY, HOUR, 1, 9, time.time())
    counts.learn_now(OutcomeLesson(key=OTHER), time.time(), success=False)
    task = asyncio.create_task(housekeeping.save_counts(counts, CountingTime(time.time, time.monotonic), store))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await store.keep_only([KEY.rule, OTHER.rule])  # written after all that was handed over before
    rows = store.rule_rows()
    assert [(row.key, row.amount) for row in rows.buckets] == [(KEY, 1)]
    assert [(row.key, row.history) for row in rows.histories] == [(OTHER, Row(length=1))]


async def test_counts_of_rules_that_are_gone_and_of_windows_long_over_leave_the_disk(store: Store) -> None:
    counts = RuleCounts()
    for key, at in ((KEY, time.time()), (OTHER, time.time()), (KEY, time.time() - 9_000)):
        await store.keep(Outcome(rules=counts.conclude(charged(key), at, success=True).rows))
    assert len(store.rule_rows().buckets) == 3
    await store.prune(removed_before=0.0, chains=[1])
    assert len(store.rule_rows().buckets) == 2
    await store.keep_only([KEY.rule])
    assert [row.key for row in store.rule_rows().buckets] == [KEY]


async def test_thousands_of_groups_of_thousands_of_rules_leave_the_disk_a_few_at_a_time(store: Store) -> None:
    keys = [CountKey(number.to_bytes(16, "big"), bytes([number % 3])) for number in range(5_000)]
    buckets = tuple(BucketRow(key, 1_000, 2_000_000_000, 1) for key in (*keys, KEY))
    await store.keep(Outcome(rules=RuleRows(buckets=buckets)))
    written: list[int] = []
    write = store._writer.write

    async def told(statements: Sequence[Statement], **options: bool) -> None:
        written.append(len(statements))
        await write(statements, **options)

    store._writer.write = told  # type: ignore[method-assign]  # to see what is written
    many_more = [number.to_bytes(16, "big") for number in range(100_000, 400_000)]  # than SQLite takes of parameters
    await store.keep_only(frozenset([KEY.rule, *many_more]))
    assert [row.key for row in store.rule_rows().buckets] == [KEY]
    assert (sum(written) > len(keys), max(written) <= 50) == (True, True)


async def test_the_time_that_rules_count_by_outlives_the_process(store: Store, tmp_path: Path) -> None:
    assert store.kept_time() is None
    counting = CountingTime(lambda: 1_700_000_000.0, lambda: 5.0, boot="b")
    task = asyncio.create_task(housekeeping.save_counts(RuleCounts(), counting, store))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await store.keep_only([])
    assert store.kept_time() == KeptTime("b", 1_699_999_995.0, 5.0)
