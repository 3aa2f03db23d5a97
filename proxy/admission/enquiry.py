"""`sessiongate_getSession` for a caller who can name a session, `sessiongate_listSessions` for a client that may."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import islice
from typing import Final, NamedTuple

from proxy.admission.description import Description
from proxy.admission.in_time import in_all
from proxy.admission.sources import Sources
from proxy.admission.turns import Asker
from proxy.errors import InvalidParams, Reason, StateUnavailable
from proxy.session.counters import SessionKey
from proxy.session.known import Status
from proxy.session.remaining import Json
from proxy.session.use import SessionRecords
from proxy.userop.primitives import Address, Hash32, parse_address, parse_hash, print_bytes

GET: Final = "sessiongate_getSession"
LIST: Final = "sessiongate_listSessions"

_NAMES = ("account", "permissionId", "module")
_LIST_NAMES = ("account", "after")
_PAGE: Final = 50
_WITH_MODULE: Final = 2 + 2 * (32 + 20)


class _After(NamedTuple):
    """Where a page goes on; `module` is `None` where only one has a session of that id."""

    permission_id: Hash32
    module: Address | None


class Enquiry:
    """Answers about the sessions of one chain. What it asks of the node is bounded as it is for verdicts.

    `named`: whoever can name a session may ask for it. `listing` are the clients that may ask what an account has.
    """

    def __init__(
        self,
        sources: Sources,
        records: SessionRecords | None = None,
        *,
        named: bool = True,
        listing: frozenset[str] = frozenset(),
    ) -> None:
        self._sources = sources
        self._named = named
        self._listing = listing
        self._description = Description(sources, records)

    def take(self, listing: frozenset[str]) -> None:
        """From now on these clients may ask what an account has."""
        self._listing = listing

    def setting_missing(self, method: str, client: str) -> str | None:
        """The setting without which this client may not ask; `None` when it may."""
        if method == LIST:
            return None if client in self._listing else "list_sessions"
        return None if self._named else "session_queries"

    async def list_sessions(self, params: Sequence[object]) -> Json:
        """The sessions of an account that are known here, of each module the one heard of last first, a page of them;
        `next` is the `after` of the page after it. The node is not asked. Raises `InvalidParams`, `StateUnavailable`.
        """
        account, after = _read_list_names(params)
        found = list(islice(self._keys_of(account, after), _PAGE + 1))
        page = found[:_PAGE]
        return {
            "sessions": await self._description.of(page),
            "next": self._cursor_of(page[-1]) if len(found) > _PAGE else None,
        }

    def _keys_of(self, account: Address, after: _After | None) -> Iterator[SessionKey]:
        """The sessions of an account, known ones first, from the one of that permission id on."""
        registry, terms = self._sources.registry, self._sources.terms
        known = [] if after is None else self._known_as(account, after.permission_id)
        last = next((key for key in known if after is not None and after.module in (None, key.module)), None)
        if after is None or last is not None:
            places = [(terms.chain_id, module) for module in terms.session_modules]
            yield from registry.directory.newest_of_account(account, last, at=places)
            after = None
        for key in self._declared_alone(account):
            if after is None:
                yield key
            elif key.permission_id == after.permission_id:
                after = None

    def _cursor_of(self, key: SessionKey) -> str:
        """The session as `after`: with its module where another one has the same id."""
        others = len(self._known_as(key.account, key.permission_id)) > 1
        return print_bytes(key.permission_id + key.module if others else key.permission_id)

    def _known_as(self, account: Address, permission_id: Hash32) -> list[SessionKey]:
        """The sessions of that name, at whichever modules."""
        registry, terms = self._sources.registry, self._sources.terms
        keys = [SessionKey(terms.chain_id, module, account, permission_id) for module in sorted(terms.session_modules)]
        return [key for key in keys if registry.status_of(key) is not None]

    def _declared_alone(self, account: Address) -> Iterator[SessionKey]:
        """The declared sessions of an account that are not known otherwise."""
        registry, terms = self._sources.registry, self._sources.terms
        for session in registry.declarations.of_account(terms.chain_id, account):
            modules = sorted(terms.session_modules) if session.module is None else [session.module]
            keys = [session.key(module) for module in modules]
            if all(registry.status_of(key) is None for key in keys):
                yield keys[0]

    async def answer(
        self, params: Sequence[object], *, client: str = "", peer: str = "", absent_rate: float | None = None
    ) -> list[Json] | Reason:
        """The sessions of that name, one for each module that has it; or why they are not looked for.

        Raises `InvalidParams`, `StateUnavailable`.
        """
        async with in_all(self._sources.seconds, "the session could not be told"):
            return await self._answer(params, client=client, peer=peer, absent_rate=absent_rate)

    async def _answer(
        self, params: Sequence[object], *, client: str, peer: str, absent_rate: float | None
    ) -> list[Json] | Reason:
        account, permission_id, module = _read_names(params)
        modules = sorted(self._sources.terms.session_modules) if module is None else [module]
        keys = [SessionKey(self._sources.terms.chain_id, each, account, permission_id) for each in modules]
        known = [key for key in keys if self._is_known(key)]
        if not known:
            refusal = await self._look_for(keys, Asker(client, peer, account, absent_rate))
            if refusal is not None:
                return refusal
            known = [key for key in keys if self._is_known(key)]
        return await self._description.of([await self._ready(key) for key in known])

    async def _ready(self, key: SessionKey) -> SessionKey:
        """What became of its operations is known as far as it can be, and its state is read where it has to be."""
        await self._sources.reconciled(key)
        known = self._sources.registry.get(key)
        if known is not None and known.status is Status.IN_FORCE and known.state is None:
            await self._read([key])
        return key

    def _is_known(self, key: SessionKey) -> bool:
        registry = self._sources.registry
        return registry.get(key) is not None or registry.declarations.of(key) is not None

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


def _read_names(params: Sequence[object]) -> tuple[Address, Hash32, Address | None]:
    """`[account, permissionId, module?]`, or one object with these names."""
    account, permission_id, module = _named_values(params, _NAMES)
    return (
        parse_address(account, "account"),
        parse_hash(permission_id, "permissionId"),
        None if module is None else parse_address(module, "module"),
    )


def _read_list_names(params: Sequence[object]) -> tuple[Address, _After | None]:
    """`[account, after?]`, or one object with these names."""
    account, after = _named_values(params, _LIST_NAMES)
    if after is None:
        return parse_address(account, "account"), None
    if isinstance(after, str) and len(after) == _WITH_MODULE:
        module = parse_address("0x" + after[-40:], "after")
        return parse_address(account, "account"), _After(parse_hash(after[:-40], "after"), module)
    return parse_address(account, "account"), _After(parse_hash(after, "after"), None)


def _named_values(params: Sequence[object], names: tuple[str, ...]) -> list[object]:
    """The values in the order of their names; `None` where there is none. Raises `InvalidParams`."""
    values = list(params)
    if len(params) == 1 and isinstance(params[0], dict):
        named = params[0]
        for name in named:
            if name not in names:
                raise InvalidParams(f"params[0].{name[:32]}", f"not known; wanted {', '.join(names)}")
        values = [named.get(name) for name in names]
    return (values + [None] * len(names))[: len(names)]
