"""An operation of a session that is known and in force, which takes it: heard without asking anybody, as most are."""

from __future__ import annotations

from proxy.admission.hearing import Fit, slot_of
from proxy.admission.sources import Sources
from proxy.session.counters import SessionKey
from proxy.session.granted import is_granted
from proxy.session.outcome import Accepted
from proxy.session.plain_use import accept_plain_use
from proxy.session.registry import Status
from proxy.session.signers import SignatureCheck
from proxy.session.transitions import PUBLISHED
from proxy.userop.decode import DecodedOperation, SessionClaim


def fit_at_hand(
    sources: Sources, operation: DecodedOperation, claim: SessionClaim, key: SessionKey, check: SignatureCheck
) -> Fit | None:
    """What a signed operation may do and use; `None` where that is not all there is to say, which `Hearing` says."""
    registry = sources.registry
    known = registry.get(key)
    if known is None or known.status is not Status.IN_FORCE or known.state is None:
        return None
    if operation.acts or sources.terms.keep_grounds or sources.stale() is not None:
        return None
    state = known.state
    if registry.declarations.of(key) is not None or is_granted(state):
        return None
    accepted = accept_plain_use(
        operation,
        claim,
        state,
        base_fee=None,
        in_flight=sources.ledger.in_flight_beside(slot_of(operation)),
        now=int(sources.clock()),
        check_signature=check,
        contracts=PUBLISHED,
        budget=operation.budget,
    )
    return Fit(accepted, None) if isinstance(accepted, Accepted) else None
