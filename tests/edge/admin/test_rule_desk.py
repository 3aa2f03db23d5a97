"""A hundred thousand windows are looked through, and forgotten, in small pieces, and only what is shown is printed."""

from __future__ import annotations

import asyncio
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from proxy.chain.settlement.outcome import Outcome
from proxy.edge.admin.rule_desk import RuleDesk
from proxy.edge.storage.store import Store
from proxy.judge.counts import CountKey, WindowCharge
from proxy.judge.rule import Limit, Rule, Sliding
from proxy.judge.verdict import Mode
from proxy.judge.windows import BucketRow
from proxy.ledger.reservation import RuleRows
from proxy.ledger.rule_counts import RuleCounts
from tests.judge.builders import judge_of
from tests.ledger.builders import reservation

KEYS, SHOWN, MOST = 3_000, 120, 100
RULE = """
  - id: few
    description: A session sends so many operations a day.
    mode: enforce
    match: {session: true}
    limit: {count: ops, max: 100000, per: session, window: 24h}
"""


class Book:
    """The part of a rule book that is asked for."""

    def __init__(self) -> None:
        self.ruleset = judge_of(RULE).ruleset

    def rule(self, name: str) -> Rule | None:
        return next((rule for rule in self.ruleset.rules if rule.id == name), None)

    def effective_mode(self, mode: Mode) -> Mode:
        return mode


class Watched(RuleCounts):
    """Tells how many keys are looked at between two turns of others."""

    def __init__(self) -> None:
        super().__init__()
        self.piece = self.largest = 0

    def used(self, key: CountKey, now: float) -> tuple[int, int]:
        self.piece += 1
        self.largest = max(self.largest, self.piece)
        return super().used(key, now)

    async def give_way(self) -> None:
        while True:
            self.piece = 0
            await asyncio.sleep(0)


def group(number: int) -> bytes:
    """A session's."""
    return (1).to_bytes(32, "big") + bytes(40) + number.to_bytes(32, "big")


async def test_the_fullest_are_shown_and_nobody_waits_for_the_rest_to_be_looked_through() -> None:
    book, counts = Book(), Watched()
    (rule,) = book.ruleset.rules
    assert isinstance(rule.check, Limit)
    rows = (BucketRow(CountKey(rule.identity, group(number)), 0, 86_400, number) for number in range(1, KEYS + 1))
    counts.restore(RuleRows(buckets=tuple(rows)))
    desk = RuleDesk(cast(Any, book), counts, cast(Any, None), {"chain": 1}, clock=lambda: 1_000.0)
    beside = asyncio.create_task(counts.give_way())
    both = await asyncio.gather(desk.budget(None, SHOWN), desk.budget("few", 1))
    beside.cancel()
    found = both[0]
    assert found["keys"] == both[1]["keys"] == KEYS
    assert [row["used"] for row in found["budgets"]] == [str(number) for number in range(KEYS, KEYS - SHOWN, -1)]
    assert both[1]["budgets"] == found["budgets"][:1]
    assert counts.largest <= MOST


async def test_a_reset_forgets_piece_by_piece_and_what_is_counted_between_is_on_disk_as_it_is_here(
    tmp_path: Path,
) -> None:
    book, counts = Book(), RuleCounts()
    (rule,) = book.ruleset.rules
    now, keys = time.time(), [CountKey(rule.identity, group(number)) for number in range(450)]
    others = CountKey(b"of another rule!", group(1))
    rows = RuleRows(tuple(BucketRow(key, int(now) - 60, int(now) + 86_400, 1) for key in (*keys, others)))
    counts.restore(rows)
    sizes, times = list[int](), 0
    with closing(Store(tmp_path / "gate.db")) as store:
        await store.keep(Outcome(rules=rows))
        desk = RuleDesk(cast(Any, book), counts, store, {"chain": 1})

        async def watch_sizes() -> None:
            before = len(counts)
            while True:
                await asyncio.sleep(0)
                sizes.append(before - len(counts))
                before = len(counts)

        async def count_meanwhile() -> None:
            nonlocal times
            while True:
                key = keys[7 * times % len(keys)]
                charge = WindowCharge(key=key, window=Sliding(86_400), amount=1, limit=9, binding=True, lasting=True)
                one = replace(reservation(1, 1), rule_charges=(charge,))
                await store.keep(Outcome(rules=counts.conclude(one, now, success=True).rows))
                times += 1

        beside = [asyncio.create_task(work()) for work in (watch_sizes, count_meanwhile)]
        await asyncio.sleep(0)
        told = await desk.reset("few", None)
        for task in beside:
            task.cancel()
        await asyncio.gather(*beside, return_exceptions=True)
        assert told["forgotten"] >= len(keys)
        assert (times > 1, max(sizes) <= MOST) == (True, True)
        left = {key: used for key in keys if (used := counts.used(key, now)[0])}
        await store.check_writable()  # after all that was handed over
        on_disk = {row.key: row.amount for row in store.rule_rows().buckets}
    assert left
    assert on_disk == {**left, others: 1}
    assert counts.used(others, now)[0] == 1
