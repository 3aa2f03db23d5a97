"""Sessions that change behind the gate's back are noticed, whatever the chain, the node and the disk do."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.chain.blocks.header import Header
from proxy.chain.blocks.source import LogFilter
from proxy.chain.logs import Log
from proxy.chain.session_logs import SESSION_TOPICS
from proxy.chain.trail import OVERLAP, Cursor
from proxy.chain.watcher import Watcher, _pause
from proxy.errors import StateUnavailable
from proxy.session.counters import SessionKey
from proxy.session.known import KnownSession, Source, Status
from proxy.session.registry import Registry
from proxy.session.state import SessionState
from proxy.userop.primitives import Hash32
from tests.chain.builders import Clock
from tests.session.builders import ACCOUNT, SMART_SESSION, STRANGER, word

CREATED, REMOVED = SESSION_TOPICS[:2]
FIRST = 1_000  # the block at which every test begins


def key(number: int = 1) -> SessionKey:
    return SessionKey(1, SMART_SESSION, ACCOUNT, Hash32(word(number)))


def by_id(keys: list[SessionKey]) -> list[SessionKey]:
    return sorted(keys, key=lambda each: each.permission_id)


@dataclass
class Chain:
    """A node whose blocks are a list: each has a hash of its own and the logs of it."""

    hashes: list[Hash32] = field(default_factory=list)
    logs_of: dict[Hash32, list[Log]] = field(default_factory=dict)
    made: int = 0
    down: bool = False
    most_blocks: int = 10_000  # to one question for logs
    hidden: set[int] = field(default_factory=set)  # blocks whose logs the node that answers has not got
    asked: list[tuple[int, int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.mine(FIRST + 1)

    @property
    def newest(self) -> int:
        return len(self.hashes) - 1

    def mine(self, count: int = 1, *events: tuple[SessionKey, bool]) -> None:
        """Add blocks; the events, a session and whether it is enabled now, are in the last of them."""
        for _ in range(count):
            self.made += 1
            self.hashes.append(Hash32(word(self.made)))
        self.logs_of[self.hashes[-1]] = [self._log(index, *event) for index, event in enumerate(events)]

    def _log(self, index: int, of: SessionKey, enabled: bool) -> Log:
        return Log(
            address=of.module,
            topics=(CREATED if enabled else REMOVED,),
            data=of.permission_id + word(of.account),
            block=self.newest,
            block_hash=self.hashes[-1],
            transaction_hash=Hash32(bytes(32)),
            log_index=index,
        )

    def undo(self, count: int) -> None:
        """A reorganisation takes these many blocks off."""
        del self.hashes[len(self.hashes) - count :]

    def enabled(self, of: SessionKey) -> bool:
        """What the newest block has; a session that no log is about is enabled from the beginning."""
        for block_hash in reversed(self.hashes):
            for log in reversed(self.logs_of.get(block_hash, [])):
                if log.data == of.permission_id + word(of.account) and log.address == of.module:
                    return log.topics == (CREATED,)
        return True

    def _answer(self) -> None:
        if self.down:
            raise StateUnavailable("the node could not be asked")

    async def head(self) -> Header:
        self._answer()
        return Header(number=self.newest, hash=self.hashes[-1], parent=Hash32(bytes(32)), timestamp=0)

    async def block_hash(self, number: int) -> Hash32 | None:
        self._answer()
        return self.hashes[number] if number <= self.newest else None

    async def logs_between(self, first: int, last: int, wanted: LogFilter) -> tuple[Log, ...]:
        self._answer()
        assert set(wanted.addresses) == {SMART_SESSION}
        assert list(map(set, wanted.topics)) == [set(SESSION_TOPICS)]
        if last - first + 1 > self.most_blocks:
            raise StateUnavailable("query exceeds max block range")
        self.asked.append((first, last))
        seen = [number for number in range(first, min(last, self.newest) + 1) if number not in self.hidden]
        return tuple(log for number in seen for log in self.logs_of.get(self.hashes[number], []))


@dataclass
class Disk:
    """Keeps sessions and cursors in memory; refuses while `broken`."""

    sessions: dict[SessionKey, KnownSession] = field(default_factory=dict)
    cursors: list[tuple[int, Cursor]] = field(default_factory=list)
    broken: bool = False

    async def save_session(self, session: KnownSession) -> None:
        self._write()
        self.sessions[session.key] = session

    async def save_cursor(self, chain_id: int, cursor: Cursor) -> None:
        self._write()
        self.cursors.append((chain_id, cursor))

    def _write(self) -> None:
        if self.broken:
            raise StateUnavailable("the store could not be written")


@dataclass
class Scene:
    """A watcher and everything around it. The sessions of `known` are in force when it begins."""

    known: tuple[SessionKey, ...] = (key(),)
    from_block: int | None = FIRST  # where the cursor stands
    chain: Chain = field(default_factory=Chain)
    disk: Disk = field(default_factory=Disk)
    clock: Clock = field(default_factory=Clock)
    registry: Registry = field(default_factory=Registry)
    read: list[SessionKey] = field(default_factory=list)
    unreadable: dict[SessionKey, Exception] = field(default_factory=dict)
    behind: int = 0  # blocks by which readings lag
    poll_seconds: float = 2.0

    def __post_init__(self) -> None:
        for each in self.known:
            self.put(each)
        self.restart(None if self.from_block is None else self.here(self.from_block))

    def here(self, block: int | None = None) -> Cursor:
        number = self.chain.newest if block is None else block
        return Cursor(number, self.chain.hashes[number])

    def restart(self, cursor: Cursor | None) -> None:
        self.watcher = Watcher(
            chain_id=1,
            modules={SMART_SESSION},
            source=self.chain,
            registry=self.registry,
            refresh=self.refresh,
            keeper=self.disk,
            clock=self.clock,
            poll_seconds=self.poll_seconds,
            cursor=cursor,
        )

    def put(self, of: SessionKey, **parts: object) -> None:
        known = KnownSession(
            key=of,
            status=Status.IN_FORCE,
            source=Source.NODE,
            updated_at=1.0,
            state=SessionState(key=of),
            block=FIRST - 100,
        )
        self.registry.put(replace(known, **parts))  # type: ignore[arg-type]  # passed through

    async def refresh(self, of: SessionKey) -> SessionState | None:
        """Reads as `NodeReader` does."""
        self.read.append(of)
        await asyncio.sleep(0)
        if of in self.unreadable:
            raise self.unreadable[of]
        if self.chain.down:
            raise StateUnavailable("the node could not be asked")
        state = SessionState(key=of)
        status = Status.IN_FORCE if self.chain.enabled(of) else Status.REMOVED
        self.put(of, status=status, state=state, block=self.chain.newest - self.behind)
        return state if status is Status.IN_FORCE else None

    def status(self, of: SessionKey | None = None) -> Status | None:
        known = self.registry.get(of or key())
        return None if known is None else known.status

    def state(self, of: SessionKey | None = None) -> SessionState | None:
        known = self.registry.get(of or key())
        return None if known is None else known.state

    async def look(self) -> list[SessionKey]:
        """One look; returns the sessions read in it."""
        self.read.clear()
        await self.watcher.look()
        return self.read


async def test_a_session_removed_elsewhere_is_noticed_at_the_next_look() -> None:
    scene = Scene()
    await scene.look()
    scene.chain.mine(1, (key(), False))
    assert scene.status() is Status.IN_FORCE
    assert await scene.look() == [key()]
    assert scene.status() is Status.REMOVED


async def test_a_session_enabled_again_elsewhere_is_noticed_too() -> None:
    scene = Scene()
    scene.chain.mine(1, (key(), False))
    await scene.look()
    scene.chain.mine(3, (key(), True))
    await scene.look()
    assert scene.status() is Status.IN_FORCE


async def test_other_sessions_and_sessions_never_heard_of_are_left_alone() -> None:
    scene = Scene(known=(key(1), key(2)))
    scene.chain.mine(1, (key(2), False), (key(3), True))
    assert await scene.look() == [key(2)]
    assert scene.registry.get(key(3)) is None


async def test_the_same_id_at_another_module_account_or_chain_is_not_meant() -> None:
    elsewhere = (replace(key(), module=STRANGER), replace(key(), account=STRANGER), replace(key(), chain_id=2))
    scene = Scene(known=(key(), *elsewhere))
    scene.chain.mine(1, *((each, False) for each in elsewhere[:1]))
    assert await scene.look() == [], "a look-alike of another contract"
    scene.chain.mine(1, (elsewhere[1], False))
    assert await scene.look() == [elsewhere[1]]
    assert scene.status() is Status.IN_FORCE


async def test_a_log_is_seen_to_once_though_the_last_blocks_are_looked_at_again() -> None:
    scene = Scene()
    scene.chain.mine(1, (key(), True))
    assert await scene.look() == [key()]
    for _ in range(OVERLAP + 2):
        scene.chain.mine()
        assert await scene.look() == []
    assert scene.chain.asked[1][0] < FIRST + 1, "they were looked at again"


async def test_nothing_is_asked_for_while_there_is_no_new_block() -> None:
    scene = Scene()
    await scene.look()
    asked = len(scene.chain.asked)
    await scene.look()
    assert len(scene.chain.asked) == asked


@pytest.mark.parametrize(("blocks_later", "noticed"), [(OVERLAP, True), (OVERLAP + 1, False)])
async def test_a_log_that_a_node_was_late_to_have_is_noticed_as_long_as_blocks_overlap(
    blocks_later: int, noticed: bool
) -> None:
    scene = Scene()
    scene.chain.mine(1, (key(), False))
    scene.chain.hidden = {scene.chain.newest}
    assert await scene.look() == []
    scene.chain.mine(blocks_later - 1)
    await scene.look()
    scene.chain.hidden = set()
    scene.chain.mine()
    assert (await scene.look() == [key()]) is noticed


async def test_a_removal_that_a_reorganisation_undoes_is_undone_here() -> None:
    scene = Scene()
    scene.chain.mine(1, (key(), False))
    await scene.look()
    assert scene.status() is Status.REMOVED
    scene.chain.undo(1)
    scene.chain.mine(2)
    assert await scene.look() == [key()]
    assert scene.status() is Status.IN_FORCE


async def test_a_removal_known_by_its_receipt_is_undone_with_the_block_it_was_in() -> None:
    scene = Scene()
    scene.chain.mine(1, (key(), False))
    await scene.look()
    scene.put(key(), status=Status.REMOVED, block=None)
    scene.chain.undo(1)
    scene.chain.mine(2)
    assert await scene.look() == [key()]
    assert scene.status() is Status.IN_FORCE


async def test_a_removal_that_a_reorganisation_moves_far_back_is_noticed() -> None:
    scene = Scene()
    for _ in range(20):
        scene.chain.mine()
        await scene.look()
    scene.chain.undo(19)
    scene.chain.mine(1, (key(), False))
    scene.chain.mine(25)
    assert await scene.look() == [key()]
    assert scene.status() is Status.REMOVED


async def test_what_was_read_on_blocks_that_a_reorganisation_took_off_is_read_again() -> None:
    scene = Scene(known=(key(1), key(2)))
    scene.chain.mine(5)
    await scene.look()
    scene.put(key(1), block=FIRST)
    scene.put(key(2), block=FIRST + 1)
    scene.chain.undo(5)
    scene.chain.mine(6)
    assert await scene.look() == [key(2)], "the first was read at the block that both branches have"


async def test_a_reorganisation_that_leaves_a_shorter_chain_is_noticed_once_a_known_block_differs() -> None:
    scene = Scene()
    for _ in range(5):
        scene.chain.mine(1, (key(), True))
        await scene.look()
    scene.chain.undo(4)
    scene.chain.mine(1, (key(), False))
    await scene.look()
    assert scene.status() is Status.REMOVED


async def test_a_chain_of_which_no_block_is_known_is_read_anew() -> None:
    scene = Scene(known=(key(1), key(2)))
    await scene.look()
    scene.chain.undo(FIRST)
    scene.chain.mine(FIRST + 100, (key(2), False))
    scene.chain.mine(50)
    assert by_id(await scene.look()) == [key(1), key(2)]
    assert scene.status(key(2)) is Status.REMOVED


async def test_a_node_that_is_some_blocks_behind_changes_nothing_and_counts_as_lag() -> None:
    scene = Scene()
    for _ in range(3):
        scene.chain.mine(1, (key(), True))
        await scene.look()
    ahead = scene.chain.hashes
    scene.chain.hashes = ahead[:-1]
    scene.clock.now += 5
    assert await scene.look() == []
    assert scene.watcher.lag_seconds == 5
    scene.chain.hashes = ahead
    assert await scene.look() == []
    assert scene.watcher.lag_seconds == 0


async def test_what_happened_while_the_gate_was_down_is_noticed_by_the_kept_cursor() -> None:
    scene = Scene()
    await scene.look()
    ((chain_id, kept),) = scene.disk.cursors
    assert (chain_id, kept) == (1, scene.here())
    scene.chain.mine(1, (key(), False))
    scene.chain.mine(3_000)
    scene.restart(kept)
    scene.chain.asked.clear()
    assert await scene.look() == [key()]
    assert scene.status() is Status.REMOVED
    assert all(last - first < 2_000 for first, last in scene.chain.asked)
    assert scene.chain.asked[0][0] <= kept.block + 1
    assert scene.chain.asked[-1][1] == scene.chain.newest


@pytest.mark.parametrize(("gap", "read"), [(50_000, []), (50_001, [key()])])
async def test_of_a_longer_gap_than_is_asked_for_everything_in_force_is_read(gap: int, read: list[SessionKey]) -> None:
    scene = Scene()
    scene.chain.mine(gap)
    assert await scene.look() == read
    assert bool(scene.chain.asked) is not bool(read)


async def test_without_a_cursor_every_session_in_force_is_read_and_no_other() -> None:
    many = tuple(key(number) for number in range(1, 12))
    scene = Scene(known=many, from_block=None)
    scene.put(key(20), status=Status.REMOVED)
    scene.put(key(21), status=Status.PENDING, state=None)
    scene.put(key(22), state=None)  # is read when it is used
    scene.put(replace(key(23), module=STRANGER))
    scene.put(replace(key(24), chain_id=2))
    scene.chain.mine(1, (key(3), False))
    assert by_id(await scene.look()) == list(many)
    assert scene.status(key(3)) is Status.REMOVED
    scene.chain.mine(1, (key(4), False))
    assert set(await scene.look()) <= {key(3), key(4)}
    assert scene.status(key(4)) is Status.REMOVED


async def test_a_cursor_of_another_branch_or_ahead_of_the_node_is_not_trusted() -> None:
    for cursor in (Cursor(FIRST, Hash32(b"\xff" * 32)), Cursor(FIRST + 1, Hash32(b"\xff" * 32))):
        scene = Scene()
        scene.restart(cursor)
        assert await scene.look() == [key()]


@pytest.mark.parametrize("most_blocks", [1, 7, 500])
async def test_a_node_that_answers_for_few_blocks_is_asked_for_few(most_blocks: int) -> None:
    scene = Scene()
    scene.chain.most_blocks = most_blocks
    scene.chain.mine(1, (key(), False))
    scene.chain.mine(1_200)
    assert await scene.look() == [key()]
    covered = {number for first, last in scene.chain.asked for number in range(first, last + 1)}
    assert covered >= set(range(FIRST + 1, scene.chain.newest + 1))


async def test_a_node_that_answered_for_few_blocks_once_is_soon_asked_for_many_again() -> None:
    scene = Scene()
    scene.chain.most_blocks = 1
    scene.chain.mine()
    await scene.look()
    scene.chain.most_blocks = 10_000
    scene.chain.mine(10_000)
    scene.chain.asked.clear()
    await scene.look()
    assert len(scene.chain.asked) < 50


async def test_a_node_that_answers_for_no_block_at_all_is_a_failure() -> None:
    scene = Scene()
    scene.chain.most_blocks = 0
    scene.chain.mine()
    with pytest.raises(StateUnavailable):
        await scene.look()


async def test_blocks_seen_to_before_a_failure_are_not_asked_for_again() -> None:
    scene = Scene()
    scene.chain.mine(1, (key(), True))
    scene.chain.mine(5_000)
    answer = scene.chain.logs_between

    async def fail_late(first: int, last: int, wanted: LogFilter) -> tuple[Log, ...]:
        if first > FIRST + 3_000:
            raise StateUnavailable("the node could not be asked")
        return await answer(first, last, wanted)

    scene.chain.logs_between = fail_late  # type: ignore[method-assign]  # fails on the way
    with pytest.raises(StateUnavailable):
        await scene.look()
    reached = scene.chain.asked[-1][1]
    scene.chain.logs_between = answer  # type: ignore[method-assign]  # well again
    scene.chain.asked.clear()
    assert await scene.look() == []
    assert scene.chain.asked[0][0] == reached + 1 - OVERLAP


async def test_a_change_whose_look_broke_off_is_seen_to_in_the_next_one() -> None:
    scene = Scene()
    await scene.look()
    scene.chain.mine(1, (key(), False))
    scene.disk.broken = True
    scene.unreadable = {key(): StateUnavailable("no answer")}
    with pytest.raises(StateUnavailable, match="store"):
        await scene.look()
    scene.disk.broken = False
    scene.unreadable = {}
    assert await scene.look() == [key()]
    assert scene.status() is Status.REMOVED


@pytest.mark.parametrize("failure", [StateUnavailable("no answer"), ValueError("a fault of ours")])
async def test_a_changed_session_that_cannot_be_read_is_not_judged_by_what_was_known(failure: Exception) -> None:
    scene = Scene(known=(key(1), key(2)))
    scene.unreadable = {key(1): failure}
    scene.chain.mine(1, (key(1), False), (key(2), False))
    assert by_id(await scene.look()) == [key(1), key(2)]
    assert (scene.status(key(1)), scene.state(key(1))) == (Status.IN_FORCE, None), "to be read when it is used"
    assert scene.disk.sessions[key(1)].state is None, "also after a restart"
    assert scene.status(key(2)) is Status.REMOVED
    assert scene.watcher.lag_seconds == 0


async def test_a_session_that_was_removed_stays_so_when_it_cannot_be_read() -> None:
    scene = Scene()
    scene.put(key(), status=Status.REMOVED)
    scene.unreadable = {key(): StateUnavailable("no answer")}
    scene.chain.mine(1, (key(), True))
    await scene.look()
    assert scene.status() is Status.REMOVED
    assert scene.state() is not None


@pytest.mark.parametrize(("behind", "trusted"), [(0, True), (1, False)])
async def test_a_reading_from_before_the_change_is_not_trusted(behind: int, trusted: bool) -> None:
    scene = Scene(behind=behind)
    scene.chain.mine(1, (key(), True))
    await scene.look()
    assert (scene.state() is not None) is trusted


async def test_the_cursor_is_kept_at_first_and_then_now_and_then() -> None:
    scene = Scene()
    kept = []
    for seconds in (0, 29, 1):
        scene.clock.now += seconds
        scene.chain.mine()
        await scene.look()
        kept.append([cursor.block for _, cursor in scene.disk.cursors])
    assert kept == [[FIRST + 1], [FIRST + 1], [FIRST + 1, FIRST + 3]]


async def test_the_lag_is_the_time_since_everything_was_known() -> None:
    scene = Scene()
    scene.clock.now += 3
    assert scene.watcher.lag_seconds == 3, "nothing is known before the first look"
    await scene.look()
    assert scene.watcher.lag_seconds == 0
    scene.chain.down = True
    scene.clock.now += 7
    with pytest.raises(StateUnavailable):
        await scene.look()
    assert scene.watcher.lag_seconds == 7


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110  # what is waited for tells nobody
            await asyncio.sleep(0.001)


async def test_watching_goes_on_when_the_node_was_down_and_when_something_of_ours_broke() -> None:
    scene = Scene(poll_seconds=0.001)
    scene.chain.down = True
    heads = scene.chain.head
    failures = iter([ValueError("a fault of ours"), OSError("no more files")])
    asked = 0

    async def head() -> Header:
        nonlocal asked
        asked += 1
        for failure in failures:
            raise failure
        return await heads()

    scene.chain.head = head  # type: ignore[method-assign]  # breaks at first
    task = asyncio.create_task(scene.watcher.run())
    await until(lambda: asked > 4)
    scene.chain.mine(1, (key(), False))
    scene.chain.down = False
    await until(lambda: scene.status() is Status.REMOVED)
    assert not task.done()
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


def test_pauses_double_with_each_failure_up_to_a_bound_and_never_below_the_set_one() -> None:
    assert [_pause(2.0, failures) for failures in range(5)] == [2, 4, 8, 16, 30]
    assert _pause(2.0, 10**6) == 30
    assert [_pause(60.0, failures) for failures in (0, 1, 9)] == [60, 60, 60]


KEYS = st.sampled_from([key(number) for number in range(1, 4)])
EVENTS = st.lists(st.tuples(KEYS, st.booleans()), max_size=2)
STEPS = st.one_of(
    st.tuples(st.just("mine"), st.integers(1, 12), EVENTS),
    st.tuples(st.just("reorganise"), st.integers(1, 60), EVENTS),
    st.tuples(st.just("look"), st.just(0), st.just([])),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(STEPS, max_size=30))
async def test_after_a_look_no_session_is_in_force_here_that_the_chain_has_removed(
    steps: list[tuple[str, int, list[tuple[SessionKey, bool]]]],
) -> None:
    scene = Scene(known=(key(1), key(2), key(3)))
    for step, count, events in [*steps, ("mine", 61, []), ("look", 0, [])]:
        if step == "look":
            if scene.chain.newest < (scene.watcher._trail.newest.block if scene.watcher._trail else 0):
                continue  # whether the chain is shorter now, or this node only late, cannot be told yet
            await scene.look()
            for each in scene.known:
                assert scene.status(each) is not Status.IN_FORCE or scene.chain.enabled(each)
            continue
        if step == "reorganise":
            scene.chain.undo(min(count, scene.chain.newest))
        scene.chain.mine(count, *events)
