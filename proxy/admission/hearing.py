"""One operation of a session before the facts: known here, learnt from the node, or missing.

A refusal that rests on what the chain stores is never given on old knowledge: where a node can be asked, the session
is read anew first, so that this gate does not refuse what the chain would allow.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Final

from proxy.admission import reasons
from proxy.admission.declared_words import in_words_of
from proxy.admission.sources import Purpose, Sources
from proxy.admission.turns import Asker
from proxy.errors import Code, Reason, StateUnavailable
from proxy.ledger.reservation import NonceSlot
from proxy.record import record
from proxy.session.changes import SessionEnabled, changes_at_validation, make_change
from proxy.session.counters import Counter, SessionKey
from proxy.session.declared import DeclaredFit, DeclaredSession, judge_declared
from proxy.session.enable import signed_nonce
from proxy.session.enforce import Accepted, Doubt, NeedsFacts, Refused, SignatureCheck, enforce
from proxy.session.facts import (
    Answer,
    AskedFact,
    EmissaryNonceFact,
    EnableNonceFact,
    EnableSignatureFact,
    MissingFact,
)
from proxy.session.grounds import Grounds
from proxy.session.outcome import Waived
from proxy.session.registry import Status
from proxy.session.signers import SignatureOutcome, SignatureVerdict
from proxy.session.state import SessionState
from proxy.userop.declared_module import declared_in
from proxy.userop.decode import DecodedOperation, SessionClaim

_MOST_ROUNDS: Final = 6
"""How often one operation may send us to the node before we say that its facts cannot be had."""
_MOST_NONCES: Final = 16
"""How many enable nonces are tried for a grant when no node can tell the right one."""


InFlight = Callable[[Counter], int]
"""How much of a counter operations in flight will use."""


@record()
class Fit:
    """What the chain and the declaration say to an operation that both take."""

    accepted: Accepted | None
    declared: DeclaredFit | None
    notes: tuple[str, ...] = ()
    waived: tuple[Waived, ...] = ()


class Hearing:
    """One operation of one session, judged as often as new facts come in."""

    def __init__(
        self,
        sources: Sources,
        operation: DecodedOperation,
        claim: SessionClaim,
        key: SessionKey,
        purpose: Purpose,
        *,
        check_signature: SignatureCheck,
        asker: Asker | None = None,
    ) -> None:
        self._terms = sources.terms
        self._registry = sources.registry
        self._reader = sources.reader
        self._settlement = sources.settlement
        self._reads = sources.reads
        self._stale = sources.stale
        self._first = sources.first
        self._asker = asker
        self._operation = operation
        self._claim = claim
        self._key = key
        self._check_signature = check_signature
        self._module = declared_in(self._terms.session_modules, key.module)  # `None` of one that is published
        self._preview = purpose.is_preview
        self._now = sources.clock()
        # what is in flight is told to the session's key only, by a word or by a yes and a no, and nobody knows who sent
        # an estimate: it hears what it would with nothing in flight
        self._in_flight = _nothing_in_flight if self._preview else sources.ledger.in_flight_beside(slot_of(operation))
        self._answers: dict[AskedFact, Answer] = {}
        self._notes: tuple[str, ...] = ()
        self._waived: tuple[Waived, ...] = ()
        self._base_fee: int | None = None
        self.grounds: Grounds | None = None
        """What the last verdict of the chain's rules rested on, where that is kept."""
        # nobody to ask, or only a stub to show: the bundler's simulation checks the owner's signature then
        self._enable_signature: Doubt = "alert" if self._preview or self._reader is None else "ask"

    async def fit(self) -> Fit | Reason:
        """What the operation may do and use, or why not."""
        declared = self._registry.declarations.of(self._key)
        accepted: Accepted | None = None
        notes: tuple[str, ...] = ()
        waived: tuple[Waived, ...] = ()
        told = self._registry.get(self._key) is not None
        if declared is None or told or (self._reader is not None and self._module is None):
            verdict = await self._chain_verdict()
            if isinstance(verdict, Accepted):
                accepted, notes, waived = verdict, verdict.notes + self._notes, verdict.waived + self._waived
            elif verdict.code is Code.SESSION_UNKNOWN and self._terms.unknown_session != "reject":
                notes = (f"not known on chain, let through: {verdict.sentence}",)
                waived = (Waived.SESSION,) if self._terms.unknown_session == "alert" else ()
            else:
                return verdict
        if declared is None:
            return Fit(accepted, None, notes, waived)
        fit = self._judge_declared(declared, self._in_flight)
        if isinstance(fit, Reason):
            return fit
        return Fit(accepted, fit, notes, waived)

    def _judge_declared(self, declared: DeclaredSession, in_flight: InFlight) -> DeclaredFit | Reason:
        return judge_declared(
            self._operation,
            self._claim,
            declared,
            used=self._registry.declarations.uses,
            in_flight=in_flight,
            now=int(self._now),
            check_signature=None if self._preview else self._check_signature,
        )

    async def _chain_verdict(self) -> Accepted | Reason:
        state = self._at_hand() or await self._state()
        if isinstance(state, Reason):
            return state
        state = self._installed_on_the_way(state)
        for _ in range(_MOST_ROUNDS):
            verdict = self._enforce(state)
            match verdict:
                case Accepted():
                    return verdict
                case NeedsFacts():
                    state = await self._find(state, verdict.facts)
                case Refused():
                    newer = await self._newer(state)
                    if newer is None:
                        return self._final(verdict.reason)
                    state = self._installed_on_the_way(newer)
        raise StateUnavailable("the facts of this session change faster than they can be read")

    def _enforce(self, state: SessionState) -> Accepted | Refused | NeedsFacts:
        in_flight = self._in_flight
        if self._terms.keep_grounds:
            self.grounds = Grounds(
                state=state,
                base_fee=self._base_fee,
                now=int(self._now),
                unknown_policy=self._asking(self._terms.unknown_policy),
                unknown_validator=self._asking(self._terms.unknown_validator),
            )
            in_flight = self.grounds.noting(in_flight)
        return self._asked_of(state, in_flight)

    def _asked_of(self, state: SessionState, in_flight: InFlight) -> Accepted | Refused | NeedsFacts:
        return enforce(
            self._operation,
            state,
            base_fee=self._base_fee,
            in_flight=in_flight,
            now=int(self._now),
            check_signature=None if self._preview else self._check_signature,
            unknown_policy=self._asking(self._terms.unknown_policy),
            unknown_validator=self._asking(self._terms.unknown_validator),
            enable_signature=self._enable_signature,
            asks_account=self._reader is not None,
            answers=self._answers,
            budget=self._operation.budget,
        )

    def _asking(self, doubt: Doubt) -> Doubt:
        """Without a node nobody can be asked, and nothing unknown counts as satisfied."""
        return "reject" if doubt == "ask" and self._reader is None else doubt

    def _at_hand(self) -> SessionState | None:
        """The session as last known, where nothing has to be asked for it."""
        if self._stale() is not None:
            return None
        known = self._registry.get(self._key)
        return None if known is None or known.status is Status.PENDING else known.state

    async def _state(self) -> SessionState | Reason:
        """The session as last known; learnt from the node when it is not known, settled when it is pending."""
        enabling = self._claim.envelope.enable is not None
        is_old = self._is_old()
        known = self._registry.get(self._key)
        if known is not None and known.status is Status.PENDING and not enabling:
            await self._settlement(self._registry.awaited(self._key))
            known = self._registry.get(self._key)
        state = None if known is None or known.status is Status.PENDING else known.state
        if state is not None and not is_old:
            return state
        try:
            read = await (self._read() if known is not None else self._read_first())
        except StateUnavailable as error:
            if state is None or not is_old:
                raise
            self._let_pass_old(error)
            return state
        if read is not None:
            return read  # what was read, or why nothing was
        known = self._registry.get(self._key)  # others may have read it while this one waited
        if known is not None and known.status is Status.PENDING and not enabling:
            return reasons.pending(known)
        if known is not None and known.status is Status.IN_FORCE and known.state is None:
            raise StateUnavailable("the session was changed in a way that only its chain can tell")
        return known.state if known is not None and known.state is not None else SessionState(key=self._key)

    def _is_old(self) -> bool:
        """Whether what is known of the chain is too old, and its node can be asked instead. Raises `StateUnavailable`
        where it cannot, unless the settings let such operations pass."""
        stale = self._stale()
        if stale is None:
            return False
        if stale.readable and self._module is None:
            return True
        self._let_pass_old(StateUnavailable(stale.what))
        return False

    def _let_pass_old(self, error: StateUnavailable) -> None:
        """Judge by what is known although it is old. Raises `error` unless the settings say so."""
        if self._terms.stale_state == "closed":
            raise error
        self._notes = (f"judged on old knowledge: {error.what}",)
        self._waived = (Waived.STATE,)

    def _installed_on_the_way(self, state: SessionState) -> SessionState:
        """The state once the account's birth and its module-enable have been: they come before validation."""
        if not self._operation.acts:
            return state
        changes = changes_at_validation(self._operation, self._terms.session_modules)
        for change in changes.at_validation:
            if self._key not in changes.keys(change) or isinstance(change, SessionEnabled):
                continue  # another session's, or the envelope's own, which is judged and not taken for granted
            after = make_change(state, change)
            if isinstance(after, SessionState):
                state = after
        return state

    async def _read(self) -> SessionState | None:
        """The session as the node has it now; `None` when it has none, or was asked a moment ago."""
        reader = self._reader
        if reader is None:
            return None

        async def ask() -> SessionState | None:
            await self._settlement(self._registry.awaited(self._key))
            return await reader.session(self._key)

        if await self._reads.once(self._key, ask) is None:
            return None
        # what was read is in the registry, with whatever has been settled since
        known = self._registry.get(self._key)
        if known is None or known.state is None:
            raise StateUnavailable("the session changes faster than it can be read")
        return known.state

    async def _read_first(self) -> SessionState | Reason | None:
        """The same for a session that nobody here has heard of: in turn, and within its asker's budget."""
        if self._first is None or self._asker is None or self._reader is None:
            return await self._read()
        read: list[SessionState | None] = []

        async def look() -> bool:
            if (known := self._registry.get(self._key)) is not None and known.state is not None:
                return True  # read for somebody else meanwhile
            read.append(await self._read())
            # a grant is not there before it is mined: nobody is held to that
            return read[0] is not None or self._claim.envelope.enable is not None

        refusal = await self._first.look(self._asker, look)
        return refusal if refusal is not None else next(iter(read), None)

    async def _newer(self, state: SessionState) -> SessionState | None:
        """A reading newer than the one just judged by; `None` when there is none, so that a refusal stands."""
        try:
            read = await self._read()
        except StateUnavailable:
            return None
        return None if read is None or read == state else read

    def _final(self, reason: Reason) -> Reason:
        """A removal is final only by a reading of the newest block: what is older may have been granted again since, as
        may what was read before a restart, until a block is heard of. Without a node nothing is read."""
        if self._module is not None:
            return in_words_of(self._module, reason, self._operation, self._registry)
        newest = self._reads.newest
        if reason.code is not Code.SESSION_REVOKED:
            return reason
        if self._reader is None:
            return reasons.removed_as_seen(reason)
        known = self._registry.get(self._key)
        is_new = known is not None and known.block is not None and newest is not None and known.block >= newest
        return reason if is_new else reasons.perhaps_granted_again(reason)

    async def _find(self, state: SessionState, facts: Sequence[MissingFact]) -> SessionState:
        if self._reader is None:
            return self._without_node(state, facts)
        found = await self._reader.find(self._operation, state, facts)
        self._answers |= found.answers
        self._base_fee = found.base_fee if found.base_fee is not None else self._base_fee
        for fact, answer in found.answers.items():
            if isinstance(answer, SignatureVerdict) and answer.outcome is SignatureOutcome.UNKNOWN:
                if not isinstance(fact, EnableSignatureFact):
                    raise StateUnavailable("the session validator's word on this signature")
                # an account that is not there yet cannot be asked; the entry point asks it after creating it
                self._enable_signature = "alert"
        return found.state

    def _without_node(self, state: SessionState, facts: Iterable[MissingFact]) -> SessionState:
        """The enable nonce can be told from the digest that was signed over it; nothing else can be told at all."""
        for fact in facts:
            if not isinstance(fact, EnableNonceFact | EmissaryNonceFact):
                raise StateUnavailable(f"{reasons.in_words(fact)}, and no node is configured to ask")
        envelope = self._claim.envelope
        if envelope.enable is None:
            return state
        nonce = signed_nonce(envelope.enable, state.key, envelope.mode, range(_MOST_NONCES))
        return state.with_enable_nonce(nonce or 0)


def _nothing_in_flight(_counter: Counter) -> int:
    return 0


def slot_of(operation: DecodedOperation) -> NonceSlot:
    """The place on chain that the operation competes for."""
    op = operation.op
    return NonceSlot(operation.chain_id, operation.entry_point.address, op.sender, op.nonce)
