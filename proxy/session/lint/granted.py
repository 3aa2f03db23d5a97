"""A session of a declared module: what a careful reviewer would say of what its module granted.

There are no policies to read: target, function, value, uses and time are all that such a module can bound.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from proxy.session.addresses import SESSION_MODULES
from proxy.session.granted import GrantedAction
from proxy.session.lint.findings import WHOLE_SESSION, Finding, Part, Thresholds, Where, finding
from proxy.session.lint.scope import ADMINISTRATION
from proxy.session.lint.tokens import SET_APPROVAL_FOR_ALL, TOKEN_FUNCTIONS
from proxy.session.state import SessionState
from proxy.userop.declared_acts import FOREVER, DeclaredGrant, GrantedCall, GrantedTerms
from proxy.userop.entry_point import ENTRY_POINT_BY_ADDRESS
from proxy.userop.primitives import Address, print_bytes, print_checksummed


@dataclass(frozen=True, slots=True, kw_only=True)
class GrantedReview:
    """What is looked at: the terms of all calls together, and each call with its own."""

    account: Address
    module: Address
    whole: GrantedTerms
    calls: Sequence[GrantedCall]
    now: int
    thresholds: Thresholds

    def findings(self) -> Iterator[Finding]:
        """In the order of the calls."""
        if not self.calls:
            yield finding("nothing_allowed", WHOLE_SESSION, "the session can call nothing", "grant it a call")
        for index, call in enumerate(self.calls):
            where = Where(Part.ACTIONS, index)
            yield from self._target(call, where)
            yield from self._function(call, where)
            yield from self._value(call, where)
            yield from self._uses(call, where)
            yield from self._time(call, where)

    def _target(self, call: GrantedCall, where: Where) -> Iterator[Finding]:
        if call.target == self.account:
            sentence = "the target is the account itself: its modules, its owner and its code are at the key's mercy"
            yield finding("own_account_target", where, sentence, "take it out; the owner administers the account")
        if call.target == self.module:
            sentence = "the session may call its own module: its key can grant itself more"
            yield finding("session_module_call", where, sentence, "take it out; sessions are granted by the owner")
        elif call.target in SESSION_MODULES:
            shown = print_checksummed(call.target)
            sentence = f"{shown} is a session module: if the account has it, the key can grant itself more"
            yield finding("session_module_target", where, sentence, "take it out; sessions are granted by the owner")
        if call.target in ENTRY_POINT_BY_ADDRESS:
            sentence = "the target is an entry point: deposits and withdrawals of the account"
            yield finding("entry_point_target", where, sentence, "take it out, unless the key manages the deposit")

    def _function(self, call: GrantedCall, where: Where) -> Iterator[Finding]:
        selector = call.selector
        if selector is None:
            sentence = f"every function of {print_checksummed(call.target)} may be called, with any arguments"
            yield finding("rules_restrict_nothing", where, sentence, "grant single functions")
        elif selector == SET_APPROVAL_FOR_ALL:
            sentence = "any operator may be approved for all tokens of a collection"
            yield finding("operator_approval", where, sentence, "take it out: the module bounds no arguments")
        elif (token := TOKEN_FUNCTIONS.get(selector)) is not None:
            sentence = f"{token.signature} {token.verb} any amount: the module bounds no arguments"
            yield finding("token_uncapped", where, sentence, "limit the amount by a rule of the gate")
        elif (signature := ADMINISTRATION.get(selector)) is not None:
            sentence = f"{signature} changes who may act, or runs anything"
            yield finding("administration_function", where, sentence, "take it out; the owner administers")

    def _value(self, call: GrantedCall, where: Where) -> Iterator[Finding]:
        totals = [each.max_total for each in (call.terms, self.whole) if each.max_total is not None]
        per_call = [each.max_value for each in (call.terms, self.whole) if each.max_value is not None]
        uses = self._most_calls(call)
        if per_call and uses is not None:
            totals.append(min(per_call) * uses)
        total, most = min(totals, default=None), self.thresholds
        shown = _shown(call)
        if total is not None and total < most.unlimited_amount:
            if total > most.large_value:
                cure = "lower the value to what the key needs in the life of the session"
                yield finding("large_value_limit", where, f"{shown} may carry {total} wei in all", cure)
        elif per_call and min(per_call) < most.unlimited_amount:
            if min(per_call):
                sentence = f"{shown} may carry {min(per_call)} wei a call, but in any number of calls"
                yield finding("value_capped_per_call", where, sentence, "limit the sum by a rule of the gate")
        else:
            sentence = f"{shown} may carry all native currency of the account"
            yield finding("unlimited_value", where, sentence, "grant it with a maximum value")

    def _uses(self, call: GrantedCall, where: Where) -> Iterator[Finding]:
        uses = self._most_uses(call)
        if uses is None or uses >= self.thresholds.many_uses:
            cure = "limit its uses by a rule of the gate, or at the module"
            yield finding("unlimited_uses", where, f"{_shown(call)} may be used any number of times", cure)

    def _most_uses(self, call: GrantedCall) -> int | None:
        uses = [each.max_uses for each in (call.terms, self.whole) if each.max_uses is not None]
        return min(uses, default=None)

    def _most_calls(self, call: GrantedCall) -> int | None:
        """An operation may make any number of calls: where operations are counted, calls are not bounded."""
        bounding = [each for each in (call.terms, self.whole) if not each.per_operation]
        return min((each.max_uses for each in bounding if each.max_uses is not None), default=None)

    def _time(self, call: GrantedCall, where: Where) -> Iterator[Finding]:
        shown = _shown(call)
        after = max(call.terms.valid_after, self.whole.valid_after)
        until = min(call.terms.valid_until, self.whole.valid_until)
        if after > until:
            yield finding("never_allowed", where, f"{shown} starts after it ends", "grant it with times that overlap")
        elif until == FOREVER:
            sentence = f"{shown} never expires: a key that leaks works for ever"
            yield finding("no_expiry", where, sentence, "grant it with the shortest life that will do")
        elif until < self.now:
            yield finding("expired", where, f"the time of {shown} is over", "revoke the session, or grant it again")
        elif until - self.now > self.thresholds.far_expiry:
            days, most = (until - self.now) // 86_400, self.thresholds.far_expiry // 86_400
            cure = f"let it end within {most} days and grant it again when it is still wanted"
            yield finding("far_expiry", where, f"{shown} ends in {days} days", cure)


def review_grant(grant: DeclaredGrant, now: int, thresholds: Thresholds) -> Iterator[Finding]:
    """Of a grant as it is made."""
    yield from GrantedReview(
        account=grant.account,
        module=grant.module,
        whole=grant.terms,
        calls=grant.calls,
        now=now,
        thresholds=thresholds,
    ).findings()


def review_granted(state: SessionState, now: int, thresholds: Thresholds) -> Iterator[Finding]:
    """Of a session in force."""
    whole, calls = GrantedTerms(), []
    for config in state.configs.values():
        if isinstance(config, GrantedAction) and config.target is None:
            whole = config.terms
        elif isinstance(config, GrantedAction) and config.target is not None:
            calls.append(GrantedCall(target=config.target, selector=config.selector, terms=config.terms))
    yield from GrantedReview(
        account=state.key.account,
        module=state.key.module,
        whole=whole,
        calls=calls,
        now=now,
        thresholds=thresholds,
    ).findings()


def _shown(call: GrantedCall) -> str:
    function = "every function" if call.selector is None else print_bytes(call.selector)
    return f"{function} at {print_checksummed(call.target)}"
