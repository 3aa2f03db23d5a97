"""One chain's paymaster, where its settings name one."""

from __future__ import annotations

from typing import Final

from proxy.config import Chain, Config
from proxy.edge.http.asker import UpstreamSettings
from proxy.edge.http.endpoints import Health
from proxy.edge.http.listener import Transport
from proxy.edge.http.paymaster import PaymasterService
from proxy.edge.telemetry.metrics import Metrics

CONNECTIONS: Final = 16
_LONGEST_ANSWER: Final = 1024 * 1024  # with an icon of its sponsor's in it


def paymaster_name(chain: str) -> str:
    """What it is called in logs, errors and metrics, its place in the list of one behind it."""
    return f"{chain}/paymaster"


def paymaster_of(name: str, chain: Chain, config: Config, metrics: Metrics) -> PaymasterService | None:
    """The service at the chain's `paymaster:`; use it as an asynchronous context manager."""
    if chain.paymaster is None:
        return None

    def on_health(endpoint: str, health: Health) -> None:
        metrics.upstream_up(endpoint, up=health is Health.HEALTHY)

    return PaymasterService(
        paymaster_name(name),
        [chain.paymaster.url],
        chain_id=chain.chain_id,
        entry_points=frozenset(),
        settings=UpstreamSettings(
            total_seconds=config.limits.paymaster_seconds,
            max_connections=CONNECTIONS,
            max_reply_bytes=_LONGEST_ANSWER,
            transport=Transport(config.transport),
        ),
        on_health=on_health,
        on_rest=metrics.upstream_rests,
    )
