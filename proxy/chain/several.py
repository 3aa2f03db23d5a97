"""Several nodes of one chain: the first is asked, and another one when that does not answer, or answers in vain.

A node that does not answer is only changed for one that is on the same chain as far as was seen through the other: its
block of a number that was seen some blocks ago has the same hash. One that has another there, or has not got it, is
left alone. One that answers with another block than it was asked for has not answered. What else a node says may be
wrong: whoever follows the chain has it left, and says what is better.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from math import inf
from typing import Final

from proxy.chain.asking import Asking, Declined, NotAsked, Question, Response, or_not_asked

_LOG: Final = logging.getLogger(__name__)
_BLOCKS_SEEN: Final = 64
_DEEP: Final = 8
"""Blocks so far behind the newest one that nodes do not differ over them."""
_SILENCES: Final = 2
"""So many questions in a row without an answer in time, and another node is asked."""
_CHECK_SECONDS: Final = 2.0
_LATE_SECONDS: Final = 1.0
"""After which another node is asked the same, if that one answers: who waits for it has no time to lose."""
_KEPT_SECONDS: Final = 15.0
"""After a change another one is not made for being late alone."""
_LONG: Final = "eth_getLogs"
"""Of which an answer may take its time."""
_BLOCK: Final = "eth_getBlockByNumber"


class NodeChoice:
    """Which of a chain's nodes is asked, by all that ask them."""

    def __init__(self) -> None:
        self.at = 0
        self.seen: OrderedDict[int, str] = OrderedDict()
        """Hashes of blocks by number, the newest seen last."""
        self.changing = asyncio.Lock()
        self.kept_until = -inf
        """By the loop's clock: till then a node that is only late is asked on."""


class SeveralAsking:
    """See `proxy.chain.asking.Asking`. `nodes` are in the order in which they are preferred; a `choice` is shared with
    others that ask the same ones."""

    def __init__(self, nodes: Sequence[Asking], choice: NodeChoice | None = None) -> None:
        self._nodes = tuple(nodes)
        self._choice = NodeChoice() if choice is None else choice
        self._silences = 0

    @property
    def at(self) -> int:
        """Which of the nodes is asked now."""
        return self._choice.at

    def one_asked(self) -> Asking:
        """The node that is asked now, and no other."""
        return self._nodes[self._choice.at]

    def another(self) -> Asking:
        """A node that is not the one that is asked now."""
        return self._nodes[(self._choice.at + 1) % len(self._nodes)]

    async def leave(self, why: str, is_better: Callable[[Asking], Awaitable[bool]]) -> bool:
        """The node answers, and not with what the chain has: ask the first of the others that is better. Whether there
        is one."""
        choice = self._choice
        async with choice.changing:
            left = choice.at
            for step in range(1, len(self._nodes)):
                other = (left + step) % len(self._nodes)
                if await is_better(self._nodes[other]):
                    _LOG.warning("node %d of %d is left: %s; node %d is asked", left, len(self._nodes), why, other)
                    choice.at = other
                    choice.seen.clear()  # that may be of no chain at all
                    return True
        return False

    async def one(self, question: Question) -> Response:
        return (await self._answers([question], alone=True))[0]

    async def many(self, questions: Sequence[Question]) -> Sequence[Response]:
        return await self._answers(questions, alone=False)

    async def _answers(self, questions: Sequence[Question], *, alone: bool) -> Sequence[Response]:
        """The answers, each question sent for itself or all at once. Raises `NotAsked` when no node gives them."""
        at = self._choice.at
        if self._silences >= _SILENCES:
            at = await self._change(at)
        try:
            at, answers = await self._in_time(at, questions, alone=alone)
        except asyncio.CancelledError:
            self._silences += 1  # given up on by who asked, after a deadline
            raise
        except Declined:
            self._silences = 0  # it answers
            raise
        except NotAsked:
            changed = await self._change(at)
            if changed == at:
                raise
            at, answers = changed, await _ask(self._nodes[changed], questions, alone=alone)
        self._silences = 0
        at, answers = await self._as_named(at, questions, answers, alone=alone)
        for question, answer in zip(questions, answers, strict=True):
            if question.method == _BLOCK and at == self._choice.at:  # it may have been left meanwhile
                self._note(question, answer)
        return answers

    async def _as_named(
        self, at: int, questions: Sequence[Question], answers: Sequence[Response], *, alone: bool
    ) -> tuple[int, Sequence[Response]]:
        """Those answers of that node or, where one is about another block than was asked for, of the next node that
        answers as asked; the same where there is none."""
        for _ in range(1, len(self._nodes)):
            if all(map(_is_as_asked, questions, answers)):
                break
            changed = await self._change(at)
            if changed == at:
                break
            at, answers = changed, await _ask(self._nodes[changed], questions, alone=alone)
        return at, answers

    async def _in_time(self, at: int, questions: Sequence[Question], *, alone: bool) -> tuple[int, Sequence[Response]]:
        """The same from that node or, where it is late, from whichever answers first; and from which."""
        asked = {self._begin(at, questions, alone=alone): at}
        try:
            is_small = all(question.method != _LONG for question in questions)
            done, _ = await asyncio.wait(asked, timeout=_LATE_SECONDS if is_small else None)
            if not done and (other := await self._change(at, is_late=True)) != at:
                asked[self._begin(other, questions, alone=alone)] = other
            left = set(asked)
            while left:
                done, left = await asyncio.wait(left, return_when=asyncio.FIRST_COMPLETED)
                answered = next((each for each in done if each.exception() is None), None)
                if answered is not None:
                    return asked[answered], answered.result()
            return at, await next(iter(asked))  # raises
        finally:
            for each in asked:
                each.cancel()

    def _begin(self, at: int, questions: Sequence[Question], *, alone: bool) -> asyncio.Task[Sequence[Response]]:
        exchange = asyncio.create_task(_ask(self._nodes[at], questions, alone=alone))
        exchange.add_done_callback(_heard)  # also where nobody waits for it any more
        return exchange

    def tell_heads(self, heard: Callable[[object], None]) -> None:
        for node in self._nodes:
            node.tell_heads(heard)

    async def close(self) -> None:
        for node in self._nodes:
            await node.close()

    async def _change(self, failed: int, *, is_late: bool = False) -> int:
        """Which node to ask after that one failed, or `is_late`: that one still when no other agrees with what was
        seen."""
        now = asyncio.get_running_loop().time
        async with self._choice.changing:
            if self._choice.at != failed:
                return self._choice.at  # somebody else has seen to it
            if is_late and now() < self._choice.kept_until:
                return failed
            self._silences = 0
            for step in range(1, len(self._nodes)):
                other = (failed + step) % len(self._nodes)
                if await self._agrees(self._nodes[other]):
                    _LOG.warning("node %d of %d does not answer: node %d is asked", failed, len(self._nodes), other)
                    self._choice.at = other
                    break
            # all may be late, of a machine with much else to do: then another change helps nobody
            self._choice.kept_until = now() + _KEPT_SECONDS
            return self._choice.at

    async def _agrees(self, node: Asking) -> bool:
        anchor = self._anchor()
        if anchor is None:
            return True
        number, name = anchor
        try:
            async with asyncio.timeout(_CHECK_SECONDS):
                answer = await node.one(Question(_BLOCK, [hex(number), False]))
        except (TimeoutError, NotAsked):
            return False
        block = answer.get("result")
        if isinstance(block, Mapping) and block.get("hash") == name:
            return True
        _LOG.warning("another node has another block %d than was seen, or none: it is not asked", number)
        return False

    def _anchor(self) -> tuple[int, str] | None:
        """A block that every node of the chain should have."""
        if not self._choice.seen:
            return None
        newest = max(self._choice.seen)
        deep = [number for number in self._choice.seen if number <= newest - _DEEP]
        number = max(deep) if deep else min(self._choice.seen)
        return number, self._choice.seen[number]

    def _note(self, question: Question, answer: Response) -> None:
        block, height = answer.get("result"), _height(answer)
        if height is None or not isinstance(block, Mapping) or not _is_as_asked(question, answer):
            return
        name = block.get("hash")
        if not isinstance(name, str):
            return
        self._choice.seen[height] = name
        self._choice.seen.move_to_end(height)
        if len(self._choice.seen) > _BLOCKS_SEEN:
            self._choice.seen.popitem(last=False)


def _height(answer: Response) -> int | None:
    """The number of the block that it tells of, if it does."""
    block = answer.get("result")
    number = block.get("number") if isinstance(block, Mapping) else None
    return _number(number)


def _number(printed: object) -> int | None:
    try:
        return int(printed, 16) if isinstance(printed, str) else None
    except ValueError:
        return None


def _is_as_asked(question: Question, answer: Response) -> bool:
    """Whether it tells of no other block than the one whose number was asked for."""
    if question.method != _BLOCK or (wanted := _number(question.params[0])) is None:
        return True
    return _height(answer) in (None, wanted)


def _heard(exchange: asyncio.Task[Sequence[Response]]) -> None:
    if not exchange.cancelled():
        exchange.exception()


async def _ask(node: Asking, questions: Sequence[Question], *, alone: bool) -> Sequence[Response]:
    return await or_not_asked(_ask_alone(node, questions[0]) if alone else node.many(questions))


async def _ask_alone(node: Asking, question: Question) -> Sequence[Response]:
    return [await node.one(question)]
