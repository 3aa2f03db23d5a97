"""What has arrived and waits, over all connections of one listener, and who has to go when it is too much."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol

_MESSAGE_BYTES: Final = 128
"""What a message costs beyond its own bytes, while it waits to be looked at."""
_LEAST_FRAME: Final = 2
"""Of a message's frames so much is no part of it, at the least."""


class Intake:
    """Counts what has come of HTTP requests that are not whole, and of WebSocket messages that are not answered.

    Past `most` bytes of both, somebody goes, of that kind of which there is more: of requests the slowest, whom
    `drop_body` knows (false where there is none to drop), of WebSockets the one that has most waiting. All are looked
    at for that, but whoever has most has no less than the average: to make the gate look takes as many bytes.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._messages = 0
        self._of: dict[WaitingMessages, int] = {}
        self.bodies = 0
        """Bytes of requests that are not whole."""
        self.drop_body: Callable[[], bool] = bool

    @property
    def is_tight(self) -> bool:
        """Whether half of it is taken: then no WebSocket is read ahead of its answers."""
        return (self.bodies + self._messages) * 2 > self._most

    def count_body(self, more: int) -> bool:
        """So many bytes more wait, or fewer. False where they are too many, and nobody else can go."""
        self.bodies += more
        while more > 0 and self._is_over:
            if self._messages > self.bodies:
                self._drop_largest()
            elif not self.drop_body():
                return False
        return True

    def count_messages(self, of: WaitingMessages, size: int) -> None:
        """So many bytes of one WebSocket wait by now."""
        before = self._of.pop(of, 0)
        self._messages += size - before
        if size:
            self._of[of] = size
        while size > before and self._is_over and self._of:
            if self.bodies <= self._messages or not self.drop_body():
                self._drop_largest()

    @property
    def _is_over(self) -> bool:
        return self.bodies + self._messages > self._most

    def _drop_largest(self) -> None:
        largest = max(self._of, key=self._of.__getitem__)
        self._messages -= self._of.pop(largest)
        largest.make_room()


class MessageSource(Protocol):
    """A WebSocket, as seen by whoever counts what it sends."""

    def queued(self) -> int:
        """How many messages have come and were not taken."""

    def hold_up(self) -> None:
        """Read no further for now."""

    def read_on(self) -> None:
        """Read again."""

    def let_go(self) -> None:
        """Read no further, and forget what was read."""

    def send_away(self) -> None:
        """Tell its caller that too much of it waited."""


class WaitingMessages:
    """What has come of one WebSocket and is not answered.

    Where a message ends among the bytes that came nobody tells, and a frame's head has 2 to 14 of them. What is not
    known to be gone counts; when all that is whole was taken, no more than has come since that began to come.
    """

    __slots__ = ("_at_hand", "_intake", "_is_held_up", "_queued", "_source", "_tail", "_unread", "_was_ended")

    def __init__(self, intake: Intake, source: MessageSource) -> None:
        self._intake = intake
        self._source = source
        self._unread = 0  # bytes that came, of messages that were not taken
        self._tail = 0  # of these, what has come since the last read that ended a message, that one included
        self._queued = 0
        self._at_hand = 0  # bytes of messages that were taken
        self._is_held_up = False
        self._was_ended = False

    def is_over(self) -> bool:
        """Whether nothing of it is wanted any more."""
        return self._was_ended

    @property
    def is_busy(self) -> bool:
        """Whether its caller waits for us: for an answer, or to be read."""
        return self._is_held_up or self._at_hand > 0 or self._source.queued() > 0

    def came(self, size: int) -> None:
        """So many bytes were read."""
        if self._was_ended or not size:
            return
        queued = self._source.queued()
        self._tail = size if queued > self._queued else self._tail + size
        self._queued = queued
        self._unread += size
        self._count()
        if self._intake.is_tight and not self._was_ended and (queued or self._at_hand):
            self._is_held_up = True  # its own answers end that
            self._source.hold_up()

    def taken(self, size: int) -> None:
        """A message of so many bytes is looked at."""
        if self._was_ended:
            return
        self._queued = self._source.queued()
        self._unread = max(0, self._unread - size - _LEAST_FRAME)
        if not self._queued:
            self._unread = min(self._unread, self._tail)
        self._at_hand += size
        self._count()

    def answered(self, size: int) -> None:
        """It has been answered."""
        if self._was_ended:
            return
        self._at_hand -= size
        self._queued = self._source.queued()
        self._count()
        if self._is_held_up and not self._at_hand and not self._queued and not self._was_ended:
            self._is_held_up = False
            self._source.read_on()

    def gone(self) -> None:
        """The connection has ended."""
        self._was_ended = True
        self._intake.count_messages(self, 0)

    def end(self) -> None:
        """Whatever else it says is not listened to."""
        self.gone()
        self._source.let_go()

    def make_room(self) -> None:
        """Its caller goes: others need the room."""
        self.end()
        self._source.send_away()

    def _count(self) -> None:
        self._intake.count_messages(self, self._unread + self._at_hand + self._queued * _MESSAGE_BYTES)
