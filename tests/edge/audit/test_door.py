"""The way into the trail is bounded in number and in bytes, counts what it turns away, and numbers what it takes."""

from __future__ import annotations

import gc
import threading
from typing import Any, cast

from hypothesis import given
from hypothesis import strategies as st

from proxy.edge.audit.door import Bounds, Door
from proxy.edge.audit.line import NoteBatch, unpack
from proxy.edge.audit.printing import print_plain
from proxy.edge.audit.sampling import RefusalRate
from proxy.errors import Code, Reason
from proxy.judge.upstream_answer import UpstreamAnswer
from proxy.judge.verdict import Reject
from proxy.ports import Deed, OperationEnd
from proxy.userop.execution import Call
from proxy.userop.primitives import Address
from tests.edge.builders import OUT_OF_SCOPE, USER_OP_HASH, decision
from tests.judge.builders import facts
from tests.patience import PATIENCE_SECONDS


class Nearly(str):
    """Text that is not just text."""

    __slots__ = ()


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def a_door(bounds: Bounds | None = None, rate: RefusalRate | None = None) -> tuple[Door, Clock]:
    clock = Clock()
    return Door(bounds or Bounds(), rate or RefusalRate(), clock=clock, monotonic=clock), clock


def told(batches: list[NoteBatch]) -> list[tuple[int, Any]]:
    """Numbers, and what happened as plain values."""
    found = [list(enumerate(unpack(batch.packed), batch.first)) for batch in batches]
    assert [len(each) for each in found] == [batch.records for batch in batches]
    return [each for some in found for each in some]


def done(door: Door, batches: list[NoteBatch]) -> None:
    for batch in batches:
        door.done(batch)


def details(door: Door, kind: str) -> list[str]:
    printed = [print_plain(plain) for _, plain in told(door.take())]
    return [str(columns[-1]) for columns in printed if columns[0] == kind]


def refused(code: Code, **changes: object) -> Reject:
    return Reject((Reason(code=code, sentence="no", remedy="none", **changes),))  # type: ignore[arg-type]  # keywords


def test_what_one_large_operation_holds_in_the_queue_counts_in_bytes() -> None:
    door, _ = a_door(Bounds(notes=1_000, bytes=1_000_000))
    calls = tuple(Call(Address(number.to_bytes(20, "big")), 0, b"") for number in range(10_000))
    large = decision(calls=calls)
    assert [door.decided(large, forwarding=True) for _ in range(4)] == [True, True, False, False]
    assert door.queued_bytes < 1_000_000
    assert (door.queued, door.lost) == (2, 2)


def test_room_that_is_given_back_is_there_again() -> None:
    door, _ = a_door(Bounds(notes=2))
    assert [door.decided(decision(), forwarding=True) for _ in range(3)] == [True, True, False]
    taken = door.take()
    assert door.queued == 2  # not on file yet
    done(door, taken)
    assert door.decided(decision(), forwarding=True)
    assert door.queued == 2  # it, and before it the record of the one that found no room


@given(st.lists(st.sampled_from(["plain", "nearly plain", "broken"]), max_size=64))
def test_a_note_that_cannot_be_handed_over_takes_none_with_it_that_waits_beside_it(
    kinds: list[str],
) -> None:
    door, _ = a_door()
    worse: dict[str, Any] = {"plain": {}, "nearly plain": {"client": Nearly("dapp")}, "broken": {"client": object()}}
    for kind in kinds:
        door.decided(decision(facts=facts(**worse[kind])), forwarding=True)
    notes = door.take()
    found = [(seq, plain[0]) for seq, plain in told(notes)]
    assert found == [(seq, "gap" if kind == "broken" else "decision") for seq, kind in enumerate(kinds, 1)]
    assert (door.queued, door.lost) == (len(kinds), kinds.count("broken"))
    done(door, notes)
    assert (door.queued, door.queued_bytes) == (0, 0)


@given(st.lists(st.sampled_from(["put", "break", "take"]), max_size=60), st.integers(1, 5))
def test_every_number_is_a_record_or_in_exactly_one_gap(steps: list[str], most: int) -> None:
    door, _ = a_door(Bounds(notes=most))
    put, kept = 0, []

    def take() -> None:
        notes = door.take()
        for seq, plain in told(notes):
            columns = print_plain(plain)
            if columns[0] == "gap":
                first = int(str(columns[-1]).partition('"first":')[2].partition(",")[0])
                kept.extend(range(first, seq + 1))
            else:
                kept.append(seq)
        done(door, notes)

    for step in steps:
        if step == "put":
            put += 1
            door.answered("d", UpstreamAnswer(result="0x1"))
        elif step == "break":
            put += 1
            assert not door.noted(Deed(what="freeze", who=cast(str, object())))  # nothing that can be handed over
        else:
            take()
    door.close()
    take()
    assert kept == list(range(1, put + 1))
    assert (door.queued, door.queued_bytes) == (0, 0)


@given(st.lists(st.sampled_from(["brief", "long", "huge", "take", "done"]), max_size=30), st.integers(0, 1_100))
def test_whatever_else_comes_in_and_goes_out_meanwhile_a_batch_says_what_it_was_told(
    steps: list[str], many: int
) -> None:
    door, _ = a_door()
    said, heard, at_hand = [], [], []

    def say(text: str) -> None:
        said.append(text)
        assert door.answered("d", UpstreamAnswer(result=text))

    def hear() -> None:
        heard.extend(plain[3] for _, plain in told(at_hand))
        done(door, at_hand)
        at_hand.clear()

    for number in range(many):
        say(str(number))
    for number, step in enumerate(steps):
        match step:
            case "take":
                at_hand += door.take()
            case "done":
                hear()
            case _:
                say(f"{step} {number} " + {"brief": 1, "long": 100_000, "huge": 1_000_000}[step] * "x")
    at_hand += door.take()
    hear()
    assert heard == said
    assert (door.queued, door.queued_bytes) == (0, 0)


@given(st.lists(st.sampled_from(["brief", "large", "take", "done"]), max_size=120), st.integers(1, 64))
def test_whatever_has_room_is_taken_in_at_once_and_whoever_writes_hears_of_it(steps: list[str], most: int) -> None:
    door, _ = a_door(Bounds(notes=most))
    at_hand: list[NoteBatch] = []
    has_come = False
    for step in steps:
        queued, lost = door.queued, door.lost
        if step == "take":
            at_hand += door.take()
            has_come = False
        elif step == "done":
            done(door, at_hand)
            at_hand = []
        else:
            message = "m" * 1_000 if step == "large" else None
            taken = door.answered("d", UpstreamAnswer(result="0x1", error_message=message))
            assert taken == (queued < most)
            assert door.lost == lost + (not taken)
            has_come |= taken
        assert door.queued <= most + 1  # the record of what found no room comes on top
        assert door.wait(0) == has_come


def test_refusals_past_the_rate_are_counted_exactly_by_code_and_the_rest_is_kept() -> None:
    door, clock = a_door(rate=RefusalRate(per_second=1, burst=3))
    for _ in range(10):
        door.decided(decision(verdict=refused(Code.UNDECODABLE)), forwarding=False)
    clock.now += 2
    for _ in range(5):
        door.decided(decision(verdict=refused(Code.SESSION_UNKNOWN)), forwarding=False)
    door.tell_left_out()
    printed = [print_plain(plain) for _, plain in told(door.take())]
    kept = [columns for columns in printed if columns[0] == "decision"]
    counts = sorted(str(columns[-1]) for columns in printed if columns[0] == "sampled")
    assert (len(kept), door.left_out) == (5, 10)
    assert [f'"refusals":{count}' in each for each, count in zip(counts, (3, 7), strict=True)] == [True, True]


def test_a_flood_of_strangers_hides_no_refusal_of_a_sessions_own_key() -> None:
    door, _ = a_door(rate=RefusalRate(per_second=1, burst=2))
    for _ in range(50):
        door.decided(decision(verdict=refused(Code.UNDECODABLE), permission_id=None), forwarding=False)
    door.take()
    door.decided(decision("own", verdict=refused(Code.LIMIT_EXCEEDED)), forwarding=False)
    assert len(told(door.take())) == 1


def test_a_flood_of_strangers_who_name_a_frozen_session_hides_no_use_of_it_that_its_key_signed() -> None:
    door, _ = a_door(rate=RefusalRate(per_second=1, burst=2))
    for number in range(50):
        by_strangers = refused(Code.SESSION_REVOKED, signed=False if number % 2 else None)
        door.decided(decision(verdict=by_strangers), forwarding=False)
    door.take()
    door.decided(decision("own", verdict=refused(Code.SESSION_REVOKED, signed=True)), forwarding=False)
    assert len(door.take()) == 1


def test_one_client_s_flood_hides_no_refusal_of_another() -> None:
    door, _ = a_door(rate=RefusalRate(per_second=1, burst=2))
    for _ in range(50):
        door.decided(decision(verdict=OUT_OF_SCOPE, client="loud"), forwarding=False)
    door.take()
    door.decided(decision(verdict=OUT_OF_SCOPE, client="quiet"), forwarding=False)
    assert len(told(door.take())) == 1


def test_what_is_forwarded_is_never_left_out() -> None:
    door, _ = a_door(rate=RefusalRate(per_second=1, burst=1))
    for _ in range(20):
        door.decided(decision(verdict=OUT_OF_SCOPE), forwarding=True)
    assert len(told(door.take())) == 20


def test_many_kinds_of_refusals_take_no_memory_without_end() -> None:
    door, _ = a_door(rate=RefusalRate(per_second=1e-9, burst=1))
    for number in range(3_000):
        for _ in range(2):
            door.decided(decision(verdict=OUT_OF_SCOPE, chain=f"c{number}"), forwarding=False)
    door.tell_left_out()
    sampled = details(door, "sampled")
    assert len(sampled) <= 1_025
    assert sum(int(each.partition('"refusals":')[2].rstrip("}")) for each in sampled) == door.left_out


def test_what_waits_at_the_door_is_nothing_that_the_garbage_collector_looks_at() -> None:
    door, _ = a_door()
    made = decision(facts=facts())
    end = OperationEnd("soneium", USER_OP_HASH, "mined")
    gc.disable()
    try:
        before = gc.get_count()[0]
        for _ in range(1_000):
            door.decided(made, forwarding=True)
            door.answered("d", UpstreamAnswer(result="0x1"))
            door.ended(end)
        assert gc.get_count()[0] - before < 100
    finally:
        gc.enable()
    assert door.queued == 3_000


def test_whoever_waits_for_many_hears_once_they_are_there_and_when_the_door_is_closed() -> None:
    door, _ = a_door()
    heard: list[int] = []

    def wait() -> None:
        for many in (1, 50, 50):
            door.wait_for(many, PATIENCE_SECONDS)
            heard.append(door.queued)

    waiting = threading.Thread(target=wait)
    waiting.start()
    for _ in range(50):
        door.answered("d", UpstreamAnswer(result="0x1"))
    door.close()
    waiting.join(PATIENCE_SECONDS)
    assert not waiting.is_alive()
    assert heard[1:] == [50, 50]


def test_whoever_waits_for_many_hears_of_few_that_fill_half_the_room() -> None:
    door, _ = a_door(Bounds(bytes=100_000))
    waiting = threading.Thread(target=door.wait_for, args=(1_000, PATIENCE_SECONDS))
    waiting.start()
    for _ in range(10):
        door.answered("d", UpstreamAnswer(result="0x1", error_message="m" * 8_000))
    waiting.join(PATIENCE_SECONDS)
    assert not waiting.is_alive()
    assert door.queued < 1_000
