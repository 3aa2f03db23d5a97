"""How the descriptors that the system allows are shared out, so that no number of callers takes what others need."""

from __future__ import annotations

import logging
import resource
from dataclasses import dataclass
from typing import Final

from proxy.config import Config

_LOG: Final = logging.getLogger(__name__)

_KEPT: Final = 64
"""For files, the node, the admin listener and what comes in while somebody is shown out."""

_BUNDLER_CONNECTIONS: Final = 1000
_FEWEST: Final = 8
FEW_FOR_BUNDLERS: Final = 96
"""Of fewer to a chain's bundlers a handful of callers, whose questions these are slow with, hold all."""


@dataclass(frozen=True, slots=True)
class Descriptors:
    """Connections of callers in all, of bundlers for each chain, and how many newcomers may wait to be let in."""

    callers: int
    bundlers: int
    backlog: int


def share_out(allowed: int, *, callers: int, chains: int) -> Descriptors:
    """Of `allowed` descriptors two thirds are for callers and the rest for bundlers, where not all can be had, and
    a few for each chain's bundlers in any case."""
    left = max(allowed - _KEPT, 3 * _FEWEST)
    for_callers = min(callers, max(_FEWEST, min(left * 2 // 3, left - _FEWEST * chains)))
    for_bundlers = max(_FEWEST, min(_BUNDLER_CONNECTIONS, (left - for_callers) // max(1, chains)))
    return Descriptors(for_callers, for_bundlers, min(1024, max(_FEWEST, left // 4)))


def descriptors_of(config: Config) -> Descriptors:
    """What this process may open, after asking for as much as it may ask for."""
    wanted = _KEPT + config.connections.max + _BUNDLER_CONNECTIONS * len(config.chains)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        if most > soft:
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
            soft = most
    allowed = wanted if soft == resource.RLIM_INFINITY else soft
    shared = share_out(allowed, callers=config.connections.max, chains=len(config.chains))
    if shared.callers < config.connections.max or shared.bundlers < FEW_FOR_BUNDLERS:
        _LOG.warning(
            "the system allows %d open files: %d connections are taken at once, and each chain has %d to its bundlers, "
            "instead of %d and %d (ulimit -n, LimitNOFILE)",
            *(allowed, shared.callers, shared.bundlers, config.connections.max, _BUNDLER_CONNECTIONS),
        )
    return shared
