"""After a verdict: what was accepted is followed for what it holds and changes, what was refused holds nothing."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from proxy.chain.follower import OperationFollower
from proxy.chain.settlement.draft import End
from proxy.chain.settlement.lookout import Lookout
from proxy.chain.settlement.patience import Patience
from proxy.chain.settlement.settlement import Settlement
from proxy.judge.upstream_answer import UpstreamAnswer
from proxy.judge.verdict import Allow
from proxy.ledger.reservation import Reservation
from proxy.session.changes import SessionEnabled
from proxy.session.counters import SessionKey
from proxy.session.known import Status
from proxy.session.state import SessionStatus
from proxy.userop.user_operation import UserOperation
from tests.admission.builders import TWICE, Room, enabling, granting, key_of, lane, removing
from tests.bypass_list.desk import MODULES, OWNER_NONCE, an_operation, reading, single, use
from tests.chain.builders import Bundler, Clock, Shelf
from tests.session.builders import NOW, STRANGER, call, transfer

ONCE = single(transfer(1))
GOOD = use(TWICE, ONCE)


@dataclass
class Scene:
    """A follower and the tracker, ledger and registry that it sees to."""

    room: Room
    shelf: Shelf = field(default_factory=Shelf)
    bundler: Bundler = field(default_factory=Bundler)
    clock: Clock = field(default_factory=lambda: Clock(float(NOW)))
    contradicted: list[SessionKey] = field(default_factory=list)
    told: list[End] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.settlement = Settlement(
            registry=self.room.registry,
            ledger=self.room.ledger,
            keeper=self.shelf,
            clock=self.clock,
            patience=Patience(),
            tell=self.told.append,
        )
        self.lookout = Lookout(
            self.settlement,
            registry=self.room.registry,
            receipt=self.bundler.receipt,
            clock=self.clock,
            monotonic=self.clock,
            patience=Patience(),
        )
        self.follower = OperationFollower(self.lookout, self.room.ledger, MODULES, self.clock, self.contradicted.append)

    async def reserve(self, op: UserOperation) -> Reservation:
        """Judge it, and hold what it uses."""
        judgement = await self.room.judge(op)
        assert isinstance(judgement.verdict, Allow)
        assert judgement.reservation is not None
        return judgement.reservation

    async def accept(self, op: UserOperation) -> None:
        """Judge it and have the bundler take it."""
        judgement = await self.room.judge(op)
        assert judgement.operation is not None
        await self.follower.accepted(judgement.operation, judgement.reservation, judgement.enable_nonce)

    async def mine(self, op: UserOperation, *, success: bool = True) -> None:
        """Let its receipt pass by."""
        receipt = self.bundler.mine(reading(op).user_op_hash, success=success)
        await self.follower.observe(receipt)
        await self.lookout.round()


def scene(*grants: object) -> Scene:
    return Scene(Room(*grants))  # type: ignore[arg-type]  # sessions


async def test_an_accepted_operation_is_followed_and_on_disk() -> None:
    at = scene(TWICE)
    await at.accept(GOOD)
    assert len(at.settlement) == 1
    (outcome,) = at.shelf.kept
    assert outcome.begun is not None
    assert outcome.begun.user_op_hash == reading(GOOD).user_op_hash
    assert outcome.begun.accepted_at == NOW
    assert outcome.begun.reservation.session == key_of(TWICE)


async def test_an_owners_operation_that_changes_no_session_is_not_followed() -> None:
    at = scene()
    await at.accept(an_operation(single(call(STRANGER)), nonce=OWNER_NONCE, signature=b"\x0e" * 65))
    assert len(at.settlement) == 0
    assert not at.shelf.kept


async def test_an_owners_grant_is_pending_until_it_is_mined() -> None:
    at = scene()
    await at.accept(granting(TWICE))
    session = at.room.registry.get(key_of(TWICE))
    assert session is not None
    assert session.status is Status.PENDING
    await at.mine(granting(TWICE))
    session = at.room.registry.get(key_of(TWICE))
    assert session is not None
    assert session.status is Status.IN_FORCE


async def test_an_owners_removal_revokes_once_it_is_mined() -> None:
    at = scene(TWICE)
    await at.accept(removing(TWICE))
    assert at.room.registry.removal_awaited(key_of(TWICE))
    await at.mine(removing(TWICE))
    session = at.room.registry.get(key_of(TWICE))
    assert session is not None
    assert session.state is not None
    assert session.state.status is SessionStatus.REMOVED


async def test_the_enable_nonce_by_which_it_was_judged_is_followed_too() -> None:
    at = scene()
    await at.accept(enabling(TWICE, ONCE, enable_nonce=3))
    (outcome,) = at.shelf.kept
    assert outcome.begun is not None
    (change,) = outcome.begun.changes.at_validation
    assert isinstance(change, SessionEnabled)
    assert change.nonce == 3


async def test_what_was_refused_holds_nothing() -> None:
    at = scene(TWICE)
    reservation = await at.reserve(GOOD)
    at.follower.refused(reservation)
    assert len(at.room.ledger) == 0
    assert len(at.settlement) == 0


async def test_a_refused_second_attempt_takes_nothing_from_the_accepted_first() -> None:
    at = scene(TWICE)
    await at.accept(GOOD)
    at.follower.refused(await at.reserve(GOOD))
    assert len(at.room.ledger) == 1


async def test_a_receipt_settles_what_was_held() -> None:
    at = scene(TWICE)
    await at.accept(GOOD)
    await at.mine(GOOD, success=False)
    assert len(at.room.ledger) == 0
    session = at.room.registry.get(key_of(TWICE))
    assert session is not None
    assert session.state is not None
    assert sum(session.state.used.values()) == 1


@pytest.mark.parametrize("receipt", ["0x", 7, None, [], {}, {"userOpHash": "0x"}])
async def test_what_is_no_receipt_settles_nothing(receipt: object) -> None:
    at = scene(TWICE)
    await at.accept(GOOD)
    await at.follower.observe(receipt)
    assert len(at.room.ledger) == 1


@pytest.mark.parametrize(
    ("answer", "contradicts"),
    [
        (UpstreamAnswer(error_code=-32500, error_message="AA23 reverted"), True),
        (UpstreamAnswer(error_code=-32507, error_message="signature"), True),
        (UpstreamAnswer(error_code=-32500, error_message="AA21 didn't pay prefund"), False),
        (UpstreamAnswer(error_code=-32602, error_message="AA23 reverted"), False),
        (None, False),
    ],
)
async def test_a_bundler_that_knows_better_of_a_session_is_heard(
    answer: UpstreamAnswer | None, contradicts: bool
) -> None:
    at = scene(TWICE)
    at.follower.refused(await at.reserve(use(TWICE, ONCE, nonce=lane(1))), answer)
    assert at.contradicted == ([key_of(TWICE)] if contradicts else [])
