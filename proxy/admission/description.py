"""Sessions described for who asked about them: where they stand, what they may do, what is used, in flight and left."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Final

from proxy.admission.in_time import in_time
from proxy.admission.sources import Sources
from proxy.session.counters import SessionKey
from proxy.session.declared import DeclaredSession
from proxy.session.known import KnownSession, Status
from proxy.session.overview import (
    phase_of,
    phase_of_declared,
    scope_of,
    scope_of_declared,
    times_of,
    use_in_json,
    window_of_declared,
    window_of_session,
)
from proxy.session.remaining import Json, remaining, remaining_of_declared
from proxy.session.state import SessionState
from proxy.session.units import UnitOf, no_units
from proxy.session.use import SessionRecord, SessionRecords
from proxy.userop.primitives import print_bytes, print_checksummed

_LEDGER_SECONDS: Final = 2.0
_NO_RECORD: Final = SessionRecord()
_MOST_IN_FLIGHT: Final = 100
"""Operations in flight that are named, the oldest of them."""


class Description:
    """Draws on what is known now and asks no node. `records` tell what is on file beside the sessions' state."""

    def __init__(self, sources: Sources, records: SessionRecords | None) -> None:
        self._sources = sources
        self._records = records

    async def of(self, keys: Sequence[SessionKey]) -> list[Json]:
        """These sessions, in this order. Raises `StateUnavailable`."""
        records = {} if self._records is None else await self._records_of(self._records, keys)
        described = []
        for key in keys:
            described.append(self._describe(key, records.get(key, _NO_RECORD)))
            await asyncio.sleep(0)  # others wait, and a page is many
        return described

    @staticmethod
    async def _records_of(records: SessionRecords, keys: Sequence[SessionKey]) -> Mapping[SessionKey, SessionRecord]:
        async with in_time(_LEDGER_SECONDS, "the ledger did not answer", fact="ledger"):
            return await records.records_of(keys)

    def _describe(self, key: SessionKey, record: SessionRecord) -> Json:
        sources = self._sources
        registry, now = sources.registry, sources.clock()
        known, declared = registry.get(key), registry.declarations.of(key)
        state = self._state(key, known, record)
        return {
            "account": print_checksummed(key.account),
            "permissionId": print_bytes(key.permission_id),
            "module": print_checksummed(key.module),
            **_standing(known, state, declared, now),
            "frozen": registry.freezes.on(key) is not None,
            "readAtBlock": None if known is None or known.block is None else hex(known.block),
            "inFlight": sources.ledger.number_of_session(key),
            "operationsInFlight": [
                print_bytes(each.user_op_hash) for each in sources.ledger.oldest_of_session(key, _MOST_IN_FLIGHT)
            ],
            "operations": use_in_json(record.use),
            "scope": _scope(state, None if known is not None else declared),
            "policies": self._policies(key, known, state, declared),
        }

    def _state(self, key: SessionKey, known: KnownSession | None, record: SessionRecord) -> SessionState | None:
        """What it has; what it will have once its grant is mined; what it had before it was removed."""
        if known is None:
            return None
        if known.status is Status.PENDING:
            return self._sources.registry.granted_state(key) or known.state
        if known.status is Status.REMOVED and record.former is not None:
            return record.former
        return known.state

    def _policies(
        self,
        key: SessionKey,
        known: KnownSession | None,
        state: SessionState | None,
        declared: DeclaredSession | None,
    ) -> list[Json] | None:
        """What is left of each limit; `None` while it is not known which there are, which is not the same as none."""
        registry, in_flight = self._sources.registry, self._sources.ledger.in_flight
        policies: list[Json] | None = [] if known is None else None
        if state is not None:
            policies = remaining(state, in_flight, self._unit_of())
        if declared is None:
            return policies
        return [*(policies or ()), *remaining_of_declared(declared, key.module, registry.declarations.uses, in_flight)]

    def _unit_of(self) -> UnitOf:
        judge = self._sources.rules()
        return no_units if judge is None else partial(judge.unit_of, self._sources.terms.chain_id)


def _standing(
    known: KnownSession | None, state: SessionState | None, declared: DeclaredSession | None, now: float
) -> Json:
    if known is None and declared is not None:
        phase, window = phase_of_declared(declared, now), window_of_declared(declared)
    elif known is not None:
        phase, window = phase_of(known, now), window_of_session(state)
    else:
        raise LookupError("a session that nobody has heard of cannot be described")
    return {"status": phase.value, **times_of(phase, window, now)}


def _scope(state: SessionState | None, declared: DeclaredSession | None) -> Json | None:
    if state is not None:
        return scope_of(state)
    return None if declared is None else scope_of_declared(declared)
