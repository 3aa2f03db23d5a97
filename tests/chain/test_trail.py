"""What is remembered of the newest blocks, and what shows by it."""

from __future__ import annotations

from proxy.chain.trail import OVERLAP, Cursor, LogName, Touch, Trail
from proxy.session.counters import SessionKey
from proxy.userop.primitives import Hash32
from tests.session.builders import ACCOUNT, SMART_SESSION


def key(number: int) -> SessionKey:
    return SessionKey(1, SMART_SESSION, ACCOUNT, Hash32(number.to_bytes(32, "big")))


def cursor(block: int, branch: int = 0) -> Cursor:
    return Cursor(block, Hash32(block.to_bytes(31, "big") + bytes([branch])))


def log(block: int, of: int, branch: int = 0) -> dict[LogName, Touch]:
    return {LogName(cursor(block, branch).block_hash, of): Touch(block, key(of))}


def test_a_log_is_news_once() -> None:
    trail = Trail(cursor(100))
    found = log(101, 1)
    assert trail.changed(93, 101, found) == [key(1)]
    assert trail.changed(93, 101, found) == [key(1)], "until what it tells of has been seen to"
    trail.scanned(93, 101, found)
    trail.reached(cursor(101))
    assert trail.changed(94, 101, found) == []


def test_a_log_before_the_first_block_is_news_once_too() -> None:
    trail = Trail(cursor(100))
    found = log(95, 1)
    assert trail.changed(93, 101, found) == [key(1)]
    trail.scanned(93, 101, found)
    trail.reached(cursor(101))
    assert trail.changed(94, 102, found) == []


def test_the_same_log_on_another_branch_and_a_log_that_has_gone_are_news() -> None:
    trail = Trail(cursor(100))
    trail.scanned(93, 101, log(101, 1))
    assert trail.changed(93, 101, log(101, 1, branch=1)) == [key(1)]
    assert trail.changed(93, 101, {}) == [key(1)]
    assert trail.changed(93, 100, {}) == [], "101 was not looked at"


def test_the_last_blocks_are_looked_at_again_and_none_before_the_first() -> None:
    assert Trail(cursor(100)).first_to_scan == 100 + 1 - OVERLAP
    assert Trail(cursor(3)).first_to_scan == 0
    trail = Trail(cursor(100))
    trail.scanned(93, 150, {})
    assert trail.first_to_scan == 150 + 1 - OVERLAP, "scanned, though the head has not been reached"


def test_cutting_forgets_what_came_after_and_no_more() -> None:
    trail = Trail(cursor(100))
    for block in (101, 102, 103):
        trail.scanned(block, block, log(block, block))
        trail.reached(cursor(block))
    assert trail.touched_after(101) == [key(102), key(103)]
    trail.cut(101)
    assert trail.newest == cursor(101)
    assert trail.first_to_scan == 101 + 1 - OVERLAP
    assert trail.touched_after(0) == [key(101)]
    assert list(trail.blocks_down_from(200)) == [cursor(101), cursor(100)]


def test_blocks_come_newest_first_from_where_one_asks() -> None:
    trail = Trail(cursor(100))
    trail.reached(cursor(105))
    trail.reached(cursor(110))
    assert list(trail.blocks_down_from(109)) == [cursor(105), cursor(100)]
    assert list(trail.blocks_down_from(110)) == [cursor(110), cursor(105), cursor(100)]
    assert list(trail.blocks_down_from(99)) == []


def test_what_is_remembered_is_bounded() -> None:
    trail = Trail(cursor(0))
    for block in range(1, 200):
        trail.scanned(block, block, log(block, block))
        trail.reached(cursor(block))
    known = list(trail.blocks_down_from(1_000))
    assert len(known) == 32
    assert known[0] == cursor(199)
    assert trail.touched_after(0) == [key(block) for block in range(168, 200)]
