"""Several nodes of one chain: the first is asked, and another one when that does not answer.

A node is only changed for one that is on the same chain as far as was seen through the other: its block of a number
that was seen some blocks ago has the same hash. One that has another there, or has not got it, is left alone.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from proxy.chain.asking import Asking, NotAsked, Question, Response

_LOG: Final = logging.getLogger(__name__)
_BLOCKS_SEEN: Final = 64
_DEEP: Final = 8
"""Blocks so far behind the newest one that nodes do not differ over them."""
_SILENCES: Final = 2
"""So many questions in a row without an answer in time, and another node is asked."""
_CHECK_SECONDS: Final = 2.0
_BLOCK: Final = "eth_getBlockByNumber"


class SeveralAsking:
    """See `proxy.chain.asking.Asking`. `nodes` are in the order in which they are preferred."""

    def __init__(self, nodes: Sequence[Asking]) -> None:
        self._nodes = tuple(nodes)
        self._at = 0
        self._silences = 0
        self._seen: OrderedDict[int, str] = OrderedDict()  # hashes of blocks by number, the newest seen last
        self._changing = asyncio.Lock()

    @property
    def at(self) -> int:
        """Which of the nodes is asked now."""
        return self._at

    def another(self) -> Asking:
        """A node that is not the one that is asked now."""
        return self._nodes[(self._at + 1) % len(self._nodes)]

    async def one(self, question: Question) -> Response:
        return (await self._answers([question], alone=True))[0]

    async def many(self, questions: Sequence[Question]) -> Sequence[Response]:
        return await self._answers(questions, alone=False)

    async def _answers(self, questions: Sequence[Question], *, alone: bool) -> Sequence[Response]:
        """The answers, each question sent for itself or all at once. Raises `NotAsked` when no node gives them."""
        at = self._at
        if self._silences >= _SILENCES:
            at = await self._change(at)
        try:
            answers = await _ask(self._nodes[at], questions, alone=alone)
        except asyncio.CancelledError:
            self._silences += 1  # given up on by who asked, after a deadline
            raise
        except NotAsked:
            changed = await self._change(at)
            if changed == at:
                raise
            answers = await _ask(self._nodes[changed], questions, alone=alone)
        self._silences = 0
        for question, answer in zip(questions, answers, strict=True):
            if question.method == _BLOCK:
                self._note(answer)
        return answers

    def tell_heads(self, heard: Callable[[object], None]) -> None:
        for node in self._nodes:
            node.tell_heads(heard)

    async def close(self) -> None:
        for node in self._nodes:
            await node.close()

    async def _change(self, failed: int) -> int:
        """Which node to ask after that one failed: that one still when no other agrees with what was seen."""
        async with self._changing:
            if self._at != failed:
                return self._at  # somebody else has seen to it
            self._silences = 0
            for step in range(1, len(self._nodes)):
                other = (failed + step) % len(self._nodes)
                if await self._agrees(self._nodes[other]):
                    _LOG.warning("node %d of %d does not answer: node %d is asked", failed, len(self._nodes), other)
                    self._at = other
                    break
            return self._at

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
        if not self._seen:
            return None
        newest = max(self._seen)
        deep = [number for number in self._seen if number <= newest - _DEEP]
        number = max(deep) if deep else min(self._seen)
        return number, self._seen[number]

    def _note(self, answer: Response) -> None:
        block = answer.get("result")
        if not isinstance(block, Mapping):
            return
        number, name = block.get("number"), block.get("hash")
        if not isinstance(number, str) or not isinstance(name, str):
            return
        try:
            height = int(number, 16)
        except ValueError:
            return
        self._seen[height] = name
        self._seen.move_to_end(height)
        if len(self._seen) > _BLOCKS_SEEN:
            self._seen.popitem(last=False)


async def _ask(node: Asking, questions: Sequence[Question], *, alone: bool) -> Sequence[Response]:
    return [await node.one(questions[0])] if alone else await node.many(questions)
