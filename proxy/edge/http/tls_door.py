"""The door of a listener that speaks TLS: it takes callers in, and they count before they have shaken hands.

The event loop's own servers know of nobody whose handshake is not done: who never ends one costs a descriptor that no
cap sees. Here the oldest of those makes room for a newcomer, of one address and in all. A handshake takes its
household's time, and begins when it is its turn.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from ssl import SSLContext
from typing import Final

from proxy.edge.http.forwarded import household_of
from proxy.edge.http.households import HouseholdTurns
from proxy.edge.http.http_log import HTTP_LOG
from proxy.edge.http.untaken import SEND_BUFFER

_REST_SECONDS: Final = 0.05
"""When the system gives no descriptor, until it is asked again."""

_SHARE: Final = 8
_TOGETHER: Final = 64
"""So many more are taken in when one is, until the loop goes round."""
HANDSHAKE_SECONDS: Final = 0.001
"""About what a handshake takes, the arithmetic of its key above all."""

Established = Callable[[str | None], int]
"""How many connections have shaken hands: of one address, or of all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DoorBounds:
    """Connections in all, of one address, and how long a handshake may take, from the first byte to the last.

    `exempt` says of which addresses there may be any number.
    """

    most: int
    most_per_peer: int | None = None
    seconds: float
    backlog: int = 128
    exempt: Callable[[str], bool] = lambda _peer: False


class _Caller:
    """One who has not shaken hands yet. `sock` is there until the event loop has it."""

    __slots__ = ("peer", "sock", "task")

    def __init__(self, peer: str | None, sock: socket.socket) -> None:
        self.peer = peer
        self.sock: socket.socket | None = sock
        self.task: asyncio.Task[None] | None = None

    def gone(self, _task: asyncio.Task[None] | None = None) -> None:
        """Its task is over, or will never begin."""
        if self.sock is not None:
            self.sock.close()
            self.sock = None


class TlsDoor:
    """Listens. `make` makes the protocol of one connection, which hears of it when its handshake is done."""

    def __init__(
        self,
        make: Callable[[], asyncio.BaseProtocol],
        context: SSLContext,
        bounds: DoorBounds,
        established: Established,
        turns: HouseholdTurns,
    ) -> None:
        self._make = make
        self._context = context
        self._bounds = bounds
        self._established = established
        self._turns = turns
        self._sockets: list[socket.socket] = []
        self._accepting: list[asyncio.Task[None]] = []
        self._callers: dict[_Caller, None] = {}  # the oldest first
        self._of_peer: dict[str | None, dict[_Caller, None]] = {}

    async def start(self, host: str, port: int) -> int:
        """Listen; the port. Raises `OSError` where it is taken."""
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        try:
            for family, kind, protocol, _, address in dict.fromkeys(found):
                self._sockets.append(self._bound(socket.socket(family, kind, protocol), address))
        except OSError:
            self._close()
            raise
        self._accepting = [loop.create_task(self._accept(sock)) for sock in self._sockets]
        bound: int = self._sockets[0].getsockname()[1]
        return bound

    async def stop(self) -> None:
        """Take nobody in any more; who has not shaken hands goes."""
        ending = [*self._accepting, *(caller.task for caller in self._callers if caller.task is not None)]
        for task in ending:
            task.cancel()
        await asyncio.gather(*ending, return_exceptions=True)
        while self._callers:  # who stands in line yet
            self._turn_out(self._callers)
        self._close()

    def _bound(self, sock: socket.socket, address: object) -> socket.socket:
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if sock.family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)  # callers' sockets inherit it
            sock.setblocking(False)
            sock.bind(address)  # type: ignore[arg-type]  # as the system named it
            sock.listen(self._bounds.backlog)
        except OSError:
            sock.close()
            raise
        return sock

    def _close(self) -> None:
        for sock in self._sockets:
            sock.close()
        self._sockets.clear()

    async def _accept(self, listening: socket.socket) -> None:
        """Of all who have come together nobody waits for the handshakes of those who came before."""
        loop = asyncio.get_running_loop()
        while True:
            try:
                self._receive(*await loop.sock_accept(listening))
                with suppress(BlockingIOError):
                    for _ in range(_TOGETHER):
                        sock, address = listening.accept()
                        sock.setblocking(False)
                        self._receive(sock, address)
            except OSError as error:  # no descriptor is left, or the caller is gone already
                HTTP_LOG.warning("no caller can be taken in: %s", type(error).__name__)
                self._turn_out(self._callers)
                await asyncio.sleep(_REST_SECONDS)

    def _receive(self, sock: socket.socket, address: object) -> None:
        try:
            self._take_in(sock, address[0] if isinstance(address, tuple) else None)
        except Exception:  # a promise of ours is broken: it costs this caller, and nobody the door
            HTTP_LOG.exception("a caller was not taken in")
            sock.close()

    def _take_in(self, sock: socket.socket, peer: str | None) -> None:
        household = None if peer is None else household_of(peer)
        caller = _Caller(household, sock)
        self._make_room(peer, household)
        self._callers[caller] = None
        self._of_peer.setdefault(household, {})[caller] = None
        if peer is not None and self._bounds.exempt(peer):  # one proxy's connections are those of many callers
            self._begin(caller)
        else:
            self._turns.begin(household, partial(self._begin, caller))

    def _begin(self, caller: _Caller) -> None:
        sock = caller.sock
        if sock is None:  # it has made room for another
            return
        self._turns.charge(caller.peer, HANDSHAKE_SECONDS)
        caller.task = asyncio.get_running_loop().create_task(self._shake_hands(caller, sock))
        caller.task.add_done_callback(caller.gone)

    def _make_room(self, peer: str | None, household: str | None) -> None:
        """Who has shaken hands is the listener's to count; of the others the oldest goes."""
        bounds, own = self._bounds, self._of_peer.get(household, {})
        if peer is not None and bounds.most_per_peer is not None and not bounds.exempt(peer):
            while own and len(own) >= _places(bounds.most_per_peer, self._established(household)):
                self._turn_out(own)
        while self._callers and len(self._callers) >= _places(bounds.most, self._established(None)):
            self._turn_out(self._callers)

    def _turn_out(self, callers: dict[_Caller, None]) -> None:
        oldest = next(iter(callers), None)
        if oldest is not None:
            self._forget(oldest)
            if oldest.task is None:  # it stands in line yet
                oldest.gone()
            else:
                oldest.task.cancel()

    def _forget(self, caller: _Caller) -> None:
        self._callers.pop(caller, None)
        own = self._of_peer.get(caller.peer)
        if own is not None:
            own.pop(caller, None)
            if not own:
                del self._of_peer[caller.peer]

    async def _shake_hands(self, caller: _Caller, sock: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        caller.sock = None
        try:
            with suppress(OSError):  # too slow, gone, or no TLS: nobody is told why
                await loop.connect_accepted_socket(
                    self._make, sock, ssl=self._context, ssl_handshake_timeout=self._bounds.seconds
                )
        finally:
            self._forget(caller)


def _places(most: int, established: int) -> int:
    """How many may be shaking hands beside those who have: some always, as it is the listener that knows which of its
    own are idle and make room, or that there is none."""
    return max(most - established, most // _SHARE, 1)
