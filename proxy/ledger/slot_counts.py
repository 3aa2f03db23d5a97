"""What is counted and in flight, as one operation is judged by it."""

from __future__ import annotations

from collections.abc import Set

from proxy.judge.counts import CountKey, History, Row
from proxy.judge.rule import Window
from proxy.ledger.rule_counts import RuleCounts, lasting
from proxy.ledger.rule_use import EVERYBODY, RuleUseView


class SlotCounts:
    """The counts as an operation in one slot is judged by them, now; see `proxy.judge.counts.Counts`."""

    __slots__ = ("_counts", "_held", "_histories", "_is_common", "_moment", "_now", "_total", "_view")

    def __init__(self, counts: RuleCounts, view: RuleUseView, now: float) -> None:
        self._counts = counts
        self._view = view
        self._now = now = counts.counted(now)
        # what everybody sees, as nearly every operation does, is looked up with as few calls as can be
        self._is_common = view is EVERYBODY and counts.whole_since is None
        self._moment, self._total = counts.moment(now), counts.total_at
        self._held, self._histories = counts.held.amounts, counts.histories

    def total(self, key: CountKey, window: Window) -> int:
        if self._is_common:
            return self._total(key, self._moment) + self._held.get(key, 0)
        if self._counts.whole_since is not None:
            self._counts.vouch(window, self._now)
        return self._counts.total(key, self._view, self._now)

    def marks(self, key: CountKey, window: Window) -> Set[bytes]:
        if self._counts.whole_since is not None:
            self._counts.vouch(window, self._now)
        return self._counts.marks(key, self._view, self._now)

    def history(self, key: CountKey) -> History | None:
        learnt = self._histories.get(key)
        if learnt is None:
            return None
        history = learnt.history
        return history if type(history) is not Row else lasting(learnt, self._now)
