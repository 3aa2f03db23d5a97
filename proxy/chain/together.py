"""Several questions at once."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

_Answer = TypeVar("_Answer")


async def together(*questions: Coroutine[Any, Any, _Answer]) -> list[_Answer]:
    """All answers, in order. The first failure is raised and the questions still open are cancelled."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(question) for question in questions]
    except BaseExceptionGroup as failures:  # unwrapped: the first failure is what callers know
        raise failures.exceptions[0] from None
    return [task.result() for task in tasks]
