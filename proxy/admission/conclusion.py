"""The end of a judgement, in one step: the chain's verdict, the rules', and what is held for both.

Nothing waits for anybody then, so that no other operation comes between a count that was read and what is held.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Final

from proxy.admission import reasons
from proxy.admission.hearing import Fit
from proxy.admission.judgement import Judgement
from proxy.admission.sources import Purpose, Sources
from proxy.errors import Code, Reason, StateUnavailable
from proxy.judge.counts import OutcomeLesson
from proxy.judge.evaluate import NOTHING, RuleJudge, RulesFinding, RulesLook
from proxy.judge.facts import ALLOWED, Facts
from proxy.judge.reading import Arrival, Background, facts_of
from proxy.judge.rule import Fail, Per, Rate, Rule, Streak
from proxy.judge.verdict import Allow, Mode, Reject, Verdict
from proxy.ledger.hindrance import RuleRefusal
from proxy.ledger.reservation import UNKNOWN_NONCE, Basis, Bringer, Held, NonceSlot, Reservation
from proxy.record import record
from proxy.session.changes import changes_of
from proxy.session.counters import Charge, Counter, SessionKey
from proxy.session.grounds import Grounds
from proxy.session.outcome import Waived
from proxy.session.policies.simple_gas import moves_cost, price_of
from proxy.session.units import reason_in_units
from proxy.session.validity import UINT48_MAX
from proxy.userop.decode import DecodedOperation
from proxy.userop.entry_point import EntryPoint
from proxy.userop.user_operation import UserOperation

UNNAMED_REQUEST: Final = Arrival(chain="", client="", method="")

FEW_RULES: Final = 100
"""So many are asked in one go. Of more, what an operation says by itself is asked"""
_RULES_AT_ONCE: Final = 25
"""so many at once before others are let on: each may loop over fifty calls at its own expense."""
_MOST_LOOKS: Final = 3
"""So often they are asked ahead anew where the session, or the rules, have changed since they were asked. After that
nobody knows what they say now: to ask them all at once would hold up everybody."""

_OUTRUN: Final = StateUnavailable("what the rules say, which change faster than they can be asked", fact="rules")


@record(kw_only=True)
class Heard:
    """What the chain and the session say. `fit` is there for a session's operation that both take, `revision` that of
    the session they judged by."""

    verdict: Verdict
    operation: DecodedOperation | None = None
    session: SessionKey | None = None
    fit: Fit | None = None
    grounds: Grounds | None = None
    revision: int | None = None


@record()
class LookedAhead:
    """What many rules said of an operation by itself, piece by piece, and the background they said it against: all of
    it but what else is in flight, of which the rules that ask are asked last."""

    judge: RuleJudge
    look: RulesLook
    background: Background

    def holds(self, judge: RuleJudge | None, background: Background) -> bool:
        """Whether it is what these rules say against this background."""
        return self.judge is judge and self.background == background.by_itself


class Conclusion:
    """Draws the judgement from what was heard, in one step."""

    def __init__(self, sources: Sources) -> None:
        self._chain_id = sources.terms.chain_id
        self._modules = sources.terms.session_modules
        self._registry = sources.registry
        self._ledger = sources.ledger
        self._rules = sources.rules
        self._clock = sources.clock

    @property
    def looks_ahead(self) -> bool:
        """Whether rules are so many that they are asked piece by piece."""
        judge = self._rules()
        return judge is not None and judge.size > FEW_RULES

    async def look_ahead(
        self, op: UserOperation, entry_point: EntryPoint, heard: Heard, purpose: Purpose, request: Arrival
    ) -> LookedAhead | None:
        """Ask what rules ask of the operation alone, letting others on in between. `None` where rules are few."""
        slot = NonceSlot(self._chain_id, entry_point.address, op.sender, op.nonce)
        ahead: LookedAhead | None = None
        for _ in range(_MOST_LOOKS):
            judge = self._rules()
            if judge is None or judge.size <= FEW_RULES:
                return None
            background = self._standing(heard, slot, _wanted(heard), purpose)
            if ahead is not None and ahead.holds(judge, background):
                break
            facts = self._facts(op, entry_point, heard, request=request, background=background, judge=judge)
            look = judge.look(facts, None if heard.operation is None else heard.operation.budget)
            while look.go_on(_RULES_AT_ONCE):  # noqa: ASYNC110  # nothing is waited for: others are let on
                await asyncio.sleep(0)
            ahead = LookedAhead(judge, look, background.by_itself)
        return ahead

    def draw(
        self,
        op: UserOperation,
        entry_point: EntryPoint,
        heard: Heard,
        *,
        purpose: Purpose,
        request: Arrival,
        signed: bool,
        ahead: LookedAhead | None,
    ) -> Judgement:
        """The judgement; see `Admission.judge`. `ahead` is what was found a moment ago: if it does not hold even so,
        the operation is refused. `signed`: the session's key was seen to have signed, whatever else is wrong."""
        slot = NonceSlot(self._chain_id, entry_point.address, op.sender, op.nonce)
        charges = _wanted(heard)
        bringer = _bringer(heard, purpose, request)
        background = self._standing(heard, slot, charges, purpose)
        outrun = ahead is not None and not ahead.holds(self._rules(), background)
        facts, finding = self._ask_rules(
            op, entry_point, heard, slot=slot, background=background, request=request, bringer=bringer, ahead=ahead
        )
        now = facts.unix_time
        verdict = heard.verdict
        if isinstance(verdict, Allow) and (rejections := finding.rejections):
            told = bringer is None or purpose is Purpose.EXPLAIN
            verdict = Reject(tuple(hit.reason(amounts=told) for hit in rejections))
        elif isinstance(verdict, Reject):
            verdict = Reject(tuple(self._in_units(reason) for reason in verdict.reasons))
        elif outrun:
            verdict = Reject((reasons.unavailable(_OUTRUN),))
        refused = isinstance(verdict, Reject)
        if purpose is not Purpose.EXPLAIN and (finding.rates or finding.rows):
            self.count_at_once(finding, bringer, refused=refused, signed=signed, now=now)
        enable_nonce = None if heard.operation is None else _enable_nonce(heard.operation, heard.fit)
        held: Reservation | Reason | None = None
        if not refused and heard.operation is not None and not purpose.is_preview:
            if heard.operation.told_hash is None:
                held = self._refused_without_hash(finding)
            elif purpose is Purpose.SUBMIT:
                basis = self._basis(heard, charges, bringer)
                held = self._reserve(heard.operation, heard, finding, slot, basis, enable_nonce=enable_nonce)
        if isinstance(held, Reason):
            verdict, held = Reject((held,)), None
        return Judgement(
            verdict=verdict,
            operation=heard.operation,
            reservation=held,
            enable_nonce=None if held is None else enable_nonce,
            facts=facts,
            finding=finding,
            grounds=heard.grounds,
            vouched=bringer is None,
        )

    def _ask_rules(
        self,
        op: UserOperation,
        entry_point: EntryPoint,
        heard: Heard,
        *,
        slot: NonceSlot,
        background: Background,
        request: Arrival,
        bringer: Bringer | None,
        ahead: LookedAhead | None,
    ) -> tuple[Facts, RulesFinding]:
        """What rules see of the operation, and what all of them say, or said when they were asked ahead."""
        judge = self._rules()
        if ahead is not None:
            look = ahead.look
            look.standing(
                replaces=background.replaces,
                lanes=background.lanes,
                limit_used_percent=background.limit_used_percent,
            )
        else:
            facts = self._facts(op, entry_point, heard, request=request, background=background, judge=judge)
            if judge is None:
                return facts, NOTHING
            budget = None if heard.operation is None else heard.operation.budget
            return facts, judge.consider(facts, self._ledger.counts(slot, facts.unix_time, bringer), budget)
        return look.facts, look.finding(self._ledger.counts(slot, look.facts.unix_time, bringer))

    def _facts(
        self,
        op: UserOperation,
        entry_point: EntryPoint,
        heard: Heard,
        *,
        request: Arrival,
        background: Background,
        judge: RuleJudge | None,
    ) -> Facts:
        return facts_of(
            op,
            entry_point,
            self._chain_id,
            heard.operation,
            request=request,
            standing=background,
            now=self._clock(),
            asked=frozenset() if judge is None else judge.asked,
        )

    def _standing(self, heard: Heard, slot: NonceSlot, charges: tuple[Charge, ...], purpose: Purpose) -> Background:
        """What is in flight beside the operation, and how full its session's limits become. Who asks for an estimate
        hears what would be said with nothing in flight: nobody's signature was checked for that."""
        verdict = heard.verdict
        label = verdict.first.code.label if isinstance(verdict, Reject) else ALLOWED
        if heard.session is None or heard.operation is None:
            return Background(verdict=label)
        is_told = not purpose.is_preview
        fullest = self._fullest(heard, slot if is_told else None, charges)
        known, until = self._registry.get(heard.session), _valid_until(heard.fit)
        held = self._ledger.standing(slot, heard.session, heard.operation.told_hash) if is_told else None
        return Background(
            verdict=label,
            replaces=held is not None and held.replaces,
            lanes=1 if held is None else held.lanes,
            limit_used_percent=fullest,
            session_since=None if known is None else known.since,
            session_until=until,
        )

    def _fullest(self, heard: Heard, slot: NonceSlot | None, charges: tuple[Charge, ...]) -> int | None:
        beside = _nothing if slot is None else self._ledger.in_flight_beside(slot)
        fullest: int | None = None
        for charge in charges:
            if charge.limit:
                used = self._used(heard, charge.counter) + beside(charge.counter) + charge.amount
                fullest = max(fullest or 0, used * 100 // charge.limit)
        return fullest

    def _used(self, heard: Heard, counter: Counter) -> int:
        accepted = None if heard.fit is None else heard.fit.accepted
        on_chain = 0 if accepted is None else accepted.enabled.used.get(counter, 0)
        return on_chain + self._registry.declarations.uses(counter)

    def count_at_once(
        self, finding: RulesFinding, bringer: Bringer | None, *, refused: bool, signed: bool, now: float
    ) -> None:
        """What is counted whatever becomes of the operation, and whether it makes a row of refusals longer."""
        judge = self._rules()
        for rate in finding.rates:
            rule = None if judge is None else judge.rule_of(rate.key)
            # who the client is was checked, so that what it is held to is its own
            of_client = rule is not None and isinstance(rule.check, Rate) and Per.CLIENT in rule.check.per
            by = None if of_client else bringer
            self._ledger.rate(rate.key, rate.window, rate.amount, rate.limit, now, bringer=by)
        for key in finding.rows:
            if bringer is not None and not signed and judge is not None:
                rule = judge.rule_of(key)
                if rule is not None and _shuts_others_out(rule):
                    continue
            self._ledger.learn_now(OutcomeLesson(key=key), now, success=not refused)

    def _reserve(
        self,
        operation: DecodedOperation,
        heard: Heard,
        finding: RulesFinding,
        slot: NonceSlot,
        basis: Basis,
        *,
        enable_nonce: int | None,
    ) -> Reservation | Reason | None:
        """Hold what the operation uses, of its session and of the rules' counts; why that cannot be, or `None` where it
        uses nothing."""
        charges, counted = _wanted(heard), finding.charges or finding.lessons
        if heard.fit is None and not counted and not changes_of(operation, self._modules):
            return None
        reservation = Reservation(
            user_op_hash=operation.user_op_hash,
            slot=slot,
            session=heard.session,
            charges=charges,
            valid_until=_valid_until(heard.fit),
            rule_charges=finding.charges,
            lessons=finding.lessons,
            grant=_grant(operation, enable_nonce),
            gas_price=price_of(operation.op) if moves_cost(charges) else None,
        )
        held = self._ledger.reserve(reservation, basis, self._clock())
        if isinstance(held, Held):
            return held.reservation
        return self._refused_by_rule(held) if isinstance(held, RuleRefusal) else self._in_units(held.reason())

    def _in_units(self, reason: Reason) -> Reason:
        judge = self._rules()
        return reason if judge is None else reason_in_units(reason, partial(judge.unit_of, self._chain_id))

    def _basis(self, heard: Heard, charges: tuple[Charge, ...], bringer: Bringer | None) -> Basis:
        """What the verdict rests on, in values."""
        return Basis(
            used={charge.counter: self._used(heard, charge.counter) for charge in charges},
            revision=heard.revision,
            bringer=bringer,
        )

    def _refused_without_hash(self, finding: RulesFinding) -> Reason | None:
        """Of an operation that cannot be named nothing is held, so that no rule that refuses can do without a name."""
        judge = self._rules()
        binding = (charge.key for charge in finding.charges if charge.binding)
        for rule in (None if judge is None else judge.rule_of(key) for key in binding):
            if rule is not None and rule.fail is Fail.CLOSED:
                return reasons.hash_unknown(rule.id)
        return None

    def _refused_by_rule(self, refusal: RuleRefusal) -> Reason:
        """A count that has grown since the rule read it: another gate on the same ledger was faster."""
        judge = self._rules()
        rule = None if judge is None else judge.rule_of(refusal.key)
        left = max(refusal.limit - refusal.used - refusal.in_flight, 0)
        return Reason(
            code=Code.RULE_REJECTED,
            sentence=f"rule {'' if rule is None else rule.id}: {left} left of {refusal.limit}, {refusal.wanted} asked",
            remedy="wait until the operations in flight are mined, or ask for less",
            rule=None if rule is None else rule.id,
            wanted=f"at most {left}",
            got=str(refusal.wanted),
            retryable=True,
        )


def _nothing(_counter: Counter) -> int:
    return 0


def _shuts_others_out(rule: Rule) -> bool:
    """Whether a row of this rule's refuses operations of somebody who need not have sent those in it."""
    check = rule.check
    return rule.mode is Mode.ENFORCE and isinstance(check, Streak) and Per.CLIENT not in check.per


def _bringer(heard: Heard, purpose: Purpose, request: Arrival) -> Bringer | None:
    """Who brought an operation that nobody's signature was checked for; `None` where its session's key has signed."""
    fit = heard.fit
    if fit is None or purpose.is_preview:
        signed = False
    elif fit.accepted is None or Waived.VALIDATOR in fit.waived or fit.accepted.owner_unchecked:
        signed = fit.declared is not None
    else:
        signed = True
    return None if signed else Bringer(request.client, request.peer)


def _wanted(heard: Heard) -> tuple[Charge, ...]:
    fit = heard.fit
    if fit is None:
        return ()
    charges = fit.accepted.charges if fit.accepted is not None else ()
    return charges if fit.declared is None else charges + fit.declared.charges


def _valid_until(fit: Fit | None) -> int | None:
    if fit is None:
        return None
    valid_until = fit.accepted.valid_until if fit.accepted is not None else UINT48_MAX
    if fit.declared is not None:
        valid_until = min(valid_until, fit.declared.window.valid_until)
    return valid_until if valid_until < UINT48_MAX else None


def _grant(operation: DecodedOperation, enable_nonce: int | None) -> int | None:
    """The enable nonce that the operation uses up, if it is an ENABLE."""
    if operation.claim is None or operation.claim.envelope.enable is None:
        return None
    return UNKNOWN_NONCE if enable_nonce is None else enable_nonce


def _enable_nonce(operation: DecodedOperation, fit: Fit | None) -> int | None:
    """The nonce under the owner's signature; judging the envelope has moved it on by one."""
    if fit is None or fit.accepted is None:
        return None
    enabling = operation.claim is not None and operation.claim.envelope.enable is not None
    after = fit.accepted.enabled.enable_nonce if enabling else None
    return None if after is None else after - 1
