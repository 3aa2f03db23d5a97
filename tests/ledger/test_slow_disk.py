"""A disk that writes to the page cache wait for rests from the loop's thread; a processor that is short does not count
as one."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from proxy.ledger.transactions import SlowDisk


@dataclass
class Thread:
    """What it is told of its time, and how often it has waited."""

    now: float = 100.0
    waited: int = 7

    def waits(self) -> int:
        return self.waited


def of(thread: Thread) -> SlowDisk:
    return SlowDisk(stopwatch=lambda: thread.now, waits=thread.waits)


def write(disk: SlowDisk, thread: Thread, seconds: float, *, waits: bool = False) -> bool:
    """Whether it was written here."""
    if not disk.begin():
        return False
    thread.now += seconds
    thread.waited += waits
    disk.end()
    return True


@pytest.mark.parametrize("before", [0.0, 0.0005, 1.0])
def test_a_write_that_waits_for_long_is_the_last_one_for_a_while(before: float) -> None:
    thread = Thread()
    disk = of(thread)
    assert write(disk, thread, 0.0001)
    thread.now += before
    assert write(disk, thread, 0.05, waits=True)
    assert not write(disk, thread, 0.0001)
    thread.now += 5.1
    assert write(disk, thread, 0.0001)
    assert write(disk, thread, 0.0001)


@pytest.mark.parametrize("between", [0.0, 0.0005, 0.01])
def test_a_write_that_takes_long_and_waits_for_nothing_is_followed_by_others(between: float) -> None:
    thread = Thread()
    disk = of(thread)
    for _ in range(5):
        assert write(disk, thread, 0.0001)
        thread.waited += 1  # the loop waits for its callers, for however short
        thread.now += between
        assert write(disk, thread, 0.05)
