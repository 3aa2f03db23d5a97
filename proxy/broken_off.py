"""Whether it is the running task that is broken off, or only something that it waited for.

Both look alike to who waits: a task or a future that was cancelled raises `CancelledError` there too. Who takes the one
for the other ends without a word to whoever waits for him.
"""

from __future__ import annotations

import asyncio


def is_broken_off() -> bool:
    """Whether somebody wants the running task to end."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
