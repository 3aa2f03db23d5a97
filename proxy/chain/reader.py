"""The node of one chain as the gate asks it: readings that go into the registry, and are kept.

The registry may change while the node is being asked, because operations settle. What was read is put in place of
what was known only when that has not changed meanwhile; otherwise it is read again, so that no settled use is lost.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Final

from proxy.admission import Found
from proxy.chain.fill import fill
from proxy.chain.hydrate import Reading, hydrate
from proxy.chain.node import Node
from proxy.errors import StateUnavailable
from proxy.session.counters import SessionKey
from proxy.session.facts import MissingFact
from proxy.session.known import KnownSession, Source, Status
from proxy.session.registry import Registry
from proxy.session.state import SessionState, SessionStatus
from proxy.userop.decode import DecodedOperation
from proxy.userop.primitives import Address

_MOST_READINGS: Final = 3

Keep = Callable[[KnownSession], Awaitable[None]]
"""Writes a session to disk; raises `StateUnavailable`."""


class NodeReader:
    """See `proxy.admission.ChainReader` for the meaning of each call. `clock` gives unix seconds."""

    def __init__(self, node: Node, registry: Registry, keep: Keep, clock: Callable[[], float]) -> None:
        self._node = node
        self._registry = registry
        self._keep = keep
        self._clock = clock

    async def session(self, key: SessionKey) -> SessionState | None:
        for _ in range(_MOST_READINGS):
            known = self._registry.get(key)
            reading = await hydrate(self._node, key)
            if self._registry.get(key) is known:
                return await self._take(key, known, reading)
        raise StateUnavailable("the session changes faster than it can be read")

    async def _take(self, key: SessionKey, known: KnownSession | None, reading: Reading) -> SessionState | None:
        """Know the session as it was read; one that the chain does not have is not added, but loses its force."""
        enabled = reading.state.enabled
        if not enabled and (known is None or known.status is not Status.IN_FORCE):
            return None
        state = reading.state
        if known is not None and known.state is not None:
            # the chain keeps only hashes of actions: what a grant told of them stays known
            state = replace(state, targets={**known.state.targets, **state.targets})
        if not enabled:
            state = replace(state, status=SessionStatus.REMOVED)
        after = KnownSession(
            key=key,
            status=Status.IN_FORCE if enabled else Status.REMOVED,
            source=Source.NODE if known is None else known.source,
            state=state,
            block=reading.block,
            updated_at=self._clock(),
        )
        self._registry.put(after)
        await self._keep(after)
        return state

    async def find(self, operation: DecodedOperation, state: SessionState, facts: Sequence[MissingFact]) -> Found:
        for _ in range(_MOST_READINGS):
            known = self._registry.get(state.key)
            registered = known is not None and known.state is state
            filled = await fill(self._node, state, facts, operation.op)
            found = Found(state=filled.state, answers=filled.answers, base_fee=filled.base_fee)
            if known is None or not registered or filled.state is state:
                return found
            if self._registry.get(state.key) is known:
                after = replace(known, state=filled.state, updated_at=self._clock())
                self._registry.put(after)
                await self._keep(after)
                return found
            newer = self._registry.get(state.key)
            state = newer.state if newer is not None and newer.state is not None else state
        raise StateUnavailable("the session changes faster than it can be read")

    async def delegate(self, account: Address) -> Address | None:
        return await self._node.delegate(account)
