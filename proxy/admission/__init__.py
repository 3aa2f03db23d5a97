"""Whether an operation is let through: its claim, the session behind it, the chain's verdict, ops' rules, what it
reserves.

The verdicts themselves are pure and made elsewhere (`session.enforce`, `judge.evaluate`); this room finds out what
they need to know.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from proxy.admission import reasons
from proxy.admission.advice import advice_of, remarks_on_grants
from proxy.admission.at_hand import fit_at_hand
from proxy.admission.conclusion import UNNAMED_REQUEST, Conclusion, Heard
from proxy.admission.hearing import Fit, Hearing, slot_of
from proxy.admission.hidden import HiddenSessions
from proxy.admission.in_time import in_all
from proxy.admission.judgement import Judgement
from proxy.admission.nonce_order import waits_behind
from proxy.admission.sources import ChainReader, Found, Purpose, RecentReads, Settlement, Sources, Terms
from proxy.admission.straight import StraightUse
from proxy.admission.turns import Asker
from proxy.errors import Code, Reason, StateUnavailable, Undecodable
from proxy.judge.reading import Arrival
from proxy.judge.verdict import Allow, Reject, Verdict
from proxy.session.counters import SessionKey
from proxy.session.declared import refused_unsigned
from proxy.session.grounds import Grounds
from proxy.session.outcome import EnforcedElsewhere
from proxy.session.proof import OnceChecked, refused_unproven
from proxy.session.registry import Status
from proxy.session.signers import SignatureCheck, SignatureOutcome, check_session_signature
from proxy.session.told import names_at
from proxy.userop.acts import Unreadable
from proxy.userop.budget import Overspent
from proxy.userop.declared_module import UNNAMED, declared_modules
from proxy.userop.decode import DecodedOperation, SessionClaim, decode_calls, decode_head, misnaming_of
from proxy.userop.entry_point import EntryPoint, EntryPointVersion
from proxy.userop.execution import CallType
from proxy.userop.nonce import find_session_module, kernel_permission
from proxy.userop.primitives import Address, Hash32, print_bytes
from proxy.userop.signature import SessionEnvelope
from proxy.userop.user_op_hash import DelegateUnknown
from proxy.userop.user_operation import EIP7702_MARKER, UserOperation

__all__ = [
    "Admission",
    "ChainReader",
    "Found",
    "Judgement",
    "Purpose",
    "RecentReads",
    "Settlement",
    "Sources",
    "Terms",
]


class Admission:
    """Judges the operations of one chain."""

    def __init__(self, sources: Sources) -> None:
        self._sources = sources
        self._terms = sources.terms
        self._registry = sources.registry
        self._reader = sources.reader
        self._hidden = HiddenSessions(sources)
        self._conclusion = Conclusion(sources)
        self._straight = StraightUse(sources, self._conclusion)

    async def judge(
        self,
        op: UserOperation,
        entry_point: EntryPoint,
        *,
        purpose: Purpose = Purpose.SUBMIT,
        request: Arrival = UNNAMED_REQUEST,
    ) -> Judgement:
        """The verdict on an operation; one to be submitted that is allowed comes with a reservation already held.

        Never raises for what is wrong with the operation or the world: that is what a rejection is for.
        """
        straight = self.judge_at_once(op, entry_point, request) if purpose is Purpose.SUBMIT else None
        if isinstance(straight, Judgement):  # nearly always
            return straight
        return await self.judge_at_length(op, entry_point, purpose=purpose, request=request, check=straight)

    def judge_at_once(
        self, op: UserOperation, entry_point: EntryPoint, request: Arrival
    ) -> Judgement | OnceChecked | None:
        """The verdict on an operation to be submitted, if it is that it goes out and nobody had to be asked. Otherwise
        what was said to its signature, for `judge_at_length`; `None` where nobody has looked at that."""
        return self._straight.judge(op, entry_point, request)

    async def judge_at_length(
        self,
        op: UserOperation,
        entry_point: EntryPoint,
        *,
        purpose: Purpose,
        request: Arrival,
        check: OnceChecked | None,
    ) -> Judgement:
        """The verdict on any operation. `check` is what was said to its signature already."""
        check = OnceChecked() if check is None else check
        try:
            async with in_all(self._sources.seconds, "what the chain says of it was not had"):  # nothing is held yet
                heard = await self._hear(op, entry_point, purpose, request, check)
        except StateUnavailable as error:
            heard = Heard(verdict=Reject((reasons.unavailable(error),)))
        if heard.operation is not None and heard.operation.budget.is_drawn_upon:
            await asyncio.sleep(0)  # as above
        ahead = None
        if self._conclusion.looks_ahead:
            ahead = await self._conclusion.look_ahead(op, entry_point, heard, purpose, request)
        # nothing gives way from here on: the rules' counts and the reservation are one step, which holds the verdict
        # against what is known of the session and in flight by now
        return self._conclusion.draw(
            op, entry_point, heard, purpose=purpose, request=request, signed=check.is_good, ahead=ahead
        )

    async def _hear(
        self, op: UserOperation, entry_point: EntryPoint, purpose: Purpose, request: Arrival, check: OnceChecked
    ) -> Heard:
        """What the chain and the session say."""
        try:
            delegate = None
            if not purpose.is_preview and self._hangs_on_delegate(op, entry_point):
                delegate = await self._delegate(op)
            head = decode_head(
                op,
                entry_point,
                self._terms.chain_id,
                self._terms.session_modules,
                delegate=delegate,
                preview=purpose.is_preview,
                sponsored=purpose is Purpose.SPONSOR,
            )
        except DelegateUnknown as error:
            return Heard(verdict=Reject((reasons.delegate_unknown(error),)))
        except Undecodable as error:
            return Heard(verdict=Reject((reasons.undecodable(error),)))
        except StateUnavailable as error:
            return Heard(verdict=Reject((reasons.unavailable(error),)))
        key = self._key_of(head)
        try:
            if key is not None and (unproven := self._refuse_unproven(head, key, purpose, check)) is not None:
                return Heard(verdict=Reject((unproven,)), operation=head)
            # before its calls are walked, so that one budget pays for all that reads it
            hidden = None if key is not None else self._hidden_in(head)
            operation = decode_calls(head, self._terms.session_modules)
            if operation.budget.is_drawn_upon:
                await asyncio.sleep(0)  # what comes next is as long again, and others wait
            if operation.claim is None or key is None:
                verdict = await self._judge_foreign(operation, hidden, purpose, request)
                return Heard(verdict=verdict, operation=operation)
        except Undecodable as error:
            return Heard(verdict=Reject((reasons.undecodable(error),)))
        try:
            return await self._hear_session(operation, operation.claim, key, purpose, check=check, request=request)
        except StateUnavailable as error:
            return Heard(verdict=Reject((reasons.unavailable(error),)), operation=operation)

    def _key_of(self, operation: DecodedOperation) -> SessionKey | None:
        """The session that an operation claims."""
        claim = operation.claim
        if claim is None:
            return None
        return SessionKey(self._terms.chain_id, claim.module, operation.op.sender, claim.envelope.permission_id)

    def _refuse_unproven(
        self, head: DecodedOperation, key: SessionKey, purpose: Purpose, check: SignatureCheck
    ) -> Reason | None:
        """Why an operation is not its session's, as far as that is known before anything dear is done for it."""
        claim = head.claim
        if claim is None or purpose.is_preview or misnaming_of(head.op.nonce, claim.layout) is not None:
            return None
        known, declared = self._registry.get(key), self._registry.declarations.of(key)
        # of one that is revoked or frozen it is told apart further on who tries
        if (known is not None and known.status is Status.REMOVED) or self.frozen(head) is not None:
            return None
        if known is not None and known.state is not None:
            refused = refused_unproven(head, known.state, check)
            if refused is not None:
                return refused.reason
        return None if declared is None else refused_unsigned(head, declared, check)

    def _hangs_on_delegate(self, op: UserOperation, entry_point: EntryPoint) -> bool:
        """Whether the hash depends on the sender's EIP-7702 delegate, and the operation does not bring it along."""
        factory = op.factory
        if factory is None or self._reader is None or op.eip7702_auth is not None:
            return False
        if entry_point.version in (EntryPointVersion.V06, EntryPointVersion.V07):
            return False
        return factory.ljust(20, b"\0") == EIP7702_MARKER.ljust(20, b"\0")

    async def _delegate(self, op: UserOperation) -> Address | None:
        """Asked for only where something needs the hash. Raises `StateUnavailable`."""
        try:
            return None if self._reader is None else await self._reader.delegate(op.sender)
        except StateUnavailable:
            if find_session_module(op.nonce, self._terms.session_modules) is not None:
                raise
            return None

    def _hidden_in(self, head: DecodedOperation) -> SessionEnvelope | Reason | None:
        """The session's envelope that an owner's signature may be, or why it is one of a declared module's."""
        envelope = self._hidden.envelope(head)
        return reasons.hidden_claim() if self._is_signed_at_declared(head) else envelope

    async def _judge_foreign(
        self,
        operation: DecodedOperation,
        envelope: SessionEnvelope | Reason | None,
        purpose: Purpose,
        request: Arrival,
    ) -> Verdict:
        """Owner-signed and foreign operations pass, unless a session hides in one or its account is a strict one."""
        account = operation.op.sender
        if isinstance(envelope, Reason):
            return Reject((envelope,))
        untold: Verdict | None = None
        if envelope is not None:
            if self._hidden.is_known(account, envelope):
                return Reject((reasons.hidden_claim(),))
            if not purpose.is_preview:
                asker = Asker(request.client, request.peer, account, request.absent_rate)
                untold = await self._hidden.verdict(operation, envelope, asker)
        if isinstance(untold, Reject):
            return untold
        if operation.op.sender in self._terms.strict_accounts and not _is_readable(operation):
            return Reject((reasons.strict(operation.op.sender),))
        if operation.is_unsigned and find_session_module(operation.op.nonce, self._terms.session_modules) is not None:
            return Allow(("not signed yet: nobody knows by which session it will be",))
        if (permission := kernel_permission(operation.op.nonce)) is not None:
            note = f"signed under permission {print_bytes(permission)} of a Kernel account, which is not enforced here"
            return Allow((note,), elsewhere=EnforcedElsewhere.KERNEL_PERMISSION)
        return untold or Allow(remarks_on_grants(operation.acts))

    def _is_signed_at_declared(self, operation: DecodedOperation) -> bool:
        """Whether a session of a module that the settings declare has signed, of accounts that have one there."""
        chain_id, account = self._terms.chain_id, operation.op.sender
        for module in declared_modules(self._terms.session_modules).values():
            if operation.told_hash is None or not names_at(self._registry, chain_id, module.address, account):
                continue
            try:
                envelope = module.read_envelope(operation.op.signature, operation.told_hash, operation.budget)
            except Overspent:
                raise
            except Undecodable:
                continue
            if self._hidden.has(SessionKey(chain_id, module.address, account, envelope.permission_id)):
                return True
        return False

    async def _hear_session(
        self,
        operation: DecodedOperation,
        claim: SessionClaim,
        key: SessionKey,
        purpose: Purpose,
        *,
        check: SignatureCheck,
        request: Arrival,
    ) -> Heard:
        if (frozen := self.frozen(operation)) is not None:
            return Heard(
                verdict=Reject((self._with_word_on_key(operation, claim, frozen, purpose),)), operation=operation
            )
        if (misnamed := misnaming_of(operation.op.nonce, claim.layout)) is not None:
            return Heard(verdict=Reject((reasons.undecodable(misnamed),)), operation=operation)
        if not (purpose.is_preview and claim.envelope.permission_id == UNNAMED):
            return await self._hear_named(operation, claim, key, purpose, check=check, request=request)
        names = names_at(self._registry, self._terms.chain_id, claim.module, operation.op.sender)
        heard = await self._hear_named(*_named(operation, claim, key, names[:1]), purpose, check=check, request=request)
        for name in names[1:]:
            # a stub is not signed by anybody: what one of the account's sessions may do is estimated
            if isinstance(heard.verdict, Allow):
                break
            heard = await self._hear_named(
                *_named(operation, claim, key, (name,)), purpose, check=check, request=request
            )
        return heard

    async def _hear_named(
        self,
        operation: DecodedOperation,
        claim: SessionClaim,
        key: SessionKey,
        purpose: Purpose,
        *,
        check: SignatureCheck,
        request: Arrival,
    ) -> Heard:
        await self._sources.reconciled(key)
        # before anything rests on what is known now; of a session that is not known yet, once its key has signed
        in_order = self._is_held_to_order(purpose)
        looked = in_order and (known := self._registry.get(key)) is not None and known.state is not None
        fit: Fit | Reason | None = await self._gap(operation) if looked else None
        if fit is None and not purpose.is_preview:
            fit = fit_at_hand(self._sources, operation, claim, key, check)
        grounds: Grounds | None = None
        if fit is None:
            asker = Asker(request.client, request.peer, key.account, request.absent_rate)
            hearing = Hearing(self._sources, operation, claim, key, purpose, check_signature=check, asker=asker)
            fit = await hearing.fit()
            if in_order and not looked and not isinstance(fit, Reason):
                gap = await self._gap(operation)
                fit = await hearing.fit() if gap is None else gap
            grounds = hearing.grounds
        revision = self._registry.revision(key)
        # again: it may have been frozen while others were asked
        if (frozen := self.frozen(operation)) is not None:
            return Heard(verdict=Reject((frozen,)), operation=operation)
        if isinstance(fit, Reason):
            fit = self._with_word_on_key(operation, claim, fit, purpose)
            return Heard(verdict=Reject((fit,)), operation=operation, session=key, grounds=grounds, revision=revision)
        self._tell_of_gap(operation, key, purpose)
        advice = () if purpose is Purpose.SUBMIT else advice_of(operation.op, claim.envelope.mode)
        allowed = Allow(fit.notes + advice, fit.waived)
        return Heard(verdict=allowed, operation=operation, session=key, fit=fit, grounds=grounds, revision=revision)

    def _is_held_to_order(self, purpose: Purpose) -> bool:
        is_known = self._sources.order is not None
        return is_known and self._terms.nonce_gap == "reject" and purpose is not Purpose.PREVIEW

    async def _gap(self, operation: DecodedOperation) -> Reason | None:
        """Why an operation that waits behind a gap is refused. Raises `StateUnavailable` when nobody can tell."""
        order = self._sources.order
        try:
            missing = None if order is None else await order.missing(slot_of(operation))
        except StateUnavailable:
            if self._terms.stale_state == "closed":
                raise
            return None
        return None if missing is None else waits_behind(missing)

    def _tell_of_gap(self, operation: DecodedOperation, key: SessionKey, purpose: Purpose) -> None:
        """The same where it is sent all the same: nobody waits for that."""
        order, name = self._sources.order, operation.told_hash
        if order is not None and self._terms.nonce_gap == "alert" and purpose is Purpose.SUBMIT and name is not None:
            order.watch(slot_of(operation), partial(self._sources.behind_gap, key, name))

    def _with_word_on_key(
        self, operation: DecodedOperation, claim: SessionClaim, reason: Reason, purpose: Purpose
    ) -> Reason:
        """Whether the key of a session that is revoked or frozen signed: its holder still tries, or a stranger does.
        Why it is frozen is told to the first alone, and to ops."""
        key = self._key_of(operation)
        if reason.code is not Code.SESSION_REVOKED or purpose.is_preview or key is None:
            return reason
        signed = self._has_signed(operation, claim, key)
        freeze = self._registry.freezes.on(key) if signed or purpose is Purpose.EXPLAIN else None
        if freeze is not None:
            reason = reasons.frozen(freeze, told_why=True)
        return replace(reason, signed=signed)

    def _has_signed(self, operation: DecodedOperation, claim: SessionClaim, key: SessionKey) -> bool | None:
        """`None` where nobody here can tell."""
        signer = self._registry.signer_of(key)
        if signer is None or operation.told_hash is None:
            return None
        verdict = check_session_signature(*signer, operation.told_hash, claim.envelope.signature)
        return {SignatureOutcome.UNKNOWN: None, SignatureOutcome.VALID: True}.get(verdict.outcome, False)

    def frozen(self, operation: DecodedOperation) -> Reason | None:
        """Why an operation must not go out whatever its session says, also one that was let through a moment ago."""
        if not self._registry.freezes.any or (key := self._key_of(operation)) is None:
            return None
        freeze = self._registry.freezes.on(key)
        return None if freeze is None else reasons.frozen(freeze)


def _named(
    operation: DecodedOperation, claim: SessionClaim, key: SessionKey, name: Sequence[Hash32]
) -> tuple[DecodedOperation, SessionClaim, SessionKey]:
    """The operation as one of this session; without a name, as it is."""
    for permission_id in name:
        claim = claim._replace(envelope=claim.envelope._replace(permission_id=permission_id))
        operation, key = replace(operation, claim=claim), key._replace(permission_id=permission_id)
    return operation, claim, key


def _is_readable(operation: DecodedOperation) -> bool:
    """Whether it is known what an operation makes its account do. A delegatecall runs as the account: nobody knows."""
    execution = operation.execution
    if execution is None or execution.call_type not in (CallType.SINGLE, CallType.BATCH):
        return False
    return not any(isinstance(act, Unreadable) for act in operation.acts)
