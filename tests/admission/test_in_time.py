"""Whatever a request waits for, it is told in time that it was not had. Nobody here answers, ever, in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import NoReturn

import pytest

from proxy.admission import Purpose, RecentReads
from proxy.admission.enquiry import Enquiry
from proxy.admission.in_time import seconds_in_all
from proxy.chain.refresh import sparing
from proxy.errors import Code, Reason, StateUnavailable
from proxy.session.counters import SessionKey
from proxy.session.known import Status
from proxy.session.state import SessionState
from proxy.session.use import SessionRecord
from proxy.userop.primitives import print_bytes, print_checksummed
from tests import virtual_time
from tests.admission.builders import TWICE, Room, key_of, known, lane
from tests.bypass_list.desk import single, use
from tests.session.builders import ACCOUNT, enabled, transfer

NAMES: list[object] = [print_checksummed(ACCOUNT), print_bytes(TWICE.permission_id)]
IN_ALL = seconds_in_all(5.0)
LEDGER_SECONDS = 2.0
FOR_EVER = 10_000.0


async def never(*_: object, **__: object) -> NoReturn:
    await asyncio.Event().wait()
    raise AssertionError("nobody sets it")


async def end_what_is_left() -> None:
    left = asyncio.all_tasks() - {asyncio.current_task()}
    for task in left:
        task.cancel()
    await asyncio.gather(*left, return_exceptions=True)


def hanging_room(waits_at: str) -> Room:
    """Where one of those that are asked never answers, and has no deadline of its own."""
    room = Room(sessions={key_of(TWICE): enabled(TWICE)})
    room.registry.put(known(TWICE))
    if waits_at == "reconciled":
        room.take(reconciled=never, is_reconciled=lambda _: False)
    elif waits_at == "settlement":
        room.registry.put(known(TWICE, status=Status.PENDING))
        room.take(settlement=never)
    else:
        assert waits_at == "reading"
        room.registry.put(known(TWICE, status=Status.PENDING))
        room.node.hold()
    return room


def seconds_of(ask: Callable[[], Awaitable[object]]) -> tuple[float, object]:
    """How long it takes by the clock of its loop, and what comes of it."""

    async def measured() -> tuple[float, object]:
        clock = asyncio.get_running_loop().time
        began = clock()
        try:
            async with asyncio.timeout(FOR_EVER):
                came: object = await ask()
        except StateUnavailable as error:
            came = error
        took = clock() - began
        await end_what_is_left()
        return took, came

    told: tuple[float, object] = virtual_time.run(measured())
    return told


@pytest.mark.parametrize("purpose", [Purpose.SUBMIT, Purpose.EXPLAIN])
@pytest.mark.parametrize("waits_at", ["reconciled", "settlement", "reading"])
def test_a_judgement_that_waits_for_ever_is_a_refusal_in_time_and_holds_nothing(
    waits_at: str, purpose: Purpose
) -> None:
    room = hanging_room(waits_at)
    op = use(TWICE, single(transfer(1)), nonce=lane(1))
    seconds, refusal = seconds_of(lambda: room.refusal(op, purpose))
    assert isinstance(refusal, Reason)
    assert (refusal.code, refusal.retryable, seconds) == (Code.STATE_UNAVAILABLE, True, IN_ALL)
    assert room.ledger.number_of_session(key_of(TWICE)) == 0


def test_whoever_asks_for_a_session_that_cannot_be_told_hears_so_in_time() -> None:
    room = hanging_room("reconciled")
    seconds, told = seconds_of(lambda: Enquiry(room.admission._sources).answer(NAMES))
    assert (type(told), seconds) == (StateUnavailable, IN_ALL)


def test_whoever_asks_for_a_session_hears_in_time_that_the_disk_hangs() -> None:
    class HangingRecords:
        async def records_of(self, _keys: Collection[SessionKey]) -> Mapping[SessionKey, SessionRecord]:
            await never()

    room = Room(TWICE)
    enquiry = Enquiry(room.admission._sources, HangingRecords())
    for ask in (lambda: enquiry.answer(NAMES), lambda: enquiry.list_sessions(NAMES[:1])):
        seconds, told = seconds_of(ask)
        assert isinstance(told, StateUnavailable)
        assert (told.fact, seconds) == ("ledger", LEDGER_SECONDS)


def test_who_waits_for_a_session_does_not_wait_for_a_reading_of_it_that_nobody_waits_for() -> None:
    async def tell() -> None:
        reads, key = RecentReads(2.0, asyncio.get_running_loop().time), key_of(TWICE)
        begun = list[str]()

        async def for_nobody(_key: SessionKey) -> SessionState | None:
            begun.append("for nobody")
            await never()

        async def for_client() -> SessionState | None:
            begun.append("for a client")
            await asyncio.sleep(1)
            return enabled(TWICE)

        background = asyncio.create_task(sparing(for_nobody, reads)(key))
        await asyncio.sleep(0.1)
        clients = await asyncio.gather(*(reads.once(key, for_client) for _ in range(3)))
        assert clients == [enabled(TWICE)] * 3
        assert begun == ["for nobody", "for a client"]  # who comes meanwhile waits for the same
        assert not background.done()
        await end_what_is_left()

    virtual_time.run(tell())
