"""A verdict with all that it rests on."""

from __future__ import annotations

from proxy.judge.evaluate import NOTHING, RulesFinding
from proxy.judge.facts import Facts
from proxy.judge.verdict import Verdict
from proxy.ledger.reservation import Reservation
from proxy.record import record
from proxy.session.grounds import Grounds
from proxy.userop.decode import DecodedOperation


@record()
class Judgement:
    """A verdict and what it rests on.

    `operation` is `None` when it could not be read, `reservation` when nothing is held for it. `enable_nonce` is the
    nonce by which an ENABLE envelope was judged. `facts` is what the rules saw, `finding` what they said, `grounds`
    what the session's verdict rested on, where that is kept. `vouched`: a key of its session was seen to have signed.
    """

    verdict: Verdict
    operation: DecodedOperation | None = None
    reservation: Reservation | None = None
    enable_nonce: int | None = None
    facts: Facts | None = None
    finding: RulesFinding = NOTHING
    grounds: Grounds | None = None
    vouched: bool = False
