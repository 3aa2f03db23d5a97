"""Where callers and operators reach the gate: two listeners over the chains, and what new settings change in them."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from ssl import SSLContext
from typing import Final

from proxy.app.background import run_in_background
from proxy.app.chain import Shared
from proxy.app.descriptors import Descriptors
from proxy.app.settings import admin_access, server_settings, upstream_names
from proxy.app.tracing import Tracing
from proxy.clients.rations import Rations
from proxy.config import Config, Tls
from proxy.edge.admin.backend import GateBackend, ServedChain
from proxy.edge.admin.rule_desk import RuleDesk
from proxy.edge.admin.rule_routes import RuleRoutes
from proxy.edge.admin.server import AdminServer
from proxy.edge.audit.reading import Trail
from proxy.edge.audit.writer import AuditWriter
from proxy.edge.http.certificates import Certificates
from proxy.edge.http.households import HouseholdTurns
from proxy.edge.http.inbound import AnswerWaiting
from proxy.edge.http.server import RpcServer, ServerSettings, turns_for
from proxy.edge.http.service import Hooks
from proxy.edge.storage.store import Store
from proxy.edge.telemetry.metrics import Metrics
from proxy.jsonrpc import Request
from proxy.ports import Answer, RequestContext

_CERTIFICATE_SECONDS: Final = 10.0
"""Between two looks at the files of a certificate."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Listeners:
    """Both of them, listening, and what they were made of."""

    chains: Mapping[str, ServedChain]
    backend: GateBackend
    admin: AdminServer
    admin_port: int
    server: RpcServer
    descriptors: Descriptors
    rations: Rations

    def take(self, config: Config, metrics: Metrics) -> None:
        """From the next request on it is these settings that count."""
        metrics.know_clients(client.name for client in config.clients)
        metrics.know_upstreams(upstream_names(config))
        self.server.take(server_settings(config, self.descriptors, self.rations))
        self.admin.take(admin_access(config))
        for name, chain in self.chains.items():
            chain.take(config.chains[name], config)

    def stop_welcoming(self) -> None:
        """Not ready any more, and each connection ends with its next answer."""
        self.backend.stop_welcoming()
        self.server.part()


async def listen(
    shared: Shared,
    chains: Mapping[str, ServedChain],
    *,
    store: Store,
    audit: AuditWriter,
    ledger: Path,
    tracing: Tracing,
    descriptors: Descriptors,
) -> Listeners:
    """Listen, operators first: who looks whether the gate is there is answered before anybody is served."""
    config, stack = shared.config, shared.stack
    desk = RuleDesk(shared.rules, shared.counts, store, {name: chain.chain_id for name, chain in config.chains.items()})
    backend = GateBackend(chains, shared.registry, store, time.time, shared.rules, audit=audit)
    settings = server_settings(config, descriptors, rations := Rations(time.monotonic))
    turns = turns_for(settings.bounds)
    admin = AdminServer(
        backend,
        metrics=shared.metrics,
        audit=Trail(audit.path, ledger),
        access=admin_access(config),
        noted=shared.recorder.noted,
        more=RuleRoutes(desk).routes(),
        turns=turns,
    )
    backend.wait_to_welcome()
    admin_port = await admin.start(config.admin_listen.host, config.admin_listen.port, _tls_of(config.admin_tls, stack))
    stack.push_async_callback(admin.stop)
    server = _rpc_server(shared, chains, tracing, settings, turns)
    await server.start(config.listen.host, config.listen.port, _tls_of(config.tls, stack))
    stack.push_async_callback(server.stop)
    backend.welcome()
    return Listeners(
        chains=chains,
        backend=backend,
        admin=admin,
        admin_port=admin_port,
        server=server,
        descriptors=descriptors,
        rations=rations,
    )


def _rpc_server(
    shared: Shared,
    chains: Mapping[str, ServedChain],
    tracing: Tracing,
    settings: ServerSettings,
    turns: HouseholdTurns,
) -> RpcServer:
    def answer(request: Request, context: RequestContext) -> Awaitable[Answer | None]:
        return chains[context.chain].gate.answer(request, context)

    def begin(request: Request, context: RequestContext, waiting: AnswerWaiting) -> None:
        chains[context.chain].passage.begin(request, context, waiting)

    # what is traced waits in a task of its own: the span that is open is found by it
    serves = None if shared.config.tracing.otlp is not None else begin
    metrics = shared.metrics
    hooks = Hooks(in_flight=metrics.in_flight, turned_away=partial(_turned_away, metrics))
    return RpcServer(tracing.around(answer), settings, hooks, serves, turns=turns)


def _turned_away(metrics: Metrics, chain: str, client: str, outcome: str) -> None:
    if outcome == "disconnected":
        metrics.disconnected(chain)
    else:
        metrics.request(chain, "other", outcome, client)


def _tls_of(tls: Tls | None, stack: AsyncExitStack) -> SSLContext | None:
    """What a listener needs for TLS, kept up with its files."""
    if tls is None:
        return None
    certificates = Certificates(tls.certificate, tls.key)
    run_in_background(certificates.watch(_CERTIFICATE_SECONDS), stack)
    return certificates.context
