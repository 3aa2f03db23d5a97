"""A send that a client repeats by itself reaches the bundler once.

SDKs take some answers for a hiccup and send the same bytes again within a second: viem does so after -32603, after
HTTP 403, 408, 413, 429 and 5xx, and on a `custom` transport after every code it does not list; ethers after HTTP 429.
What the bundler answered to the first is then the answer to all of them. While the first has no answer yet, the others
wait for it.

Only answers that leave open whether the operation is on its way are remembered here. One that was refused is not on its
way: it is the gate that answers it again, for as long as SDKs repeat it (`proxy.refused_before`). One that was taken
and is sent again is the bundler's to answer. Bounded in number and bytes; a restart forgets.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Protocol

from proxy.bundler_answers import Meaning
from proxy.edge.http.exchange import Ended, Hearing, UpstreamReply, meaning_of_reply
from proxy.errors import UpstreamFull, UpstreamUnavailable
from proxy.ports import AskingOn, Submission

REMEMBERED_SECONDS: Final = 10.0  # SDKs repeat for some seconds; past that somebody means it
MOST_REMEMBERED: Final = 4_096
MOST_BYTES: Final = 8 * 1024 * 1024

_Asked = tuple[str, bytes]  # the method, the printed params


class OnceUpstream(Protocol):
    """The part of `Upstream` that is used here."""

    async def post(self, method: str, params: bytes, submission: Submission | None) -> UpstreamReply:
        """Ask it. Raises `UpstreamUnavailable`."""

    def begin(self, method: str, params: bytes, hearing: Hearing, submission: Submission | None) -> bool:
        """Ask it without waiting for anything. Whether it was asked; if not, nothing was done."""


@dataclass(frozen=True, slots=True)
class _Remembered:
    ended: Ended
    until: float  # monotonic seconds
    size: int


class OnceSent:
    """An upstream that no identical send reaches twice in a row. `stopwatch` gives monotonic seconds."""

    def __init__(self, upstream: OnceUpstream, stopwatch: Callable[[], float]) -> None:
        self._upstream = upstream
        self._stopwatch = stopwatch
        # what is being asked, and who else waits for it: nearly always nobody
        self._under_way: dict[_Asked, list[asyncio.Future[Ended]] | None] = {}
        self._remembered: OrderedDict[bytes, _Remembered] = OrderedDict()  # the oldest first
        self._bytes = 0

    def post(self, method: str, params: bytes, submission: Submission | None) -> Coroutine[Any, Any, UpstreamReply]:
        """Ask the upstream, or give what it answered to these very bytes. Raises `UpstreamUnavailable`."""
        if submission is None:
            return self._upstream.post(method, params, None)
        return self._send((method, params), submission)

    def begin(self, method: str, params: bytes, hearing: Hearing, submission: Submission | None) -> bool:
        """See `OnceUpstream`."""
        if submission is None:
            return self._upstream.begin(method, params, hearing, None)
        asked = method, params
        if asked in self._under_way or (self._remembered and _digest_of(asked) in self._remembered):
            return False
        self._under_way[asked] = None
        is_begun = False
        try:
            is_begun = self._upstream.begin(method, params, partial(self._heard, asked, hearing), submission)
        finally:
            if not is_begun:
                del self._under_way[asked]
        return is_begun

    def _heard(self, asked: _Asked, hearing: Hearing, ended: Ended | AskingOn) -> None:
        waiting = self._under_way.pop(asked)
        if waiting is None and isinstance(ended, UpstreamReply) and not ended.reply.is_error:
            hearing(ended)  # nearly always
            return
        assert not isinstance(ended, AskingOn), "a send is asked of one bundler"  # noqa: S101 - our own promise
        try:
            self._tell(asked, waiting or (), ended)
        finally:
            hearing(ended)

    async def _send(self, asked: _Asked, submission: Submission) -> UpstreamReply:
        if asked in self._under_way:
            other: asyncio.Future[Ended] = asyncio.get_running_loop().create_future()
            self._under_way[asked] = [*(self._under_way[asked] or ()), other]
            return _given(await other)
        if self._remembered and (remembered := self._remembered.get(key := _digest_of(asked))) is not None:
            if self._stopwatch() < remembered.until:
                return _given(remembered.ended)
            self._forget(key)
        self._under_way[asked] = None
        ended: Ended | None = None
        try:
            waiter: asyncio.Future[Ended | AskingOn] = asyncio.get_running_loop().create_future()
            if self._upstream.begin(*asked, partial(_settle, waiter), submission):
                heard = await waiter
                assert not isinstance(heard, AskingOn), "a send is asked of one bundler"  # noqa: S101 - our own promise
                if isinstance(heard, UpstreamUnavailable):
                    raise heard
                ended = heard
            else:
                ended = await self._upstream.post(*asked, submission)
        except UpstreamUnavailable as error:
            ended = _words_of(error)
            raise
        else:
            return ended
        finally:
            if ended is None:  # what those who wait are told when this one is broken off
                ended = UpstreamUnavailable("the send was broken off here", may_have_been_sent=True)
            self._tell(asked, self._under_way.pop(asked) or (), ended)

    def _tell(self, asked: _Asked, waiting: Sequence[asyncio.Future[Ended]], ended: Ended) -> None:
        """Those who wait for the same, and those who come with it yet."""
        if isinstance(ended, UpstreamUnavailable):
            ended = _words_of(ended)
        for each in waiting:
            if not each.done():
                each.set_result(ended)
        if _leaves_open(ended):
            self._remember(_digest_of(asked), ended)

    def _remember(self, key: bytes, ended: Ended) -> None:
        size = len(ended.body) if isinstance(ended, UpstreamReply) else 0
        self._remembered[key] = _Remembered(ended, self._stopwatch() + REMEMBERED_SECONDS, size)
        self._bytes += size
        while len(self._remembered) > MOST_REMEMBERED or self._bytes > MOST_BYTES:
            self._forget(next(iter(self._remembered)))

    def _forget(self, key: bytes) -> None:
        self._bytes -= self._remembered.pop(key).size


def _settle(waiter: asyncio.Future[Ended | AskingOn], ended: Ended | AskingOn) -> None:
    if not waiter.done():  # or else whoever asked was broken off
        waiter.set_result(ended)


def _digest_of(asked: _Asked) -> bytes:
    method, params = asked
    return hashlib.blake2b(method.encode() + b" " + params, digest_size=16).digest()


def _leaves_open(ended: Ended) -> bool:
    """Whether the operation may be on its way, for all that is known from this."""
    if isinstance(ended, UpstreamUnavailable):
        return ended.may_have_been_sent
    return meaning_of_reply(ended) is Meaning.UNKNOWN


def _given(ended: Ended) -> UpstreamReply:
    if isinstance(ended, UpstreamUnavailable):
        raise _words_of(ended)
    return ended


def _words_of(error: UpstreamUnavailable) -> UpstreamUnavailable:
    """The same to be told again. What was raised leads to every frame that it went through, and to what was sent."""
    kind = UpstreamFull if isinstance(error, UpstreamFull) else UpstreamUnavailable
    return kind(error.problem, may_have_been_sent=error.may_have_been_sent)
