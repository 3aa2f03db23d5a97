"""Several questions at once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, TypeVar

_Answer = TypeVar("_Answer")
_Thing = TypeVar("_Thing")


async def together(*questions: Coroutine[Any, Any, _Answer]) -> list[_Answer]:
    """All answers, in order. The first failure is raised and the questions still open are cancelled."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(question) for question in questions]
    except BaseExceptionGroup as failures:  # unwrapped: the first failure is what callers know
        raise failures.exceptions[0] from None
    return [task.result() for task in tasks]


async def in_turn(
    things: Iterator[_Thing], work: Callable[[_Thing], Coroutine[Any, Any, None]], at_once: Callable[[], int]
) -> None:
    """Work on each thing, on as many at a time as `at_once` says when the next is due, and one at least. The first
    failure is raised, and what is under way is cancelled."""
    under_way: set[asyncio.Task[None]] = set()
    try:
        for thing in things:
            under_way.add(asyncio.create_task(work(thing)))
            while len(under_way) >= max(at_once(), 1):
                done, under_way = await asyncio.wait(under_way, return_when=asyncio.FIRST_COMPLETED)
                for each in done:
                    each.result()
        await asyncio.gather(*under_way)
    finally:
        for each in under_way:
            each.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)
