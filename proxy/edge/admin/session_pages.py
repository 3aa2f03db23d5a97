"""The known sessions as the admin listener lists them: page by page, the one that changed last first."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Final

from proxy.edge.admin.query import SessionFilter
from proxy.errors import InvalidParams
from proxy.session.counters import SessionKey
from proxy.session.directory import SessionName
from proxy.session.known import KnownSession, Status
from proxy.session.registry import Registry
from proxy.userop.primitives import Address, Hash32

FROZEN: Final = "frozen"
"""A state of sessions beside `Status`: held at this gate, whatever the chain says."""

_MOST_A_PAGE: Final = 1_000
_MOST_LOOKED_AT: Final = 5_000
"""Names that are looked at for one page: a filter that few fit makes pages short, and none long to wait for."""
_OF_ONE_ID: Final = 100
_A_PIECE: Final = 20
"""Sessions that are printed before others get their turn."""

Shown = Callable[[KnownSession], dict[str, object]]


class SessionPages:
    """`names` are those of the chains by their ids."""

    def __init__(self, registry: Registry, names: Mapping[int, str]) -> None:
        self._registry = registry
        self._names = names

    async def page(self, wanted: SessionFilter, shown: Shown) -> dict[str, object]:
        """`sessions`, and `next`: the `after` of the next page, `None` after the last. A page may have less than asked
        for, or none, and not be the last. Raises `InvalidParams`."""
        found, goes_on = self._found(wanted)
        return {"sessions": await self._printed([name.key for name in found], shown), "next": goes_on}

    async def of_id(self, permission_id: Hash32, after: str | None, shown: Shown) -> dict[str, object]:
        """The same of all sessions of one permission id."""
        last = None if after is None else _read_name(after).key
        keys = list(islice(self._registry.directory.of_id(permission_id, last), _OF_ONE_ID + 1))
        page = keys[:_OF_ONE_ID]
        goes_on = _print_name(SessionName(0.0, page[-1])) if len(keys) > len(page) else None
        return {"sessions": await self._printed(page, shown), "next": goes_on}

    def _found(self, wanted: SessionFilter) -> tuple[Sequence[SessionName], str | None]:
        most = min(wanted.limit, _MOST_A_PAGE)
        found: list[SessionName] = []
        last: SessionName | None = None
        for looked, name in enumerate(self._names_from(wanted)):
            if len(found) == most or looked == _MOST_LOOKED_AT:
                return found, None if last is None else _print_name(last)
            last = name
            if self._matches(name.key, wanted):
                found.append(name)
        return found, None

    def _names_from(self, wanted: SessionFilter) -> Iterator[SessionName]:
        """The shortest list that has all that is wanted."""
        directory = self._registry.directory
        after = None if wanted.after is None else _read_name(wanted.after)
        if wanted.account is not None:
            keys = directory.newest_of_account(wanted.account, None if after is None else after.key)
            return (SessionName(0.0, key) for key in keys)
        if wanted.state == FROZEN:
            # in no order that a place could be found in again by name: the place is its number
            held = enumerate(directory.frozen(self._registry.freezes), 1)
            skipped = 0 if after is None else int(after.changed_at)
            return (SessionName(float(number), key) for number, key in islice(held, skipped, None))
        chains = None if wanted.chain is None else {each for each, name in self._names.items() if name == wanted.chain}
        statuses = [each for each in Status if wanted.state in (None, each)]
        return directory.newest(chains, statuses, after)

    def _matches(self, key: SessionKey, wanted: SessionFilter) -> bool:
        if wanted.chain is not None and self._names.get(key.chain_id) != wanted.chain:
            return False
        if wanted.account is not None and key.account != wanted.account:
            return False
        if wanted.state == FROZEN:
            return self._registry.is_frozen(key)
        return wanted.state is None or self._registry.status_of(key) == wanted.state

    async def _printed(self, keys: Sequence[SessionKey], shown: Shown) -> list[dict[str, object]]:
        printed = []
        for count, key in enumerate(keys, 1):
            known = self._registry.peek(key)
            if known is not None:
                printed.append(shown(known))
            if count % _A_PIECE == 0:
                await asyncio.sleep(0)
        return printed


def _print_name(name: SessionName) -> str:
    key = name.key
    parts = (key.module, key.account, key.permission_id)
    return "_".join((repr(name.changed_at), str(key.chain_id), *(part.hex() for part in parts)))


def _read_name(text: str) -> SessionName:
    """Raises `InvalidParams` for what was no `next`."""
    try:
        changed_at, chain_id, *parts = text.split("_")
        module, account, permission_id = (bytes.fromhex(part) for part in parts)
        moment, number = float(changed_at), int(chain_id)
        if not 0 <= moment < 1e15 or not (len(module) == len(account) == 20 and len(permission_id) == 32):
            raise ValueError("out of bounds")
    except ValueError:
        raise InvalidParams("after", "wanted the next of a page before") from None
    return SessionName(moment, SessionKey(number, Address(module), Address(account), Hash32(permission_id)))
