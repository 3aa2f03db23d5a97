"""Which sessions are known, what state each is in, and what operations in flight will make of them.

An index in memory and nothing more: the chain, the clock and the disk are other rooms'. A session is known by chain,
module, account and permission id together, because any account may hold the same permission id.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Final, NamedTuple

from proxy.session.changes import Changes, SessionChange, make_change
from proxy.session.counters import Charge, Counter, HoldName, SessionKey
from proxy.session.declared import DECLARED_POLICY, DeclaredSession
from proxy.session.freezes import Freezes
from proxy.session.known import KnownSession, Source, Status, after_change, read_since, source_of
from proxy.session.revert import Revert
from proxy.session.shelf import PackedSession, Shelf
from proxy.session.state import SessionState
from proxy.userop.acts import SessionsCleared, Unreadable
from proxy.userop.primitives import Address, Hash32

_FORMER_SIGNERS: Final = 4_096
"""Of so many removed sessions it is remembered who signed for them."""

__all__ = ["KnownSession", "Registry", "Signer", "Source", "Status"]


class Signer(NamedTuple):
    """Who signs for a session: the contract that checks, and how it is set up for the session."""

    validator: Address
    init_data: bytes


class _Holder(NamedTuple):
    chain_id: int
    module: Address
    account: Address


class _Awaited(NamedTuple):
    changes: Changes
    holders: frozenset[_Holder]


class Registry:
    """The index. Look-ups take the same time however many sessions there are."""

    def __init__(self) -> None:
        self.freezes = Freezes()
        self._sessions = Shelf()
        self._counts: dict[tuple[int, Status], int] = {}
        self._declared: dict[tuple[int, Address, Hash32], tuple[DeclaredSession, ...]] = {}
        self._declared_of: dict[tuple[int, Address], tuple[DeclaredSession, ...]] = {}
        self._declared_uses: dict[Counter, int] = {}
        self._mined_at: dict[SessionKey, int] = {}
        self._former_signers: dict[SessionKey, Signer] = {}
        self._awaited: dict[HoldName, _Awaited] = {}
        self._awaited_by: dict[_Holder, dict[HoldName, None]] = {}  # in the order they were accepted
        self._revisions: dict[SessionKey, int] = {}  # of those that changed since the start

    def __len__(self) -> int:
        return len(self._sessions)

    def __iter__(self) -> Iterator[KnownSession]:
        return iter(self._sessions)

    def get(self, key: SessionKey) -> KnownSession | None:
        """The session, or `None` when it was never heard of."""
        return self._sessions.get(key)

    def status_of(self, key: SessionKey) -> Status | None:
        """Its status, `None` when it was never heard of; cheap, without looking into it."""
        return self._sessions.status_of(key)

    def put(self, session: KnownSession) -> None:
        """Know this session from now on, in place of what was known of it."""
        key = session.key
        if session.status is Status.REMOVED:
            self._remember_signer(key)
        self._revise(key)
        before = self._sessions.status_of(key)
        if session.since is None:
            session = replace(session, since=self._since(key, before) or session.updated_at)
        self._count(key, before, -1)
        self._sessions.put(session)
        self._count(key, session.status, 1)
        if session.block is not None and session.block >= self._mined_at.get(key, session.block + 1):
            del self._mined_at[key]

    def _since(self, key: SessionKey, status: Status | None) -> float | None:
        """When the session was first known; one that was removed and is granted again begins anew."""
        known = None if status in (None, Status.REMOVED) else self._sessions.get(key)
        return None if known is None else known.since

    def signer_of(self, key: SessionKey) -> Signer | None:
        """Who signs for a session, or did before it was removed, as far as that is still known."""
        known = self._sessions.get(key)
        if known is not None and known.state is not None and known.state.session_validator is not None:
            return Signer(known.state.session_validator, known.state.session_validator_init_data)
        return self._former_signers.get(key)

    def _remember_signer(self, key: SessionKey) -> None:
        # the module forgets the key of a session that is removed; ops want to know whether its holder still tries
        if (signer := self.signer_of(key)) is None:
            return
        self._former_signers[key] = signer
        if len(self._former_signers) > _FORMER_SIGNERS:
            del self._former_signers[next(iter(self._former_signers))]

    def revision(self, key: SessionKey) -> int:
        """Grows whenever something changes of what is known of the session, or of what was used of its declaration."""
        return self._revisions.get(key, 0)

    def is_frozen(self, key: SessionKey) -> bool:
        """Whether ops hold the session."""
        return self.freezes.on(key) is not None

    def _revise(self, key: SessionKey) -> None:
        self._revisions[key] = self._revisions.get(key, 0) + 1

    def held_by(self, chain_id: int, module: Address, account: Address) -> tuple[KnownSession, ...]:
        """The sessions known of an account at one module."""
        held = (key for key in self._sessions.of_account(account) if (key.chain_id, key.module) == (chain_id, module))
        return self._known(held)

    def knows_account(self, account: Address) -> bool:
        """Whether a session of this account is known, on whichever chain."""
        return bool(self._sessions.of_account(account))

    def keys_of(self, chain_id: int, account: Address) -> list[SessionKey]:
        """The names of the sessions of an account on a chain, at every module; the one heard of last comes last."""
        return [key for key in self._sessions.of_account(account) if key.chain_id == chain_id]

    def declared_by_account(self, chain_id: int, account: Address) -> tuple[DeclaredSession, ...]:
        """The declared sessions of an account."""
        return self._declared_of.get((chain_id, account), ())

    def keys(self) -> Iterator[SessionKey]:
        """The name of every session; cheap, unlike going through the sessions themselves."""
        return self._sessions.keys()

    def counts(self) -> Mapping[Status, int]:
        """How many sessions are known in each status."""
        counts = dict.fromkeys(Status, 0)
        for (_, status), number in self._counts.items():
            counts[status] += number
        return counts

    def counts_by_chain(self) -> Mapping[tuple[int, Status], int]:
        """How many sessions are known, by chain id and status."""
        return dict(self._counts)

    def restore(self, key: SessionKey, packed: PackedSession) -> None:
        """Know a session as a restart found it, without looking into it."""
        self._sessions.put_packed(key, packed)
        self._count(key, packed.status, 1)

    def forget_removed(self, before: float) -> int:
        """Know nothing any more of the sessions removed before a time (unix seconds); how many they were."""
        old = self._sessions.removed_before(before)
        for key in old:
            self._forget(key)
        return len(old)

    def _forget(self, key: SessionKey) -> None:
        self._count(key, self._sessions.status_of(key), -1)
        self._sessions.remove(key)
        self._mined_at.pop(key, None)

    def _count(self, key: SessionKey, status: Status | None, number: int) -> None:
        if status is not None:
            name = (key.chain_id, status)
            self._counts[name] = self._counts.get(name, 0) + number

    def _known(self, keys: Iterable[SessionKey]) -> tuple[KnownSession, ...]:
        return tuple(known for key in keys if (known := self._sessions.get(key)) is not None)

    # sessions of the configuration

    def declare(self, sessions: Iterable[DeclaredSession]) -> None:
        """Know these declared sessions, and no others; what was used of the same actions stays counted."""
        self._declared.clear()
        self._declared_of.clear()
        for session in sessions:
            name = (session.chain_id, session.account, session.permission_id)
            self._declared[name] = (*self._declared.get(name, ()), session)
            owner = (session.chain_id, session.account)
            self._declared_of[owner] = (*self._declared_of.get(owner, ()), session)

    def declared(self, key: SessionKey) -> DeclaredSession | None:
        """The declaration that speaks of this session, if any."""
        for session in self._declared.get((key.chain_id, key.account, key.permission_id), ()):
            if session.covers(key):
                return session
        return None

    def declared_by_chain(self) -> Mapping[int, int]:
        """How many sessions are declared, by chain id."""
        counts: dict[int, int] = {}
        for (chain_id, _, _), sessions in self._declared.items():
            counts[chain_id] = counts.get(chain_id, 0) + len(sessions)
        return counts

    def declared_uses(self, counter: Counter) -> int:
        """What mined operations have used of a declared session's action."""
        return self._declared_uses.get(counter, 0)

    def restore_declared_uses(self, uses: Mapping[Counter, int]) -> None:
        """Take up the count where it was before a restart."""
        self._declared_uses.update(uses)

    # what operations in flight will change

    def expect(self, changes: Changes, now: float, *, session: SessionKey | None = None) -> tuple[KnownSession, ...]:
        """The bundler accepted an operation that will make these changes. Returns the sessions now pending.

        `session` is the one that signed it. A session in force stays as it is: a removal revokes, and a grant grants,
        when it is mined.
        """
        name = HoldName(changes.user_op_hash, session)
        if name in self._awaited:
            return ()
        awaited = _Awaited(changes, _holders(changes, session))
        self._awaited[name] = awaited
        for holder in awaited.holders:
            self._awaited_by.setdefault(holder, {})[name] = None
        pending = []
        for key, change in changes.granted():
            known = self._sessions.get(key)
            if known is None or known.status is Status.REMOVED:
                granted = KnownSession(
                    key=key,
                    status=Status.PENDING,
                    source=source_of(change),
                    # what the module keeps of a removed session, its enable nonce, still counts
                    state=None if known is None else known.state,
                    granted_by=changes.user_op_hash,
                    updated_at=now,
                )
                self.put(granted)
                pending.append(granted)
        return tuple(pending)

    def awaited(self, key: SessionKey) -> tuple[Hash32, ...]:
        """The accepted operations that may change this session, or what it has used, when they are mined.

        Oldest first; they are those of all sessions that the account has at the module.
        """
        return tuple(dict.fromkeys(name.user_op_hash for name in self._names_awaited(key)))

    def _names_awaited(self, key: SessionKey) -> Iterable[HoldName]:
        return self._awaited_by.get(_Holder(key.chain_id, key.module, key.account), ())

    def removal_awaited(self, key: SessionKey) -> bool:
        """Whether an accepted operation will remove this session."""
        return any(self._awaited[name].changes.removes(key) for name in self._names_awaited(key))

    def mined(
        self,
        user_op_hash: Hash32,
        *,
        success: bool,
        charges: Iterable[Charge] = (),
        session: SessionKey | None = None,
        block: int | None,
        now: float,
        counted: bool | None = None,
    ) -> tuple[KnownSession, ...]:
        """Make the changes of a mined operation and count what it used; returns the sessions that changed.

        What happened at validation, `charges` on `session` included, stands; what the calls did stands only with
        `success`. A session whose state was read at `block` or later has all of it already; `counted` knows better
        whether it has the charges, where that is known.
        """
        changes = self._stop_awaiting(HoldName(user_op_hash, session))
        touched: dict[SessionKey, None] = {}
        if changes is not None:
            for change in changes.at_validation:
                touched.update(dict.fromkeys(self._make(changes, change, block, now)))
        if session is not None and self._charge(session, tuple(charges), block, now, counted):
            touched[session] = None
        if changes is not None:
            for change in changes.on_success if success else ():
                touched.update(dict.fromkeys(self._make(changes, change, block, now)))
            touched.update(dict.fromkeys(self._discard_grants(changes, now)))
        return self._known(touched)

    def adds_charges(self, session: SessionKey | None, block: int | None, *, counted: bool | None = None) -> bool:
        """Whether what an operation of `session`, mined at `block`, has used is still to be added to what is known;
        otherwise its reading has that already, or there is none to add to."""
        known = None if session is None else self._sessions.get(session)
        return known is not None and known.state is not None and not _has_charges(known, block, counted)

    def mined_at(self, key: SessionKey) -> int | None:
        """The newest block in which an operation used or changed this session, if that is after its last reading."""
        return self._mined_at.get(key)

    def forget_block(self, key: SessionKey) -> None:
        """At which block a session was read does not say any more what its reading has counted."""
        known = self._sessions.get(key)
        if known is not None and known.block is not None:
            self.put(replace(known, block=None))

    def unmined(
        self,
        changes: Changes,
        *,
        charges: Iterable[Charge] = (),
        session: SessionKey | None = None,
        added: bool,
        readable: bool,
        now: float,
    ) -> tuple[KnownSession, ...]:
        """The chain has taken a mined operation back: it has used nothing yet, and changed nothing.

        Use that was `added` is taken off again. What it changed cannot be undone here: where the node is `readable`,
        the sessions concerned have to be read before they are judged again; otherwise they stay as they are, for the
        operation will be mined anew. Returns the sessions that changed.
        """
        charged = tuple(charges)
        for charge in charged:
            if charge.counter.policy == DECLARED_POLICY:
                left = self._declared_uses.get(charge.counter, 0) - charge.amount
                self._declared_uses[charge.counter] = max(left, 0)
                if session is not None:
                    self._revise(session)
        touched: dict[SessionKey, None] = {} if session is None else {session: None}
        for change in changes.that_stand(success=True):
            touched |= dict.fromkeys(self._keys_touched(changes, change))
        unmade = []
        for key in touched:
            known = self._sessions.get(key)
            self._mined_at.pop(key, None)
            if known is None or known.state is None or known.status is not Status.IN_FORCE:
                continue
            if readable:
                self.put(replace(known, state=None, block=None, updated_at=now))
            elif key == session and added:
                on_chain = [each for each in charged if each.counter.policy != DECLARED_POLICY]
                self.put(replace(known, state=known.state.without_charges(on_chain), updated_at=now))
            else:
                continue
            unmade.append(key)
        return self._known(unmade)

    def dropped(self, name: HoldName, now: float) -> tuple[KnownSession, ...]:
        """The operation will never be mined under this claim: what only it would have granted is not pending any more.

        Returns the sessions that changed.
        """
        changes = self._stop_awaiting(name)
        if changes is None:
            return ()
        return self._known(self._discard_grants(changes, now))

    def _stop_awaiting(self, name: HoldName) -> Changes | None:
        awaited = self._awaited.pop(name, None)
        if awaited is None:
            return None
        for holder in awaited.holders:
            waiting = self._awaited_by[holder]
            del waiting[name]
            if not waiting:
                del self._awaited_by[holder]
        return awaited.changes

    def _make(self, changes: Changes, change: SessionChange, block: int | None, now: float) -> list[SessionKey]:
        made = []
        for key in self._keys_touched(changes, change):
            known = self._sessions.get(key)
            if known is not None and read_since(known, block):
                continue
            self.note_block(key, block)
            after = after_change(known, key, change, now)
            if after is not None:
                self.put(after)
                made.append(key)
        return made

    def _keys_touched(self, changes: Changes, change: SessionChange) -> tuple[SessionKey, ...]:
        if not isinstance(change, SessionsCleared | Unreadable):
            return changes.keys(change)
        held = self._sessions.of_account(changes.account)
        return tuple(key for key in held if (key.chain_id, key.module) == (changes.chain_id, change.module))

    def _charge(
        self, key: SessionKey, charges: tuple[Charge, ...], block: int | None, now: float, counted: bool | None
    ) -> bool:
        on_chain = []
        for charge in charges:
            if charge.counter.policy == DECLARED_POLICY:
                self._declared_uses[charge.counter] = self._declared_uses.get(charge.counter, 0) + charge.amount
                self._revise(key)
            else:
                on_chain.append(charge)
        known = self._sessions.get(key)
        if not on_chain or known is None or _has_charges(known, block, counted):
            return False
        self.note_block(key, block)
        if known.state is None:
            return False
        self.put(replace(known, state=known.state.with_charges(on_chain), updated_at=now))
        return True

    def note_block(self, key: SessionKey, block: int | None) -> None:
        if block is not None:
            self._mined_at[key] = max(block, self._mined_at.get(key, block))

    def _discard_grants(self, changes: Changes, now: float) -> list[SessionKey]:
        """A session still pending for want of this operation is not coming any more, unless another one grants it."""
        discarded = []
        for key, _ in changes.granted():
            known = self._sessions.get(key)
            if known is None or known.status is not Status.PENDING or known.granted_by != changes.user_op_hash:
                continue
            other = self._grant_awaited(key)
            if other is None:
                never = SessionState(key=key) if known.state is None else known.state
                known = replace(known, status=Status.REMOVED, state=never)
            self.put(replace(known, granted_by=other, updated_at=now))
            discarded.append(key)
        return discarded

    def granted_state(self, key: SessionKey) -> SessionState | None:
        """How a pending session will stand when its grant has been mined; `None` for what cannot be told."""
        known = self._sessions.get(key)
        if known is None or known.granted_by is None:
            return None
        name = next((each for each in self._names_awaited(key) if each.user_op_hash == known.granted_by), None)
        if name is None:
            return None
        state: SessionState | Revert = SessionState(key=key) if known.state is None else known.state
        for granted, change in self._awaited[name].changes.granted():
            if granted == key and isinstance(state, SessionState):
                state = make_change(state, change)
        return state if isinstance(state, SessionState) else None

    def _grant_awaited(self, key: SessionKey) -> Hash32 | None:
        for name in self._names_awaited(key):
            if any(granted == key for granted, _ in self._awaited[name].changes.granted()):
                return name.user_op_hash
        return None


def _has_charges(known: KnownSession, block: int | None, counted: bool | None) -> bool:
    return read_since(known, block) if counted is None else counted and known.state is not None


def _holders(changes: Changes, session: SessionKey | None) -> frozenset[_Holder]:
    holders = {_Holder(changes.chain_id, module, changes.account) for module in changes.modules()}
    if session is not None:
        holders.add(_Holder(session.chain_id, session.module, session.account))
    return frozenset(holders)
