"""The policies of an operation asked one by one by their addresses, with nothing worked out before."""

from __future__ import annotations

from collections.abc import Iterable

from proxy.session.bound import BoundPolicy
from proxy.session.counters import Counter, Meter
from proxy.session.facts import PolicyConfigFact
from proxy.session.outcome import Refused
from proxy.session.policies.policy import Asks, Failed, Outcome, Passed
from proxy.session.policies.sudo import SudoPolicy
from proxy.session.policy_run import PolicyRun, Subject
from proxy.session.revert import Revert, policy_check_reverted
from proxy.session.state import ConfigId
from proxy.session.transitions import PUBLISHED
from proxy.session.validity import intersect, pack, window_of
from proxy.userop.budget import POLICY


class PlainRun(PolicyRun):
    """Takes of what was made ready the addresses of the policies, and looks everything else up in the state."""

    def check(self, policies: Iterable[BoundPolicy], subject: Subject) -> Refused | None:
        for bound in policies:
            self.budget.draw(POLICY)
            refused = self._judge(bound, subject)
            if refused is not None:
                return refused
        return None

    def _judge(self, bound: BoundPolicy, subject: Subject) -> Refused | None:
        policy = bound.policy
        contract = PUBLISHED.policies.get(policy)
        if contract is None:
            return self._check_unknown(policy, subject)
        config = self.state.configs.get(ConfigId(policy, subject.config_id))
        if config is None and not isinstance(contract.policy, SudoPolicy):
            self.missing.append(PolicyConfigFact(policy, subject.config_id))
            return None
        key = self.state.config_key(policy, subject.config_id)
        meter = Meter(key, self.state.used, self._pending, self.in_flight, self.budget)
        outcome: Outcome
        if subject.call is None:
            assert contract.user_op is not None
            outcome = contract.user_op.check_user_op(config, subject.view, meter, key)
        else:
            assert contract.action is not None
            outcome = contract.action.check_action(config, subject.call, meter, key)
        if isinstance(outcome, Passed):
            both = intersect(pack(self.valid_after, self.valid_until), outcome.validation_data)
            self.valid_after, self.valid_until = window_of(both)
            for charge in outcome.charges:
                self._charges.append(charge)
                counter: Counter = charge.counter
                self._pending[counter] = self._pending.get(counter, 0) + charge.amount
            return None
        if isinstance(outcome, Asks):
            return self._check_known(bound._replace(steady=None), subject)
        if isinstance(outcome, Failed):
            revert = Revert("PolicyViolation", (self.state.key.permission_id, policy))
            return self._refuse(outcome.reason, revert, subject)
        return self._refuse(outcome.reason, policy_check_reverted(outcome.revert), subject)
