"""The policies of one operation, run one after the other with what they count carried along (PolicyLib)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, assert_never

from proxy.errors import Reason
from proxy.session import reasons
from proxy.session.addresses import name_of_policy
from proxy.session.bound import BoundPolicy
from proxy.session.counters import Charge, Counter, Meter, merge_charges
from proxy.session.facts import (
    AllowedTargetFact,
    Answers,
    BaseFeeFact,
    MissingFact,
    PolicyCheckFact,
    PolicyConfigFact,
    TokenLimitFact,
)
from proxy.session.outcome import Refused, Waived
from proxy.session.policies.policy import Asks, Fact, Failed, Outcome, Passed, PolicyKind, UserOpView
from proxy.session.revert import Revert, policy_check_reverted
from proxy.session.state import SessionState
from proxy.session.validity import UINT48_MAX, failed, window_of
from proxy.userop.budget import POLICY, Budget
from proxy.userop.execution import Call
from proxy.userop.primitives import Address, Hash32

Doubt = Literal["ask", "alert", "reject"]
"""What becomes of something that cannot be checked here: ask the node, let it pass with a note, or refuse."""


class Subject(NamedTuple):
    """What a list of policies judges: the operation, or one of its calls. A plain tuple: one is made per call."""

    kind: PolicyKind
    config_id: Hash32
    view: UserOpView
    call: Call | None = None
    position: int = 0
    calls: int = 1


@dataclass(slots=True, kw_only=True)
class PolicyRun:
    """Gathers charges, the window, notes and missing facts; nothing outside it is changed.

    A missing fact does not end the run: where what is known refuses anyway, nobody needs to be asked.
    """

    state: SessionState
    in_flight: Callable[[Counter], int] | None
    unknown_policy: Doubt
    answers: Answers
    budget: Budget
    valid_after: int = 0
    valid_until: int = UINT48_MAX
    missing: list[MissingFact] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    waived: list[Waived] = field(default_factory=list)
    _charges: list[Charge] = field(default_factory=list)
    _pending: dict[Counter, int] = field(default_factory=dict)

    def charges(self) -> tuple[Charge, ...]:
        """What the operation counts, one charge per counter."""
        return merge_charges(self._charges)

    def check(self, policies: Iterable[BoundPolicy], subject: Subject) -> Refused | None:
        """Every policy of one list, in order; the first that refuses decides. Raises `Overspent`."""
        for bound in policies:
            self.budget.draw(POLICY)
            if bound.steady is not None:
                self._narrow(*bound.steady)
                continue
            known = bound.contract is not None
            refused = self._check_known(bound, subject) if known else self._check_unknown(bound.policy, subject)
            if refused is not None:
                return refused
        return None

    def _check_known(self, bound: BoundPolicy, subject: Subject) -> Refused | None:
        policy = bound.policy
        if bound.config is None:
            self.missing.append(PolicyConfigFact(policy, subject.config_id))
            return None
        outcome = _ask(bound, subject, Meter(bound.key, self.state.used, self._pending, self.in_flight, self.budget))
        if isinstance(outcome, Passed):
            self._take(outcome)
            return None
        if isinstance(outcome, Asks):
            self.missing.append(_fact_of(outcome, policy, subject.config_id))
            return None
        if isinstance(outcome, Failed):
            return self._refuse(outcome.reason, self._violation(policy), subject)
        return self._refuse(outcome.reason, policy_check_reverted(outcome.revert), subject)

    def _take(self, passed: Passed) -> None:
        if passed.validation_data:
            self._narrow(*window_of(passed.validation_data))
        for charge in passed.charges:
            self._charges.append(charge)
            self._pending[charge.counter] = self._pending.get(charge.counter, 0) + charge.amount

    def _narrow(self, valid_after: int, valid_until: int) -> None:
        self.valid_after = max(self.valid_after, valid_after)
        self.valid_until = min(self.valid_until, valid_until)

    def _check_unknown(self, policy: Address, subject: Subject) -> Refused | None:
        """A contract whose behaviour is not known here. It is never taken for satisfied in silence."""
        if self.unknown_policy == "reject":
            return self._refuse(reasons.unknown_policy(policy), self._violation(policy), subject)
        if self.unknown_policy == "alert":
            self._note(f"policy {name_of_policy(policy)} is not known here and was not checked")
            self.waived.append(Waived.POLICY)
            return None
        fact = PolicyCheckFact(policy, subject.config_id, subject.kind, subject.call)
        answer = self.answers.get(fact)
        if isinstance(answer, Revert):
            return self._refuse(reasons.asked_policy_refuses(policy), policy_check_reverted(answer), subject)
        if not isinstance(answer, int):
            self.missing.append(fact)
            return None
        if failed(answer):
            return self._refuse(reasons.asked_policy_refuses(policy), self._violation(policy), subject)
        self._narrow(*window_of(answer))
        self._note(f"policy {name_of_policy(policy)} was asked on chain; it has not seen what is in flight")
        return None

    def _note(self, note: str) -> None:
        if note not in self.notes:
            self.notes.append(note)

    def _violation(self, policy: Address) -> Revert:
        return Revert("PolicyViolation", (self.state.key.permission_id, policy))

    def _refuse(self, reason: Reason, revert: Revert, subject: Subject) -> Refused:
        if subject.call is not None:
            reason = reasons.at_call(reason, subject.position, subject.calls)
        return Refused(reason=reason, revert=revert)


def _ask(bound: BoundPolicy, subject: Subject, meter: Meter) -> Outcome:
    contract = bound.contract
    if subject.call is not None:
        if contract is not None and contract.action is not None:
            return contract.action.check_action(bound.config, subject.call, meter, bound.key)
    elif contract is not None and contract.user_op is not None:
        return contract.user_op.check_user_op(bound.config, subject.view, meter, bound.key)
    raise ValueError(f"{name_of_policy(bound.policy)} is listed for a use that it does not support")


def _fact_of(asks: Asks, policy: Address, config_id: Hash32) -> MissingFact:
    match asks.fact:
        case Fact.BASE_FEE:
            return BaseFeeFact()
        case Fact.TOKEN_LIMIT:
            return TokenLimitFact(policy, config_id, _subject_of(asks))
        case Fact.TARGET:
            return AllowedTargetFact(policy, config_id, _subject_of(asks))
        case _:
            assert_never(asks.fact)


def _subject_of(asks: Asks) -> Address:
    if asks.subject is None:
        raise ValueError(f"{asks.fact} asks about no address")
    return asks.subject
