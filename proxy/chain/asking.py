"""What a node answers to JSON-RPC requests, before anybody looks into the answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, Protocol

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
