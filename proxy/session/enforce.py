"""The session module's verdict on one operation, given everything in flight: SmartSession.validateUserOp.

The checks and their order are the contract's (erc7579/smartsessions `SmartSession._enforcePolicies`, `PolicyLib`).
The verdict is a value. Nothing is changed: what the operation would count is in the verdict, to be reserved.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from proxy.errors import Reason, Undecodable
from proxy.session import reasons
from proxy.session.addresses import MODULE_KINDS, ModuleKind
from proxy.session.bound import bound_terms
from proxy.session.counters import Counter
from proxy.session.enabling import Enabling
from proxy.session.facts import (
    Answers,
    MissingFact,
    PaymasterFlagFact,
    SessionSignatureFact,
    SessionValidatorFact,
)
from proxy.session.granted import is_granted, judge_granted
from proxy.session.outcome import Accepted, NeedsFacts, Refused, Verdict, Waived
from proxy.session.plain_use import accept_plain_use
from proxy.session.policies.policy import PolicyKind, UserOpView
from proxy.session.policy_run import Doubt, PolicyRun, Subject
from proxy.session.proof import refused_for_signature
from proxy.session.revert import BARE, Revert
from proxy.session.signers import (
    SignatureCheck,
    SignatureOutcome,
    SignatureVerdict,
    check_session_signature,
    is_checked_here,
)
from proxy.session.state import SessionState
from proxy.session.transitions import PUBLISHED, Contracts
from proxy.session.validity import UINT48_MAX, Window
from proxy.userop.budget import Budget, Overspent
from proxy.userop.decode import DecodedOperation, SessionClaim
from proxy.userop.emissary_abi import EmissaryEnable
from proxy.userop.execution import EXECUTE, EXECUTE_USER_OP, Call, CallType, DecodingError, ExecType, Execution
from proxy.userop.primitives import print_checksummed
from proxy.userop.session_data import FLAG_TARGET, EnableSession, action_id_of
from proxy.userop.signature import SessionEnvelope

__all__ = [
    "Accepted",
    "Doubt",
    "NeedsFacts",
    "Refused",
    "SignatureCheck",
    "Verdict",
    "enforce",
]


def enforce(
    operation: DecodedOperation,
    state: SessionState,
    *,
    base_fee: int | None,
    in_flight: Callable[[Counter], int] | None,
    now: int | None,
    check_signature: SignatureCheck | None = check_session_signature,
    unknown_policy: Doubt = "ask",
    unknown_validator: Doubt = "ask",
    enable_signature: Doubt = "ask",
    asks_account: bool = False,
    answers: Answers | None = None,
    contracts: Contracts = PUBLISHED,
    unreadable: Undecodable | None = None,
    budget: Budget | None = None,
) -> Verdict:
    """Judge an operation that claims the session of `state`.

    `base_fee` is the block's, in wei per gas; `now` the expected block time in unix seconds (`None`: the window is the
    caller's). `in_flight` gives what accepted operations will add to a counter, `answers` what was asked earlier.
    `asks_account`: whether it has the module that enables. `unreadable` stands for an execution nobody could decode. A
    preview has no `check_signature`. What `budget` does not pay for is refused. `ValueError`: another session's.
    """
    claim = _claim_of(operation, state)
    if is_granted(state):
        return judge_granted(
            operation, state, in_flight=in_flight, now=now, check_signature=check_signature, budget=budget
        )
    budget = Budget() if budget is None else budget
    if unreadable is None and check_signature is not None and now is not None:
        plain = accept_plain_use(
            operation,
            claim,
            state,
            base_fee=base_fee,
            in_flight=in_flight,
            now=now,
            check_signature=check_signature,
            contracts=contracts,
            budget=budget,
        )
        if isinstance(plain, Accepted):
            return plain
        check_signature = check_signature if plain is None else partial(_said, plain)
    return _Enforcement(
        operation=operation,
        envelope=claim.envelope,
        view=UserOpView(operation.op, _reading(operation, unreadable), base_fee),
        state=state,
        in_flight=in_flight,
        check_signature=check_signature,
        unknown_policy=unknown_policy,
        unknown_validator=unknown_validator,
        enable_signature=enable_signature,
        asks_account=asks_account,
        answers={} if answers is None else answers,
        contracts=contracts,
        budget=budget,
    ).verdict(now)


def _claim_of(operation: DecodedOperation, state: SessionState) -> SessionClaim:
    """What the operation claims, which has to be this session."""
    claim = operation.claim
    if claim is None or claim.envelope.permission_id != state.key.permission_id:
        raise ValueError("the operation does not claim this session")
    if operation.op.sender != state.key.account or claim.module != state.key.module:
        raise ValueError("the operation is of another account or module")
    return claim


def _said(verdict: SignatureVerdict, *_subject: object) -> SignatureVerdict:
    """What was said to a signature before: it is checked once."""
    return verdict


def _reading(operation: DecodedOperation, unreadable: Undecodable | None) -> Execution | Revert:
    if unreadable is not None:
        return Revert("DecodingError") if isinstance(unreadable, DecodingError) else BARE
    if operation.execution is None:
        raise ValueError("a session's operation has an execution")
    return operation.execution


@dataclass(slots=True, kw_only=True)
class _Enforcement:
    """One run. Each step returns a refusal or `None`; missing facts and notes gather on the way."""

    operation: DecodedOperation
    envelope: SessionEnvelope
    view: UserOpView
    state: SessionState
    in_flight: Callable[[Counter], int] | None
    check_signature: SignatureCheck | None
    unknown_policy: Doubt
    unknown_validator: Doubt
    enable_signature: Doubt
    asks_account: bool
    answers: Answers
    contracts: Contracts
    budget: Budget
    missing: list[MissingFact] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    waived: list[Waived] = field(default_factory=list)
    owner_unchecked: bool = False  # whether nobody could tell that the owner signed the grant, and that was let pass

    def verdict(self, now: int | None) -> Verdict:
        """What the module says, or that the operation asks for more work than its budget pays for."""
        try:
            return self._verdict(now)
        except Overspent as overspent:
            return Refused(reason=reasons.overspent(overspent))

    def _verdict(self, now: int | None) -> Verdict:
        """The checks in the order of the contract; the window last, as the entry point does."""
        if self.envelope.enable is not None:
            unable = self._enable(self.envelope.enable)
            if unable is not None:
                return unable
        run = PolicyRun(
            state=self.state,
            valid_until=self._grant_holds_until(),
            in_flight=self.in_flight,
            unknown_policy=self.unknown_policy,
            answers=self.answers,
            budget=self.budget,
            missing=self.missing,
            notes=self.notes,
            waived=self.waived,
        )
        if self.envelope.claim_policy_data is not None:
            self.notes.append("signed in the form for claims: claim policies judge no operation and were not asked")
        refused = self._check_session(run) or self._check_execution(run) or self._check_signature()
        if refused is None and now is not None:
            refused = self._check_window(Window(run.valid_after, run.valid_until), now)
        if refused is not None:
            return refused
        if self.missing:
            return NeedsFacts(tuple(dict.fromkeys(self.missing)))
        return Accepted(
            valid_after=run.valid_after,
            valid_until=run.valid_until,
            charges=run.charges(),
            enabled=self.state,
            notes=tuple(self.notes),
            waived=tuple(dict.fromkeys(self.waived)),
            owner_unchecked=self.owner_unchecked,
        )

    def _enable(self, grant: EnableSession | EmissaryEnable) -> Refused | NeedsFacts | None:
        """The session that an ENABLE brings along is in force from here on."""
        enabling = Enabling(
            op=self.operation.op,
            grant=grant,
            mode=self.envelope.mode,
            state=self.state,
            is_stub=self.check_signature is None,
            asks_account=self.asks_account,
            enable_signature=self.enable_signature,
            answers=self.answers,
            contracts=self.contracts,
            missing=self.missing,
            notes=self.notes,
        )
        after = enabling.outcome()
        if not isinstance(after, SessionState):
            return after
        self.state, self.owner_unchecked = after, enabling.owner_unchecked
        return None

    def _grant_holds_until(self) -> int:
        """The last second at which an ENABLE envelope enables; only grants of the emissary expire."""
        grant = self.envelope.enable
        return min(grant.expires - 1, UINT48_MAX) if isinstance(grant, EmissaryEnable) else UINT48_MAX

    def _check_session(self, run: PolicyRun) -> Refused | None:
        """Enabled, paymaster permitted, user-operation policies."""
        state, permission_id = self.state, self.state.key.permission_id
        if not state.enabled:
            return Refused(reason=reasons.not_enabled(state), revert=Revert("InvalidPermissionId", (permission_id,)))
        if self._has_paymaster():
            if state.permits_paymaster is False:
                revert = Revert("PaymasterValidationNotEnabled", (permission_id,))
                return Refused(reason=reasons.paymaster_not_permitted(), revert=revert)
            if not state.user_op_policies:
                return self._no_policies(reasons.paymaster_without_policies())
            if state.permits_paymaster is None:
                self.missing.append(PaymasterFlagFact())
        if not state.user_op_policies:
            return None
        config_id, policies = bound_terms(state, self.contracts).of_user_op()
        return run.check(policies, Subject(PolicyKind.USER_OP, config_id, self.view))

    def _has_paymaster(self) -> bool:
        # the emissary is not handed the operation, so a paymaster is none of its business
        if MODULE_KINDS.get(self.state.key.module) is ModuleKind.EMISSARY:
            return False
        op = self.operation.op
        return self.operation.sponsored or op.paymaster is not None or bool(op.paymaster_and_data)

    def _check_execution(self, run: PolicyRun) -> Refused | None:
        """The outer call, then every call in it."""
        call_data, execution = self.operation.op.call_data, self.view.execution
        if isinstance(execution, Revert):
            return self._check_unreadable(call_data, execution)
        if execution.selector is None:
            return Refused(reason=reasons.undecodable("fewer than four bytes of call data"), revert=BARE)
        if not execution.is_execute:
            return self._check_account_action(run, Call(self.state.key.account, 0, call_data))
        if execution.exec_type != ExecType.DEFAULT:
            return Refused(reason=reasons.execution_type(), revert=Revert("UnsupportedExecutionType"))
        if execution.call_type not in (CallType.SINGLE, CallType.BATCH):
            return self._refuse_call_type(execution.call_type or 0)
        if not execution.calls:
            return Refused(reason=reasons.empty_batch(), revert=Revert("NoExecutionsInBatch"))
        for index, call in enumerate(execution.calls):
            refused = self._check_call(run, call, index, len(execution.calls))
            if refused is not None:
                return refused
        return None

    def _check_unreadable(self, call_data: bytes, revert: Revert) -> Refused:
        # the module looks at the execution type before it decodes the calls
        if len(call_data) >= 36 and call_data[5] != ExecType.DEFAULT:
            return Refused(reason=reasons.execution_type(), revert=Revert("UnsupportedExecutionType"))
        return Refused(reason=reasons.undecodable("the call data cannot be decoded as ERC-7579 execute"), revert=revert)

    def _refuse_call_type(self, number: int) -> Refused:
        kind = MODULE_KINDS.get(self.state.key.module)
        if kind is ModuleKind.V1 and number == CallType.DELEGATECALL:
            return Refused(reason=reasons.call_type(number), revert=Revert("UnsupportedExecutionType"))
        return Refused(reason=reasons.call_type(number), revert=Revert("UnsupportedCallType", (bytes([number]),)))

    def _check_account_action(self, run: PolicyRun, call: Call) -> Refused | None:
        """Call data other than `execute`: an action of the account itself, for which no fallback stands in."""
        if call.selector == EXECUTE_USER_OP:
            return Refused(reason=reasons.execution_type(), revert=Revert("UnsupportedExecutionType"))
        bound = bound_terms(self.state, self.contracts).of_action(action_id_of(call.target, call.selector))
        if bound is None:
            return self._no_policies(reasons.no_account_action(call))
        return run.check(bound.policies, Subject(PolicyKind.ACTION, bound.config_id, self.view, call))

    def _check_call(self, run: PolicyRun, call: Call, index: int, calls: int) -> Refused | None:
        """One call (PolicyLib.checkSingle7579Exec)."""
        state = self.state
        if call.target == state.key.account and call.data[:4] == EXECUTE:
            return self._refuse(reasons.self_execute(), Revert("InvalidSelfCall"), index, calls)
        if call.target == FLAG_TARGET:
            return self._refuse(reasons.flag_target(), Revert("InvalidTarget"), index, calls)
        bound = bound_terms(state, self.contracts).of_call(call)
        if bound is None:
            revert = Revert("NoPoliciesSet", (state.key.permission_id,))
            return self._refuse(reasons.no_action(call, state.key.module), revert, index, calls)
        return run.check(bound.policies, Subject(PolicyKind.ACTION, bound.config_id, self.view, call, index, calls))

    def _no_policies(self, reason: Reason) -> Refused:
        return Refused(reason=reason, revert=Revert("NoPoliciesSet", (self.state.key.permission_id,)))

    def _refuse(self, reason: Reason, revert: Revert, index: int, calls: int) -> Refused:
        return Refused(reason=reasons.at_call(reason, index, calls), revert=revert)

    def _check_signature(self) -> Refused | None:
        """The session validator's word, after every policy."""
        state, envelope = self.state, self.envelope
        if self.check_signature is None:
            return None
        if state.session_validator is None:
            self.missing.append(SessionValidatorFact())
            return None
        subject = (
            state.session_validator,
            state.session_validator_init_data,
            self.operation.user_op_hash,
            envelope.signature,
        )
        verdict = self.check_signature(*subject)
        if verdict.outcome is SignatureOutcome.UNKNOWN:
            answer = self.answers.get(SessionSignatureFact(*subject))
            if isinstance(answer, SignatureVerdict):
                verdict = answer
        if verdict.outcome is SignatureOutcome.UNKNOWN:
            return self._doubt_validator(SessionSignatureFact(*subject))
        return refused_for_signature(verdict, subject)

    def _doubt_validator(self, fact: SessionSignatureFact) -> Refused | None:
        if self.unknown_validator == "reject":
            known = is_checked_here(fact.validator)
            reason = reasons.undecided_signature if known else reasons.unknown_validator
            return Refused(reason=reason(fact.validator))
        if self.unknown_validator == "ask":
            self.missing.append(fact)
        else:
            shown = print_checksummed(fact.validator)
            self.notes.append(f"session validator {shown} is not known here and was not checked")
            self.waived.append(Waived.VALIDATOR)
        return None

    def _check_window(self, window: Window, now: int) -> Refused | None:
        version = self.operation.entry_point.version
        if window.counts_blocks(version):
            self.notes.append("valid by block number: left to the entry point")
            return None
        return None if window.holds(now, version) else Refused(reason=reasons.outside_window(window, now))
