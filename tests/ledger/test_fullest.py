"""Of each rule the fullest window that operations met is told once."""

from __future__ import annotations

from proxy.judge.counts import CountKey
from proxy.ledger.fullest import FullestWindows, FullWindow

ALICE, BOB, OTHERS = CountKey(b"cap", b"alice"), CountKey(b"cap", b"bob"), CountKey(b"rate", b"")


def test_the_fullest_window_that_was_met_stands_for_its_rule_until_it_is_met_less_full_itself() -> None:
    windows = FullestWindows()
    windows.meet({ALICE: 0.9, OTHERS: 0.25})
    windows.meet({BOB: 0.1})
    assert [*windows.take()] == [FullWindow(0.9, ALICE), FullWindow(0.25, OTHERS)]
    assert not windows.take()
    windows.meet({ALICE: 0.9})
    windows.meet({ALICE: 0.05})
    windows.meet({BOB: 0.1})
    assert [*windows.take()] == [FullWindow(0.1, BOB)]


def test_rules_that_are_gone_leave_nothing() -> None:
    windows = FullestWindows()
    windows.meet({ALICE: 0.5, OTHERS: 0.25})
    windows.keep_only({b"rate"})
    assert [*windows.take()] == [FullWindow(0.25, OTHERS)]
