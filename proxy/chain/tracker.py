"""Follows operations to their end: mined, so that what they used and changed is counted, or dropped.

The bundler is asked for receipts (`eth_getUserOperationReceipt`) with patience that grows with the operation's age;
a receipt that a client fetches through the gate serves as well. Where a node can be asked, the entry point's nonce and
events decide what the bundler does not tell. The registry and the ledger learn of an end at once, the store with them
in one transaction, so that a restart neither forgets an operation nor counts it twice. A block that the chain takes
back puts its operations back in flight.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from proxy.chain.endings import Endings
from proxy.chain.outcome import Keeper, Outcome
from proxy.chain.patience import Patience
from proxy.chain.receipts import Receipt, read_receipt
from proxy.chain.settled import Settled
from proxy.chain.witness import Fate, Witness
from proxy.errors import SessiongateError, StateUnavailable
from proxy.ledger.operations import AcceptedOperation, Ended, Mined, Stage
from proxy.ledger.reservation import Ledger
from proxy.session.counters import SessionKey
from proxy.session.registry import Registry
from proxy.userop.primitives import Hash32, print_bytes

__all__ = [
    "AcceptedOperation",
    "Keeper",
    "Mined",
    "Outcome",
    "Patience",
    "Receipt",
    "Tracker",
    "read_receipt",
]

_LOG: Final = logging.getLogger(__name__)

AskReceipt = Callable[[Hash32], Awaitable[Receipt | None]]
"""Asks a bundler about one operation. Raises `SessiongateError`."""

Reread = Callable[[SessionKey], Awaitable[object]]
"""Reads a session from the node into the registry. Raises `StateUnavailable`."""


@dataclass(slots=True)
class _Followed:
    operation: AcceptedOperation
    due: float
    interval: float
    asked: int = 0


class Tracker:
    """Follows the operations of one chain.

    `receipt` asks the bundler: the receipt, or `None` while there is none; `inclusion` whether it knows of a block all
    the same. That it knows of none means nothing: some bundlers do not tell what waits with them. `witness` and
    `reread` ask the node and are `None` without one. `clock` gives unix seconds.
    """

    def __init__(
        self,
        *,
        registry: Registry,
        ledger: Ledger,
        keeper: Keeper,
        receipt: AskReceipt,
        clock: Callable[[], float],
        patience: Patience | None = None,
        witness: Witness | None = None,
        reread: Reread | None = None,
        inclusion: AskReceipt | None = None,
    ) -> None:
        self._inclusion = inclusion
        self._registry = registry
        self._ledger = ledger
        self._keeper = keeper
        self._receipt = receipt
        self._clock = clock
        self._patience = patience or Patience()
        self._witness = witness
        self._reread = reread
        self._followed: dict[Hash32, _Followed] = {}
        self._settled = Settled(self._patience.final)
        self._on_disk: set[Hash32] = set()  # about to be sent, not yet followed
        self._unreconciled: dict[Hash32, asyncio.Task[None] | None] = {}
        self._endings = Endings(registry, ledger, keeper, self._settled, clock, seconds=self._patience.store)
        self._places = asyncio.Semaphore(self._patience.at_once)
        self._wake = asyncio.Event()
        self._stale: dict[SessionKey, None] = {}  # sessions to be read since a restart
        self._looked_back_at = clock()

    def __len__(self) -> int:
        """How many operations are being followed."""
        return len(self._followed)

    # before and after an operation is sent

    async def hold(self, operation: AcceptedOperation) -> None:
        """Returns when what the operation holds would outlive this process: only then send it.

        Raises `StateUnavailable`; then, and when cancelled, `let_go` is due.
        """
        await self._keeper.keep(Outcome(begun=operation))
        self._on_disk.add(operation.user_op_hash)

    def let_go(self, user_op_hash: Hash32) -> None:
        """The bundler did not take the operation, or it was not sent: one attempt less, and with the last one gone
        nothing is held."""
        if self._ledger.release(user_op_hash) is not None:
            self._on_disk.discard(user_op_hash)
            self._keeper.note(Outcome(ended=(user_op_hash,)))

    async def follow(self, operation: AcceptedOperation, stage: Stage = Stage.ACCEPTED) -> None:
        """The bundler took this operation; or no answer came, and it may have. What it grants is pending.

        Returns when it is kept on disk, at once where `hold` has seen to that. A store that fails does not undo
        that: what could not be kept is tried again.
        """
        now, user_op_hash = self._clock(), operation.user_op_hash
        if self._settled.is_mined(user_op_hash):
            # sent again after it was mined, to a bundler that answers with its hash once more
            self._ledger.expire(user_op_hash)
            self._on_disk.discard(user_op_hash)
            self._keeper.note(Outcome(ended=(user_op_hash,)))
            return
        if stage is Stage.UNKNOWN:
            self._ledger.doubt(user_op_hash)
        else:
            self._ledger.accept(user_op_hash)
        pending = self._registry.expect(operation.changes, now, session=operation.reservation.session)
        self._begin(operation, now)
        if user_op_hash in self._on_disk:
            self._on_disk.discard(user_op_hash)
            self._keeper.note(Outcome(sessions=pending, answered=(user_op_hash, stage)))
        else:
            await self._endings.keep(Outcome(sessions=pending, begun=operation, answered=(user_op_hash, stage)))

    # after a restart

    def restore(self, operations: Iterable[AcceptedOperation], ended: Iterable[Ended] = ()) -> None:
        """Follow again what was in flight before a restart; to be called before the first request.

        What became of it meanwhile is asked once before the first verdict that depends on it: see `reconciled`.
        """
        now = self._clock()
        for each in ended:
            self._settled.remember(each)
        for operation in operations:
            if self._settled.is_mined(operation.user_op_hash):
                # it was about to be sent again
                self._keeper.note(Outcome(ended=(operation.user_op_hash,)))
                continue
            self._ledger.restore(operation.reservation)
            self._registry.expect(operation.changes, now, session=operation.reservation.session)
            self._begin(operation, now)
            self._unreconciled[operation.user_op_hash] = None
            if self._reread is not None and (session := operation.reservation.session) is not None:
                # whether its last reading has counted the operation is not known any more: read it again, and until
                # then rather count twice than not at all
                self._registry.forget_block(session)
                self._stale[session] = None

    async def reconciled(self, key: SessionKey) -> None:
        """Returns when it was asked once what became of each operation that was in flight before the restart and
        may have used or changed this session. Never raises; what nobody can tell stays in flight."""
        if self._unreconciled:
            await asyncio.gather(*(self._reconcile(each) for each in self._registry.awaited(key)))
        if key in self._stale:
            del self._stale[key]
            await self._read_again([key])

    async def _reconcile(self, user_op_hash: Hash32) -> None:
        if user_op_hash not in self._unreconciled:
            return
        task = self._unreconciled[user_op_hash]
        if task is None:
            task = self._unreconciled[user_op_hash] = asyncio.create_task(self._find_out(user_op_hash))
        await asyncio.shield(task)

    async def _find_out(self, user_op_hash: Hash32) -> None:
        try:
            if not await self._ask(user_op_hash) and not await self._ask_chain(user_op_hash):
                await self._ask_inclusion(user_op_hash)
        finally:
            del self._unreconciled[user_op_hash]

    # receipts

    async def observe(self, receipt: Receipt | None) -> bool:
        """A receipt went through the gate. Whether it ended an operation that was being followed."""
        mined = None if receipt is None else read_receipt(receipt)
        if mined is None:
            return False
        ended = self._settled.get(mined.user_op_hash)
        if ended is not None and (ended.mined is None or _moved(ended.mined, mined)):
            # dropped too soon, or mined again elsewhere
            await self._bring_back(ended)
        if mined.user_op_hash not in self._followed:
            return False
        await self._end_mined(mined)
        return True

    async def settle_now(self, hashes: Sequence[Hash32]) -> bool:
        """Ask for the receipts of these operations now, once each. Whether any of them ended."""
        asked = [each for each in dict.fromkeys(hashes) if each in self._followed]
        ended = await asyncio.gather(*(self._ask(each) for each in asked[: self._patience.at_once]))
        return any(ended)

    async def run(self) -> None:
        """Follow until cancelled. No failure of the bundler, the store or a receipt ends it."""
        while True:
            try:
                await self._round()
            except Exception:
                _LOG.exception("the tracker's round failed; the next one follows")
            await self._sleep()

    async def _round(self) -> None:
        await self._endings.keep_again(self._followed)
        await asyncio.gather(*(self._reconcile(each) for each in tuple(self._unreconciled)))
        await asyncio.gather(*(self.reconciled(each) for each in tuple(self._stale)))
        await self._look_back()
        now = self._clock()
        due = [each for each, followed in self._followed.items() if followed.due <= now]
        await asyncio.gather(*(self._ask_or_give_up(each) for each in due))

    async def _sleep(self) -> None:
        """Until the next operation is due, or a new one comes."""
        self._wake.clear()
        wait = self._patience.longest
        if self._followed:
            wait = min(followed.due for followed in self._followed.values()) - self._clock()
        if len(self._settled):
            wait = min(wait, self._patience.look_back)
        if self._endings.is_behind:
            wait = min(wait, self._patience.store)
        try:
            async with asyncio.timeout(min(max(wait, _SHORTEST_SLEEP), self._patience.longest)):
                await self._wake.wait()
        except TimeoutError:
            pass

    async def _ask_or_give_up(self, user_op_hash: Hash32) -> None:
        if await self._ask(user_op_hash):
            return
        followed = self._followed.get(user_op_hash)
        if followed is None:
            return
        now = self._clock()
        followed.due = now + followed.interval
        followed.interval = min(followed.interval * self._patience.growth, self._patience.longest)
        followed.asked += 1
        late = now >= self._deadline(followed.operation)
        if (late or followed.asked >= self._patience.questions) and await self._ask_chain(user_op_hash):
            return
        if late and not await self._ask_inclusion(user_op_hash) and user_op_hash in self._followed:
            await self._end_dropped(followed.operation)

    def _deadline(self, operation: AcceptedOperation) -> float:
        """When an operation without a receipt counts as dropped."""
        deadline = operation.accepted_at + self._patience.give_up
        valid_until = operation.reservation.valid_until
        return deadline if valid_until is None else min(deadline, valid_until + self._patience.lag)

    async def _ask_inclusion(self, user_op_hash: Hash32) -> bool:
        """Whether the bundler knows in which block the operation is, though it has no receipt. Never raises."""
        if self._inclusion is None or user_op_hash not in self._followed:
            return False
        return await self._ask(user_op_hash, self._inclusion)

    async def _ask(self, user_op_hash: Hash32, question: AskReceipt | None = None) -> bool:
        """Whether a receipt came and ended the operation. Never raises."""
        try:
            async with self._places, asyncio.timeout(self._patience.timeout):
                receipt = await (question or self._receipt)(user_op_hash)
            if receipt is None:
                return False
            mined = read_receipt(receipt)
            if mined is None or mined.user_op_hash != user_op_hash:
                _LOG.warning("the bundler's receipt for %s cannot be read", print_bytes(user_op_hash))
                return False
            await self._end_mined(mined)
        except (TimeoutError, SessiongateError, OSError) as error:
            _LOG.info("no receipt for %s: %s", print_bytes(user_op_hash), type(error).__name__)
            return False
        except Exception:
            _LOG.exception("asking for the receipt of %s failed", print_bytes(user_op_hash))
            return False
        return True

    async def _ask_chain(self, user_op_hash: Hash32) -> bool:
        """Whether the chain knows how the operation ended. Never raises."""
        followed = self._followed.get(user_op_hash)
        if self._witness is None or followed is None:
            return False
        try:
            async with self._places, asyncio.timeout(self._patience.timeout):
                fate = await self._witness.fate(followed.operation.reservation.slot, user_op_hash)
        except (TimeoutError, StateUnavailable) as error:
            _LOG.info("what became of %s cannot be told: %s", print_bytes(user_op_hash), error)
            return False
        if fate is Fate.OPEN:
            return False
        if isinstance(fate, Mined):
            await self._end_mined(fate)
        elif user_op_hash in self._followed:
            _LOG.info("the nonce of %s was used by another operation", print_bytes(user_op_hash))
            await self._end_dropped(followed.operation)
            # nobody here knows what that other operation has used
            await self._read_again([followed.operation.reservation.session])
        return True

    def _begin(self, operation: AcceptedOperation, now: float) -> None:
        first = self._patience.first
        self._followed.setdefault(operation.user_op_hash, _Followed(operation, now + first, first))
        self._wake.set()

    # endings

    async def _end_mined(self, mined: Mined) -> None:
        followed = self._followed.pop(mined.user_op_hash, None)
        if followed is None:
            return
        slot = followed.operation.reservation.slot
        rivals = [each.operation for each in self._followed.values() if each.operation.reservation.slot == slot]
        for rival in rivals:
            del self._followed[rival.user_op_hash]
        self._on_disk.discard(mined.user_op_hash)
        await self._endings.mined(followed.operation, mined, rivals)

    async def _end_dropped(self, operation: AcceptedOperation) -> None:
        self._followed.pop(operation.user_op_hash, None)
        await self._endings.dropped(operation)

    # a chain that takes blocks back

    async def _look_back(self) -> None:
        now = self._clock()
        self._settled.forget_old(now)
        pause = self._patience.look_back if self._witness is not None else self._patience.longest
        if now - self._looked_back_at >= pause:
            await self.look_back()

    async def look_back(self) -> None:
        """Bring back the operations of blocks that the chain has no more. Never raises for what cannot be told."""
        if not len(self._settled):
            return
        self._looked_back_at = self._clock()
        try:
            async with asyncio.timeout(self._patience.timeout):
                gone = await self._settled.off_chain(self._block_hash)
        except (TimeoutError, SessiongateError, OSError) as error:
            _LOG.info("whether mined operations are still on the chain cannot be told: %s", type(error).__name__)
            return
        for ended in gone:
            await self._bring_back(ended)

    async def _block_hash(self, mined: Mined) -> Hash32 | None:
        """The hash of a mined operation's block now, by the node, or else by the bundler's receipt."""
        if self._witness is not None and mined.block is not None:
            return await self._witness.block_hash(mined.block)
        receipt = await self._receipt(mined.user_op_hash)
        again = None if receipt is None else read_receipt(receipt)
        return None if again is None else again.block_hash

    async def _bring_back(self, ended: Ended) -> None:
        """What has ended is in flight again."""
        now = self._clock()
        undone = self._endings.undo(ended, readable=self._reread is not None)
        for operation in undone.revived:
            _LOG.info("operation %s is in flight again", print_bytes(operation.user_op_hash))
            self._begin(operation, now)
        await self._endings.keep(undone)
        await self._read_again(known.key for known in undone.sessions)

    async def _read_again(self, keys: Iterable[SessionKey | None]) -> None:
        """Ask the node about these sessions now; what it does not tell is asked again when a verdict needs it."""
        for key in keys:
            if key is None or self._reread is None or self._registry.get(key) is None:
                continue
            try:
                await self._reread(key)
            except StateUnavailable as error:
                _LOG.info("session %s could not be read again: %s", print_bytes(key.permission_id), error.what)


_SHORTEST_SLEEP: Final = 0.05


def _moved(before: Mined, now: Mined) -> bool:
    return before.block_hash is not None and now.block_hash is not None and before.block_hash != now.block_hash
