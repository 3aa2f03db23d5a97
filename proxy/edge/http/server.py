"""The RPC listener: HTTP in, requests to the gate, replies out, by one of two servers that answer alike."""

from __future__ import annotations

from dataclasses import dataclass, field
from ssl import SSLContext
from typing import Protocol, Self

from proxy.edge.http.households import HouseholdTurns
from proxy.edge.http.inbound import BeginRequest
from proxy.edge.http.lean.listening import LeanListener
from proxy.edge.http.listener import ListenerSettings, Transport
from proxy.edge.http.reference import AiohttpListener
from proxy.edge.http.service import AnswerRequest, Hooks, Service, ServiceSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerSettings(ServiceSettings):
    """What is served, by what, and within which bounds."""

    transport: Transport = Transport.LEAN
    bounds: ListenerSettings = field(default_factory=ListenerSettings)


def turns_for(bounds: ListenerSettings) -> HouseholdTurns:
    """Of a batch or a WebSocket a household has as much answered at once as it may have connections."""
    return HouseholdTurns(bounds.connections_per_peer)


class _Listener(Protocol):
    async def start(self, host: str, port: int, ssl: SSLContext | None = None) -> int:
        """Listen; the port."""

    async def stop(self) -> None:
        """Accept nothing more, finish what is in flight, close."""


class RpcServer:
    """One listener. `start` binds, `stop` lets what is in flight finish within `shutdown_seconds`."""

    def __init__(
        self,
        answer: AnswerRequest,
        settings: ServerSettings,
        hooks: Hooks | None = None,
        begin: BeginRequest | None = None,
        *,
        turns: HouseholdTurns | None = None,
    ) -> None:
        """`begin` does what `answer` does, without a task where none is needed. Other listeners may have the same
        `turns`."""
        self._service = service = Service(answer, settings, hooks, begin, turns=turns or turns_for(settings.bounds))
        self._listener: _Listener = (
            LeanListener(service, settings.bounds)
            if settings.transport is Transport.LEAN
            else AiohttpListener(service, settings.bounds)
        )
        self._port: int | None = None

    async def start(self, host: str, port: int, ssl: SSLContext | None = None) -> Self:
        """Listen. Port 0 takes any free one; `port` tells which."""
        self._port = await self._listener.start(host, port, ssl)
        return self

    @property
    def port(self) -> int:
        """The port it listens on."""
        assert self._port is not None, "known after start"  # noqa: S101 - our own promise
        return self._port

    def take(self, settings: ServerSettings) -> None:
        """Who may call, and how large a request may be, from the next request on; bounds of connections stay."""
        self._service.settings = settings

    def part(self) -> None:
        """Serve on, and end each connection with its next answer, so that callers open the next one elsewhere."""
        self._service.parting = True

    async def stop(self) -> None:
        """Accept nothing more, finish what is in flight, close."""
        await self._listener.stop()
        self._port = None
