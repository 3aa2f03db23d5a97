"""Receipts asked for, one operation at a time: for chains without a node, and while a node says nothing.

What is asked waits in a heap by due time, in a lane of its own with a budget a second. Beyond the budget operations
are settled later, and how much later is told; nothing is let go for it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, Protocol

from proxy.chain.settlement.due import DueHeap
from proxy.chain.settlement.patience import Patience
from proxy.chain.settlement.receipts import Receipt, read_receipt
from proxy.errors import SessiongateError, StateUnavailable
from proxy.ledger.operations import Mined
from proxy.userop.primitives import Hash32, print_bytes

_LOG: Final = logging.getLogger(__name__)

AskReceipt = Callable[[Hash32], Awaitable[Receipt | None]]
"""Asks a bundler about one operation. Raises `SessiongateError`."""


class Answered(Protocol):
    """Who is told what was answered. Never raises."""

    async def found(self, mined: Mined) -> None:
        """There is a receipt."""

    async def absent(self, user_op_hash: Hash32, seconds: float, asked: int) -> None:
        """There is none, and for so many `seconds` that is what was answered. `asked` is how often it was."""


@dataclass(slots=True)
class _Asked:
    interval: float
    number: int = 0
    absent_at: float | None = None  # when it was answered last that there is none; `None` after a question that failed
    task: asyncio.Task[None] | None = None  # while it is asked


class Polling:
    """`monotonic` gives seconds that no change of the clock moves; `on_due` hears that something is due later."""

    def __init__(
        self,
        ask: AskReceipt,
        answered: Answered,
        patience: Patience,
        monotonic: Callable[[], float],
        *,
        on_due: Callable[[], None] = lambda: None,
    ) -> None:
        self._on_due = on_due
        self._ask = ask
        self._answered = answered
        self._patience = patience
        self._monotonic = monotonic
        self._due: DueHeap[Hash32] = DueHeap()
        self._asked: dict[Hash32, _Asked] = {}  # what has been asked about, or is only remembered
        self._places = asyncio.Semaphore(patience.at_once)
        self._budget = patience.a_second
        self._filled_at = monotonic()
        self._tasks: set[asyncio.Task[None]] = set()
        self.questions = 0
        """Asked so far."""

    def begin(self, user_op_hash: Hash32, since: float, *, remembered: bool = False) -> None:
        """Ask about this, as it is waited for `since` then; rarely when it is only `remembered`."""
        asked = self._asked.get(user_op_hash)
        if asked is None and not remembered:
            # nearly all: of what is not asked about before it ends no more is kept than when that would be
            if user_op_hash not in self._due:
                self._due.put(user_op_hash, since + self._patience.first)
        elif asked is None or remembered or asked.interval >= self._patience.remembered:
            interval = self._patience.remembered if remembered else self._patience.first
            self._asked[user_op_hash] = _Asked(interval)
            self._due.put(user_op_hash, since + interval)

    def forget(self, user_op_hash: Hash32) -> None:
        """Ask about this no more."""
        self._asked.pop(user_op_hash, None)
        self._due.discard(user_op_hash)

    def hurry(self, user_op_hash: Hash32) -> None:
        """Something was heard of it: ask next."""
        if user_op_hash in self._due:
            self._due.put(user_op_hash, self._monotonic())

    @property
    def lag_seconds(self) -> float:
        """For how long a question has been due that there was no budget for."""
        first = self._due.first()
        return 0.0 if first is None else max(self._monotonic() - first, 0.0)

    def next_due(self) -> float | None:
        """Seconds until the next question may be asked; `None` when there is none."""
        first = self._due.first()
        if first is None:
            return None
        self._fill()
        short = 0.0 if self._budget >= 1 else (1 - self._budget) / self._patience.a_second
        return max(first - self._monotonic(), short)

    def ask_due(self) -> list[asyncio.Task[None]]:
        """Begin to ask what is due, as far as the budget goes."""
        self._fill()
        begun = []
        due = self._due.pop_due(self._monotonic())
        while self._budget >= 1 and len(self._tasks) < 2 * self._patience.at_once:
            user_op_hash = next(due, None)
            if user_op_hash is None:
                break
            begun.append(self._start(user_op_hash))
        return begun

    async def ask_now(self, user_op_hash: Hash32) -> None:
        """Ask about this one at once, for somebody who waits; who comes while it is asked waits for that answer."""
        asked = self._asked.get(user_op_hash)
        if asked is not None and asked.task is not None:
            await asyncio.shield(asked.task)
        elif asked is not None or user_op_hash in self._due:
            self._due.discard(user_op_hash)
            await asyncio.shield(self._start(user_op_hash))

    async def ask_for_client(self, user_op_hash: Hash32) -> None:
        """The same where nobody asks about it already and the budget has room for it, and for so long only as a client
        is kept waiting."""
        self._fill()
        if self._budget < 1 or user_op_hash not in self._due:
            return
        try:
            async with asyncio.timeout(self._patience.told):
                await self.ask_now(user_op_hash)
        except TimeoutError:
            pass

    async def ask_beside(self, user_op_hash: Hash32, question: AskReceipt | None = None) -> Mined | Exception | None:
        """See `answer`. Of something that is asked about for another reason: of the budget it has its share, and waits
        for that."""
        self._fill()
        self._budget -= 1
        if self._budget < 0:
            await asyncio.sleep(-self._budget / self._patience.a_second)
        self.questions += 1
        return await self.answer(user_op_hash, question)

    async def close(self) -> None:
        """Nothing is asked any more."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _fill(self) -> None:
        now = self._monotonic()
        most = max(self._patience.a_second, 1.0)
        self._budget = min(self._budget + (now - self._filled_at) * self._patience.a_second, most)
        self._filled_at = now

    def _start(self, user_op_hash: Hash32) -> asyncio.Task[None]:
        self._budget -= 1
        asked = self._asked.setdefault(user_op_hash, _Asked(self._patience.first))
        asked.task = task = asyncio.create_task(self._ask_one(user_op_hash))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _ask_one(self, user_op_hash: Hash32) -> None:
        try:
            await self._ask_and_tell(user_op_hash)
        except StateUnavailable as error:
            _LOG.info("what was told of %s could not be taken in: %s", print_bytes(user_op_hash), error)

    async def _ask_and_tell(self, user_op_hash: Hash32) -> None:
        asked = self._asked.get(user_op_hash)
        if asked is None:
            return
        asked.number += 1
        self.questions += 1
        try:
            async with self._places:
                answer = await self.answer(user_op_hash)
            if isinstance(answer, Mined):
                await self._answered.found(answer)
                return
            now = self._monotonic()
            if answer is None:
                seconds = 0.0 if asked.absent_at is None else now - asked.absent_at
                asked.absent_at = now
                await self._answered.absent(user_op_hash, seconds, asked.number)
            else:
                asked.absent_at = None
        finally:
            asked.task = None
            if self._asked.get(user_op_hash) is asked:  # it may have ended, or be asked about rarely from now on
                self._due.put(user_op_hash, self._monotonic() + asked.interval)
                asked.interval = min(asked.interval * self._patience.growth, self._longest(asked))
                self._on_due()

    def _longest(self, asked: _Asked) -> float:
        return max(self._patience.longest, asked.interval if asked.interval >= self._patience.remembered else 0.0)

    async def answer(self, user_op_hash: Hash32, question: AskReceipt | None = None) -> Mined | Exception | None:
        """The receipt; `None` when it was answered that there is none; why, when nobody told. Never raises."""
        try:
            async with asyncio.timeout(self._patience.timeout):
                receipt = await (question or self._ask)(user_op_hash)
        except (TimeoutError, SessiongateError, OSError) as error:
            _LOG.info("no word on %s: %s", print_bytes(user_op_hash), type(error).__name__)
            return error
        except Exception as error:  # a question that failed is no answer, whatever failed
            _LOG.exception("asking for the receipt of %s failed", print_bytes(user_op_hash))
            return error
        if receipt is None:
            return None
        mined = read_receipt(receipt)
        if mined is None or mined.user_op_hash != user_op_hash:
            _LOG.warning("the bundler's receipt for %s cannot be read", print_bytes(user_op_hash))
            return ValueError("a receipt that cannot be read")
        return mined
