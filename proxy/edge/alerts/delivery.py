"""Alerts handed over HTTP. One client session for all sinks; what a sink answers decides whether it is asked again."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Final, Self

import aiohttp
from yarl import URL

from proxy.config.alerting import PagerDuty, Webhook
from proxy.edge.alerts.board import ActiveAlert
from proxy.edge.alerts.message import Message, message_of
from proxy.edge.alerts.sink import Deliver, Due, SinkReply
from proxy.edge.alerts.wire import Post, alertmanager_post, pagerduty_post, webhook_post

_LOG: Final = logging.getLogger(__name__)
SINK_SECONDS: Final = 10.0
"""A sink that has not answered by then is asked again later."""
_AGAIN: Final = frozenset({408, 425, 429})
_ALERTMANAGER_PATH: Final = "api/v2/alerts"


class Courier:
    """Posts to sinks. `ends_at` gives when an alert is over, `instance` is what this gate is called in messages.

    `still_active_seconds` is for how long an alert that Alertmanager hears of for the first time is active at least,
    although it may be over already: one that arrives as over would be told to nobody.
    """

    def __init__(
        self,
        *,
        instance: str,
        ends_at: Callable[[ActiveAlert], float],
        clock: Callable[[], float],
        still_active_seconds: float,
        timeout_seconds: float = SINK_SECONDS,
    ) -> None:
        self._instance = instance
        self._ends_at = ends_at
        self._clock = clock
        self._still_active = still_active_seconds
        self._timeout = aiohttp.ClientTimeout(total=timeout_seconds)
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        # what a sink says is read by nobody: no cookies, no redirects, no proxies from the environment
        self._session = aiohttp.ClientSession(timeout=self._timeout, cookie_jar=aiohttp.DummyCookieJar())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()

    def to_alertmanager(self, name: str, url: str) -> Deliver:
        """Hands messages over to the Alertmanager at `url`, all in one request."""
        target = _under(url)

        async def deliver(dues: Sequence[Due]) -> SinkReply:
            return await self._post(name, target, alertmanager_post([self._message(due, steady=True) for due in dues]))

        return deliver

    def to_webhook(self, sink: Webhook) -> Deliver:
        """Hands messages over to a webhook, one at a time."""
        secret = sink.secret.get_secret_value()

        async def deliver(dues: Sequence[Due]) -> SinkReply:
            return await self._one_by_one(
                sink.name, sink.url.url, dues, lambda message: webhook_post(message, secret=secret, now=self._clock())
            )

        return deliver

    def to_pagerduty(self, sink: PagerDuty) -> Deliver:
        """Hands messages over to PagerDuty, one at a time."""
        key = sink.routing_key.get_secret_value()

        async def deliver(dues: Sequence[Due]) -> SinkReply:
            return await self._one_by_one(
                sink.name, sink.url.url, dues, lambda message: pagerduty_post(message, routing_key=key)
            )

        return deliver

    async def _one_by_one(self, name: str, url: str, dues: Sequence[Due], post: Callable[[Message], Post]) -> SinkReply:
        for due in dues:
            reply = await self._post(name, URL(url), post(self._message(due)))
            if reply is not SinkReply.TAKEN:
                return reply
        return SinkReply.TAKEN

    def _message(self, due: Due, *, steady: bool = False) -> Message:
        ends = self._ends_at(due.alert)
        if steady and due.first_time and not due.resolved:
            ends = max(ends, self._clock() + self._still_active)
        return message_of(due.alert, ends=ends, instance=self._instance, resolved=due.resolved)

    async def _post(self, name: str, url: URL, post: Post) -> SinkReply:
        assert self._session is not None, "entered before it is used"  # noqa: S101 - our own promise
        try:
            async with self._session.post(url, data=post.body, headers=post.headers, allow_redirects=False) as response:
                status = response.status
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            # the error's own text may quote the URL, which may carry a key
            _LOG.warning("alerts: %s does not answer (%s)", name, type(error).__name__)
            return SinkReply.LATER
        if 200 <= status < 300:
            return SinkReply.TAKEN
        _LOG.warning("alerts: %s answers with HTTP %d", name, status)
        return SinkReply.NEVER if 300 <= status < 500 and status not in _AGAIN else SinkReply.LATER


def _under(url: str) -> URL:
    base = URL(url)
    return base if base.path.endswith(_ALERTMANAGER_PATH) else base / _ALERTMANAGER_PATH
