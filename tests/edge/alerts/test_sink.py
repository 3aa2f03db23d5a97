"""A sink is told once, again when it goes on, and when it is over; what it does not take is tried again or counted."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from proxy.edge.alerts.board import ActiveAlert, Board
from proxy.edge.alerts.sink import Due, Sink, SinkReply, SinkTerms
from proxy.edge.telemetry.health_metrics import HealthMetrics
from proxy.session.lint.findings import Severity
from tests.edge.alerts.builders import NOW, happening
from tests.patience import PATIENCE_SECONDS


class Clock:
    """Unix seconds and monotonic ones, moved by hand."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        return self.now


class Post:
    """What arrives, and what is answered: TAKEN unless told otherwise."""

    def __init__(self, *replies: SinkReply) -> None:
        self.replies = list(replies)
        self.got: list[list[Due]] = []

    async def __call__(self, dues: Sequence[Due]) -> SinkReply:
        self.got.append(list(dues))
        return self.replies.pop(0) if self.replies else SinkReply.TAKEN

    @property
    def told(self) -> list[tuple[int, bool]]:
        """Of each message the session and whether it was over."""
        return [(int.from_bytes(due.alert.key.permission_id or b""), due.resolved) for dues in self.got for due in dues]


@asynccontextmanager
async def telling(
    post: Post, clock: Clock, *, chance: float = 0.0, **terms: Any
) -> AsyncIterator[tuple[Sink, CollectorRegistry]]:
    registry = CollectorRegistry()
    sink = Sink(
        SinkTerms(name="soc", **terms),
        post,
        metrics=HealthMetrics(registry, ["soc"]),
        clock=clock,
        stopwatch=clock,
        chance=lambda: chance,
    )
    task = asyncio.ensure_future(sink.run())
    yield sink, registry
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def board() -> Board:
    return Board(max_active=10_000, resolve_after_seconds=900)


def counted(registry: CollectorRegistry, name: str, **labels: str) -> float | None:
    return registry.get_sample_value(f"sessiongate_alerts_{name}_total", {"sink": "soc", **labels})


async def test_an_alert_that_goes_on_is_told_once_and_again_after_the_repeat_interval() -> None:
    post, clock, active = Post(), Clock(), board()
    async with telling(post, clock, repeat_seconds=3600) as (sink, _):
        for _ in range(50):
            sink.offer(active.note(happening()))
        await sink.idle()
        clock.now += 3599
        sink.offer(active.note(happening()))
        assert post.told == [(1, False)]
        clock.now += 1
        sink.offer(active.note(happening()))
        await sink.idle()
        assert post.told == [(1, False), (1, False)]


async def test_nothing_new_is_not_repeated_however_long_ago() -> None:
    post, clock, active = Post(), Clock(), board()
    async with telling(post, clock, repeat_seconds=10) as (sink, _):
        alert = active.note(happening())
        sink.offer(alert)
        await sink.idle()
        clock.now += 1000
        sink.offer(alert)
        assert len(post.got) == 1


async def test_one_that_is_over_before_it_could_be_told_is_told_all_the_same() -> None:
    post, clock, active = Post(SinkReply.LATER), Clock(), board()
    async with telling(post, clock) as (sink, _):
        alert = active.note(happening())
        sink.offer(alert)
        sink.end(alert)
        await sink.idle()
    assert post.told == [(1, False), (1, False), (1, True)]


async def test_one_that_begins_again_while_its_end_is_untold_is_told_as_going_on() -> None:
    post, clock, active = Post(), Clock(), board()
    async with telling(post, clock) as (sink, _):
        sink.offer(active.note(happening()))
        await sink.idle()
        sink.end(active.note(happening()))
        sink.offer(active.note(happening()))
        await sink.idle()
    assert post.told == [(1, False), (1, False)]


@pytest.mark.parametrize("reply", [SinkReply.TAKEN, SinkReply.LATER, SinkReply.NEVER])
async def test_one_that_begins_again_while_its_end_is_on_its_way_is_told_as_a_new_one(reply: SinkReply) -> None:
    clock, active = Clock(), board()

    class Slow(Post):
        """Meanwhile the same happens once more."""

        async def __call__(self, dues: Sequence[Due]) -> SinkReply:
            answer = await super().__call__(dues)
            if [due.resolved for due in dues] == [True] and len(self.got) == 2:
                sink.offer(active.note(happening(unix_time=NOW + 1_000)))
            return answer

    post = Slow(SinkReply.TAKEN, reply)
    async with telling(post, clock) as (sink, _):
        alert = active.note(happening())
        sink.offer(alert)
        await sink.idle()
        (ended,) = active.take_ended(NOW + 900)
        assert ended == alert
        sink.end(alert)
        await sink.idle()
    assert post.told == [(1, False), (1, True), (1, False)]
    assert post.got[-1][0].alert.first == NOW + 1_000


async def test_a_steady_sink_hears_every_change_many_at_once() -> None:
    post, clock, active = Post(), Clock(), board()
    async with telling(post, clock, steady=True, batch=64) as (sink, _):
        for number in range(100):
            sink.offer(active.note(happening(number)))
        await sink.idle()
        sink.offer(active.note(happening(5)))
        await sink.idle()
    assert [len(dues) for dues in post.got] == [64, 36, 1]


async def test_what_no_place_is_left_for_is_dropped_and_counted_exactly() -> None:
    post, clock, active = Post(), Clock(), board()
    async with telling(post, clock, queue_limit=10) as (sink, registry):
        for number in range(25):
            sink.offer(active.note(happening(number)))
        await sink.idle()
        assert counted(registry, "dropped") == 15
        assert counted(registry, "sent", result="taken") == len(post.told) == 10


async def test_a_message_it_refuses_is_given_up_and_the_others_of_its_batch_are_not() -> None:
    post, clock, active = Post(SinkReply.NEVER, SinkReply.TAKEN, SinkReply.NEVER, SinkReply.TAKEN), Clock(), board()
    async with telling(post, clock, steady=True, batch=3) as (sink, registry):
        for number in range(3):
            sink.offer(active.note(happening(number)))
        await sink.idle()
        assert counted(registry, "sent", result="taken") == 2
        assert counted(registry, "sent", result="given_up") == 1
        assert counted(registry, "dropped") == 1


async def test_a_message_that_cannot_be_made_does_not_end_the_telling() -> None:
    active = board()

    class Broken(Post):
        async def __call__(self, dues: Sequence[Due]) -> SinkReply:
            if not self.got:
                self.got.append([])
                raise ValueError("no such label")
            return await super().__call__(dues)

    post = Broken()
    async with telling(post, Clock()) as (sink, registry):
        sink.offer(active.note(happening(1)))
        sink.offer(active.note(happening(2)))
        await sink.idle()
        assert counted(registry, "dropped") == 1
    assert post.told == [(2, False)]


async def test_a_sink_back_from_the_dead_hears_all_it_was_owed() -> None:
    post, clock, active = Post(SinkReply.LATER, SinkReply.LATER), Clock(), board()
    async with telling(post, clock) as (sink, registry):
        for number in range(3):
            sink.offer(active.note(happening(number)))
        clock.now += 30
        assert sink.oldest_seconds() == 30
        await sink.idle()
        assert counted(registry, "sent", result="failed") == 2
        assert sink.oldest_seconds() == 0
    assert set(post.told) == {(0, False), (1, False), (2, False)}


async def test_the_gravest_is_told_first_and_finds_room_where_what_is_less_grave_has_taken_all() -> None:
    clock, active = Clock(), board()
    gravity = dict(enumerate([Severity.LOW] * 9 + [Severity.HIGH], 1))

    class Busy(Post):
        """While it is told of the first, the rest happens."""

        async def __call__(self, dues: Sequence[Due]) -> SinkReply:
            if not self.got:
                for number in range(2, 11):
                    sink.offer(active.note(happening(number, severity=gravity[number])))
                for number in (11, 12):
                    sink.offer(active.note(happening(number, severity=Severity.CRITICAL)))
                sink.offer(active.note(happening(13, severity=Severity.LOW)))
            return await super().__call__(dues)

    post = Busy()
    async with telling(post, clock, queue_limit=10) as (sink, registry):
        sink.offer(active.note(happening(1, severity=Severity.LOW)))
        await sink.idle()
        # the newest of the least grave made room, and one of them found none
        assert [number for number, _ in post.told] == [1, 11, 12, 10, 2, 3, 4, 5, 6, 7]
        assert counted(registry, "dropped") == 3
        assert counted(registry, "sent", result="taken") == 10


async def test_what_is_being_told_makes_room_for_nothing() -> None:
    clock, active = Clock(), board()

    class Busy(Post):
        async def __call__(self, dues: Sequence[Due]) -> SinkReply:
            sink.offer(active.note(happening(2, severity=Severity.CRITICAL)))
            return await super().__call__(dues)

    post = Busy(SinkReply.LATER)
    async with telling(post, clock, queue_limit=1) as (sink, registry):
        sink.offer(active.note(happening(1, severity=Severity.LOW)))
        await sink.idle()
        assert counted(registry, "dropped") == 2
    assert post.told == [(1, False), (1, False)]


async def test_a_grave_message_that_the_sink_never_has_an_answer_to_holds_up_no_other() -> None:
    clock, active = Clock(), board()

    class Odd(Post):
        async def __call__(self, dues: Sequence[Due]) -> SinkReply:
            await super().__call__(dues)
            return SinkReply.LATER if self.told[-1][0] == 1 else SinkReply.TAKEN

    post = Odd()
    async with telling(post, clock) as (sink, _):
        for number, severity in ((1, Severity.CRITICAL), (2, Severity.LOW), (3, Severity.INFO)):
            sink.offer(active.note(happening(number, severity=severity)))
        async with asyncio.timeout(PATIENCE_SECONDS):
            while sink.waiting > 1:  # noqa: ASYNC110  # the sink's own pace
                await asyncio.sleep(0.01)
    assert [number for number, _ in post.told[:4]] == [1, 2, 1, 3]


async def test_a_message_that_the_sink_never_has_an_answer_to_holds_up_no_other_and_counts_as_the_oldest() -> None:
    clock, active = Clock(), board()

    class Odd(Post):
        async def __call__(self, dues: Sequence[Due]) -> SinkReply:
            await super().__call__(dues)
            return SinkReply.LATER if self.told[-1][0] == 1 else SinkReply.TAKEN

    post = Odd()
    async with telling(post, clock) as (sink, registry):
        for number in (1, 2, 3):
            sink.offer(active.note(happening(number)))
            clock.now += 10
        async with asyncio.timeout(PATIENCE_SECONDS):
            while sink.waiting > 1:  # noqa: ASYNC110  # the sink's own pace
                await asyncio.sleep(0.01)
        assert counted(registry, "sent", result="taken") == 2
        assert sink.oldest_seconds() == 30
    assert {number for number, _ in post.told} == {1, 2, 3}


@pytest.mark.parametrize("after", [86_399.0, 86_401.0])
async def test_after_a_day_without_an_answer_a_message_is_given_up_not_before(after: float) -> None:
    post, clock, active = Post(SinkReply.LATER), Clock(), board()
    async with telling(post, clock) as (sink, registry):
        sink.offer(active.note(happening()))
        clock.now += after
        await sink.idle()
        assert (counted(registry, "sent", result="given_up") == 1) is (after > 86_400)


async def test_no_more_messages_a_minute_than_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    post, clock, active = Post(), Clock(), board()
    rests: list[tuple[int, float]] = []
    give_way = asyncio.sleep

    async def rest(seconds: float) -> None:
        rests.append((len(post.told), seconds))
        clock.now += seconds
        await give_way(0)

    monkeypatch.setattr(asyncio, "sleep", rest)
    async with telling(post, clock, per_minute=6) as (sink, _):
        for number in range(9):
            sink.offer(active.note(happening(number)))
        await sink.idle()
        assert len(post.told) == 9
        # a minute's at once, and then one as each is earned; a quiet hour earns no more than a minute's
        assert rests == [(6, 10.0), (7, 10.0), (8, 10.0)]
        clock.now += 3_600
        for number in range(10, 17):
            sink.offer(active.note(happening(number)))
        await sink.idle()
        assert rests[3:] == [(15, 10.0)]


@pytest.mark.parametrize("chance", [0.0, 1.0])
async def test_a_sink_that_cannot_take_a_message_is_tried_again_ever_later_and_soon_once_it_took_one(
    monkeypatch: pytest.MonkeyPatch, chance: float
) -> None:
    post, clock, active = Post(*[SinkReply.LATER] * 9, SinkReply.TAKEN, SinkReply.LATER), Clock(), board()
    rests: list[float] = []
    give_way = asyncio.sleep

    async def rest(seconds: float) -> None:
        rests.append(seconds)
        clock.now += seconds
        await give_way(0)

    monkeypatch.setattr(asyncio, "sleep", rest)
    async with telling(post, clock, chance=chance) as (sink, _):
        sink.offer(active.note(happening(1)))
        sink.offer(active.note(happening(2)))
        await sink.idle()
    # between half and all of it, so that not everybody comes back at the same moment
    whole = [0.5, 1, 2, 4, 8, 16, 32, 60, 60, 0.5]
    assert rests == [seconds * (0.5 + 0.5 * chance) for seconds in whole]
    # in turn, until one was taken
    assert [number for number, _ in post.told] == [1, 2] * 5 + [1, 1]


@given(st.lists(st.tuples(st.integers(0, 4), st.sampled_from(["hit", "end"])), max_size=30))
async def test_whatever_happens_each_alert_told_begins_before_it_ends(events: list[tuple[int, str]]) -> None:
    post, clock, active = Post(), Clock(), board()
    alerts: dict[int, ActiveAlert] = {}
    async with telling(post, clock, repeat_seconds=1) as (sink, _):
        for number, what in events:
            if what == "hit":
                alerts[number] = active.note(happening(number))
                sink.offer(alerts[number])
            elif number in alerts:
                sink.end(alerts.pop(number))
            clock.now += 1
            await asyncio.sleep(0)
        await sink.idle()
    for number in range(5):
        told = [resolved for each, resolved in post.told if each == number]
        assert bool(told) == any(each == (number, "hit") for each in events)
        assert not told or told[0] is False
        assert all(not (one and other) for one, other in pairwise(told))
