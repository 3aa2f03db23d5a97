"""`sessiongate_getSession`: where a session stands and what is left of its limits, for a caller who can name it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial

from proxy.admission.sources import Sources
from proxy.admission.turns import Asker
from proxy.errors import InvalidParams, Reason, StateUnavailable
from proxy.session.counters import SessionKey
from proxy.session.known import KnownSession, Status
from proxy.session.remaining import Json, remaining, remaining_of_declared
from proxy.userop.primitives import Address, Hash32, parse_address, parse_hash, print_bytes, print_checksummed

_NAMES = ("account", "permissionId", "module")


class Enquiry:
    """Answers about the sessions of one chain. What it asks of the node is bounded as it is for verdicts."""

    def __init__(self, sources: Sources) -> None:
        self._sources = sources

    async def answer(
        self, params: Sequence[object], *, client: str = "", peer: str = "", absent_rate: float | None = None
    ) -> list[Json] | Reason:
        """The sessions of that name, one for each module that has it; or why they are not looked for.

        Raises `InvalidParams`, `StateUnavailable`.
        """
        account, permission_id, module = _read_names(params)
        modules = sorted(self._sources.terms.session_modules) if module is None else [module]
        keys = [SessionKey(self._sources.terms.chain_id, each, account, permission_id) for each in modules]
        known = [key for key in keys if self._is_known(key)]
        if not known:
            refusal = await self._look_for(keys, Asker(client, peer, account, absent_rate))
            if refusal is not None:
                return refusal
            known = [key for key in keys if self._is_known(key)]
        return [await self._describe(key) for key in known]

    def _is_known(self, key: SessionKey) -> bool:
        registry = self._sources.registry
        return registry.get(key) is not None or registry.declared(key) is not None

    async def _look_for(self, keys: Sequence[SessionKey], asker: Asker) -> Reason | None:
        """Read in turn with everybody else who names what nobody here has heard of."""
        first = self._sources.first
        if first is None or self._sources.reader is None:
            await self._read(keys)
            return None

        async def look() -> bool:
            await self._read(keys)
            return any(map(self._is_known, keys))

        return await first.look(asker, look)

    async def _read(self, keys: Sequence[SessionKey]) -> None:
        """Ask the node for a session that was never heard of; a module that is not on this chain has none."""
        sources, reader = self._sources, self._sources.reader
        if reader is None:
            return
        reads = (sources.reads.once(key, partial(reader.session, key)) for key in keys)
        answers = await asyncio.gather(*reads, return_exceptions=True)
        failures = [answer for answer in answers if isinstance(answer, BaseException)]
        grave = [failure for failure in failures if not isinstance(failure, StateUnavailable)]
        if grave or len(failures) == len(keys):
            raise (grave or failures)[0]

    async def _describe(self, key: SessionKey) -> Json:
        sources = self._sources
        registry, in_flight = sources.registry, sources.ledger.in_flight
        await sources.reconciled(key)
        known, declared = registry.get(key), registry.declared(key)
        if known is not None and known.status is Status.IN_FORCE and known.state is None:
            await self._read([key])
            known = registry.get(key)
        described: Json = {
            "account": print_checksummed(key.account),
            "permissionId": print_bytes(key.permission_id),
            "module": print_checksummed(key.module),
            "status": "declared" if known is None else known.standing,
            "frozen": registry.freezes.on(key) is not None,
            "readAtBlock": None if known is None or known.block is None else hex(known.block),
            "operationsInFlight": [print_bytes(each.user_op_hash) for each in sources.ledger.of_session(key)],
            "policies": self._policies(key, known),
        }
        if declared is not None:
            of_declared = remaining_of_declared(declared, key.module, registry.declared_uses, in_flight)
            described["policies"] = [*(described["policies"] or ()), *of_declared]
        return described

    def _policies(self, key: SessionKey, known: KnownSession | None) -> list[Json] | None:
        """What is left of each limit; `None` while it is not known which there are, which is not the same as none."""
        sources = self._sources
        state = None if known is None else known.state
        if known is not None and known.status is Status.PENDING:
            state = sources.registry.granted_state(key) or state
        if state is None:
            return [] if known is None else None
        return remaining(state, sources.ledger.in_flight)


def _read_names(params: Sequence[object]) -> tuple[Address, Hash32, Address | None]:
    """`[account, permissionId, module?]`, or one object with these names."""
    values = list(params)
    if len(params) == 1 and isinstance(params[0], dict):
        named = params[0]
        for name in named:
            if name not in _NAMES:
                raise InvalidParams(f"params[0].{name[:32]}", f"not known; wanted {', '.join(_NAMES)}")
        values = [named.get(name) for name in _NAMES]
    values += [None] * (3 - len(values))
    account, permission_id, module = values[:3]
    return (
        parse_address(account, "account"),
        parse_hash(permission_id, "permissionId"),
        None if module is None else parse_address(module, "module"),
    )
