"""What comes after a verdict: what an operation holds is kept before it is sent, and followed until it has ended."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Final

from proxy.admission.hearing import slot_of
from proxy.chain.disagreements import contradicts
from proxy.chain.settlement.lookout import Lookout
from proxy.chain.settlement.receipts import hash_of
from proxy.errors import StateUnavailable
from proxy.judge.upstream_answer import UpstreamAnswer
from proxy.ledger.operations import AcceptedOperation, Stage
from proxy.ledger.reservation import NOTHING_USED, Held, Ledger, NonceSlot, Reservation
from proxy.session.changes import Changes, changes_of
from proxy.session.counters import SessionKey
from proxy.userop.decode import DecodedOperation
from proxy.userop.primitives import Address

_LEDGER_SECONDS: Final = 2.0
_MANY: Final = 50
"""What more rules count takes long to hold, to keep, and to tell: each is a piece of work, and others come between."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerFailure:
    """What becomes of an operation whose reservation cannot be made durable.

    `open` sends it all the same, held in memory only; otherwise it is rejected. `seconds` is how long to wait for the
    ledger. `sent_unheld` is told of each that is sent.
    """

    open: bool
    sent_unheld: Callable[[AcceptedOperation], None]
    seconds: float = _LEDGER_SECONDS


class OperationFollower:
    """See `proxy.ports.Follower` for the meaning of each call.

    `clock` gives unix seconds. `contradicted` hears of each session of which the bundler knows better. `bundler_for`
    gives the mark of the bundler that an operation in this place goes to first.
    """

    def __init__(
        self,
        lookout: Lookout,
        ledger: Ledger,
        session_modules: Collection[Address],
        clock: Callable[[], float],
        contradicted: Callable[[SessionKey], None],
        *,
        failure: LedgerFailure | None = None,
        bundler_for: Callable[[NonceSlot], str] = lambda _: "",
    ) -> None:
        self._bundler_for = bundler_for
        self._settlement = lookout.settlement
        self._lookout = lookout
        self._ledger = ledger
        self._session_modules = session_modules
        self._clock = clock
        self._contradicted = contradicted
        self._failure = failure or LedgerFailure(open=False, sent_unheld=_nobody_to_tell)

    async def hold(
        self, operation: DecodedOperation, reservation: Reservation | None, enable_nonce: int | None
    ) -> Reservation | None:
        held = self._followed(operation, reservation, enable_nonce, bundler_for=self._bundler_for)
        if held is None:
            return None
        if reservation is None:
            answer = self._ledger.reserve(held.reservation, NOTHING_USED, self._clock())
            if not isinstance(answer, Held):
                raise StateUnavailable("too much of this account is in flight to know of one more", fact="ledger")
        is_long = len(held.reservation.rule_charges) + len(held.reservation.lessons) > _MANY
        try:
            if self._settlement.pace.is_settling:
                await self._settlement.pace.turn()
            if is_long:
                await asyncio.sleep(0)
            if not self._settlement.hold_now(held):
                async with asyncio.timeout(self._failure.seconds):
                    await self._settlement.hold(held)
            if is_long:
                await asyncio.sleep(0)
        except (StateUnavailable, TimeoutError) as error:
            if self._failure.open:
                self._failure.sent_unheld(held)
                self._settlement.hold_unkept(held)
                return held.reservation
            self._settlement.let_go(held)
            if isinstance(error, TimeoutError):
                what = f"the ledger did not answer in {self._failure.seconds:g} s"
                raise StateUnavailable(what, fact="ledger") from None
            raise
        except BaseException:  # whatever happened, nothing stays held that was not answered for
            self._settlement.let_go(held)
            raise
        return held.reservation

    def hold_now(self, operation: DecodedOperation, reservation: Reservation) -> bool:
        if len(reservation.rule_charges) + len(reservation.lessons) > _MANY:
            return False
        changes = changes_of(operation, self._session_modules)
        if changes.at_validation or changes.on_success:
            return False
        held = self._sent_first(reservation, changes, self._bundler_for(reservation.slot))
        try:
            return self._settlement.pace.may_pass() and self._settlement.hold_now(held)
        except BaseException:  # whatever happened, nothing stays held that was not answered for
            self._settlement.let_go(held)
            raise

    async def accepted(
        self,
        operation: DecodedOperation,
        reservation: Reservation | None,
        enable_nonce: int | None,
        *,
        answered: bool = True,
    ) -> None:
        followed = None if reservation is None else self._settlement.flights.claim(reservation.name)
        followed = followed or self._followed(operation, reservation, enable_nonce)
        if followed is not None:
            await self._settlement.follow(followed, Stage.ACCEPTED if answered else Stage.UNKNOWN)

    def accepted_now(self, reservation: Reservation, *, answered: bool = True) -> bool:
        return self._settlement.follow_now(reservation.name, Stage.ACCEPTED if answered else Stage.UNKNOWN)

    def refused(self, reservation: Reservation, answer: UpstreamAnswer | None = None) -> None:
        self._settlement.refused(reservation, _said(answer))
        if answer is not None and reservation.session is not None and contradicts(answer):
            self._contradicted(reservation.session)

    async def observe(self, answer: object, asked: object = None) -> None:
        await self._lookout.observe(answer, hash_of(asked))

    def _followed(
        self,
        operation: DecodedOperation,
        reservation: Reservation | None,
        enable_nonce: int | None,
        *,
        bundler_for: Callable[[NonceSlot], str] = lambda _: "",
    ) -> AcceptedOperation | None:
        """What is to be known of an operation; `None` for one that is none of the sessions' business."""
        changes = changes_of(operation, self._session_modules, enable_nonce=enable_nonce)
        if reservation is None:
            if not changes:
                return None
            reservation = Reservation(
                user_op_hash=operation.user_op_hash,
                slot=slot_of(operation),
                session=None,
                charges=(),
                valid_until=None,
            )
        return self._sent_first(reservation, changes, bundler_for(reservation.slot))

    def _sent_first(self, reservation: Reservation, changes: Changes, bundler: str) -> AcceptedOperation:
        """One that is about to be sent, to the bundler of that mark first."""
        now, known = self._clock(), self._settlement.known_seconds
        return AcceptedOperation(
            reservation=reservation, changes=changes, accepted_at=now, known_at=known, bundler=bundler
        )


def _said(answer: UpstreamAnswer | None) -> str:
    """What shows that it was not taken. A bundler's words may be a stranger's: its code is enough."""
    return "never sent" if answer is None else f"the bundler's error {answer.error_code}"


def _nobody_to_tell(_operation: AcceptedOperation) -> None:
    return None
