"""All connections of one listener: how many there may be, how long each may take, how much they may hold together."""

from __future__ import annotations

import asyncio
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Coroutine
from email.utils import formatdate
from typing import Any, Final

from proxy.edge.http.deadlines import Deadlines
from proxy.edge.http.intake import Intake
from proxy.edge.http.lean.answering import Answering
from proxy.edge.http.lean.connection import Connection
from proxy.edge.http.lean.phases import ConnectionPhase, Entrance
from proxy.edge.http.listener import MOST_TOLD_TO_GO, ListenerSettings, places_of_one
from proxy.edge.http.service import Service
from proxy.edge.http.untaken import Untaken
from proxy.edge.http.wire.reader import ReadBounds

# who has to go when there is no room: those that are leaving anyway, those that never asked anything, the idle
_FIRST_TO_GO: Final = (ConnectionPhase.LEAVING, ConnectionPhase.HEAD, ConnectionPhase.WAITING)


class House:
    """Keeps count, so that no caller and no number of callers takes what the others need."""

    def __init__(
        self,
        service: Service,
        settings: ListenerSettings,
        loop: asyncio.AbstractEventLoop,
        *,
        websocket: Callable[[Callable[[], None]], asyncio.Protocol],
        intake: Intake,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.service = service
        self.settings = settings
        self.websocket = websocket
        self.read_bounds = ReadBounds(head_bytes=settings.head_bytes, body_bytes=service.settings.limits.max_bytes)
        self.draining = False
        self._loop = loop
        self._clock = clock
        self._connections: set[Connection] = set()
        self._of_peer: dict[str, dict[Connection, None]] = {}  # the oldest first, those that have left included
        self._told_to_go: Counter[str | None] = Counter()
        self._at_work: dict[Answering, asyncio.Task[None] | None] = {}  # whose answers take a task; WebSockets
        self._left: dict[Answering, Connection] = {}  # who is served, and gone
        self._holding: OrderedDict[Connection, None] = OrderedDict()  # what is not whole; the longest first
        seconds = settings.keepalive_seconds, settings.head_seconds, settings.body_seconds, settings.linger_seconds
        self.queues = tuple([Deadlines(loop, each, Connection.give_up) for each in seconds])
        """By phase, of all but `SERVING`: who is in it, until when."""
        self.unread = Untaken(loop, seconds=settings.stalled_seconds, most_bytes=settings.unread_bytes)
        """Who takes no answers."""
        self._intake = intake
        intake.drop_body = self._drop_slowest
        self._empty: asyncio.Event = asyncio.Event()
        self._date = (0, b"")

    # --- who is in

    def admit(self, connection: Connection) -> Entrance:
        """Whether there is room for it; if need be, another one that does nothing goes."""
        self._connections.add(connection)
        peer, household = connection.peer, connection.household
        if household is not None:
            self._of_peer.setdefault(household, {})[connection] = None
        too_many = household is not None and len(self._of_peer[household]) > self._places_of_one()
        if too_many and not self.service.settings.proxies.trusts(peer):
            return self._turn_away(connection)
        if self._present > self.settings.connections and not self._make_room(household):
            return Entrance.FULL
        return Entrance.WELCOME

    def _turn_away(self, connection: Connection) -> Entrance:
        """A few of a household at a time are told so, and waited for until they have read it."""
        household = connection.household
        if self._told_to_go[household] >= MOST_TOLD_TO_GO:
            return Entrance.ONE_OF_MANY_TURNED_AWAY
        self._told_to_go[household] += 1
        connection.told_to_go = True
        return Entrance.TOO_MANY_OF_PEER

    def _places_of_one(self) -> int:
        """How many connections one household may have now."""
        settings = self.settings
        return places_of_one(
            settings.connections, settings.connections_per_peer, self._present - 1, households=len(self._of_peer)
        )

    def _make_room(self, newcomer: str | None) -> bool:
        """Somebody goes who does nothing, if not of a household that has fewer; then one of that which has most."""
        own = 1 if newcomer is None else len(self._of_peer[newcomer])
        for phase in _FIRST_TO_GO:
            first = self.queues[phase].first
            if first is not None and (first.household is None or len(self._of_peer[first.household]) >= own):
                self.queues[phase].stop(first)  # it is gone a turn of the loop later only
                first.abort()
                return True
        largest = max(self._of_peer.values(), key=len, default={})
        leaving = next((each for each in largest if each.is_open), None)
        if leaving is None or len(largest) <= own + 1 or self.service.settings.proxies.trusts(leaving.peer):
            return False
        leaving.abort()
        return True

    def forget(self, connection: Connection) -> None:
        """It is gone. What it asked last may still be being answered: so long it keeps its place among those of its
        caller, who would otherwise have any number answered at once, by leaving each."""
        self._connections.discard(connection)
        if connection.told_to_go:
            self._told_to_go[connection.household] -= 1
            if not self._told_to_go[connection.household]:
                del self._told_to_go[connection.household]
        if connection.is_served or connection in self._at_work:
            self._left[connection] = connection
        else:
            self._uncount(connection)
        for queue in self.queues:
            queue.stop(connection)
        self.holds(connection, 0)
        self.unread.flows(connection)
        self._note_empty()

    def _uncount(self, connection: Connection) -> None:
        if (household := connection.household) is None:
            return
        of_peer = self._of_peer[household]
        del of_peer[connection]
        if not of_peer:
            del self._of_peer[household]

    def present(self, household: str | None) -> int:
        """How many are in: of one household, or of all."""
        return self._present if household is None else len(self._of_peer.get(household, ()))

    @property
    def _present(self) -> int:
        return len(self._connections) + len(self._left)

    # --- how long things take

    def soon(self, call: Callable[[], None]) -> None:
        """In the next turn of the loop, so that nobody takes a whole turn."""
        self._loop.call_soon(call)

    def keeps(self, connection: Answering) -> None:
        """It is served until it has `finished`, whatever it asks."""
        self._at_work[connection] = None

    def begin(self, connection: Answering, work: Coroutine[Any, Any, None]) -> None:
        """The answer takes a task."""
        self._at_work[connection] = self._loop.create_task(work)

    def finished(self, connection: Answering) -> None:
        """It is served no more."""
        if self._at_work:
            self._at_work.pop(connection, None)
        if self._left and connection in self._left:
            self._uncount(self._left.pop(connection))
        if self.draining:
            self._note_empty()

    def date(self) -> bytes:
        """The time as HTTP prints it."""
        now = int(self._clock())
        if now != self._date[0]:
            self._date = (now, formatdate(now, usegmt=True).encode("ascii"))
        return self._date[1]

    # --- how much is held

    def holds(self, connection: Connection, arrived: int) -> None:
        """So much has arrived of requests that are not whole."""
        more, connection.held = arrived - connection.held, arrived
        if not arrived:
            self._holding.pop(connection, None)
        elif arrived == more:
            self._holding[connection] = None
        if more and not self._intake.count_body(more):
            self._drop(connection)

    def _drop_slowest(self) -> bool:
        slowest = next(iter(self._holding), None)
        if slowest is None:
            return False
        self._drop(slowest)
        return True

    def _drop(self, connection: Connection) -> None:
        self.holds(connection, 0)
        connection.make_room()

    # --- the end

    async def close(self) -> None:
        """Let what is being answered be answered, within `shutdown_seconds`; then break off what is left."""
        self.draining = True
        for connection in tuple(self._connections):
            connection.drain()
        self._note_empty()
        try:
            async with asyncio.timeout(self.settings.shutdown_seconds):
                await self._empty.wait()
        except TimeoutError:
            await self._break_off()
        for queue in self.queues:
            queue.close()
        self.unread.close()

    async def _break_off(self) -> None:
        tasks = [task for task in self._at_work.values() if task is not None]
        for task in tasks:
            task.cancel()
        for connection in tuple(self._connections):
            connection.abort()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _note_empty(self) -> None:
        if self.draining and not self._connections and not self._left:
            self._empty.set()
