"""The names of the sessions that are known: by account, by permission id, and by where they stand in the order in which
they changed. Kept as they change and never looked through.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from heapq import merge
from typing import NamedTuple

from proxy.session.counters import SessionKey
from proxy.session.freezes import Freeze, Freezes
from proxy.session.known import Status
from proxy.session.ranked import Groups, Ranked
from proxy.userop.primitives import Address, Hash32


class StandsSince(NamedTuple):
    """Where a session stands, and since when (unix seconds)."""

    status: Status
    since: float


class SessionName(NamedTuple):
    """A place in a list of sessions: after it, the next page goes on."""

    changed_at: float
    key: SessionKey


class Directory:
    """Names only; whoever changes a session tells."""

    def __init__(self) -> None:
        self._standing: dict[tuple[int, Status], Ranked[SessionKey]] = {}
        self._of_account: dict[tuple[int, Address], Groups[Address, SessionKey]] = {}  # by chain and module
        self._of_id: dict[int, Groups[Hash32, SessionKey]] = {}  # by chain

    def changed(self, key: SessionKey, before: StandsSince | None, after: StandsSince | None) -> None:
        """A session stands elsewhere now; `None` for one that was, or is, not known."""
        place = (key.chain_id, key.module)
        if before is None:
            self._of_account.setdefault(place, Groups()).add(key.account, key)
            self._of_id.setdefault(key.chain_id, Groups()).add(key.permission_id, key)
        else:
            self._standing[key.chain_id, before.status].discard(before.since, key)
        if after is None:
            self._of_account[place].remove(key.account, key)
            self._of_id[key.chain_id].remove(key.permission_id, key)
            return
        name = (key.chain_id, after.status)
        if name not in self._standing:
            self._standing[name] = Ranked()
        self._standing[name].add(after.since, key)

    # by account

    def knows_account(self, account: Address) -> bool:
        """Whether a session of this account is known, on whichever chain."""
        return any(account in groups for groups in self._of_account.values())

    def of_account(self, chain_id: int, module: Address, account: Address) -> tuple[SessionKey, ...]:
        """All sessions of an account at a module, the one heard of first first."""
        groups = self._of_account.get((chain_id, module))
        return () if groups is None else tuple(groups.oldest(account))

    def newest_of_account(
        self, account: Address, after: SessionKey | None = None, *, at: Collection[tuple[int, Address]] | None = None
    ) -> Iterator[SessionKey]:
        """The same of several places, chains and modules, or of all; of each the one heard of last first; from the one
        `after` that on. Nothing may be changed meanwhile."""
        start = None if after is None else (after.chain_id, after.module)
        for place in sorted(self._of_account if at is None else at):
            groups = self._of_account.get(place)
            if groups is not None and (start is None or place >= start):
                yield from groups.newest(account, after if place == start else None)

    # by permission id

    def of_id(self, permission_id: Hash32, after: SessionKey | None = None) -> Iterator[SessionKey]:
        """All sessions of that permission id, of each chain the one heard of last first; from the one `after` that on.
        Nothing may be changed meanwhile."""
        for chain_id in sorted(self._of_id):
            if after is None or chain_id >= after.chain_id:
                here = after is not None and chain_id == after.chain_id
                yield from self._of_id[chain_id].newest(permission_id, after if here else None)

    def frozen(self, freezes: Freezes) -> Iterator[SessionKey]:
        """All known sessions that ops hold, each once. Nothing may be changed meanwhile."""
        for permission_id in freezes.ids():
            for chain_id, groups in self._of_id.items():
                if _is_frozen_whole(permission_id, chain_id, freezes):
                    yield from groups.oldest(permission_id)
            for freeze in freezes.of_accounts(permission_id):
                yield from self._frozen_by(freeze, freezes)

    def count_frozen(self, permission_id: Hash32, freezes: Freezes) -> Iterator[tuple[int, int]]:
        """How many those of one permission id are: chain ids with a number each, which add up. Others may have their
        turn between any two."""
        for chain_id, groups in tuple(self._of_id.items()):
            if _is_frozen_whole(permission_id, chain_id, freezes):
                yield chain_id, groups.size(permission_id)
        for freeze in freezes.of_accounts(permission_id):
            yield from ((key.chain_id, 1) for key in tuple(self._frozen_by(freeze, freezes)))

    def _frozen_by(self, freeze: Freeze, freezes: Freezes) -> Iterator[SessionKey]:
        """What the freeze of an account holds that no wider one holds."""
        permission_id, account, only_chain = freeze.scope
        if account is None or (only_chain is not None and freezes.has(permission_id, account, None)):
            return
        for chain_id, module in self._of_account:
            if only_chain in (None, chain_id) and not _is_frozen_whole(permission_id, chain_id, freezes):
                key = SessionKey(chain_id, module, account, permission_id)
                if self._has(key):
                    yield key

    def _has(self, key: SessionKey) -> bool:
        groups = self._of_id.get(key.chain_id)
        return groups is not None and groups.has(key.permission_id, key)

    # by where they stand

    def counts(self) -> Mapping[tuple[int, Status], int]:
        """How many sessions are known, by chain id and status."""
        return {name: len(ranked) for name, ranked in self._standing.items()}

    def removed_before(self, moment: float) -> Iterator[SessionKey]:
        """The sessions removed before a time (unix seconds); nothing may change before the last is taken."""
        for (_, status), ranked in self._standing.items():
            if status is Status.REMOVED:
                for since, key in ranked.oldest():
                    if since >= moment:
                        break
                    yield key

    def all_in_force(self, chain_id: int) -> Iterator[tuple[SessionKey, ...]]:
        """All sessions in force on a chain as they are now, whatever is changed meanwhile; in small parts."""
        ranked = self._standing.get((chain_id, Status.IN_FORCE))
        parts = [] if ranked is None else ranked.parts()
        return (tuple(key for _, key in part) for part in parts)

    def newest(
        self, chains: Collection[int] | None, statuses: Iterable[Status], after: SessionName | None
    ) -> Iterator[SessionName]:
        """The sessions in these statuses, on these chains or on all, the one that changed last first. Nothing may be
        changed meanwhile."""
        wanted = frozenset(statuses)
        lists = [
            ranked.newest(after)
            for (chain_id, status), ranked in self._standing.items()
            if status in wanted and (chains is None or chain_id in chains)
        ]
        return (SessionName(*entry) for entry in merge(*lists, reverse=True))


def _is_frozen_whole(permission_id: Hash32, chain_id: int, freezes: Freezes) -> bool:
    """Whether all sessions of that id on the chain are held."""
    return freezes.has(permission_id, None, None) or freezes.has(permission_id, None, chain_id)
