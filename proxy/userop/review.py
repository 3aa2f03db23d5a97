"""What it takes to review a session that is granted or added to, drawn when it is read: nothing says later than the
reading that there is too much of it."""

from __future__ import annotations

from collections.abc import Iterable

from proxy.userop.budget import GRANT, REVIEWED_ACTION, REVIEWED_BYTES, REVIEWED_POLICY, Budget
from proxy.userop.session_data import ActionData, ERC7739Data, PolicyData, SessionData

_NO_CONTENTS = ERC7739Data()


def draw_review(
    budget: Budget | None,
    *,
    actions: Iterable[ActionData] = (),
    policies: Iterable[PolicyData] = (),
    contents: ERC7739Data = _NO_CONTENTS,
) -> None:
    """Spend what reviewing this much of a session takes. Raises `Overspent`."""
    if budget is None:
        return
    budget.draw(GRANT + len(contents.contexts))
    general = [*policies, *contents.erc1271_policies]
    _draw_policies(budget, general)
    for action in actions:
        # every policy of all operations bears on it
        budget.draw(REVIEWED_ACTION + len(general))
        _draw_policies(budget, action.policies)


def draw_review_of(budget: Budget | None, session: SessionData, claims: Iterable[PolicyData] = ()) -> None:
    """The same of a whole session. Raises `Overspent`."""
    policies = [*session.user_op_policies, *claims]
    draw_review(budget, actions=session.actions, policies=policies, contents=session.erc7739_policies)


def _draw_policies(budget: Budget, policies: Iterable[PolicyData]) -> None:
    for policy in policies:
        budget.draw(REVIEWED_POLICY + len(policy.init_data) // REVIEWED_BYTES)
