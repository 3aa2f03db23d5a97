"""What a node answers to JSON-RPC requests, before anybody looks into the answers."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final, NamedTuple, Protocol, TypeVar

from proxy.broken_off import is_broken_off

_LOG: Final = logging.getLogger(__name__)
_Answer = TypeVar("_Answer")

Response = Mapping[str, object]
"""A JSON-RPC response as it came: `result` or `error`."""


class Question(NamedTuple):
    """One JSON-RPC request."""

    method: str
    params: list[object]


class NotAsked(Exception):
    """The node could not be asked, or what it sent is no answer. The message names no URL: that may hold a key."""


class Declined(NotAsked):
    """The node is there and answers, but not in a way that can be taken: less at once may be answered, and another node
    is no better."""


class Asking(Protocol):
    """A way to a node. Bounded in bytes, not in time: whoever asks has a deadline."""

    async def one(self, question: Question) -> Response:
        """The answer to one question. Raises `NotAsked`, `Declined` for one that is too long."""

    async def many(self, questions: Sequence[Question]) -> Sequence[Response]:
        """The answers to several, sent at once, in the order of the questions. Raises `NotAsked`, `Declined` also where
        the node does not take several at once."""

    def tell_heads(self, heard: Callable[[object], None]) -> None:
        """Call this with each new head that the node tells of by itself, from the next connection on; where it can."""

    async def close(self) -> None:
        """Close the connections; it may be used again afterwards."""


async def or_not_asked(answer: Awaitable[_Answer]) -> _Answer:
    """What an `Asking` answers. Raises `NotAsked` whatever else breaks on the way there: whoever asks is told of it,
    and not broken off."""
    try:
        return await answer
    except (NotAsked, TimeoutError):
        raise
    except asyncio.CancelledError:
        if is_broken_off():
            raise
        raise NotAsked("broken off on the way") from None
    except Exception as error:  # a promise is broken; the type only, as the text may hold the node's URL
        _LOG.error("a node was asked in vain, by a fault here: %s", type(error).__name__)
        raise NotAsked(type(error).__name__) from None
