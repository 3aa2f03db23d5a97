"""What shows an end, for each cause: a hold that is gone without it is a fault."""

from __future__ import annotations

from proxy.chain.settlement.draft import End
from proxy.chain.settlement.patience import Patience
from proxy.ledger.operations import Cause


def evidence_is_there(end: End) -> bool:
    """What shows an end, for each cause."""
    evidence = end.ended.evidence
    match end.ended.cause:
        case Cause.MINED:
            return end.ended.mined is not None
        case Cause.NONCE_USED | Cause.GRANT_USED:
            return evidence.by is not None or evidence.block is not None or evidence.said is not None
        case Cause.EXPIRED:
            return evidence.timestamp is not None
        case Cause.UNMINED:
            return (evidence.silent_seconds or 0) >= Patience().unmined_after
        case Cause.RELEASED | Cause.REFUSED:
            return bool(evidence.said)
