"""Ports for servers that tests start. They stay free until the server binds them."""

from __future__ import annotations

import itertools
import random
import socket
from pathlib import Path

_LOWEST = 10_000


def _below_ephemeral() -> range:
    """Ports that the system gives to no outgoing connection: nobody takes them meanwhile without asking for them."""
    try:
        first = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    except (OSError, ValueError):
        first = 32_768  # Linux's own, and below those of other systems
    return range(_LOWEST, first) if first > _LOWEST + 1_000 else range(_LOWEST, 65_536)


_RANGE = _below_ephemeral()
# each process goes on from a place of its own, and never gives one port twice
_NEXT = itertools.count(random.SystemRandom().randrange(len(_RANGE)))


def free_ports(count: int) -> list[int]:
    """`count` different ports of 127.0.0.1 that nobody listens on."""
    found: list[int] = []
    for step in itertools.islice(_NEXT, len(_RANGE)):
        port = _RANGE[step % len(_RANGE)]
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        found.append(port)
        if len(found) == count:
            return found
    raise RuntimeError(f"there are no {count} free ports between {_RANGE.start} and {_RANGE.stop}")


def free_port() -> int:
    """One port of 127.0.0.1 that nobody listens on."""
    (port,) = free_ports(1)
    return port
