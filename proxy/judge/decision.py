"""The record of one decision: what was asked, what was said, what the bundler answered. One per judged operation."""

from __future__ import annotations

from typing import NamedTuple

from proxy.judge.evaluate import Hit
from proxy.judge.facts import Facts
from proxy.judge.upstream_answer import UpstreamAnswer
from proxy.judge.verdict import Mode, Verdict
from proxy.record import record
from proxy.session.grounds import Grounds
from proxy.userop.execution import Call
from proxy.userop.primitives import Address, Hash32
from proxy.userop.user_operation import UserOperation


@record()
class Whole:
    """The operation as it was asked about, and what its session's verdict rested on, for a trail that keeps both."""

    op: UserOperation
    entry_point: Address
    grounds: Grounds | None


class Decision(NamedTuple):
    """One audited verdict. No signature is kept, and no call data beyond the selector unless the settings want the
    `whole`.

    `facts` is what rules saw, so that other rules can be tried on it later; `hits` are the rules that fired, `opened`
    the ids of those that let pass for want of a fact. `unix_time` is in seconds. `account` … `calls` are empty when the
    operation could not be read that far.
    `upstream` is `None` when nothing was forwarded. What facts have, too, stands together, in the order they have it.
    """

    decision_id: str
    unix_time: float
    mode: Mode
    verdict: Verdict
    chain: str
    client: str
    method: str
    account: Address | None = None
    user_op_hash: Hash32 | None = None
    permission_id: Hash32 | None = None
    session_mode: str | None = None  # use | enable | unsafe_enable; None for owner and foreign operations
    calls: tuple[Call, ...] = ()
    upstream: UpstreamAnswer | None = None
    facts: Facts | None = None
    hits: tuple[Hit, ...] = ()
    opened: tuple[str, ...] = ()
    whole: Whole | None = None
