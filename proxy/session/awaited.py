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

_Holder = tuple[int, Address, Address]
"""Chain, module and account: the first parts of the name of each of their sessions."""


class _Expected(NamedTuple):
    """What changes come to, beside that they are expected."""

    holders: Collection[_Holder]
    granted: tuple[SessionKey, ...]
    removed: tuple[SessionKey, ...]
    cleared: tuple[_Holder, ...]
    spared: tuple[SessionKey, ...]  # granted again by what clears their account


class AwaitedChanges:
    """By the name of each claim on an operation."""

    def __init__(self) -> None:
        self._expected: dict[HoldName, Changes] = {}  # of those that change anything
        # in the order they were accepted; the first is found at once, however many were before it
        self._by_holder: dict[_Holder, OrderedDict[HoldName, None]] = {}
        self._grants: dict[SessionKey, OrderedDict[Hash32, tuple[HoldName, ...]]] = {}
        self._removals: dict[SessionKey, int] = {}
        self._clearings: dict[_Holder, int] = {}
        self._spared: dict[SessionKey, int] = {}

    def add(self, changes: Changes, name: HoldName) -> bool:
        """Expected from now on. Whether it was not yet, and changes anything: nearly all use their session and nothing
        else."""
        if (session := name.session) is not None:
            self._wait(session[:3], name)
        if not (changes.at_validation or changes.on_success) or name in self._expected:
            return False
        self._expected[name] = changes
        self._add(_expected_of(changes), name)
        return True

    def use(self, name: HoldName) -> None:
        """The same of one that uses its session and changes nothing, as nearly all do."""
        if (session := name.session) is not None:
            self._wait(session[:3], name)

    def _wait(self, holder: _Holder, name: HoldName) -> None:
        waiting = self._by_holder.get(holder)
        if waiting is None:
            waiting = self._by_holder[holder] = OrderedDict()
        waiting[name] = None

    def _add(self, expected: _Expected, name: HoldName) -> None:
        for holder in expected.holders:
            self._wait(holder, name)
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
        """Expected no more; what it would have changed, if anything."""
        if (session := name.session) is not None:
            self._wait_no_more(session[:3], name)
        changes = self._expected.pop(name, None) if self._expected else None
        if changes is not None:
            self._take(_expected_of(changes), name)
        return changes

    def _wait_no_more(self, holder: _Holder, name: HoldName) -> None:
        waiting = self._by_holder.get(holder)
        if waiting is not None:
            waiting.pop(name, None)
            if not waiting:
                del self._by_holder[holder]

    def _take(self, expected: _Expected, name: HoldName) -> None:
        for holder in expected.holders:
            self._wait_no_more(holder, name)
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

    def oldest(self, key: SessionKey) -> Iterator[Hash32]:
        """The operations of all sessions that the account has at the module, the one accepted first first; one that
        came under several claims more than once. Nothing may be changed meanwhile."""
        waiting = self._by_holder.get(key[:3])
        return iter(()) if waiting is None else (name.user_op_hash for name in waiting)

    def removes(self, key: SessionKey) -> bool:
        """Whether one of them will remove this session."""
        return key in self._removals or self._clearings.get(key[:3], 0) > self._spared.get(key, 0)

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
        return tuple(change for granted, change in self._expected[names[0]].granted() if granted == key)


def _expected_of(changes: Changes) -> _Expected:
    cleared: list[_Holder] = []
    named: dict[SessionKey, None] = {}
    for change in changes.that_stand(success=True):
        named |= dict.fromkeys(changes.keys(change))
        if isinstance(change, SessionsCleared):
            cleared.append((changes.chain_id, change.module, changes.account))
    once = tuple(dict.fromkeys(cleared))
    removed = {key: changes.removes(key) for key in named}
    of_cleared = {key for key in removed if key[:3] in once}
    return _Expected(
        holders=frozenset([(changes.chain_id, module, changes.account) for module in changes.modules()]),
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
