"""What comes after a verdict: an accepted operation is kept and followed, a refused one gives back what it held."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

from proxy.admission.hearing import slot_of
from proxy.chain.tracker import AcceptedOperation, Tracker
from proxy.ledger.reservation import Ledger, Reservation
from proxy.session.changes import changes_of
from proxy.userop.decode import DecodedOperation
from proxy.userop.primitives import Address


class OperationFollower:
    """See `proxy.ports.Follower` for the meaning of each call. `clock` gives unix seconds."""

    def __init__(
        self, tracker: Tracker, ledger: Ledger, session_modules: Collection[Address], clock: Callable[[], float]
    ) -> None:
        self._tracker = tracker
        self._ledger = ledger
        self._session_modules = session_modules
        self._clock = clock

    async def accepted(
        self, operation: DecodedOperation, reservation: Reservation | None, enable_nonce: int | None
    ) -> None:
        changes = changes_of(operation, self._session_modules, enable_nonce=enable_nonce)
        if reservation is None:
            if not changes:
                return  # an owner's operation that is none of the sessions' business
            reservation = Reservation(
                user_op_hash=operation.user_op_hash,
                slot=slot_of(operation),
                session=None,
                charges=(),
                valid_until=None,
            )
        await self._tracker.follow(
            AcceptedOperation(reservation=reservation, changes=changes, accepted_at=self._clock())
        )

    def refused(self, reservation: Reservation) -> None:
        self._ledger.release(reservation.user_op_hash)

    async def observe(self, receipt: object) -> None:
        if isinstance(receipt, Mapping):
            await self._tracker.observe(receipt)
