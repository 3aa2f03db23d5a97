"""The use of a session by one plain call, judged in one go: nearly all that a gate is handed.

What a session says of calls of one function of one contract is remembered (`session.call_plan`); here an operation is
held against that, the rules are asked, and what it uses is held. Nothing is refused here, and nothing is held or
counted before all of it is allowed: whatever is in the way, or not known, is the long way's to find out and to say.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Final

from proxy.admission.conclusion import FEW_RULES, Conclusion
from proxy.admission.judgement import Judgement
from proxy.admission.sources import Sources
from proxy.judge.evaluate import NOTHING, RuleJudge, RulesFinding
from proxy.judge.facts import MoveFacts
from proxy.judge.reading import Arrival, facts_of_known_moves, facts_of_movement, facts_of_use
from proxy.judge.verdict import ALLOWED
from proxy.ledger.reservation import NOTHING_USED, Basis, Held, NonceSlot, Reservation
from proxy.session.call_plan import CallPlan, accept_planned, plan_of
from proxy.session.counters import Charge, Counter, SessionKey
from proxy.session.known import KnownSession, Status
from proxy.session.policies.simple_gas import moves_cost, price_of
from proxy.session.proof import OnceChecked
from proxy.session.signers import SignatureOutcome
from proxy.session.state import SessionState
from proxy.session.validity import UINT48_MAX
from proxy.userop.budget import Budget
from proxy.userop.declared_module import declared_modules
from proxy.userop.decode import DecodedOperation, SessionClaim
from proxy.userop.emissary_abi import EMISSARIES
from proxy.userop.entry_point import EntryPoint, EntryPointVersion
from proxy.userop.execution import EXECUTE, Call, CallType, ExecType, Execution
from proxy.userop.movement import Movement
from proxy.userop.nonce import KernelMode, KernelType, NexusMode, NonceLayout, find_session_module, nonce_sequence
from proxy.userop.primitives import Address, Selector
from proxy.userop.session_data import VALUE_SELECTOR
from proxy.userop.signature import SessionEnvelope, SessionMode
from proxy.userop.transfers import movements_of
from proxy.userop.user_op_hash import user_op_hash
from proxy.userop.user_operation import UserOperation

# looked up once, not of every operation
_V06, _USE, _VALID = EntryPointVersion.V06, SessionMode.USE, SignatureOutcome.VALID
_NEXUS, _KERNEL, _IN_FORCE, _ONE_CALL = NonceLayout.NEXUS, NonceLayout.KERNEL, Status.IN_FORCE, CallType.SINGLE
_DEFAULT: Final = ExecType.DEFAULT
_made: Final = tuple.__new__  # makes a named tuple of all its values without asking for their names
_NO_FUNCTIONS: Final = frozenset[Selector]()
_SINGLE: Final = EXECUTE + bytes((CallType.SINGLE, ExecType.DEFAULT))
_BEHIND_MODE: Final = (64).to_bytes(32, "big")
"""Where every encoder puts the calls of `execute`."""
_HEAD: Final = 100  # selector ‖ mode ‖ offset ‖ length
_CALL: Final = 52  # target ‖ value
_MOST_READ: Final = 260
"""Bytes of a call's data that are read here for what it moves: a selector and eight words."""
_SWITCHING: Final = (NexusMode.MODULE_ENABLE, NexusMode.PREPARE)
_KERNEL_PLAIN: Final = KernelMode.DEFAULT << 8 | KernelType.VALIDATOR


_Found = tuple[KnownSession, SessionState, CallPlan, NonceLayout, Call]


class StraightUse:
    """Judges one chain's plain uses."""

    def __init__(self, sources: Sources, conclusion: Conclusion) -> None:
        terms = sources.terms
        self._sources = sources
        self._conclusion = conclusion
        self._chain_id = terms.chain_id
        self._modules = terms.session_modules
        # whose envelopes have one form, and whose sessions policies
        self._published = terms.session_modules - EMISSARIES - declared_modules(terms.session_modules).keys()
        self._registry = sources.registry
        self._ledger = sources.ledger
        # what is kept beside a verdict, and what an operation behind a gap is refused for, is the long way's to say
        self._is_open = not terms.keep_grounds and (sources.order is None or terms.nonce_gap != "reject")

    def judge(self, op: UserOperation, entry_point: EntryPoint, request: Arrival) -> Judgement | OnceChecked | None:
        """The judgement on an operation to be submitted, if it is that it goes out as it is. Otherwise what was said to
        its signature, `None` where nobody has looked at that."""
        sources = self._sources
        judge = sources.rules()
        if not self._is_open or entry_point.version is _V06:
            return None
        rules = 0 if judge is None else judge.size
        if rules > FEW_RULES:
            return None  # they are asked piece by piece
        if not rules:
            judge = None
        found = self._find(op)
        if found is None or not sources.is_reconciled(found[0].key) or sources.stale() is not None:
            return None
        known, state, plan, layout, call = found
        told_hash, signature = user_op_hash(op, entry_point, self._chain_id), op.signature[33:]
        said = plan.signed(told_hash, signature)
        if said.outcome is _VALID:
            key, budget = known.key, Budget()
            moves, seen = _moved(call, op.sender, plan, budget)
            execution = _made(Execution, (EXECUTE, _ONE_CALL, _DEFAULT, (call,)))
            # here and below by the order of the fields: by their names to make a record takes twice as long
            envelope = _made(SessionEnvelope, (_USE, key.permission_id, signature, None, None))
            claim = _made(SessionClaim, (key.module, layout, envelope, None))
            operation = DecodedOperation(
                op, entry_point, self._chain_id, told_hash, claim, execution, execution.calls, moves, (), 0, budget
            )
            judgement = self._conclude(
                operation, execution, known, state, plan=plan, moves=seen, request=request, judge=judge
            )
            if judgement is not None:
                return judgement
        check = OnceChecked()
        check.heard(state, told_hash, signature, said)
        return check

    def _find(self, op: UserOperation) -> _Found | None:
        """The session that a plain use is of, as it is known, and the call. The session's word on it is still to be
        asked."""
        nonce, signature, registry = op.nonce, op.signature, self._registry
        named = find_session_module(nonce, self._modules)
        if named is None or named[0] not in self._published or len(signature) < 33 or signature[0] != _USE:
            return None
        module, layout = named
        if layout is _NEXUS:
            if nonce >> 224 & 0xFF in _SWITCHING:
                return None
        elif layout is _KERNEL and nonce >> 240 != _KERNEL_PLAIN:
            return None
        if op.factory is not None or op.eip7702_auth is not None or registry.freezes.any or registry.declarations.any:
            return None
        key = _made(SessionKey, (self._chain_id, module, op.sender, signature[1:33]))
        known = registry.get(key)
        if known is None or known.status is not _IN_FORCE or (state := known.state) is None:
            return None
        data = op.call_data
        end = _HEAD + int.from_bytes(data[68:_HEAD], "big")
        if not data.startswith(_SINGLE) or data[36:68] != _BEHIND_MODE or not _HEAD + _CALL <= end <= len(data):
            return None
        target = Address(data[_HEAD:120])
        # what it does to modules and to the account itself is read on the long way
        if target == op.sender or target in self._modules or target in EMISSARIES:
            return None
        called = data[152:end]
        plan = plan_of(state, target, Selector(called[:4]) if len(called) >= 4 else VALUE_SELECTOR)
        if plan is None or not (plan.pays or op.paymaster is None):
            return None
        call = Call(target, int.from_bytes(data[120:152], "big"), called)
        if len(called) > _MOST_READ and (plan.moves is None or call.value):
            return None
        return known, state, plan, layout, call

    def _conclude(
        self,
        operation: DecodedOperation,
        execution: Execution,
        known: KnownSession,
        state: SessionState,
        *,
        plan: CallPlan,
        moves: tuple[MoveFacts, ...],
        request: Arrival,
        judge: RuleJudge | None,
    ) -> Judgement | None:
        """What policies and rules say to it, and what is held; `None` where that is not that it goes out."""
        op, place, ledger, budget = operation.op, operation.entry_point, self._ledger, operation.budget
        now, key, told_hash = self._sources.clock(), known.key, operation.user_op_hash
        slot = _made(NonceSlot, (self._chain_id, place.address, op.sender, op.nonce))
        beside = ledger.in_flight_beside(slot)
        taken = accept_planned(
            plan, state, op, execution, version=place.version, in_flight=beside, now=int(now), budget=budget
        )
        if taken is None:
            return None
        charges, until = taken
        ends = until if until < UINT48_MAX else None
        standing = ledger.standing(slot, key, told_hash)
        facts = facts_of_use(
            operation,
            key,
            plan.function,
            request=request,
            now=now,
            asked=_NO_FUNCTIONS if judge is None else judge.asked,
            moves=moves,
            replaces=standing is not None and standing.replaces,
            lanes=1 if standing is None else standing.lanes,
            fullest=_fullest(charges, state, beside) if charges else None,
            since=known.since,
            until=ends,
        )
        finding = NOTHING
        if judge is not None:
            finding = judge.consider(facts, ledger.counts(slot, now, None), budget)
            if finding.hits and finding.rejections:
                return None
        price = price_of(op) if charges and moves_cost(charges) else None
        reservation = Reservation(told_hash, slot, key, charges, ends, finding.charges, finding.lessons, None, price)
        held = self._hold(reservation, key, state, finding, now)
        if held is None:
            return None
        return Judgement(ALLOWED, operation, held, None, facts, finding, None, vouched=True)

    def _hold(
        self, wanted: Reservation, session: SessionKey, state: SessionState, finding: RulesFinding, now: float
    ) -> Reservation | None:
        """What is held, if anything is; then it goes out, and what is counted for that is counted."""
        # nothing has given way since the session was looked up: what is known of it is what it was judged by
        held = self._ledger.reserve(wanted, Basis(used=state.used) if wanted.charges else NOTHING_USED, now)
        if not isinstance(held, Held):
            return None
        if finding.rates or finding.rows:
            self._conclusion.count_at_once(finding, None, refused=False, signed=True, now=now)
        order, sources = self._sources.order, self._sources
        if order is not None and nonce_sequence(wanted.slot.nonce):  # the first of its key waits for none
            # who looks whether it waits behind a gap
            order.watch(wanted.slot, partial(sources.behind_gap, session, wanted.user_op_hash))
        return held.reservation


def _moved(
    call: Call, account: Address, plan: CallPlan, budget: Budget
) -> tuple[tuple[Movement, ...], tuple[MoveFacts, ...]]:
    """What the call moves, and what rules see of it: mostly the same as of every call that the plan is for."""
    if plan.moves is not None and not call.value and call.data:
        known = facts_of_known_moves(call.target, plan.function, account)
        if known is not None:
            return plan.moves, known
    moves = movements_of((call,), account, budget=budget)
    return moves, tuple([facts_of_movement(each) for each in moves])


def _fullest(charges: Iterable[Charge], state: SessionState, beside: Callable[[Counter], int]) -> int | None:
    """How full the fullest of these limits becomes, in percent."""
    fullest: int | None = None
    for charge in charges:
        if charge.limit:
            after = state.used.get(charge.counter, 0) + beside(charge.counter) + charge.amount
            fullest = max(fullest or 0, after * 100 // charge.limit)
    return fullest
