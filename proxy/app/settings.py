"""From settings to what the edge takes of them."""

from __future__ import annotations

from proxy.config import Config
from proxy.edge.admin.guard import AdminAccess
from proxy.edge.http.clients import Client, Clients
from proxy.edge.http.server import ServerSettings
from proxy.edge.telemetry.metrics import Metrics
from proxy.jsonrpc import Limits


def server_settings(config: Config) -> ServerSettings:
    """Who may call, and how much at once."""
    clients = Clients(
        (
            Client(
                name=client.name,
                api_key=None if client.api_key is None else client.api_key.get_secret_value(),
                origins=frozenset(client.origins),
                chains=frozenset(client.chains) or None,
            )
            for client in config.clients
        ),
        origins=frozenset(config.cors.origins),
    )
    limits = config.limits
    return ServerSettings(
        chains=tuple(config.chains),
        clients=clients,
        limits=Limits(
            max_bytes=limits.max_body_bytes,
            max_batch=limits.max_batch,
            max_depth=limits.max_depth,
            max_elements=limits.max_elements,
        ),
    )


def admin_access(config: Config) -> AdminAccess:
    """Who may change things through the admin listener."""
    token = config.admin_token
    return AdminAccess(token=None if token is None else token.get_secret_value(), loopback=config.admin_listen.is_local)


def metrics_of(config: Config) -> Metrics:
    """Metrics with every label that can occur."""
    return Metrics(
        chains=tuple(config.chains),
        upstreams=tuple(f"{name}#{i}" for name, chain in config.chains.items() for i in range(len(chain.bundlers))),
        clients=("anonymous", *(client.name for client in config.clients)),
        sinks=config.alerts.sinks,
    )
