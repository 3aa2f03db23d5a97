"""Sessions declared by hand, for want of a node or as a second lock: what one may do, and the verdict on an operation.

Stricter than the chain where it costs nothing: only `execute`, only listed (target, selector) pairs, value only
where it is granted. Uses are counted per action under a policy address of our own, so that they pass through the
same ledger as the chain's counters and never mix with them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from proxy.errors import Code, Reason
from proxy.record import record
from proxy.session.addresses import VALIDATOR_KINDS, ValidatorKind
from proxy.session.counters import Charge, Counter, SessionKey, merge_charges
from proxy.session.reasons import unsigned_by_key
from proxy.session.signers import (
    OWNABLE_FORMS,
    SignatureCheck,
    SignatureOutcome,
    check_session_signature,
    is_checked_here,
)
from proxy.session.validity import UINT48_MAX, Window
from proxy.userop.decode import DecodedOperation, SessionClaim
from proxy.userop.execution import EXECUTE, Call, CallType, ExecType
from proxy.userop.key_forms import KEY_FORMS
from proxy.userop.primitives import Address, Hash32, Selector, keccak256, print_bytes, print_checksummed
from proxy.userop.session_data import FLAG_TARGET, VALUE_SELECTOR, action_config_id, action_id_of

DECLARED_POLICY: Final = Address(keccak256(b"sessiongate: declared session")[12:])
"""Stands for the policy contract in the counters of declared sessions; no contract can be there."""
DECLARABLE_VALIDATORS: Final = (ValidatorKind.OWNABLE, ValidatorKind.ECDSA)
"""A declared session has one key, which signs by ECDSA."""
_ANY_ECDSA: Final = (*OWNABLE_FORMS, Address(bytes.fromhex("00000072F286204Bb934eD49D8969E86F7dEC7b1")))
"""Between them these take every form in which one key signs."""
_NAME: Final = "declared session"


@record(kw_only=True)
class DeclaredAction:
    """A call the session may make. `max_value` is in wei and holds for each call.

    `selector` is VALUE_SELECTOR for calls with fewer than four bytes of call data. The window is in unix seconds,
    both ends inclusive. `max_uses` of `None` leaves uses uncounted.
    """

    target: Address
    selector: Selector = VALUE_SELECTOR
    max_value: int = 0
    valid_after: int = 0
    valid_until: int = UINT48_MAX
    max_uses: int | None = None

    @property
    def action_id(self) -> Hash32:
        """keccak256(target ‖ selector), the module's own name for the action."""
        return action_id_of(self.target, self.selector)


@record(kw_only=True)
class DeclaredSession:
    """A session of the configuration.

    `module` of `None` is any module of the chain, `validator` of `None` any that checks one ECDSA signature. Uses are
    calls, or operations at a module that `counts_operations`.
    """

    chain_id: int
    account: Address
    permission_id: Hash32
    session_key: Address
    actions: tuple[DeclaredAction, ...]
    module: Address | None = None
    validator: Address | None = None
    counts_operations: bool = False

    def key(self, module: Address) -> SessionKey:
        """The session's name at one of the chain's modules."""
        return SessionKey(self.chain_id, module, self.account, self.permission_id)

    def covers(self, key: SessionKey) -> bool:
        """Whether this declaration speaks of the session that `key` names."""
        return self.module in (None, key.module) and self.key(key.module) == key


@record(kw_only=True)
class DeclaredFit:
    """The operation fits the declaration: when, and what it will use."""

    window: Window
    charges: tuple[Charge, ...]


def judge_declared(
    operation: DecodedOperation,
    claim: SessionClaim,
    session: DeclaredSession,
    *,
    used: Callable[[Counter], int],
    in_flight: Callable[[Counter], int],
    now: int | None,
    check_signature: SignatureCheck | None = check_session_signature,
) -> DeclaredFit | Reason:
    """Hold an operation against a declared session; the first thing that does not fit is the answer.

    The signature comes first: whoever has not got the key learns nothing, and costs no more than that. `used` is what
    mined operations have counted, `in_flight` what accepted ones will. `now` is in unix seconds; `None` leaves the
    window to the caller. A preview, whose signature is a stub, does without `check_signature`.
    """
    key = SessionKey(operation.chain_id, claim.module, operation.op.sender, claim.envelope.permission_id)
    if not session.covers(key):
        return declared_scope(
            "the session is declared for another chain, module or account", "use the account it was granted for"
        )
    if check_signature is not None and (unsigned := refused_unsigned(operation, session, check_signature)) is not None:
        return unsigned
    if (fault := fault_of_execution(operation)) is not None:
        return fault
    judged = _judge_calls(operation.calls, claim.module, session, used, in_flight)
    if isinstance(judged, Reason):
        return judged
    if now is not None and not judged.window.holds(now, operation.entry_point.version):
        return _not_now(judged.window, now)
    return judged


def refused_unsigned(head: DecodedOperation, session: DeclaredSession, check: SignatureCheck) -> Reason | None:
    """Why an operation is not the declared key's, for which nothing but its head has to be read."""
    claim = head.claim
    if claim is None or is_signed_by_session_key(session, head.user_op_hash, claim.envelope.signature, check):
        return None
    if session.validator in KEY_FORMS:
        return unsigned_by_key(session.validator, session.session_key)
    form = None if session.validator is None else OWNABLE_FORMS.get(session.validator)
    takes = "" if form is None else f"; its validator takes {form.wanted}: {form.sdk_call}"
    return declared_scope(
        "the signature is not the declared session key's",
        f"sign the userOpHash with the key of {print_checksummed(session.session_key)}{takes}",
    )


def is_signed_by_session_key(
    session: DeclaredSession,
    user_op_hash: Hash32,
    signature: bytes,
    check: SignatureCheck = check_session_signature,
) -> bool:
    """Whether the declared key signed, in the form its validator takes; either form when no validator is declared."""
    if session.validator in KEY_FORMS:
        said = check(session.validator, bytes(session.session_key), user_op_hash, signature)
        return said.outcome is SignatureOutcome.VALID
    validators = _ANY_ECDSA if session.validator is None else (session.validator,)
    one_owner = b"".join(number.to_bytes(32, "big") for number in (1, 0x40, 1)) + bytes(12) + session.session_key
    configured = {ValidatorKind.OWNABLE: one_owner, ValidatorKind.ECDSA: bytes(session.session_key)}
    return any(
        check(each, configured[kind], user_op_hash, signature).outcome is SignatureOutcome.VALID
        for each in validators
        if (kind := VALIDATOR_KINDS.get(each)) in configured
    )


def is_declarable(validator: Address) -> bool:
    """Whether the validator checks one ECDSA signature in a form that is known."""
    return VALIDATOR_KINDS.get(validator) in DECLARABLE_VALIDATORS and is_checked_here(validator)


def fault_of_execution(operation: DecodedOperation) -> Reason | None:
    """What of an operation no session of the settings' kinds may do, whatever it may call."""
    execution = operation.execution
    if execution is None or not execution.is_execute:
        got = None if execution is None or execution.selector is None else print_bytes(execution.selector)
        return declared_scope(
            "callData is not execute(bytes32,bytes)", "let the session key execute calls only", got=got
        )
    if execution.call_type not in (CallType.SINGLE, CallType.BATCH) or execution.exec_type != ExecType.DEFAULT:
        return declared_scope(
            "a session may execute single calls and batches that revert on failure, nothing else",
            "use call type 00 or 01 and exec type 00 in the ERC-7579 mode",
        )
    return None if operation.calls else declared_scope("the batch is empty", "put at least one call into it")


def _judge_calls(
    calls: tuple[Call, ...],
    module: Address,
    session: DeclaredSession,
    used: Callable[[Counter], int],
    in_flight: Callable[[Counter], int],
) -> DeclaredFit | Reason:
    actions = {(action.target, action.selector): action for action in session.actions}
    taken: dict[Counter, int] = {}
    charges: list[Charge] = []
    valid_after, valid_until = 0, UINT48_MAX
    for index, call in enumerate(calls):
        action = actions.get((call.target, call.selector))
        if action is None or call.target == FLAG_TARGET or is_self_call(call, session.account):
            return _not_declared(call, session).at_call(index)
        if call.value > action.max_value:
            return _too_much_value(call, action).at_call(index)
        valid_after, valid_until = max(valid_after, action.valid_after), min(valid_until, action.valid_until)
        if action.max_uses is None:
            continue
        counter = use_counter(session, module, action)
        if session.counts_operations and counter in taken:
            continue
        before = used(counter) + in_flight(counter) + taken.get(counter, 0)
        if before >= action.max_uses:
            return _used_up(action, before, in_flight(counter)).at_call(index)
        taken[counter] = taken.get(counter, 0) + 1
        charges.append(Charge(counter, 1, action.max_uses))
    return DeclaredFit(window=Window(valid_after, valid_until), charges=merge_charges(charges))


def use_counter(session: DeclaredSession, module: Address, action: DeclaredAction) -> Counter:
    """The counter of an action's uses."""
    config_id = action_config_id(session.account, session.permission_id, action.action_id)
    return Counter(module, session.account, DECLARED_POLICY, config_id)


def is_self_call(call: Call, account: Address) -> bool:
    """The module refuses a nested execute whatever the actions say (InvalidSelfCall), as it does FLAG_TARGET."""
    return call.target == account and call.selector == EXECUTE


def _not_declared(call: Call, session: DeclaredSession) -> Reason:
    if is_self_call(call, session.account):
        return declared_scope("the account may not call its own execute", "put the inner calls into the batch")
    if call.target == FLAG_TARGET:
        return declared_scope("no call may go to address(1)", "call the contract itself")
    return declared_scope(
        f"{call_in_words(call)} is not among the session's declared actions",
        "call what is declared, or have the operator of this gate declare the action",
        got=f"{print_checksummed(call.target)} {print_bytes(call.selector)}",
    )


def _too_much_value(call: Call, action: DeclaredAction) -> Reason:
    return declared_scope(
        f"{call_in_words(call)} sends {call.value} wei, {action.max_value} are allowed per call",
        f"send at most {action.max_value} wei",
        wanted=str(action.max_value),
        got=str(call.value),
    )


def call_in_words(call: Call) -> str:
    """What is called where."""
    target = print_checksummed(call.target)
    if call.selector == VALUE_SELECTOR:
        return f"a value transfer to {target}"
    return f"{print_bytes(call.selector)} at {target}"


def declared_scope(
    sentence: str, remedy: str, *, wanted: str | None = None, got: str | None = None, policy: str = _NAME
) -> Reason:
    """A refusal of something that is outside the session."""
    return Reason(code=Code.SESSION_SCOPE, sentence=sentence, remedy=remedy, policy=policy, wanted=wanted, got=got)


def _not_now(window: Window, now: int) -> Reason:
    early = now <= window.valid_after
    return Reason(
        code=Code.SESSION_NOT_VALID_NOW,
        sentence=f"the declared action is not valid {'yet' if early else 'any more'}",
        remedy="wait until it begins" if early else "have the operator of this gate extend it",
        policy=_NAME,
        wanted=f"{window.valid_after}…{window.valid_until}",
        got=str(now),
        retryable=early,
    )


def _used_up(action: DeclaredAction, before: int, in_flight: int) -> Reason:
    flying = f", {in_flight} of them in flight" if in_flight else ""
    return Reason(
        code=Code.LIMIT_EXCEEDED,
        sentence=f"the declared action allows {action.max_uses} uses, {before} are taken{flying}",
        remedy="have the operator of this gate raise maxUses",
        policy=_NAME,
        wanted=str(before + 1),
        got=str(action.max_uses),
        retryable=in_flight > 0,
    )
