"""Which sessions are known, what state each is in, and what operations in flight will make of them.

An index in memory and nothing more: the chain, the clock and the disk are other rooms'. A session is known by chain,
module, account and permission id together, because any account may hold the same permission id.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import islice
from typing import Final

from proxy.session.awaited import AwaitedChanges
from proxy.session.changes import Changes, SessionChange, make_change
from proxy.session.counters import Charge, HoldName, SessionKey
from proxy.session.declarations import Declarations
from proxy.session.declared import DECLARED_POLICY
from proxy.session.directory import Directory, StandsSince
from proxy.session.former_signers import FormerSigners, Signer
from proxy.session.freezes import Freezes
from proxy.session.granted import is_granted
from proxy.session.known import KnownSession, Source, Status, after_change, read_since, source_of
from proxy.session.revert import Revert
from proxy.session.shelf import PackedSession, Shelf
from proxy.session.state import SessionState
from proxy.userop.acts import SessionsCleared, Unreadable
from proxy.userop.declared_acts import DeclaredGrant
from proxy.userop.primitives import Address, Hash32

_FORGOTTEN_AT_ONCE: Final = 500

_MOST_ASKED: Final = 4
"""Of so many operations it is worth asking what became of them before a session is judged."""

__all__ = ["KnownSession", "Registry", "Source", "Status"]


class Registry:
    """The index. Look-ups take the same time however many sessions there are."""

    def __init__(self) -> None:
        self.freezes = Freezes()
        self.declarations = Declarations()
        self._sessions = Shelf()
        self.get: Callable[[SessionKey], KnownSession | None] = self._sessions.get
        """The session, or `None` when it was never heard of. The shelf's own, as each operation asks several times."""
        self.directory = Directory()
        self._mined_at: dict[SessionKey, int] = {}
        self._former_signers = FormerSigners()
        self._awaited = AwaitedChanges()
        self.uses: Callable[[HoldName], None] = self._awaited.use
        """The bundler accepted an operation that will use its session, and change nothing."""
        self.used: Callable[[HoldName], object] = self._awaited.take
        """One was mined that has used its session, and neither changes nor charges anything."""
        self._revisions: dict[SessionKey, int] = {}  # of those that changed since the start

    def __len__(self) -> int:
        return len(self._sessions)

    def __iter__(self) -> Iterator[KnownSession]:
        return iter(self._sessions)

    def peek(self, key: SessionKey) -> KnownSession | None:
        """The same for a look in passing, at many."""
        return self._sessions.peek(key)

    def status_of(self, key: SessionKey) -> Status | None:
        """Its status, `None` when it was never heard of; cheap, without looking into it."""
        return self._sessions.status_of(key)

    def block_of(self, key: SessionKey) -> int | None:
        """At which block it was read, or told of; cheap, without looking into it."""
        return self._sessions.block_of(key)

    def put(self, session: KnownSession) -> None:
        """Know this session from now on, in place of what was known of it."""
        key = session.key
        if session.status is Status.REMOVED and (signer := self.signer_of(key)) is not None:
            self._former_signers.remember(key, signer)
        self.revise(key)
        before = self._sessions.standing_of(key)
        if session.since is None:
            status = None if before is None else before.status
            session = replace(session, since=self._since(key, status) or session.updated_at)
        self._sessions.put(session)
        self.directory.changed(key, before, StandsSince(session.status, session.updated_at))
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

    def revision(self, key: SessionKey) -> int:
        """Grows whenever something changes of what is known of the session, or of what was used of its declaration."""
        return self._revisions.get(key, 0)

    def is_frozen(self, key: SessionKey) -> bool:
        """Whether ops hold the session."""
        return self.freezes.any and self.freezes.on(key) is not None

    def revise(self, key: SessionKey) -> None:
        """What is known of it counts together with something that has changed: whoever reads or judges it just now did
        not know of that."""
        self._revisions[key] = self._revisions.get(key, 0) + 1

    def held_by(self, chain_id: int, module: Address, account: Address) -> tuple[SessionKey, ...]:
        """The names of the sessions of an account at one module."""
        return self.directory.of_account(chain_id, module, account)

    def knows_account(self, account: Address) -> bool:
        """Whether a session of this account is known, on whichever chain."""
        return self.directory.knows_account(account)

    def keys(self) -> Iterator[SessionKey]:
        """The name of every session; cheap, unlike going through the sessions themselves."""
        return self._sessions.keys()

    def counts(self) -> Mapping[Status, int]:
        """How many sessions are known in each status."""
        counts = dict.fromkeys(Status, 0)
        for (_, status), number in self.directory.counts().items():
            counts[status] += number
        return counts

    def restore(self, key: SessionKey, packed: PackedSession) -> None:
        """Know a session as a restart found it, without looking into it."""
        key = self._sessions.put_packed(key, packed)
        self.directory.changed(key, None, StandsSince(packed.status, packed.updated_at))

    def forget_removed(self, before: float) -> int:
        """Know nothing any more of sessions removed before a time (unix seconds), of so many as one turn of a loop may
        be about; how many they were."""
        old = list(islice(self.directory.removed_before(before), _FORGOTTEN_AT_ONCE))
        for key in old:
            self._forget(key)
        return len(old)

    def _forget(self, key: SessionKey) -> None:
        self.directory.changed(key, self._sessions.standing_of(key), None)
        self._sessions.remove(key)
        self._mined_at.pop(key, None)

    def _known(self, keys: Iterable[SessionKey]) -> tuple[KnownSession, ...]:
        return tuple(known for key in keys if (known := self._sessions.get(key)) is not None)

    # what operations in flight will change

    def expect(self, changes: Changes, now: float, name: HoldName | None = None) -> tuple[KnownSession, ...]:
        """The bundler accepted an operation that will make these changes. Returns the sessions now pending.

        `name` is that of the operation and its claim; without one no session signed it. A session in force stays as it
        is: a removal revokes, and a grant grants, when it is mined.
        """
        name = name or HoldName(changes.user_op_hash, None)
        if not self._awaited.add(changes, name):
            return ()  # nearly always
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

    def awaited(self, key: SessionKey, most: int = _MOST_ASKED) -> tuple[Hash32, ...]:
        """The accepted operations that may change this session, or what it has used, when they are mined.

        Oldest first, so many at `most`; they are those of all sessions that the account has at the module.
        """
        found: dict[Hash32, None] = {}
        for user_op_hash in self._awaited.oldest(key):
            found[user_op_hash] = None
            if len(found) == most:
                break
        return tuple(found)

    def removal_awaited(self, key: SessionKey) -> bool:
        """Whether an accepted operation will remove this session."""
        return self._awaited.removes(key)

    def mined(
        self,
        name: HoldName,
        *,
        success: bool,
        charges: Iterable[Charge] = (),
        block: int | None,
        now: float,
        counted: bool | None = None,
    ) -> tuple[KnownSession, ...]:
        """Make the changes of a mined operation and count what it used; returns the sessions that changed.

        What happened at validation, `charges` on its session included, stands; what the calls did stands only with
        `success`. A session whose state was read at `block` or later has all of it already; `counted` knows better
        whether it has the charges, where that is known.
        """
        changes, session = self._awaited.take(name), name.session
        if not (charges or changes):
            return ()  # nearly always: it has used its session, which no policy counts
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

    def mined_at(self, key: SessionKey) -> int | None:
        """The newest block in which an operation used or changed this session, if that is after its last reading."""
        return self._mined_at.get(key)

    def forget_block(self, key: SessionKey) -> None:
        """At which block a session was read does not say any more what its reading has counted."""
        if self._sessions.block_of(key) is not None:
            self.revise(key)
            self._sessions.forget_block(key)

    def began_at(self, keys: Iterable[SessionKey], block: int) -> None:
        """The chain is followed from this block on: whatever was known of these sessions, only what is read at it or
        later counts. The blocks at which they were read may have been another chain's."""
        for key in keys:
            self.revise(key)
            self._sessions.forget_block(key)
            self._mined_at[key] = block

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
                self.declarations.take_back(charge)
                if session is not None:
                    self.revise(session)
        touched: dict[SessionKey, None] = {} if session is None else {session: None}
        for change in changes.that_stand(success=True):
            touched |= dict.fromkeys(self.keys_touched(changes, change))
        told = {key for key, change in changes.granted() if isinstance(change, DeclaredGrant)}
        unmade = []
        for key in touched:
            known = self._sessions.get(key)
            self._mined_at.pop(key, None)
            if known is None or known.state is None or known.status is not Status.IN_FORCE:
                continue
            if readable and not is_granted(known.state):
                self.put(replace(known, state=None, block=None, updated_at=now))
            elif key in told and known.source is Source.GRANT:
                # no event of its module takes that back
                self.put(replace(known, status=Status.PENDING, granted_by=changes.user_op_hash, updated_at=now))
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
        changes = self._awaited.take(name)
        if changes is None:
            return ()
        return self._known(self._discard_grants(changes, now))

    def _make(self, changes: Changes, change: SessionChange, block: int | None, now: float) -> list[SessionKey]:
        made = []
        for key in self.keys_touched(changes, change):
            known = self._sessions.get(key)
            if known is not None and read_since(known, block):
                continue
            self.note_block(key, block)
            after = after_change(known, key, change, now)
            if after is not None:
                self.put(after)
                made.append(key)
        return made

    def keys_touched(self, changes: Changes, change: SessionChange) -> tuple[SessionKey, ...]:
        """The sessions that one of the changes is about, known or not; of one that names none, those that are known."""
        if not isinstance(change, SessionsCleared | Unreadable):
            return changes.keys(change)
        known = self.directory.of_account(changes.chain_id, change.module, changes.account)
        declared = self.declarations.at_declared(changes.chain_id, change.module, changes.account)
        return (*known, *(key for key in declared if key not in known))

    def _charge(
        self, key: SessionKey, charges: tuple[Charge, ...], block: int | None, now: float, counted: bool | None
    ) -> bool:
        on_chain = []
        for charge in charges:
            if charge.counter.policy == DECLARED_POLICY:
                self.declarations.charge(charge)
                self.revise(key)
            else:
                on_chain.append(charge)
        known = self._sessions.get(key)
        if on_chain and known is not None and not read_since(known, block):
            self.note_block(key, block)  # though it be counted: at which block that was read may be forgotten
        if not on_chain or known is None or known.state is None or _has_charges(known, block, counted):
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
            other = self._awaited.grants(key)
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
        state: SessionState | Revert = SessionState(key=key) if known.state is None else known.state
        changes = self._awaited.granted_by(known.granted_by, key)
        for change in changes:
            if isinstance(state, SessionState):
                state = make_change(state, change)
        return state if changes and isinstance(state, SessionState) else None


def adds_charges(known: KnownSession | None, block: int | None, *, counted: bool | None = None) -> bool:
    """Whether what an operation mined at `block` has used is still to be added to what is known of its session;
    otherwise its reading has that already, or there is none to add to. `counted` as `Registry.mined` has it."""
    return known is not None and known.state is not None and not _has_charges(known, block, counted)


def _has_charges(known: KnownSession, block: int | None, counted: bool | None) -> bool:
    if known.state is not None and is_granted(known.state):
        return False  # no event of a declared module tells what was used
    return read_since(known, block) if counted is None else counted and known.state is not None
