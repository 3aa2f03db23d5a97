"""How long a WebSocket's message may take to come, and in how many frames, as a body's bytes and chunks are held to."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from aiohttp import WSCloseCode

from proxy.edge.http.deadlines import Deadlines
from proxy.edge.http.intake import WaitingMessages
from proxy.edge.http.wire.frames import FrameMarks, TooManyFramesError

_TOO_MANY_FRAMES: Final = b"too many frames for what they carry"


class MessageParts:
    """What has begun to come of one WebSocket and is not whole.

    Its time does not run while its caller waits for us: while others of its messages are answered, or it is not read.
    """

    __slots__ = ("_coming", "_marks", "_send_away", "waiting")

    def __init__(
        self,
        coming: Deadlines[MessageParts],
        waiting: WaitingMessages,
        send_away: Callable[[WSCloseCode, bytes], None],
    ) -> None:
        self.waiting = waiting
        self._coming = coming
        self._send_away = send_away
        self._marks = FrameMarks()

    def came(self, data: bytes) -> None:
        """This was read."""
        if self.waiting.is_over():
            return
        try:
            self._marks.feed(data)
        except TooManyFramesError:
            self.end(_TOO_MANY_FRAMES)
            return
        self.waiting.came(len(data))
        if not self._marks.is_within:
            self._coming.stop(self)
        elif self._marks.was_between:
            self._coming.start(self)

    def answered(self, size: int) -> None:
        """A message of so many bytes has been answered."""
        self.waiting.answered(size)
        if self._marks.is_within and not self.waiting.is_over() and not self.waiting.is_busy:
            self._coming.start(self)

    def gone(self) -> None:
        """The connection has ended."""
        self._coming.stop(self)
        self.waiting.gone()

    def late(self) -> None:
        """Its time is over."""
        if self.waiting.is_over():
            return
        if self.waiting.is_busy:
            self._coming.start(self)
        else:
            self.end(b"message did not arrive within %d s" % round(self._coming.seconds))

    def end(self, reason: bytes) -> None:
        """Its caller is sent away, and told why."""
        if self.waiting.is_over():
            return
        self._coming.stop(self)
        self.waiting.end()
        self._send_away(WSCloseCode.POLICY_VIOLATION, reason)
