"""Sessions of modules that the settings declare: what a grant makes of one, and the verdict on an operation of it.

A grant's terms stand in the state where policies of published modules stand, under a policy address of our own, so
that they are kept, counted and held for operations in flight by what does that for every session.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Final

from proxy.errors import Reason
from proxy.record import record
from proxy.session import reasons
from proxy.session.addresses import MODULE_GRANT
from proxy.session.counters import Charge, Counter, Meter, merge_charges
from proxy.session.declared import call_in_words, declared_scope, fault_of_execution, is_self_call
from proxy.session.outcome import Accepted, Refused
from proxy.session.policies.policy import Initialised, PolicyConfig, over_limit
from proxy.session.signers import SignatureCheck, SignatureOutcome
from proxy.session.state import ConfigId, SessionState, SessionStatus
from proxy.session.validity import UINT48_MAX, Window
from proxy.userop.budget import POLICY, Budget, Overspent
from proxy.userop.declared_acts import DeclaredGrant, DeclaredRevocation, GrantedTerms
from proxy.userop.decode import DecodedOperation
from proxy.userop.execution import Call
from proxy.userop.key_forms import KEY_FORMS
from proxy.userop.primitives import Address, Hash32, Selector, print_bytes, print_checksummed
from proxy.userop.session_data import action_id_of

USES_SLOT: Final = b"uses"
VALUE_SLOT: Final = b"value"
ANY_SELECTOR: Final = Selector(b"")
"""Stands for every function of a target in the id of an action; no call has such a selector."""
_NO_DATA: Final = Selector(bytes(4))
"""What a module sees as the selector of a call without data."""
_NAME: Final = "grant of the module"


@record()
class GrantedAction(PolicyConfig):
    """The terms of one action, or of all of them together, where `target` is `None`."""

    target: Address | None
    selector: Selector | None
    terms: GrantedTerms


def is_granted(state: SessionState) -> bool:
    """Whether the session is in force at a declared module."""
    return state.enabled and state.session_validator in KEY_FORMS


def granted(state: SessionState, grant: DeclaredGrant) -> SessionState:
    """The session after a grant. Whatever it names again is counted afresh."""
    after = state if grant.adds and is_granted(state) else SessionState(key=state.key, told_at=state.told_at)
    after = replace(
        after,
        status=SessionStatus.ENABLED,
        session_validator=grant.signer,
        session_validator_init_data=bytes(grant.session_key),
        permits_paymaster=True,
    )
    if grant.terms != GrantedTerms():
        after = replace(after, user_op_policies=(MODULE_GRANT,))
        after = _with_terms(after, after.user_op_config_id, GrantedAction(None, None, grant.terms))
    for call in grant.calls:
        action_id = action_id_of(call.target, ANY_SELECTOR if call.selector is None else call.selector)
        after = replace(after, actions={**after.actions, action_id: (MODULE_GRANT,)})
        if call.selector is not None:
            after = replace(after, targets={**after.targets, action_id: (call.target, call.selector)})
        action = GrantedAction(call.target, call.selector, call.terms)
        after = _with_terms(after, after.action_config_id(action_id), action)
    return after


def _with_terms(state: SessionState, config_id: Hash32, action: GrantedAction) -> SessionState:
    return state.with_policy_config(MODULE_GRANT, config_id, Initialised(action))


def left_after(state: SessionState, revocation: DeclaredRevocation) -> SessionState | None:
    """The session without what a revocation takes from it; `None` where nothing is left of it."""
    if revocation.target is None or not is_granted(state):
        return None
    gone = {
        action_id
        for action_id in state.actions
        if (action := _action_at(state, action_id)) is not None
        and action.target == revocation.target
        and revocation.selector in (None, action.selector)
    }
    actions = {each: policies for each, policies in state.actions.items() if each not in gone}
    configs = {ConfigId(MODULE_GRANT, state.action_config_id(each)) for each in gone}
    kept = {name: config for name, config in state.configs.items() if name not in configs}
    used = {
        counter: use
        for counter, use in state.used.items()
        if ConfigId(counter.policy, counter.config_id) not in configs
    }
    targets = {each: target for each, target in state.targets.items() if each not in gone}
    return replace(state, actions=actions, configs=kept, used=used, targets=targets) if actions else None


def judge_granted(
    operation: DecodedOperation,
    state: SessionState,
    *,
    in_flight: Callable[[Counter], int] | None,
    now: int | None,
    check_signature: SignatureCheck | None,
    budget: Budget | None = None,
) -> Accepted | Refused:
    """Hold an operation against what the module granted; see `enforce` for the arguments.

    The signature comes first: whoever has not got the key learns nothing.
    """
    if check_signature is not None and (unsigned := _refused_unsigned(operation, state, check_signature)) is not None:
        return Refused(reason=unsigned)
    if (fault := fault_of_execution(operation)) is not None:
        return Refused(reason=fault)
    run = _GrantRun(state=state, in_flight=in_flight, budget=Budget() if budget is None else budget)
    try:
        for index, call in enumerate(operation.calls):
            if (refusal := run.refusal(call)) is not None:
                return Refused(reason=reasons.at_call(refusal, index, len(operation.calls)))
    except Overspent as overspent:
        return Refused(reason=reasons.overspent(overspent))
    window = Window(run.valid_after, run.valid_until)
    if now is not None and not window.holds(now, operation.entry_point.version):
        return Refused(reason=reasons.outside_window(window, now))
    return Accepted(
        valid_after=window.valid_after,
        valid_until=window.valid_until,
        charges=merge_charges(run.charges),
        enabled=state,
    )


def used_past_the_gate(state: SessionState, calls: Iterable[Call]) -> SessionState:
    """The session after a mined operation that nobody here judged: it has used what its calls use."""
    if not is_granted(state):
        return state
    run = _GrantRun(state=state, in_flight=None, budget=Budget())
    for call in calls:
        run.count(call)
    return state.with_charges(merge_charges(run.charges))


def _refused_unsigned(operation: DecodedOperation, state: SessionState, check: SignatureCheck) -> Reason | None:
    validator, claim = state.session_validator, operation.claim
    if validator is None or claim is None:
        raise ValueError("the operation is of no session in force")
    key = state.session_validator_init_data
    verdict = check(validator, key, operation.user_op_hash, claim.envelope.signature)
    return None if verdict.outcome is SignatureOutcome.VALID else reasons.unsigned_by_key(validator, Address(key))


def _action_at(state: SessionState, action_id: Hash32) -> GrantedAction | None:
    config = state.configs.get(ConfigId(MODULE_GRANT, state.action_config_id(action_id)))
    return config if isinstance(config, GrantedAction) else None


@dataclass(slots=True, kw_only=True)
class _GrantRun:
    """The calls of one operation, one after the other, with what they count carried along."""

    state: SessionState
    in_flight: Callable[[Counter], int] | None
    budget: Budget
    valid_after: int = 0
    valid_until: int = UINT48_MAX
    charges: list[Charge] = field(default_factory=list)
    _used: set[Hash32] = field(default_factory=set)  # where a use of this operation was counted
    _pending: dict[Counter, int] = field(default_factory=dict)

    def refusal(self, call: Call) -> Reason | None:
        """Why this call is not granted; otherwise it is counted."""
        self.budget.draw(POLICY)
        if is_self_call(call, self.state.key.account):
            return reasons.self_execute()
        places = self._places(call)
        if places is None:
            return declared_scope(
                f"{call_in_words(call)} is not among what the module granted this session",
                "call what was granted, or have the owner grant it",
                got=f"{print_checksummed(call.target)} {print_bytes(call.selector)}",
                policy=_NAME,
            )
        for config_id, terms in places:
            self.valid_after = max(self.valid_after, terms.valid_after)
            self.valid_until = min(self.valid_until, terms.valid_until)
            refusal = self._over(call, config_id, terms)
            if refusal is not None:
                return refusal
        self.count(call)
        return None

    def count(self, call: Call) -> None:
        """What the call uses, whether it is granted or not."""
        for config_id, terms in self._places(call) or ():
            if terms.max_uses is not None and not self._is_counted(config_id, terms):
                self._charge(config_id, USES_SLOT, 1, terms.max_uses)
                self._used.add(config_id)
            if terms.max_total is not None and call.value:
                self._charge(config_id, VALUE_SLOT, call.value, terms.max_total)

    def _is_counted(self, config_id: Hash32, terms: GrantedTerms) -> bool:
        """Whether another call of this operation has used what it uses, where operations are counted."""
        return terms.per_operation and config_id in self._used

    def _places(self, call: Call) -> list[tuple[Hash32, GrantedTerms]] | None:
        """The terms that hold for a call, and where they are counted; `None` where it is not granted."""
        state = self.state
        seen = Selector(call.data[:4]) if len(call.data) >= 4 else _NO_DATA
        for selector in (seen, ANY_SELECTOR):
            action_id = action_id_of(call.target, selector)
            if (action := _action_at(state, action_id)) is not None:
                break
        else:
            return None
        places = [(state.action_config_id(action_id), action.terms)]
        whole = state.configs.get(ConfigId(MODULE_GRANT, state.user_op_config_id))
        if isinstance(whole, GrantedAction):
            places.append((state.user_op_config_id, whole.terms))
        return places

    def _over(self, call: Call, config_id: Hash32, terms: GrantedTerms) -> Reason | None:
        if terms.max_value is not None and call.value > terms.max_value:
            return declared_scope(
                f"{call_in_words(call)} sends {call.value} wei, {terms.max_value} are allowed per call",
                f"send at most {terms.max_value} wei",
                wanted=str(terms.max_value),
                got=str(call.value),
                policy=_NAME,
            )
        meter = Meter(
            self.state.config_key(MODULE_GRANT, config_id), self.state.used, self._pending, self.in_flight, self.budget
        )
        uses_more = terms.max_uses is not None and not self._is_counted(config_id, terms)
        if terms.max_uses is not None and uses_more and meter.used(USES_SLOT) + 1 > terms.max_uses:
            usage = meter.usage(USES_SLOT)
            return over_limit(_NAME, "one more use", 1, terms.max_uses, usage=usage, unit="uses")
        if terms.max_total is not None and call.value and meter.used(VALUE_SLOT) + call.value > terms.max_total:
            usage = meter.usage(VALUE_SLOT)
            return over_limit(_NAME, f"{call.value} wei", call.value, terms.max_total, usage=usage, unit="wei")
        return None

    def _charge(self, config_id: Hash32, slot: bytes, amount: int, limit: int) -> None:
        counter = Counter(*self.state.config_key(MODULE_GRANT, config_id), slot)
        self.charges.append(Charge(counter, amount, limit))
        self._pending[counter] = self._pending.get(counter, 0) + amount
