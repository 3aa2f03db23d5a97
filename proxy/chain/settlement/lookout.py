"""Who looks after the settlement: asks, reads and proves what it wants asked, read and proven, and keeps at it.

Where a node's blocks are followed they tell everything, and bundlers are asked only while nothing is heard of them;
without a node receipts are polled. A receipt that passes through the gate ends nothing: it makes the next look due, and
waits for it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from functools import partial
from math import inf
from typing import Final

from proxy.chain.settlement.claimed import AskClaim, with_claim
from proxy.chain.settlement.node_word import NodeWord
from proxy.chain.settlement.nonce_looks import NonceLooks
from proxy.chain.settlement.patience import Patience
from proxy.chain.settlement.polling import AskReceipt, Polling
from proxy.chain.settlement.proofs import Proofs
from proxy.chain.settlement.readings import SettledReadings
from proxy.chain.settlement.receipts import told_by
from proxy.chain.settlement.rechecks import Rechecks
from proxy.chain.settlement.settlement import Settlement
from proxy.chain.settlement.slices import BlockName
from proxy.chain.settlement.told_blocks import ToldBlocks
from proxy.chain.settlement.waits import Waits
from proxy.errors import StateUnavailable
from proxy.ledger.operations import Evidence, Mined
from proxy.session.counters import SessionKey
from proxy.session.registry import Registry
from proxy.userop.primitives import Address, Hash32, print_bytes

_LOG: Final = logging.getLogger(__name__)
_AT_ONCE: Final = 4
_SHORTEST_SLEEP: Final = 0.02
_LONGEST_SLEEP: Final = 15.0
_Holder = tuple[Address, Address]
"""Of all sessions that an account has at a module."""


class Lookout:
    """`receipt` asks the bundler: the receipt, or `None` while there is none; `inclusion` whether it knows of a block
    all the same, `claim` under which one it has an operation. `node` is `None` without one."""

    def __init__(
        self,
        settlement: Settlement,
        *,
        registry: Registry,
        receipt: AskReceipt,
        clock: Callable[[], float],
        monotonic: Callable[[], float],
        patience: Patience,
        inclusion: AskReceipt | None = None,
        claim: AskClaim | None = None,
        node: NodeWord | None = None,
    ) -> None:
        self.settlement = settlement
        self._registry = registry
        self._clock = clock
        self._monotonic = monotonic
        self._patience = patience
        self._inclusion = inclusion
        self._claim = claim
        self._node = node
        self._taker = None if node is None else node.taker
        self.polling = Polling(receipt, self, patience, monotonic, on_due=self._wake_for_question)
        self._rechecks = Rechecks(settlement, self.polling, patience, monotonic)
        self._restored: dict[Hash32, asyncio.Task[None] | None] = {}
        self._asked_once: dict[_Holder, asyncio.Task[None]] = {}  # about those, for all who wait
        self._looks: NonceLooks | None = None
        self._proofs: Proofs | None = None
        self._told: ToldBlocks | None = None
        if node is not None:
            self._proofs = Proofs(settlement, node, found=self.found, patience=patience, monotonic=monotonic)
        if node is not None and node.taker is not None:
            self._looks = NonceLooks(settlement, node.witness, node.taker, patience=patience, monotonic=monotonic)
            if node.catch_up is not None:
                self._told = ToldBlocks(
                    node.taker, node.catch_up, may_come=node.may_come, monotonic=monotonic, seconds=patience.told
                )
        self._readings = SettledReadings.at(node, settlement, registry, clock, monotonic)
        self._working: dict[str, asyncio.Task[None]] = {}
        self._due_again: set[str] = set()  # of what is under way
        self._sleeps_until = inf  # by `monotonic`; while it does not sleep nothing is too late for it
        self._waits = Waits(
            settlement,
            self.polling,
            self._looks,
            patience=patience,
            monotonic=monotonic,
            is_told=lambda: self._is_told,
            wake_by=self._wake_by,
        )
        settlement.on_begun, settlement.on_sent = self._waits.begin, self._waits.sent
        settlement.flights.on_gone = self._gone
        settlement.ends.readable = node is not None
        settlement.ends.is_seconded = node is not None and node.several

    # what begins and ends

    def _wake_for_question(self) -> None:
        """Only a question that is due sooner than anything else is worth a round."""
        due = None if self._is_told else self.polling.next_due()
        if due is not None:
            self._wake_by(self._monotonic() + due)

    def _wake_by(self, moment: float) -> None:
        if moment < self._sleeps_until:
            self.settlement.awake.set()

    def _gone(self, user_op_hash: Hash32) -> None:
        settlement = self.settlement
        self._waits.forget(user_op_hash)
        if self._proofs is not None:
            self._proofs.forget(user_op_hash)
        if self._restored or settlement.unseconded or settlement.to_prove or settlement.unproven:
            self._restored.pop(user_op_hash, None)
            settlement.unseconded.pop(user_op_hash, None)
            settlement.to_prove.pop(user_op_hash, None)
            settlement.unproven.discard(user_op_hash)

    @property
    def receipts_lag_seconds(self) -> float:
        """For how long a receipt has been due to be asked for; 0 while nobody has to be asked."""
        return 0.0 if self._is_told else max(self.polling.lag_seconds, self._waits.lag_seconds)

    @property
    def _is_told(self) -> bool:
        """Whether the chain's blocks tell all there is to know."""
        told = None if self._taker is None else self._taker.told_seconds_ago
        return told is not None and told < self._patience.quiet

    # after a restart

    def restored(
        self, hashes: Iterable[Hash32], sessions: Iterable[SessionKey], doubted: Iterable[SessionKey] = ()
    ) -> None:
        """These were in flight before the restart, and these sessions were concerned. To be called before the first
        request."""
        self._restored.update(dict.fromkeys(hashes))
        if self._node is None:
            for mined in self.settlement.remembered.mined_blocks():
                self._rechecks.begin(*mined)
        else:
            self._readings.restored(sessions, doubted)

    async def reconciled(self, key: SessionKey) -> None:
        """Returns when this session was read once after a settled block changed it, after a restart that found
        operations of it in flight, with its nonces, or where the chain's blocks were not followed; or, without a node,
        when the bundler was asked about the oldest of its account, for as long as one question may take, once for all
        who wait or come later. Never raises; what nobody can tell stays in flight."""
        if self._readings.wants(key):
            await self._readings.reconciled(key)
        elif self._node is None and self._restored:
            asking = self._asked_once.get(_holder_of(key)) or self._ask_oldest(key)
            if asking is not None:
                await asyncio.wait((asking,))

    def is_reconciled(self, key: SessionKey) -> bool:
        """Whether `reconciled` would return at once."""
        if self._readings.wants(key):
            return False
        if self._node is not None or not self._restored:
            return True
        asked = self._asked_once.get(_holder_of(key))
        return asked is not None and asked.done()

    def _ask_oldest(self, key: SessionKey) -> asyncio.Task[None] | None:
        oldest = [each for each in self._registry.awaited(key, self._patience.at_once) if each in self._restored]
        if not oldest:
            return None
        asking = _for_a_while(self._patience.timeout, *map(self._ask_restored, oldest))
        task = self._asked_once[_holder_of(key)] = asyncio.create_task(asking)
        return task

    async def _ask_restored(self, user_op_hash: Hash32) -> None:
        task = self._restored.get(user_op_hash)
        if task is None:
            task = self._restored[user_op_hash] = asyncio.create_task(self._find_out(user_op_hash))
        await asyncio.shield(task)

    async def _find_out(self, user_op_hash: Hash32) -> None:
        self._waits.begin_now(user_op_hash)
        try:
            await self.polling.ask_now(user_op_hash)
            await self._ask_inclusion(user_op_hash)
        except StateUnavailable as error:
            _LOG.info("what was told of %s could not be taken in: %s", print_bytes(user_op_hash), error)
        finally:
            self._restored.pop(user_op_hash, None)

    # receipts

    async def observe(self, answer: object, asked: Hash32 | None = None) -> None:
        """An answer goes through the gate, to a question about the operation `asked`. What it tells to be mined is
        asked for here as well, and next; what can be told soon is settled before the client has it."""
        told = told_by(answer)
        if told is None:
            return
        user_op_hash = told.user_op_hash or asked
        self._heard_of(told.block)
        if user_op_hash is not None and not self._is_told:
            self._waits.begin_now(user_op_hash)
            self.polling.hurry(user_op_hash)
        if user_op_hash is not None and (ended := self.settlement.remembered.mined(user_op_hash)) is not None:
            self._rechecks.hurry(ended)
        self.settlement.awake.set()
        is_gone = partial(self._is_gone, user_op_hash)
        if self._told is not None and self._is_told:
            await self._told.taken_in(told, is_gone)
        elif user_op_hash is not None and not is_gone():
            await self.polling.ask_for_client(user_op_hash)

    def _is_gone(self, user_op_hash: Hash32 | None) -> bool:
        return user_op_hash is None or self.settlement.flights.get(user_op_hash) is None

    def _heard_of(self, block: int | None) -> None:
        """By a bundler, whose node may be ahead of ours."""
        if self._node is not None and block is not None:
            self._node.named(block)

    async def look_back(self) -> None:
        """Find out now whether the chain has taken blocks back. Never raises for what cannot be told."""
        if self._node is None or self._node.catch_up is None:
            return
        await _for_a_while(self._patience.timeout, self._node.catch_up())

    async def settle_now(self, hashes: Sequence[Hash32]) -> bool:
        """Find out now what became of these operations, once, and for so long only as a client is kept waiting: a
        bundler that hangs keeps nobody from a reading. Whether any of them ended."""
        asked = [each for each in dict.fromkeys(hashes) if self.settlement.flights.get(each) is not None]
        if asked and self._is_told:
            await self.look_back()
        elif asked:
            for each in asked:
                self._waits.begin_now(each)
            await _for_a_while(self._patience.told, *(self.polling.ask_now(each) for each in asked[:_AT_ONCE]))
        return any(self.settlement.flights.get(each) is None for each in asked)

    async def found(self, mined: Mined) -> None:
        """See `Answered`. Raises `StateUnavailable` also while it cannot be told under which of several claims."""
        self._heard_of(mined.block)
        if self._proofs is not None:
            mined = await self._proofs.with_claim(mined)
        else:
            mined = await with_claim(mined, self.settlement.flights, self._claim, seconds=self._patience.timeout)
        await self.settlement.found(mined)
        if mined.block is not None and mined.block_hash is not None and not self._is_told:
            self._rechecks.begin(BlockName(mined.block, mined.block_hash), mined.user_op_hash)

    async def absent(self, user_op_hash: Hash32, seconds: float, asked: int) -> None:
        """See `Answered`. That the bundler knows nothing means little; the chain is asked where it can be."""
        is_long = await self.settlement.letting_go.silent(user_op_hash, seconds)
        if (asked >= self._patience.questions or is_long) and self._proofs is not None:
            await self._proofs.prove(user_op_hash, is_long=is_long)
        elif is_long and not await self._ask_inclusion(user_op_hash):
            flight = self.settlement.flights.get(user_op_hash)
            if flight is not None:
                await self.settlement.letting_go.unmined(user_op_hash, Evidence(silent_seconds=flight.silent_seconds))

    async def _ask_inclusion(self, user_op_hash: Hash32) -> bool:
        """Whether the bundler knows in which block the operation is, though it has no receipt; or cannot tell."""
        if self._inclusion is None or self.settlement.flights.get(user_op_hash) is None:
            return False
        answer = await self.polling.ask_beside(user_op_hash, self._inclusion)
        if isinstance(answer, Mined):
            await self.found(answer)
        return answer is not None

    # what the chain itself says

    async def _look_at_nonces(self) -> None:
        if self._looks is not None:
            await self._looks.look()

    async def _prove_all(self) -> None:
        if self._proofs is None:
            self.settlement.to_prove = {}  # nobody could
        else:
            await self._proofs.prove_all()

    # keeping at it

    async def run(self) -> None:
        """Look until cancelled. No failure of the bundler, the node or the store ends it."""
        try:
            while True:
                self.settlement.awake.clear()
                for work in self._work_to_do():
                    self._start(work)
                self.ask_due()
                await self._sleep()
        finally:
            self._waits.note_fresh()
            for task in self._working.values():
                task.cancel()
            for asking in self._asked_once.values():
                asking.cancel()
            await asyncio.gather(*self._working.values(), *self._asked_once.values(), return_exceptions=True)
            await self.polling.close()
            if self._told is not None:
                await self._told.close()

    def ask_due(self) -> Sequence[asyncio.Task[None]]:
        """Begin to ask bundlers what is due, where nobody else tells."""
        self._waits.begin_old()
        return () if self._is_told else self.polling.ask_due()

    def _work_to_do(self) -> Iterator[Callable[[], Awaitable[None]]]:
        settlement, now = self.settlement, self._monotonic()
        if settlement.books.is_behind:
            yield settlement.books.keep_again
        if self._readings.are_due:
            yield self._readings.read_all
        if settlement.unconfirmed or settlement.to_doubt:
            yield self._readings.confirm_all
        if self._rechecks.is_due(now):
            yield self._rechecks.look
        if self._looks is not None and self._looks.is_due(now):
            yield self._look_at_nonces
        if settlement.to_prove or (self._proofs is not None and self._proofs.are_due(now)):
            yield self._prove_all

    def _start(self, work: Callable[[], Awaitable[None]]) -> None:
        """One of a kind at a time. What falls due meanwhile is looked at when that one is done: nothing else might
        wake whoever looks."""
        name = work.__name__
        if name in self._working:
            self._due_again.add(name)
            return

        async def do() -> None:
            try:
                await work()
            except Exception:  # one round must not end the rounds after it
                _LOG.exception("a round of the settlement failed; the next one follows")
            finally:
                del self._working[name]
                # while what proves is under way, what is left for it waits: it is looked at when that is done
                is_left = self.settlement.to_prove and self._prove_all.__name__ not in self._working
                if name in self._due_again or is_left:
                    self._due_again.discard(name)
                    self.settlement.awake.set()

        self._working[name] = asyncio.create_task(do())

    async def round(self) -> None:
        """Everything that is due, once; returns when it is done."""
        await self.settlement.books.keep_again()
        await asyncio.gather(*self.ask_due())
        await self._rechecks.look()
        await self._look_at_nonces()
        await self._prove_all()
        await self._readings.read_all()
        await self._readings.confirm_all()

    async def _sleep(self) -> None:
        """Until something is due, or is begun."""
        waits = [_LONGEST_SLEEP]
        if not self._is_told and (due := self.polling.next_due()) is not None:
            waits.append(due)
        firsts = (
            *(self._rechecks.first(), self._readings.due_at, self._waits.first()),
            None if self._proofs is None else self._proofs.first(),
            None if self._looks is None else self._looks.first(),
        )
        waits += [first - self._monotonic() for first in firsts if first is not None]
        if self.settlement.books.is_behind:
            waits.append(self._patience.store)
        seconds = max(min(waits), _SHORTEST_SLEEP)
        self._sleeps_until = self._monotonic() + seconds
        try:
            async with asyncio.timeout(seconds):
                await self.settlement.awake.wait()
        except TimeoutError:
            pass
        finally:
            self._sleeps_until = inf


def _holder_of(key: SessionKey) -> _Holder:
    return key.module, key.account


async def _for_a_while(seconds: float, *works: Awaitable[None]) -> None:
    """All of it, but no longer than so many seconds: what is asked then goes on where it shields itself."""
    try:
        async with asyncio.timeout(seconds):
            await asyncio.gather(*works)
    except TimeoutError:
        pass
