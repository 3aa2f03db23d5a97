"""The use of a session by one call that all of its policies take, as nearly every one is: the verdict in one go.

Nothing is refused here. Where anything is in the way, or not known, `enforce` takes the checks one by one, and says
what it is.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from proxy.session.addresses import MODULE_KINDS, ModuleKind
from proxy.session.bound import BoundPolicy, bound_terms
from proxy.session.counters import Charge, Counter, Meter, merge_charges
from proxy.session.outcome import Accepted
from proxy.session.policies.policy import Outcome, Passed, UserOpView
from proxy.session.signers import SignatureCheck, SignatureOutcome, SignatureVerdict
from proxy.session.state import SessionState
from proxy.session.transitions import Contracts
from proxy.session.validity import UINT48_MAX, Window, window_of
from proxy.userop.budget import POLICY, Budget, Overspent
from proxy.userop.decode import DecodedOperation, SessionClaim
from proxy.userop.execution import EXECUTE, Call, CallType, ExecType, Execution
from proxy.userop.session_data import FLAG_TARGET

_CALLS: Final = frozenset({CallType.SINGLE, CallType.BATCH})
_MOST: Final = 256
"""Units of an operation's budget that are spent here: whoever looks closer spends his own."""


def accept_plain_use(
    operation: DecodedOperation,
    claim: SessionClaim,
    state: SessionState,
    *,
    base_fee: int | None,
    in_flight: Callable[[Counter], int] | None,
    now: int,
    check_signature: SignatureCheck,
    contracts: Contracts,
    budget: Budget,
) -> Accepted | SignatureVerdict | None:
    """The verdict, if it is that the module takes the operation and nothing has to be noted; see `enforce`. Where only
    its signature is in the way, what was said to that."""
    execution, validator = operation.execution, state.session_validator
    if execution is None or validator is None or not _is_plain(operation, claim, state, execution):
        return None
    (call,) = execution.calls
    purse = Budget(min(budget.left, _MOST))
    at_first = purse.left
    run = _PlainRun(state, in_flight, purse)
    try:
        accepted = run.takes(operation, execution, call, base_fee, contracts)
    except Overspent:
        accepted = False
    window, version = Window(run.valid_after, run.valid_until), operation.entry_point.version
    if accepted and window.holds(now, version) and not window.counts_blocks(version):
        init_data, signature = state.session_validator_init_data, claim.envelope.signature
        verdict = check_signature(validator, init_data, operation.user_op_hash, signature)
        if verdict.outcome is SignatureOutcome.VALID:
            budget.left -= at_first - purse.left
            after, until = window
            return Accepted(valid_after=after, valid_until=until, charges=merge_charges(run.charges), enabled=state)
        return verdict
    return None


def _is_plain(operation: DecodedOperation, claim: SessionClaim, state: SessionState, execution: Execution) -> bool:
    """Whether it is the use of a session that is there, by one call, and its paymaster is none or is permitted."""
    envelope, calls, op = claim.envelope, execution.calls, operation.op
    if envelope.enable is not None or envelope.claim_policy_data is not None or not state.enabled or len(calls) != 1:
        return False
    if execution.call_type not in _CALLS or execution.exec_type != ExecType.DEFAULT:
        return False
    target = calls[0].target
    if target == FLAG_TARGET or (target == state.key.account and calls[0].data[:4] == EXECUTE):
        return False
    if not operation.sponsored and op.paymaster is None and not op.paymaster_and_data:
        return True
    if MODULE_KINDS.get(state.key.module) is ModuleKind.EMISSARY:
        return True
    return state.permits_paymaster is True and bool(state.user_op_policies)


class _PlainRun:
    """What the policies of one operation count, and the window that they leave it."""

    __slots__ = ("_budget", "_in_flight", "_pending", "_state", "charges", "valid_after", "valid_until")

    def __init__(self, state: SessionState, in_flight: Callable[[Counter], int] | None, budget: Budget) -> None:
        self.charges: list[Charge] = []
        self.valid_after = 0
        self.valid_until = UINT48_MAX
        self._state = state
        self._in_flight = in_flight
        self._budget = budget
        self._pending: dict[Counter, int] = {}

    def takes(
        self,
        operation: DecodedOperation,
        execution: Execution,
        call: Call,
        base_fee: int | None,
        contracts: Contracts,
    ) -> bool:
        """Whether every policy is known and passes. Raises `Overspent`."""
        terms = bound_terms(self._state, contracts)
        if self._state.user_op_policies:
            view: UserOpView | None = None
            for bound in terms.of_user_op().policies:
                self._budget.draw(POLICY)
                if bound.steady is not None:
                    self._narrow(bound.steady)
                    continue
                asked = None if bound.contract is None else bound.contract.user_op
                if asked is None or bound.config is None:
                    return False
                view = UserOpView(operation.op, execution, base_fee) if view is None else view
                if not self._has(asked.check_user_op(bound.config, view, self._meter(bound), bound.key)):
                    return False
        actions = terms.of_call(call)
        if actions is None:
            return False
        for bound in actions.policies:
            self._budget.draw(POLICY)
            if bound.steady is not None:
                self._narrow(bound.steady)
                continue
            action = None if bound.contract is None else bound.contract.action
            if action is None or bound.config is None:
                return False
            if not self._has(action.check_action(bound.config, call, self._meter(bound), bound.key)):
                return False
        return True

    def _meter(self, bound: BoundPolicy) -> Meter:
        return Meter(bound.key, self._state.used, self._pending, self._in_flight, self._budget)

    def _has(self, outcome: Outcome) -> bool:
        """Count what a policy that passes counts; whether it does."""
        if not isinstance(outcome, Passed):
            return False
        if outcome.validation_data:
            self._narrow(window_of(outcome.validation_data))
        for charge in outcome.charges:
            self.charges.append(charge)
            self._pending[charge.counter] = self._pending.get(charge.counter, 0) + charge.amount
        return True

    def _narrow(self, window: Window) -> None:
        self.valid_after = max(self.valid_after, window[0])
        self.valid_until = min(self.valid_until, window[1])
