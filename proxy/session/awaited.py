"""What operations that a bundler has accepted will do to sessions once they are mined: kept by the sessions concerned,
and never looked through.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Iterator
from typing import NamedTuple

from proxy.session.changes import Changes, SessionChange
from proxy.session.counters import HoldName, SessionKey
from proxy.userop.acts import SessionsCleared
from proxy.userop.primitives import Address, Hash32


class _Holder(NamedTuple):
    chain_id: int
    module: Address
    account: Address


class _Expected(NamedTuple):
    changes: Changes
    holders: Collection[_Holder]
    granted: tuple[SessionKey, ...]
    removed: tuple[SessionKey, ...]
    cleared: tuple[_Holder, ...]
    spared: tuple[SessionKey, ...]  # granted again by what clears their account


class AwaitedChanges:
    """By the name of each claim on an operation."""

    def __init__(self) -> None:
        self._expected: dict[HoldName, _Expected] = {}
        # in the order they were accepted; the first is found at once, however many were before it
        self._by_holder: dict[_Holder, OrderedDict[HoldName, None]] = {}
        self._grants: dict[SessionKey, OrderedDict[Hash32, tuple[HoldName, ...]]] = {}
        self._removals: dict[SessionKey, int] = {}
        self._clearings: dict[_Holder, int] = {}
        self._spared: dict[SessionKey, int] = {}

    def __contains__(self, name: object) -> bool:
        return name in self._expected

    def add(self, changes: Changes, name: HoldName) -> None:
        """Expected from now on; it must not be yet."""
        expected = self._expected[name] = _expected(changes, name.session)
        for holder in expected.holders:
            self._by_holder.setdefault(holder, OrderedDict())[name] = None
        for key in expected.granted:
            grants = self._grants.setdefault(key, OrderedDict())
            grants[name.user_op_hash] = (*grants.get(name.user_op_hash, ()), name)
        for key in expected.removed:
            self._removals[key] = self._removals.get(key, 0) + 1
        for holder in expected.cleared:
            self._clearings[holder] = self._clearings.get(holder, 0) + 1
        for key in expected.spared:
            self._spared[key] = self._spared.get(key, 0) + 1

    def take(self, name: HoldName) -> Changes | None:
        """Expected no more; what it would have changed, `None` when it was not expected."""
        expected = self._expected.pop(name, None)
        if expected is None:
            return None
        for holder in expected.holders:
            waiting = self._by_holder[holder]
            del waiting[name]
            if not waiting:
                del self._by_holder[holder]
        for key in expected.granted:
            grants = self._grants[key]
            left = tuple(each for each in grants[name.user_op_hash] if each != name)
            if left:
                grants[name.user_op_hash] = left
            else:
                del grants[name.user_op_hash]
            if not grants:
                del self._grants[key]
        for key in expected.removed:
            _one_less(self._removals, key)
        for holder in expected.cleared:
            _one_less(self._clearings, holder)
        for key in expected.spared:
            _one_less(self._spared, key)
        return expected.changes

    def oldest(self, key: SessionKey) -> Iterator[Hash32]:
        """The operations of all sessions that the account has at the module, the one accepted first first; one that
        came under several claims more than once. Nothing may be changed meanwhile."""
        waiting = self._by_holder.get(_Holder(key.chain_id, key.module, key.account))
        return iter(()) if waiting is None else (name.user_op_hash for name in waiting)

    def removes(self, key: SessionKey) -> bool:
        """Whether one of them will remove this session."""
        holder = _Holder(key.chain_id, key.module, key.account)
        return key in self._removals or self._clearings.get(holder, 0) > self._spared.get(key, 0)

    def grants(self, key: SessionKey) -> Hash32 | None:
        """The first of them that will grant this session, or add to it."""
        grants = self._grants.get(key)
        return None if grants is None else next(iter(grants))

    def granted_by(self, user_op_hash: Hash32, key: SessionKey) -> tuple[SessionChange, ...]:
        """The changes by which an operation will grant this session; none when it is not expected to."""
        grants = self._grants.get(key)
        names = () if grants is None else grants.get(user_op_hash, ())
        if not names:
            return ()
        return tuple(change for granted, change in self._expected[names[0]].changes.granted() if granted == key)


def _expected(changes: Changes, session: SessionKey | None) -> _Expected:
    if not changes:
        # nearly all: they use their session and change nothing else
        holders = () if session is None else (_Holder(session.chain_id, session.module, session.account),)
        return _Expected(changes, holders, (), (), (), ())
    return _expected_of(changes, session)


def _expected_of(changes: Changes, session: SessionKey | None) -> _Expected:
    holders = {_Holder(changes.chain_id, module, changes.account) for module in changes.modules()}
    if session is not None:
        holders.add(_Holder(session.chain_id, session.module, session.account))
    cleared: list[_Holder] = []
    named: dict[SessionKey, None] = {}
    for change in changes.that_stand(success=True):
        named |= dict.fromkeys(changes.keys(change))
        if isinstance(change, SessionsCleared):
            cleared.append(_Holder(changes.chain_id, change.module, changes.account))
    once = tuple(dict.fromkeys(cleared))
    removed = {key: changes.removes(key) for key in named}
    of_cleared = {key for key in removed if _Holder(key.chain_id, key.module, key.account) in once}
    return _Expected(
        changes=changes,
        holders=frozenset(holders),
        granted=tuple(dict.fromkeys(key for key, _ in changes.granted())),
        removed=tuple(key for key, gone in removed.items() if gone and key not in of_cleared),
        cleared=once,
        spared=tuple(key for key, gone in removed.items() if not gone and key in of_cleared),
    )


def _one_less(numbers: dict, name: object) -> None:  # type: ignore[type-arg]  # of names of any kind
    if numbers[name] == 1:
        del numbers[name]
    else:
        numbers[name] -= 1
