"""One typed settings file, read strictly, every fault reported at once with its line and a cure."""

from proxy.config.clients import Client
from proxy.config.endpoints import Endpoint, LedgerPlace, Listen
from proxy.config.loading import load_config
from proxy.config.settings import (
    AuditBy,
    AuditKeep,
    Chain,
    Config,
    Dialects,
    LedgerFail,
    LedgerSynchronous,
    Limits,
    NodeFail,
    NonceGap,
    Previews,
    Tls,
    UnknownContract,
    UnknownSession,
    UnminedRules,
)

__all__ = [
    "AuditBy",
    "AuditKeep",
    "Chain",
    "Client",
    "Config",
    "Dialects",
    "Endpoint",
    "LedgerFail",
    "LedgerPlace",
    "LedgerSynchronous",
    "Limits",
    "Listen",
    "NodeFail",
    "NonceGap",
    "Previews",
    "Tls",
    "UnknownContract",
    "UnknownSession",
    "UnminedRules",
    "load_config",
]
