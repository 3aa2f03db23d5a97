"""Where single happenings become alerts, and alerts find their sinks.

`raise_` takes a happening onto the board and returns; one task tells the sinks, a bounded number at a time, and keeps
on disk what a restart must not forget: which alerts are active, and what each sink has heard of them.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple, Protocol, TypeVar

from proxy.edge.alerts.board import ActiveAlert, AlertKey, Board
from proxy.edge.alerts.sink import Sink, Told
from proxy.edge.alerts.sources import RuleOf, happenings_of
from proxy.edge.telemetry.health_metrics import HealthMetrics
from proxy.happening import Happening
from proxy.judge.decision import Decision
from proxy.session.lint.findings import Severity

_LOG: Final = logging.getLogger(__name__)
AT_ONCE: Final = 100
"""Alerts looked at before others have their turn on the loop."""
_STOP_SECONDS: Final = 3.0
_KEEP_SECONDS: Final = 0.5
_Thing = TypeVar("_Thing")


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """What a sink hears: this severity and graver, and with `tags` what bears one of them."""

    min_severity: Severity = Severity.INFO
    tags: frozenset[str] = frozenset()

    def takes(self, key: AlertKey) -> bool:
        """Whether an alert is for this sink."""
        return key.severity.rank >= self.min_severity.rank and (not self.tags or not self.tags.isdisjoint(key.tags))


class RememberedAlert(NamedTuple):
    """An alert and what sinks have heard of it, by their names."""

    alert: ActiveAlert
    told: Mapping[str, Told]


class AlertMemory(Protocol):
    """What a restart must not forget. Calls block: they are made in a thread."""

    def load(self) -> Sequence[RememberedAlert]:
        """Everything kept; what cannot be read is left out."""

    def save(self, changed: Sequence[RememberedAlert], gone: Sequence[AlertKey]) -> None:
        """Keep and forget. Raises `OSError` or `sqlite3.Error`."""


class AlertDesk:
    """See `proxy.happening.Alerts`. For one thread, the event loop's. `clock` gives unix seconds.

    What no route leads anywhere goes to the first sink: a happening is heard.
    """

    def __init__(
        self,
        board: Board,
        sinks: Sequence[tuple[Sink, Route]],
        *,
        metrics: HealthMetrics,
        clock: Callable[[], float],
        resend_seconds: float,
        memory: AlertMemory | None = None,
    ) -> None:
        self._board = board
        self._sinks = [sink for sink, _ in sinks]
        self._routes = list(sinks)
        self._by_name = {sink.name: sink for sink in self._sinks}
        self._metrics = metrics
        self._clock = clock
        self._resend_seconds = resend_seconds
        self._memory = memory
        self._fresh: dict[AlertKey, None] = {}
        self._changed: set[AlertKey] = set()
        self._ended: dict[AlertKey, ActiveAlert] = {}
        self._wake = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._broken = False
        self._keep_at = 0.0
        for sink in self._sinks:
            sink.on_change = self._wake.set

    def raise_(self, happening: Happening) -> None:
        """Tell it. Never waits, never raises."""
        try:
            self._metrics.happened(happening.kind)
            if not self._sinks:
                return
            alert = self._board.note(happening)
            if alert.key.folded:
                self._metrics.folded()
            self._fresh[alert.key] = None
            self._wake.set()
        except Exception:  # telling must never cost a verdict
            self._complain_once()

    def tell(self, decision: Decision, rule_of: RuleOf) -> None:
        """Tell what of a decision is worth it. Never waits, never raises."""
        try:
            for happening in happenings_of(decision, rule_of):
                self.raise_(happening)
        except Exception:  # telling must never cost a verdict
            self._complain_once()

    def _complain_once(self) -> None:
        # whoever saw the happening has other work to finish; said once, lest the log be filled with it
        if not self._broken:
            self._broken = True
            _LOG.exception("a happening could not be told")

    @property
    def active(self) -> Sequence[ActiveAlert]:
        """What is on the board."""
        return list(self._board)

    def ends_at(self, alert: ActiveAlert) -> float:
        """When an alert is over unless its like happens again, in unix seconds."""
        return self._board.ends_at(alert)

    async def start(self) -> None:
        """Take up what was active before a restart, and begin."""
        if self._memory is not None and self._sinks:
            try:
                remembered = await asyncio.to_thread(self._memory.load)
            except Exception as error:  # a memory that cannot be read is no reason not to start
                _LOG.error("active alerts of before the restart cannot be read: %s", type(error).__name__)
                remembered = []
            self._board.restore(each.alert for each in remembered)
            for sink in self._sinks:
                sink.restore({each.alert.key: each.told[sink.name] for each in remembered if sink.name in each.told})
            self._fresh.update(dict.fromkeys(each.alert.key for each in remembered))
        if self._sinks:
            self._wake.set()
            self._tasks = [asyncio.ensure_future(work) for work in (self._run(), *(sink.run() for sink in self._sinks))]

    async def stop(self) -> None:
        """Tell what is owed, as far as sinks answer now, and keep the rest for the next start."""
        if not self._tasks:
            return
        await self._look(resend=False)
        try:
            async with asyncio.timeout(_STOP_SECONDS):
                await asyncio.gather(*(sink.idle() for sink in self._sinks))
        except TimeoutError:
            _LOG.warning("stopping with alerts untold: %s", self._owed_in_words())
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []
        await self._keep()

    def refresh(self) -> None:
        """Bring the gauges up to date."""
        self._metrics.active(len(self._board))
        self._metrics.queue("alerts", sum(sink.waiting for sink in self._sinks) + len(self._fresh))
        for sink in self._sinks:
            self._metrics.waiting(sink.name, sink.oldest_seconds())

    async def _run(self) -> None:
        resend_at = self._clock() + self._resend_seconds
        while True:
            now = self._clock()
            until = min(resend_at, self._board.next_end() or resend_at)
            if self._changed:
                until = min(until, self._keep_at)
            try:
                async with asyncio.timeout(max(until - now, 0.01)):
                    await self._wake.wait()
            except TimeoutError:
                pass
            self._wake.clear()
            # a clock that was set back must not keep anybody waiting for longer than one interval
            now = self._clock()
            resend = now >= resend_at or resend_at > now + self._resend_seconds
            if resend:
                resend_at = now + self._resend_seconds
            try:
                await self._look(resend=resend)
            except Exception:  # one look must not end the telling of all that follows
                _LOG.exception("telling alerts failed; it goes on with the next")
            self._gather()
            if not 0 < self._keep_at - now < _KEEP_SECONDS:
                self._keep_at = now + _KEEP_SECONDS
                await self._keep()

    async def _look(self, *, resend: bool) -> None:
        fresh, self._fresh = self._fresh, {}
        if resend:
            await self._each(list(self._board), self._offer_steady)
        await self._each((self._board.get(key) for key in fresh), self._offer)
        await self._each(self._board.take_ended(self._clock()), self._end)

    async def _each(self, alerts: Iterable[ActiveAlert | None], do: Callable[[ActiveAlert], None]) -> None:
        async for alert in _in_pieces(alerts):
            if alert is not None:
                do(alert)

    def _offer(self, alert: ActiveAlert) -> None:
        self._changed.add(alert.key)
        self._ended.pop(alert.key, None)
        for sink in self._listeners(alert):
            sink.offer(alert)

    def _offer_steady(self, alert: ActiveAlert) -> None:
        for sink in self._listeners(alert):
            if sink.terms.steady:
                sink.offer(alert)

    def _end(self, alert: ActiveAlert) -> None:
        if alert.key in self._fresh:  # it was over as it arrived, while others were looked at
            del self._fresh[alert.key]
            self._offer(alert)
        self._ended[alert.key] = alert
        # whoever was told of it, be it by settings or rules that are not in force any more
        for sink in self._sinks:
            sink.end(alert)

    def _listeners(self, alert: ActiveAlert) -> Sequence[Sink]:
        named = [sink for name in alert.latest.notify if (sink := self._by_name.get(name)) is not None]
        if named:
            return named
        return [sink for sink, route in self._routes if route.takes(alert.key)] or self._sinks[:1]

    def _gather(self) -> None:
        for sink in self._sinks:
            self._changed |= sink.changed
            sink.changed.clear()

    async def _keep(self) -> None:
        """Write what has changed. What the disk refuses, or is unwritten when this ends, goes with the next change."""
        self._gather()
        keys, self._changed = self._changed, set()
        try:
            changed, gone = await self._to_keep(keys)
            if self._memory is not None and (changed or gone):
                await asyncio.to_thread(self._memory.save, changed, gone)
        except asyncio.CancelledError:
            self._changed |= keys
            raise
        except Exception as error:  # what is not on disk is told all the same
            _LOG.error("active alerts are not on disk: %s", type(error).__name__)
            self._changed |= keys
            return
        async for key in _in_pieces(gone):
            self._ended.pop(key, None)
            for sink in self._sinks:
                if self._board.get(key) is None:
                    sink.forget(key)

    async def _to_keep(self, keys: Iterable[AlertKey]) -> tuple[Sequence[RememberedAlert], Sequence[AlertKey]]:
        """Of these alerts what a restart must know, and which are over and told to everybody."""
        changed: list[RememberedAlert] = []
        ended = _in_pieces(tuple(self._ended))
        gone = [key async for key in ended if all(sink.is_done_with(key) for sink in self._sinks)]
        async for key in _in_pieces(keys):
            alert = self._board.get(key) or self._ended.get(key)
            if alert is not None:
                told = ((sink.name, sink.told(key)) for sink in self._sinks)
                changed.append(RememberedAlert(alert, {name: each for name, each in told if each is not None}))
        return changed, gone

    def _owed_in_words(self) -> str:
        return ", ".join(f"{sink.waiting} for {sink.name}" for sink in self._sinks if sink.waiting)


async def _in_pieces(things: Iterable[_Thing]) -> AsyncIterator[_Thing]:
    """One after the other, and now and then it is somebody else's turn."""
    for number, thing in enumerate(things, 1):
        yield thing
        if number % AT_ONCE == 0:
            await asyncio.sleep(0)
