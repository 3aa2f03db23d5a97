"""What an operation will do to sessions once it is mined, taken from its one reading.

Two kinds of change: what happens while the operation is validated (the account's birth, a module installed by the
signature, an ENABLE envelope) stands whenever the operation is mined; what its calls do stands only when its
execution succeeds.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import replace

from proxy.record import record
from proxy.session import granted, transitions
from proxy.session.counters import SessionKey
from proxy.session.revert import Revert
from proxy.session.state import SessionState
from proxy.userop.acts import (
    Act,
    ActionDisabled,
    ActionPoliciesDisabled,
    ActionPoliciesEnabled,
    EmissaryConfigRemoved,
    EmissaryConfigSet,
    EnableSignatureRevoked,
    Erc1271PoliciesDisabled,
    Erc1271PoliciesEnabled,
    PaymasterPermitted,
    SessionAct,
    SessionRemoved,
    SessionsCleared,
    SessionsEnabled,
    Unreadable,
    UserOpPoliciesDisabled,
    UserOpPoliciesEnabled,
)
from proxy.userop.declared_acts import DeclaredGrant, DeclaredRevocation
from proxy.userop.decode import DecodedOperation
from proxy.userop.execution import Call
from proxy.userop.primitives import Address, Hash32
from proxy.userop.session_data import SessionData


@record()
class SessionEnabled:
    """An ENABLE envelope: the session comes into force at validation, and the enable nonce grows by one.

    `nonce` is the one the owner signed for, where it is known.
    """

    module: Address
    session: SessionData
    nonce: int | None = None


@record()
class UsedPastGate:
    """A mined operation of a declared module's session that did not come through here: nobody else counts it."""

    module: Address
    permission_id: Hash32
    calls: tuple[Call, ...]


SessionChange = SessionAct | SessionEnabled | UsedPastGate | Unreadable
Grant = SessionsEnabled | SessionEnabled | DeclaredGrant
"""What brings a session into force, or adds to it."""
_Edit = (
    UserOpPoliciesEnabled
    | UserOpPoliciesDisabled
    | ActionPoliciesEnabled
    | ActionPoliciesDisabled
    | ActionDisabled
    | Erc1271PoliciesEnabled
    | Erc1271PoliciesDisabled
    | PaymasterPermitted
)


@record(kw_only=True)
class Changes:
    """The changes one accepted operation will make to sessions of its sender, in the order the chain makes them."""

    user_op_hash: Hash32
    chain_id: int
    account: Address
    at_validation: tuple[SessionChange, ...] = ()
    on_success: tuple[SessionChange, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.at_validation or self.on_success)

    def that_stand(self, *, success: bool) -> tuple[SessionChange, ...]:
        """What a mined operation has changed; `success` is that of its execution."""
        return self.at_validation + self.on_success if success else self.at_validation

    def modules(self) -> tuple[Address, ...]:
        """The session modules whose sessions may change."""
        return tuple(dict.fromkeys(change.module for change in self.that_stand(success=True)))

    def granted(self) -> Iterator[tuple[SessionKey, SessionChange]]:
        """The sessions that will come into force or be added to, each with the change that does it."""
        for change in self.that_stand(success=True):
            if isinstance(change, Grant):
                for key in self.keys(change):
                    yield key, change

    def keys(self, change: SessionChange) -> tuple[SessionKey, ...]:
        """The sessions that a change names; none for one that touches all of a module."""
        return tuple(
            SessionKey(self.chain_id, change.module, self.account, permission_id)
            for permission_id in _permission_ids(change)
        )

    def removes(self, key: SessionKey) -> bool:
        """Whether the session will be gone when every change has been made."""
        removed = False
        if self.account == key.account and self.chain_id == key.chain_id:
            for change in self.that_stand(success=True):
                if change.module == key.module:
                    removed = _leaves_removed(change, key.permission_id, removed)
        return removed


def _leaves_removed(change: SessionChange, permission_id: Hash32, removed: bool) -> bool:
    if isinstance(change, SessionsCleared):
        return True
    if permission_id not in _permission_ids(change):
        return removed
    if isinstance(change, SessionRemoved):
        return True
    if isinstance(change, DeclaredRevocation):
        return removed or change.target is None
    return removed and not isinstance(change, Grant)


def _permission_ids(change: SessionChange) -> tuple[Hash32, ...]:
    if isinstance(change, SessionsEnabled):
        return tuple(dict.fromkeys(session.permission_id for session in change.sessions))
    if isinstance(change, SessionEnabled):
        return (change.session.permission_id,)
    if isinstance(change, SessionsCleared | Unreadable):
        return ()
    return (change.permission_id,)


def changes_of(
    decoded: DecodedOperation, session_modules: Collection[Address], *, enable_nonce: int | None = None
) -> Changes:
    """The changes an operation will make; empty (and false) for one that grants, edits and removes nothing.

    `enable_nonce` is the nonce by which an ENABLE envelope was judged, where it is known.
    """
    claim = decoded.claim
    if not decoded.acts and (claim is None or claim.envelope.enable is None):  # nearly always
        return Changes(user_op_hash=decoded.user_op_hash, chain_id=decoded.chain_id, account=decoded.op.sender)
    early = changes_at_validation(decoded, session_modules, enable_nonce=enable_nonce)
    if not decoded.acts_of_calls:
        return early
    later = _of_sessions(decoded.acts[_first_of_calls(decoded) :], early.account, session_modules)
    return replace(early, on_success=later) if later else early


def changes_at_validation(
    decoded: DecodedOperation, session_modules: Collection[Address], *, enable_nonce: int | None = None
) -> Changes:
    """Of these, those that are made before any call: by the account's birth, by the signature and its envelope.

    What the calls do, which may be a great deal, is not looked at.
    """
    claim, account = decoded.claim, decoded.op.sender
    if not decoded.acts and (claim is None or claim.envelope.enable is None):  # nearly always
        return Changes(user_op_hash=decoded.user_op_hash, chain_id=decoded.chain_id, account=account)
    made = _of_sessions(decoded.acts[: _first_of_calls(decoded)], account, session_modules) if decoded.acts else ()
    if claim is not None and claim.envelope.enable is not None:
        made += (SessionEnabled(claim.module, claim.envelope.enable.session, enable_nonce),)
    return Changes(user_op_hash=decoded.user_op_hash, chain_id=decoded.chain_id, account=account, at_validation=made)


def _first_of_calls(decoded: DecodedOperation) -> int:
    """Where their acts begin: they come last in a reading."""
    return len(decoded.acts) - decoded.acts_of_calls


def _of_sessions(
    acts: Iterable[Act], account: Address, session_modules: Collection[Address]
) -> tuple[SessionChange, ...]:
    return tuple(change for act in acts if (change := _change_of(act, account, session_modules)) is not None)


def _change_of(act: Act, account: Address, session_modules: Collection[Address]) -> SessionChange | None:
    """What an act changes about sessions of `account`.

    The emissary also takes signed grants and removals for others from anybody. Those of another account change none
    of this one, and whether they are rightly signed is not known here.
    """
    match act:
        case EmissaryConfigSet() if act.account == account:
            return SessionsEnabled(act.module, (act.enable.session,))
        case EmissaryConfigRemoved() if act.account == account:
            return SessionRemoved(act.module, act.permission_id)
        case DeclaredGrant() | DeclaredRevocation():
            return act if act.account == account else None  # whether others may do that is not known here
        case Unreadable() if act.module in session_modules:
            return act
        case _:
            return act if isinstance(act, SessionAct) else None


def make_change(state: SessionState, change: SessionChange) -> SessionState | Revert:
    """What one change makes of one session, or how the module would have reverted. Of a grant of several sessions
    it takes the one that `state` is about."""
    match change:
        case SessionsEnabled():
            return _enabled(state, change.sessions)
        case SessionEnabled():
            # the nonce grows before the session is stored (SmartSession._enablePolicies)
            if change.nonce is not None:
                state = state.with_enable_nonce(change.nonce)
            return transitions.enable(transitions.revoke_enable_signature(state), change.session)
        case SessionRemoved() | SessionsCleared():
            return transitions.remove_session(state)
        case EnableSignatureRevoked():
            return transitions.revoke_enable_signature(state)
        case Unreadable():
            return Revert()
        case UsedPastGate():
            return granted.used_past_the_gate(state, change.calls)
        case DeclaredGrant():
            return granted.granted(state, change)
        case DeclaredRevocation():
            return granted.left_after(state, change) or transitions.emptied(state)
        case _:
            return _edited(state, change)


def _enabled(state: SessionState, sessions: Iterable[SessionData]) -> SessionState | Revert:
    after: SessionState | Revert = state
    for session in sessions:
        if session.permission_id == state.key.permission_id and isinstance(after, SessionState):
            after = transitions.enable(after, session)
    return after


def _edited(state: SessionState, change: _Edit) -> SessionState | Revert:
    """The functions that change a session in force."""
    match change:
        case UserOpPoliciesEnabled():
            return transitions.enable_user_op_policies(state, change.policies)
        case UserOpPoliciesDisabled():
            return transitions.disable_user_op_policies(state, change.policies)
        case ActionPoliciesEnabled():
            return transitions.enable_action_policies(state, change.actions)
        case ActionPoliciesDisabled():
            return transitions.disable_action_policies(state, change.action_id, change.policies)
        case ActionDisabled():
            return transitions.disable_action_id(state, change.action_id)
        case Erc1271PoliciesEnabled():
            return transitions.enable_erc1271_policies(state, change.erc7739_policies)
        case Erc1271PoliciesDisabled():
            return transitions.disable_erc1271_policies(state, change.policies)
        case PaymasterPermitted():
            return transitions.set_permit_4337_paymaster(state, change.permitted)
