"""The use of a session by one call that all of its policies take, as nearly every one is: the verdict in one go.

Nothing is refused here. Where anything is in the way, or not known, `enforce` takes the checks one by one, and says
what it is.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from proxy.session.addresses import MODULE_KINDS, ModuleKind
from proxy.session.bound import BoundList, BoundPolicy, BoundTerms, bound_terms
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
    run = _PlainRun(operation, base_fee, state, in_flight, purse)
    try:
        accepted = run.takes(call, bound_terms(state, contracts))
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

    __slots__ = (
        "_base_fee",
        "_budget",
        "_in_flight",
        "_operation",
        "_pending",
        "_state",
        "charges",
        "valid_after",
        "valid_until",
    )

    def __init__(
        self,
        operation: DecodedOperation,
        base_fee: int | None,
        state: SessionState,
        in_flight: Callable[[Counter], int] | None,
        budget: Budget,
    ) -> None:
        self.charges: list[Charge] = []
        self.valid_after = 0
        self.valid_until = UINT48_MAX
        self._operation = operation
        self._base_fee = base_fee
        self._state = state
        self._in_flight = in_flight
        self._budget = budget
        self._pending: dict[Counter, int] = {}

    def takes(self, call: Call, terms: BoundTerms) -> bool:
        """Whether every policy is known and passes. Raises `Overspent`."""
        if self._state.user_op_policies and not self._passes(terms.of_user_op(), None):
            return False
        actions = terms.of_call(call)
        return actions is not None and self._passes(actions, call)

    def _passes(self, bound_list: BoundList, call: Call | None) -> bool:
        """Whether every policy of one list takes what it judges: a call, or the operation as a whole."""
        for bound in bound_list.policies:
            self._budget.draw(POLICY)
            if bound.steady is not None:
                self._narrow(bound.steady)
            elif not self._has(self._ask(bound, call)):
                return False
        return True

    def _ask(self, bound: BoundPolicy, call: Call | None) -> Outcome | None:
        """What a policy says; `None` of one that is not known, or whose configuration is not."""
        contract, config = bound.contract, bound.config
        if contract is None or config is None:
            return None
        meter = Meter(bound.key, self._state.used, self._pending, self._in_flight, self._budget)
        if call is not None:
            return None if contract.action is None else contract.action.check_action(config, call, meter, bound.key)
        execution = self._operation.execution
        if contract.user_op is None or execution is None:
            return None
        view = UserOpView(self._operation.op, execution, self._base_fee)
        return contract.user_op.check_user_op(config, view, meter, bound.key)

    def _has(self, outcome: Outcome | None) -> bool:
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
