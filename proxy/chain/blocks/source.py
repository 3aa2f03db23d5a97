"""What the follower asks a node for; `proxy.chain.node` answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from proxy.chain.blocks.header import Header
from proxy.chain.logs import Log
from proxy.userop.primitives import Address, Hash32


@dataclass(frozen=True, slots=True, kw_only=True)
class LogFilter:
    """Which logs are wanted: any of the addresses, and at each position any of the topics. An empty one means any."""

    addresses: tuple[Address, ...] = ()
    topics: tuple[tuple[Hash32, ...], ...] = ()

    def fits(self, log: Log) -> bool:
        """Whether a log is wanted."""
        if self.addresses and log.address not in self.addresses:
            return False
        if len(log.topics) < len(self.topics):
            return False
        return all(not some or topic in some for topic, some in zip(log.topics, self.topics, strict=False))


@dataclass(frozen=True, slots=True, kw_only=True)
class Transaction:
    """A mined transaction; `to` is `None` where it made a contract."""

    to: Address | None
    call_data: bytes


class BlockSource(Protocol):
    """The node of one chain. Every method raises `StateUnavailable` when it cannot answer."""

    async def head(self) -> Header:
        """The newest block."""

    async def chain_id(self) -> int:
        """Of which chain the node is."""

    async def headers(self, numbers: Sequence[int]) -> tuple[Header | None, ...]:
        """The blocks of these numbers, in order; `None` for one that the node has not got."""

    async def logs_between(self, first: int, last: int, wanted: LogFilter) -> tuple[Log, ...]:
        """The logs of blocks `first` to `last`, both included."""

    async def logs_of(self, block: Hash32, wanted: LogFilter) -> tuple[Log, ...]:
        """The logs of one block."""

    async def transactions(self, hashes: Sequence[Hash32]) -> tuple[Transaction | None, ...]:
        """The transactions of these hashes, in order; `None` for one that the node has not got."""
