"""From `alerts:` in the settings to a desk that tells."""

from __future__ import annotations

import random
import socket
import time
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Final

from proxy.config.alerting import AlertSettings, PagerDuty, Webhook
from proxy.config.endpoints import Listen
from proxy.edge.alerts.board import Board
from proxy.edge.alerts.delivery import Courier
from proxy.edge.alerts.desk import AlertDesk, Route
from proxy.edge.alerts.memory import SqliteAlertMemory
from proxy.edge.alerts.sink import Deliver, Sink, SinkTerms
from proxy.edge.telemetry.metrics import Metrics

_BATCH: Final = 64


def instance_of(settings: AlertSettings, admin: Listen) -> str:
    """What this gate is called in its alerts."""
    return settings.instance or f"{socket.gethostname()}:{admin.port}"


async def open_desk(
    settings: AlertSettings, metrics: Metrics, stack: AsyncExitStack, *, instance: str, path: Path | None
) -> AlertDesk:
    """A desk that tells until `stack` is left. `path` is the database that keeps what is active; None for nowhere."""
    board = Board(max_active=settings.max_active, resolve_after_seconds=settings.resolve_after_seconds)
    courier = Courier(
        instance=instance,
        ends_at=board.ends_at,
        clock=time.time,
        # Alertmanager must look at it once while it is active
        still_active_seconds=3 * settings.resend_seconds,
    )
    await stack.enter_async_context(courier)
    desk = AlertDesk(
        board,
        [(_sink(terms, deliver, metrics), route) for terms, deliver, route in _sinks(settings, courier)],
        metrics=metrics.health,
        clock=time.time,
        resend_seconds=settings.resend_seconds,
        memory=None if path is None else SqliteAlertMemory(path),
    )
    await desk.start()
    stack.push_async_callback(desk.stop)
    metrics.before_each_scrape(desk.refresh)
    return desk


def deliveries(settings: AlertSettings, courier: Courier) -> dict[str, Deliver]:
    """How each sink is handed its messages, by its name."""
    return {terms.name: deliver for terms, deliver, _ in _sinks(settings, courier)}


def _sinks(settings: AlertSettings, courier: Courier) -> list[tuple[SinkTerms, Deliver, Route]]:
    found: list[tuple[SinkTerms, Deliver, Route]] = []
    for name, endpoint in zip(settings.alertmanager_names, settings.alertmanager, strict=True):
        terms = SinkTerms(name=name, batch=_BATCH, steady=True, queue_limit=settings.queue_limit)
        found.append((terms, courier.to_alertmanager(name, endpoint.url), Route()))
    for each in settings.named():
        deliver = courier.to_webhook(each) if isinstance(each, Webhook) else courier.to_pagerduty(each)
        found.append(
            (_terms(each, settings), deliver, Route(min_severity=each.min_severity, tags=frozenset(each.tags)))
        )
    return found


def _terms(each: Webhook | PagerDuty, settings: AlertSettings) -> SinkTerms:
    return SinkTerms(
        name=each.name,
        repeat_seconds=each.repeat_seconds,
        per_minute=each.per_minute,
        queue_limit=settings.queue_limit,
    )


def _sink(terms: SinkTerms, deliver: Deliver, metrics: Metrics) -> Sink:
    return Sink(
        terms,
        deliver,
        metrics=metrics.health,
        clock=time.time,
        stopwatch=time.monotonic,
        chance=random.random,  # spreads retries; nothing secret hangs on it
    )
