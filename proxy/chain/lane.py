"""Questions on their way to a node: so many exchanges at a time, and what waits goes together.

While all places are taken questions queue; whoever gets a place next takes several of them in one batch, as long as the
node takes batches. A batch that fails is asked again one by one, and the next ones are smaller.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from proxy.chain.asking import Asking, Declined, NotAsked, Question, Response, or_not_asked
from proxy.errors import NotGiven, StateUnavailable

_MOST_IN_A_BATCH: Final = 32
_CLOSED: Final = "it is asked no more"
_MANY: Final = 1_024
"""So many questions are answered before more of them go together again: a node that takes no batches is hardly
bothered, and one that was down for a while is not asked one by one for ever."""


@dataclass(slots=True)
class _Waiting:
    question: Question
    answer: asyncio.Future[Response]


class Lane:
    """A way to one node with places of its own. `timeout_seconds` is for one exchange, after it got its place."""

    def __init__(self, asking: Asking, *, timeout_seconds: float, places: int) -> None:
        self._asking = asking
        self._timeout = timeout_seconds
        self._places = places
        self._queue: deque[_Waiting] = deque()
        self._workers: set[asyncio.Task[None]] = set()
        self._most = _MOST_IN_A_BATCH
        self._answered = 0  # since so many went together

    @property
    def at_once(self) -> int:
        """How many questions are under way at a time at most, as the node takes them now."""
        return self._places * self._most

    async def ask(self, question: Question, what: str) -> Response:
        """The node's answer. Raises `StateUnavailable` naming `what` could not be had."""
        waiting = _Waiting(question, asyncio.get_running_loop().create_future())
        self._queue.append(waiting)
        if len(self._workers) < self._places:
            worker = asyncio.create_task(self._work())
            self._workers.add(worker)
            worker.add_done_callback(self._workers.discard)
        try:
            return await waiting.answer
        except TimeoutError:
            raise StateUnavailable(f"{what}: the node did not answer in {self._timeout:g} s") from None
        except Declined as error:
            raise NotGiven(f"{what}: the node's answer cannot be taken ({error})") from None
        except NotAsked as error:
            raise StateUnavailable(f"{what}: the node could not be asked ({error})") from None
        finally:
            del waiting  # what was raised leads to this frame, and it to what was raised

    async def close(self) -> None:
        """Stop asking."""
        workers = tuple(self._workers)
        for worker in workers:
            worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)
        _fail(self._queue, NotAsked(_CLOSED))
        self._queue.clear()

    async def _work(self) -> None:
        while part := self._next():
            try:
                await self._exchange(part)
            finally:
                _fail(part, NotAsked(_CLOSED))  # only what was not answered: this worker was stopped

    def _next(self) -> list[_Waiting]:
        """What goes together; nothing of it is wanted any more by those who gave up waiting."""
        part: list[_Waiting] = []
        while self._queue and len(part) < self._most:
            waiting = self._queue.popleft()
            if not waiting.answer.done():
                part.append(waiting)
        return part

    async def _exchange(self, part: list[_Waiting]) -> None:
        if len(part) > 1:
            try:
                async with asyncio.timeout(self._timeout):
                    answers = await or_not_asked(self._asking.many([waiting.question for waiting in part]))
                if len(answers) != len(part):
                    raise NotAsked("not an answer to each question")
            except TimeoutError as error:
                return _fail(part, error)
            except NotAsked:
                self._most, self._answered = max(self._most // 2, 1), 0
            else:
                self._more(len(part))
                for waiting, answer in zip(part, answers, strict=True):
                    _tell(waiting, answer)
                return None
        await asyncio.gather(*(self._one(waiting) for waiting in part))
        return None

    async def _one(self, waiting: _Waiting) -> None:
        try:
            async with asyncio.timeout(self._timeout):
                answer = await or_not_asked(self._asking.one(waiting.question))
        except (TimeoutError, NotAsked) as error:
            _fail([waiting], error)
        else:
            self._more(1)
            _tell(waiting, answer)

    def _more(self, answered: int) -> None:
        """So many were answered; after many of them more go together."""
        self._answered += answered
        if self._answered >= _MANY:
            self._most, self._answered = min(2 * self._most, _MOST_IN_A_BATCH), 0


def _tell(waiting: _Waiting, answer: Response) -> None:
    if not waiting.answer.done():
        waiting.answer.set_result(answer)


def _fail(part: Iterable[_Waiting], error: Exception) -> None:
    for waiting in part:
        if not waiting.answer.done():
            waiting.answer.set_exception(error.with_traceback(None))  # it leads to whoever waits
