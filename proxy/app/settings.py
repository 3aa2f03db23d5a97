"""From settings to what the edge takes of them."""

from __future__ import annotations

import time
from hashlib import blake2b
from pathlib import Path

from proxy import __version__
from proxy.app.descriptors import Descriptors
from proxy.app.paymaster import paymaster_name
from proxy.clients.licence import Licence
from proxy.clients.rations import Rations
from proxy.config import AuditBy, Config
from proxy.edge.admin.guard import AdminAccess
from proxy.edge.audit.apart import ScribeApart
from proxy.edge.audit.chain import chain_key
from proxy.edge.audit.heads import HeadSinks, tell_heads
from proxy.edge.audit.sampling import RefusalRate
from proxy.edge.audit.space import DiskBudget
from proxy.edge.audit.writer import AuditWriter, WriterSettings
from proxy.edge.http.clients import USUAL_HEADERS, Clients, KnownClient
from proxy.edge.http.forwarded import ForwardedBy, TrustedProxies
from proxy.edge.http.listener import ListenerSettings, Transport
from proxy.edge.http.server import ServerSettings
from proxy.edge.telemetry.metrics import Metrics
from proxy.jsonrpc import BodyLimits


def clients_of(config: Config, rations: Rations) -> Clients:
    """Who may call, and what each may do."""
    return Clients(
        (
            KnownClient(
                name=client.name,
                keys=frozenset(client.key_digests),
                origins=frozenset(client.origins),
                networks=client.networks,
                chains=frozenset(client.chains) or None,
                licence=Licence(
                    methods=frozenset(client.methods) or None,
                    accounts=frozenset(client.accounts) or None,
                    permission_ids=frozenset(client.permission_ids) or None,
                    rates=client.rates.by_ration(),
                ),
            )
            for client in config.clients
        ),
        origins=frozenset(config.cors.origins),
        headers=tuple(dict.fromkeys((*USUAL_HEADERS, *config.cors.headers))),
        rations=rations,
    )


def server_settings(config: Config, descriptors: Descriptors, rations: Rations) -> ServerSettings:
    """Who may call, and how much at once."""
    limits, connections = config.limits, config.connections
    bounds = ListenerSettings(
        head_seconds=connections.head_seconds,
        body_seconds=connections.body_seconds,
        keepalive_seconds=connections.idle_seconds,
        stalled_seconds=connections.stalled_seconds,
        unread_bytes=connections.max_unread_bytes,
        waiting_bytes=connections.max_waiting_bytes,
        connections=descriptors.callers,
        connections_per_peer=connections.max_per_peer,
        backlog=descriptors.backlog,
    )
    return ServerSettings(
        transport=Transport(config.transport),
        bounds=bounds,
        proxies=TrustedProxies(config.trusted_proxies, ForwardedBy(config.forwarded_by)),
        traced=config.tracing.otlp is not None,
        batch_answer_bytes=connections.max_batch_answer_bytes,
        all_batches_bytes=connections.max_unread_bytes,
        chains=tuple(config.chains),
        clients=clients_of(config, rations),
        limits=BodyLimits(
            max_bytes=limits.max_body_bytes,
            max_batch=limits.max_batch,
            max_depth=limits.max_depth,
            max_elements=limits.max_elements,
        ),
    )


def admin_access(config: Config) -> AdminAccess:
    """Who may look and change things through the admin listener."""
    token, read_token = config.admin_token, config.admin_read_token
    return AdminAccess(
        token=None if token is None else token.get_secret_value(),
        read_token=None if read_token is None else read_token.get_secret_value(),
        loopback=config.admin_listen.is_local,
        hosts=frozenset(config.admin_hosts),
        open=frozenset(config.admin_open),
    )


def upstream_names(config: Config) -> tuple[str, ...]:
    """What bundlers and paymasters are called: by their places, since their URLs carry keys."""
    chains = config.chains.items()
    bundlers = [f"{name}#{index}" for name, chain in chains for index in range(len(chain.bundlers))]
    return (*bundlers, *(f"{paymaster_name(name)}#0" for name, chain in chains if chain.paymaster is not None))


def metrics_of(config: Config) -> Metrics:
    """Metrics with every label that can occur."""
    return Metrics(
        chains=tuple(config.chains),
        upstreams=upstream_names(config),
        clients=("anonymous", *(client.name for client in config.clients)),
        sinks=config.alerts.sinks,
        sessions=config.metrics.sessions,
    )


def trail_path(config: Config, ledger: Path) -> Path:
    """Where the trail is: beside the ledger where no other place is set."""
    return config.audit_path or ledger.with_name("audit.db")


def audit_writer(config: Config, ledger: Path, by: AuditBy | None = None) -> AuditWriter:
    """What writes the trail, beside the ledger where no other place is set; `by` whom, whatever the settings say."""
    audit, path = config.audit, trail_path(config, ledger)
    path.parent.mkdir(parents=True, exist_ok=True)
    budget = DiskBudget(
        max_bytes=audit.max_bytes,
        reserve_bytes=audit.reserve_bytes,
        retention_seconds=audit.retention_days * 86_400.0,
    )
    rate = audit.refusals_per_second
    settings = WriterSettings(
        key=chain_key(None if audit.key is None else audit.key.get_secret_value()),
        budget=budget,
        rate=RefusalRate(per_second=rate, burst=max(20 * rate, 1)),
        told={"version": __version__, "settings": settings_digests(config)},
    )
    if (by or audit.written_by) is AuditBy.THREAD:
        return AuditWriter(path, settings, earlier=ledger)
    hand = ScribeApart(path, settings.trail, earlier=ledger, clock=time.time)
    return AuditWriter(path, settings, hand=hand)


async def tell_heads_of(config: Config, audit: AuditWriter) -> None:
    """Tell the newest record to those whom the settings name; returns at once where they name nobody."""
    heads = config.audit.heads
    if heads.file is None and heads.webhook is None:
        return
    webhook = None if heads.webhook is None else heads.webhook.url
    sinks = HeadSinks(file=heads.file, webhook=webhook, every_seconds=heads.every_seconds)
    await tell_heads(lambda: audit.head, sinks, key=audit.key_name, clock=time.time)


def settings_digests(config: Config) -> dict[str, str]:
    """A digest of each part of the settings, so that a change between two starts is seen, and where. No secret is in
    it: secrets are masked and URLs shortened before."""
    told = {name: repr(getattr(config, name)) for name in sorted(type(config).model_fields)}
    return {name: blake2b(text.encode(), digest_size=8).hexdigest() for name, text in told.items()}
