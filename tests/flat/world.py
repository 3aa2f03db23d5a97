"""A gate's parts that know of many sessions and operations, or of few: the same otherwise."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, replace
from typing import Any, cast

from proxy.admission.enquiry import Enquiry
from proxy.app.settling import GateAcquaintance
from proxy.chain.settlement.lookout import Lookout
from proxy.chain.settlement.node_word import NodeWord
from proxy.chain.settlement.patience import Patience
from proxy.chain.settlement.settlement import Settlement
from proxy.chain.settlement.slices import BlockName, ChainPlace, SessionTouched
from proxy.chain.settlement.taker import Taker
from proxy.edge.admin.backend import GateBackend
from proxy.edge.admin.query import SessionFilter
from proxy.edge.storage.housekeeping import count_sessions
from proxy.ledger.hindrance import Caps
from proxy.ledger.memory import MemoryLedger
from proxy.ledger.operations import Cause, EndedName, Evidence, InFlight, Stage
from proxy.session.counters import Charge, Counter, HoldName, SessionKey
from proxy.session.freezes import Freeze
from proxy.session.known import Source, Status
from proxy.session.shelf import PackedSession
from proxy.userop.acts import SessionRemoved
from proxy.userop.primitives import Address, Hash32, print_bytes, print_checksummed
from tests.admission.builders import Room, key_of, known, lane
from tests.bypass_list.desk import a_session, single, use
from tests.chain.builders import Bundler, Clock, Shelf, accepted
from tests.chain.settlement.builders import Chain, a_slice, block, mined
from tests.edge.builders import gate_metrics
from tests.session.builders import ACCOUNT, STRANGER, TOKEN, TRANSFER, USAGE, action, enabled, transfer, usage

BUSY = a_session(action(TOKEN, TRANSFER, usage(10**9)))
KEY = key_of(BUSY)
STATE = enabled(BUSY)
USES = Counter(KEY.module, KEY.account, USAGE, STATE.action_config_id(next(iter(STATE.actions))))
SHARED = Hash32(b"\x5a" * 32)
"""A permission id that many accounts have."""
CROWDED = Address(b"\xc0" * 20)
"""An account that has many sessions."""
BLOCK = 5_000
MOST = 100
"""Accounts that have their turn at once."""
_CHAIN_ID = KEY.chain_id


def _session(number: int) -> tuple[SessionKey, PackedSession]:
    """One third of its own account each, one third of one account, one third of one permission id."""
    own, kind = Hash32(number.to_bytes(32, "big")), number % 3
    key = SessionKey(
        _CHAIN_ID,
        KEY.module,
        CROWDED if kind == 1 else Address(own[12:]),
        SHARED if kind == 2 else own,  # the third kind
    )
    status = Status.REMOVED if number % 10 == 0 else Status.IN_FORCE
    return key, PackedSession(status, Source.GRANT, float(number), None, None, None)


class World:
    """So many sessions, so many operations of them in flight, half of them of one session, and twice as many ended as
    there are sessions."""

    def __init__(self, sessions: int, in_flight: int) -> None:
        self.room = Room(BUSY)
        self.registry = self.room.registry
        self.ledger = MemoryLedger(sessions=self.registry, caps=Caps(session=10**9, account=10**9))
        self.room.follow(self.ledger)
        self.clock, self.shelf = Clock(1_000.0), Shelf()
        patience = Patience()
        self.settlement = Settlement(
            registry=self.registry,
            ledger=self.ledger,
            keeper=self.shelf,
            clock=self.clock,
            patience=patience,
            tell=lambda _: None,
        )
        self.taker = Taker(
            self.settlement,
            chain_id=_CHAIN_ID,
            registry=self.registry,
            clock=self.clock,
            monotonic=self.clock,
            patience=patience,
        )
        self.chain = Chain()
        parts: dict[str, Any] = {
            "registry": self.registry,
            "receipt": Bundler().receipt,
            "clock": self.clock,
            "monotonic": self.clock,
            "patience": patience,
        }
        self.by_blocks = Lookout(
            self.settlement,
            **parts,
            node=NodeWord(witness=self.chain, reread=self._reread, taker=self.taker, catch_up=self._nothing),
        )
        self.knows = GateAcquaintance(
            _CHAIN_ID,
            self.registry,
            self.settlement,
            telling=cast(Any, None),
            quiet=cast(Any, None),
            order=cast(Any, None),
        )
        self.enquiry = Enquiry(self.room.admission._sources)
        self.backend = GateBackend({}, self.registry, cast(Any, None), self.clock, cast(Any, None))
        self.metrics = gate_metrics()
        self.runner = asyncio.Runner()
        self._fill(sessions, in_flight)

    async def _nothing(self) -> None:
        return None

    async def _reread(self, key: SessionKey) -> None:
        session = self.registry.get(key)
        if session is not None:
            self.registry.put(replace(session, block=BLOCK + 10))

    def _fill(self, sessions: int, in_flight: int) -> None:
        for number in range(sessions):
            self.registry.restore(*_session(number))
        for number in range(1, in_flight + 1):
            key = KEY if number % 2 else _session(number)[0]
            charges = (Charge(USES, 1, 10**9),) if key == KEY else ()
            operation = accepted(number, key, *charges, nonce=number)
            self.settlement.restore([InFlight(operation=operation, stage=Stage.ACCEPTED)])
        for number in range(2 * sessions):
            name = HoldName(Hash32(number.to_bytes(8, "big") + b"\x0e" * 24), KEY)
            at = BLOCK - 1_000 + number * 1_000 // (2 * sessions)
            self.settlement.remembered.remember(
                EndedName(
                    name=name,
                    chain_id=_CHAIN_ID,
                    ended_at=999.0,
                    cause=Cause.MINED,
                    block=at,
                    block_hash=block(at).hash,
                )
            )
        self.registry.freezes.put(Freeze(permission_id=SHARED, since=0.0))
        self.registry.freezes.put(Freeze(permission_id=KEY.permission_id, account=STRANGER, since=0.0))
        self.taker._cursor = None
        self.run(self.taker.settle(a_slice(None, block(BLOCK), [mined(Hash32(b"\x01" * 32), BLOCK, nonce=10**9)])))

    def run(self, work: Coroutine[Any, Any, object]) -> object:
        return self.runner.run(work)

    def close(self) -> None:
        self.runner.close()


_SHOWN = Evidence(block=BLOCK, block_hash=block(BLOCK).hash)
_PLACE = ChainPlace(BLOCK + 1, 1)


def _judged(world: World) -> None:
    """A verdict, what it reserves, and that the bundler refuses."""
    judgement = world.run(world.room.allowed(use(BUSY, single(transfer(1)), nonce=lane(1))))
    world.ledger.release(cast(Any, judgement).reservation.name)


def _followed(world: World) -> None:
    """An operation is held, sent, taken by the bundler, and let go of by an operator; then its validity is over."""

    async def follow() -> None:
        operation = accepted(10**7, KEY, Charge(USES, 1, 10**9), nonce=10**7)
        world.ledger.restore(operation.reservation)
        await world.settlement.hold(operation)
        await world.settlement.follow(operation)
        await world.settlement.letting_go.release(operation.user_op_hash, "by the test")
        await world.settlement.nonce_used(operation.user_op_hash, _SHOWN)

    world.run(follow())


def _mined_and_taken_back(world: World) -> None:
    """A block with an operation of the busy session and a session that was touched; then the chain takes it back."""

    async def settle() -> None:
        last = block(BLOCK + 1)
        events = [
            mined(Hash32((1).to_bytes(32, "big")), BLOCK + 1, nonce=1, sender=ACCOUNT),
            SessionTouched(place=_PLACE, block=last, key=KEY),
        ]
        await world.taker.settle(a_slice(block(BLOCK), last, events))
        await world.by_blocks.round()
        await world.taker.undo(BlockName(BLOCK, block(BLOCK).hash))
        await world.by_blocks.round()
        world.shelf.kept.clear()

    world.run(settle())


def _asked_before_a_reading(world: World) -> None:
    """What became of the operations that may have changed a session, before it is read."""
    world.run(world.by_blocks.settle_now(world.registry.awaited(KEY)))
    world.run(world.by_blocks.reconciled(KEY))


def _removal_awaited(world: World) -> None:
    removal = accepted(10**7 + 1, KEY, on_success=(SessionRemoved(KEY.module, KEY.permission_id),))
    world.registry.expect(removal.changes, 1.0, removal.name)
    assert world.registry.removal_awaited(KEY)
    world.registry.dropped(removal.name, 1.0)
    assert not world.registry.removal_awaited(KEY)


def _enquired(world: World) -> None:
    names = [print_checksummed(KEY.account), print_bytes(KEY.permission_id)]
    (session,) = cast(Any, world.run(world.enquiry.answer(names)))
    assert session["inFlight"]
    world.run(world.enquiry.list_sessions([print_checksummed(CROWDED)]))


def _scraped(world: World) -> None:
    for _ in count_sessions(world.metrics, world.registry, {_CHAIN_ID: "soneium"}):
        pass
    settlement = world.settlement
    world.metrics.operations.in_flight(
        "soneium", len(settlement), settlement.oldest_seconds(), settlement.flights.let_go_now
    )
    world.metrics.render()


@dataclass(frozen=True)
class Listed:
    """A page of the admin listener's list of sessions."""

    path: dict[str, Any]

    def __call__(self, world: World) -> None:
        page = cast(Any, world.run(world.backend.list_sessions(SessionFilter(**self.path))))
        assert len(page["sessions"]) == self.path.get("limit", 100)
        assert page["next"] is not None


def _shown(world: World) -> None:
    assert cast(Any, world.run(world.backend.show_session(SHARED)))["next"] is not None


def _pruned(world: World) -> None:
    assert world.registry.forget_removed(0.0) == 0
    world.settlement.remembered.forget_old(1_000.0)


def _had_their_turn(world: World) -> None:
    assert len(world.knows.some_accounts(MOST)) > MOST // 2


def _session_changed(world: World) -> None:
    world.registry.put(known(BUSY, updated_at=1_000.0))


def _rounds(world: World) -> None:
    world.run(world.by_blocks.round())


WORKS: Mapping[str, Callable[[World], None]] = {
    "a verdict and its reservation": _judged,
    "an operation followed to its end": _followed,
    "a block, and a reorganisation that takes it back": _mined_and_taken_back,
    "what is asked before a session is read": _asked_before_a_reading,
    "a removal awaited": _removal_awaited,
    "an enquiry": _enquired,
    "a scrape": _scraped,
    "a page of sessions": Listed({"limit": 20}),
    "a page of removed ones": Listed({"limit": 20, "state": "removed"}),
    "a page of an account's": Listed({"limit": 20, "account": CROWDED}),
    "a page of frozen ones": Listed({"limit": 20, "state": "frozen"}),
    "the sessions of one permission id": _shown,
    "keeping house": _pruned,
    "a session that changed": _session_changed,
    "idle accounts that have their turn": _had_their_turn,
    "a round of the settlement": _rounds,
}
