"""Where the bundler knows better of a session, that is counted and the session is read again."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import pytest

from proxy.admission import RecentReads
from proxy.chain.disagreements import Disagreements, contradicts
from proxy.chain.follower import OperationFollower
from proxy.chain.refresh import refreshing, sparing
from proxy.errors import StateUnavailable
from proxy.judge.upstream_answer import UpstreamAnswer
from proxy.ledger.memory import MemoryLedger
from proxy.ledger.reservation import NOTHING_USED, Reservation
from proxy.session.counters import SessionKey
from proxy.session.registry import Registry
from proxy.session.state import SessionState
from proxy.userop.primitives import Hash32
from tests.chain.builders import Clock, accepted
from tests.chain.settlement.builders import a_lookout
from tests.session.builders import ACCOUNT, SMART_SESSION, word

WITH_REASON = "UserOperation reverted with reason: "


def key(number: int = 1) -> SessionKey:
    return SessionKey(1, SMART_SESSION, ACCOUNT, Hash32(word(number)))


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (-32500, WITH_REASON + "AA23 reverted 0x526d0da5"),
        (-32500, WITH_REASON + "AA22 expired or not due"),
        (-32500, WITH_REASON + "AA24 signature error"),
        (-32500, "account validation failed"),
        (-32500, None),
        (-32503, "expires too soon"),
        (-32507, "signature"),
    ],
)
def test_an_error_on_the_sessions_account_is_a_contradiction(code: int, message: str | None) -> None:
    assert contradicts(UpstreamAnswer(error_code=code, error_message=message))


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (-32500, WITH_REASON + "AA21 didn't pay prefund"),
        (-32500, WITH_REASON + "AA25 invalid account nonce"),
        (-32500, WITH_REASON + "AA33 reverted AA23"),
        (-32501, "paymaster"),
        (-32504, "throttled"),
        (-32602, "AA23"),
        (None, "AA23"),
    ],
)
def test_an_error_on_gas_nonce_paymaster_or_form_is_none(code: int | None, message: str) -> None:
    assert not contradicts(UpstreamAnswer(error_code=code, error_message=message))


@dataclass
class Scene:
    """Disagreements with a node that answers when `answer` is set."""

    counted: int = 0
    read: list[SessionKey] = field(default_factory=list)
    answer: asyncio.Event = field(default_factory=asyncio.Event)
    failure: Exception | None = None

    def __post_init__(self) -> None:
        self.disagreements = Disagreements(count=self.count, refresh=self.refresh)

    def count(self) -> None:
        self.counted += 1

    async def refresh(self, of: SessionKey) -> SessionState | None:
        self.read.append(of)
        await self.answer.wait()
        if self.failure is not None:
            raise self.failure
        return SessionState(key=of)

    async def settle(self) -> None:
        for _ in range(5):
            await asyncio.sleep(0)


async def test_each_one_is_counted_and_the_session_read_once_at_a_time() -> None:
    scene = Scene()
    for _ in range(3):
        scene.disagreements.note(key(1))
    scene.disagreements.note(key(2))
    await scene.settle()
    assert scene.counted == 4
    assert scene.read == [key(1), key(2)]
    scene.answer.set()
    await scene.settle()
    scene.disagreements.note(key(1))
    await scene.settle()
    assert scene.read == [key(1), key(2), key(1)]


async def test_no_more_than_sixteen_sessions_are_read_at_once_however_many_are_refused() -> None:
    scene = Scene()
    for number in range(40):
        scene.disagreements.note(key(number))
    await scene.settle()
    assert len(scene.read) == 16
    assert scene.counted == 40
    await scene.disagreements.close()


async def test_without_a_node_they_are_counted_all_the_same() -> None:
    counted = []
    Disagreements(count=lambda: counted.append(1), refresh=None).note(key())
    assert counted == [1]


@pytest.mark.parametrize("failure", [StateUnavailable("no answer"), ValueError("a fault of ours")])
async def test_a_reading_that_fails_is_told_in_the_log_and_may_be_tried_again(
    failure: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    scene = Scene(failure=failure)
    scene.answer.set()
    for _ in range(2):
        scene.disagreements.note(key())
        await scene.settle()
    assert scene.read == [key(), key()]
    assert len(caplog.records) == 2


async def test_closing_ends_what_is_under_way() -> None:
    scene = Scene()
    scene.disagreements.note(key())
    await scene.settle()
    await scene.disagreements.close()
    assert len(asyncio.all_tasks()) == 1


def a_follower(ledger: MemoryLedger, heard: list[SessionKey]) -> OperationFollower:
    return OperationFollower(a_lookout(ledger), ledger, {SMART_SESSION}, Clock(), heard.append)


def a_reservation(ledger: MemoryLedger, session: SessionKey | None) -> Reservation:
    made = accepted(1, key()).reservation
    reservation = Reservation(
        user_op_hash=made.user_op_hash, slot=made.slot, session=session, charges=(), valid_until=None
    )
    ledger.reserve(reservation, NOTHING_USED, 1_000.0)
    return reservation


@pytest.mark.parametrize(
    ("session", "answer", "heard"),
    [
        (key(), UpstreamAnswer(error_code=-32507, error_message="AA24"), [key()]),
        (key(), UpstreamAnswer(error_code=-32602, error_message="already known"), []),
        (key(), None, []),  # never sent
        (None, UpstreamAnswer(error_code=-32507, error_message="AA24"), []),  # an owner's
    ],
)
async def test_a_refused_operation_gives_back_what_it_held_and_a_contradiction_is_heard(
    session: SessionKey | None, answer: UpstreamAnswer | None, heard: list[SessionKey]
) -> None:
    ledger, told = MemoryLedger(), list[SessionKey]()
    a_follower(ledger, told).refused(a_reservation(ledger, session), answer)
    assert told == heard
    assert len(ledger) == 0


async def test_a_session_is_read_after_what_may_have_changed_it_was_settled() -> None:
    order: list[object] = []
    registry = Registry()
    operation = accepted(7, key(), on_success=())
    registry.expect(operation.changes, 0.0)

    class Reader:
        async def session(self, of: SessionKey) -> SessionState | None:
            order.append(of)
            return None

    async def settlement(hashes: object) -> bool:
        order.append(hashes)
        return True

    refresh = refreshing(Reader().session, registry, settlement)
    assert await refresh(key()) is None
    assert order == [registry.awaited(key()), key()]


async def test_readings_are_spared_so_soon_after_one() -> None:
    clock, read = Clock(), []

    async def refresh(of: SessionKey) -> SessionState | None:
        read.append(of)
        return SessionState(key=of)

    sparingly = sparing(refresh, RecentReads(2.0, clock))
    for seconds in (0.0, 1.9, 0.1):
        clock.now += seconds
        await sparingly(key())
    assert read == [key(), key()]
