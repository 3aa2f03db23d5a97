"""What a session's policies say of calls of one function of one contract, worked out once: which of them have to be
asked of each call, which pass whatever it says, and what nobody has to read of it.

Nothing is refused here. `None` means: take the checks one by one (`session.plain_use`, `session.enforce`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final, NamedTuple, TypeVar

from proxy.session.addresses import PolicyContract
from proxy.session.bound import BoundPolicy, BoundTerms, bound_terms
from proxy.session.counters import Charge, Counter, Meter, merge_charges
from proxy.session.granted import is_granted
from proxy.session.policies.policy import PASSED, ActionPolicy, Outcome, Passed, UserOpPolicy, UserOpView
from proxy.session.signers import KeyCheck, key_check
from proxy.session.state import SessionState
from proxy.session.transitions import PUBLISHED
from proxy.session.validity import UINT48_MAX, Window, window_of
from proxy.userop.budget import POLICY, Budget, Overspent
from proxy.userop.entry_point import EntryPointVersion
from proxy.userop.execution import Call, Execution
from proxy.userop.movement import Movement
from proxy.userop.primitives import Address, Selector
from proxy.userop.session_data import FLAG_TARGET
from proxy.userop.transfers import movements_known
from proxy.userop.user_operation import UserOperation

_Judge = TypeVar("_Judge", UserOpPolicy, ActionPolicy)

MOST_PLANS: Final = 32
"""Of so many functions a session has one: a fallback stands for more calls than could be."""
_V07: Final = EntryPointVersion.V07  # looked up once, not of every operation
_MOST_UNITS: Final = 256
"""Units of an operation's budget that policies may spend here: whoever looks closer spends his own."""


class CallPlan(NamedTuple):
    """What is the same for all calls of one function of one contract under one session.

    `user_op` and `action` are the policies that have to be asked, `window` is what all others leave, `units` what
    asking takes at least. `moves` is what such a call moves when it carries no value, `None` where that has to be
    read. `pays` is whether a paymaster may pay for it.
    """

    function: Selector
    user_op: tuple[tuple[BoundPolicy, UserOpPolicy], ...]
    action: tuple[tuple[BoundPolicy, ActionPolicy], ...]
    window: Window
    units: int
    moves: tuple[Movement, ...] | None
    pays: bool
    signed: KeyCheck


def plan_of(state: SessionState, target: Address, function: Selector) -> CallPlan | None:
    """The plan for calls of this function (`Call.selector`); `None` where there is none."""
    terms = state.bound
    if isinstance(terms, BoundTerms) and terms.contracts is PUBLISHED:
        plan: CallPlan | None = terms.plans.get((target, function))
        if plan is not None:  # nearly always
            return plan
    else:
        terms = bound_terms(state, PUBLISHED)
    plan = _made(terms, state, Call(target, 0, function))
    if plan is not None and len(terms.plans) < MOST_PLANS:
        terms.plans[target, function] = plan
    return plan


def _made(terms: BoundTerms, state: SessionState, call: Call) -> CallPlan | None:
    validator = state.session_validator
    if validator is None or not state.enabled or is_granted(state) or call.target == FLAG_TARGET:
        return None
    of_call = terms.of_call(call)
    if of_call is None:
        return None
    of_all = terms.of_user_op().policies if state.user_op_policies else ()
    always = Window(0, UINT48_MAX)
    if (first := _parted(of_all, lambda contract: contract.user_op, always)) is None:
        return None
    user_op, window = first
    if (then := _parted(of_call.policies, lambda contract: contract.action, window)) is None:
        return None
    action, window = then
    return CallPlan(
        function=call.selector,
        user_op=user_op,
        action=action,
        window=window,
        units=POLICY * (len(of_all) + len(of_call.policies)),
        moves=movements_known(call.target, call.selector, state.key.account),
        pays=state.permits_paymaster is True and bool(state.user_op_policies),
        signed=key_check(validator, state.session_validator_init_data),
    )


def _parted(
    policies: Iterable[BoundPolicy], judges: Callable[[PolicyContract], _Judge | None], window: Window
) -> tuple[tuple[tuple[BoundPolicy, _Judge], ...], Window] | None:
    """Those that have to be asked, and the window that all others leave of this one; `None` where one is not known."""
    after, until = window
    asked = []
    for bound in policies:
        judge = None if bound.contract is None else judges(bound.contract)
        if bound.steady is not None:
            after, until = max(after, bound.steady.valid_after), min(until, bound.steady.valid_until)
        elif judge is None or bound.config is None:
            return None
        else:
            asked.append((bound, judge))
    return tuple(asked), Window(after, until)


Taken = tuple[tuple[Charge, ...], int]
"""What an operation counts, and until when (unix seconds) the entry point takes it."""


def accept_planned(
    plan: CallPlan,
    state: SessionState,
    op: UserOperation,
    execution: Execution,
    *,
    version: EntryPointVersion,
    in_flight: Callable[[Counter], int],
    now: int,
    budget: Budget,
) -> Taken | None:
    """The verdict on an operation of one call, which the plan is for, if it is that all policies take it; its signature
    is somebody else's to check. See `enforce`."""
    window = plan.window
    charges: tuple[Charge, ...] = ()
    if plan.user_op or plan.action:
        asking = _Asking(plan, state, in_flight, Budget(min(budget.left, _MOST_UNITS)))
        at_first = asking.purse.left
        try:
            if not asking.all_take(op, execution):
                return None
        except Overspent:
            return None
        budget.left -= at_first - asking.purse.left
        window, charges = Window(asking.after, asking.until), merge_charges(asking.charges)
    elif budget.left >= plan.units:
        budget.left -= plan.units
    else:
        return None
    if version is _V07:
        if not window.valid_after <= now <= window.valid_until:
            return None
    elif not window.holds(now, version) or window.counts_blocks(version):
        return None
    return charges, window.valid_until


class _Asking:
    """What the policies that have to be asked count, and the window that they leave."""

    __slots__ = ("_in_flight", "_pending", "_plan", "_used", "after", "charges", "purse", "until")

    def __init__(self, plan: CallPlan, state: SessionState, in_flight: Callable[[Counter], int], purse: Budget) -> None:
        self.after, self.until = plan.window
        self.charges: list[Charge] = []
        self.purse = purse
        self._plan = plan
        self._used = state.used
        self._pending: dict[Counter, int] = {}
        self._in_flight = in_flight

    def all_take(self, op: UserOperation, execution: Execution) -> bool:
        """Whether every one of them passes. Raises `Overspent`."""
        purse, used, pending, in_flight = self.purse, self._used, self._pending, self._in_flight
        purse.draw(self._plan.units)
        if self._plan.user_op:
            view = UserOpView(op, execution, None)
            for bound, asked in self._plan.user_op:
                meter = Meter(bound.key, used, pending, in_flight, purse)
                if not self._has(asked.check_user_op(bound.config, view, meter, bound.key)):
                    return False
        (call,) = execution.calls
        for bound, checked in self._plan.action:
            meter = Meter(bound.key, used, pending, in_flight, purse)
            if not self._has(checked.check_action(bound.config, call, meter, bound.key)):
                return False
        return True

    def _has(self, outcome: Outcome) -> bool:
        """Count what a policy that passes counts; whether it does."""
        if outcome is PASSED:
            return True
        if not isinstance(outcome, Passed):
            return False
        if outcome.validation_data:
            window = window_of(outcome.validation_data)
            self.after, self.until = max(self.after, window.valid_after), min(self.until, window.valid_until)
        for charge in outcome.charges:
            self.charges.append(charge)
            self._pending[charge.counter] = self._pending.get(charge.counter, 0) + charge.amount
        return True
