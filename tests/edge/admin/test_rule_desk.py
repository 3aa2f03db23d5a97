"""What is left of a hundred thousand windows is looked through in small pieces, and only what is shown is printed."""

from __future__ import annotations

import asyncio
from typing import Any, cast

from proxy.edge.admin.rule_desk import RuleDesk
from proxy.judge.counts import CountKey
from proxy.judge.rule import Limit, Rule
from proxy.judge.verdict import Mode
from proxy.judge.windows import BucketRow
from proxy.ledger.reservation import RuleRows
from proxy.ledger.rule_counts import RuleCounts
from tests.judge.builders import judge_of

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
