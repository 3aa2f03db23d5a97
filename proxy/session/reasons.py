"""The words for what the session module itself refuses: one reason per revert, for the dapp developer who reads it."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from proxy.errors import Code, Reason, Undecodable
from proxy.session.addresses import VALIDATOR_KINDS, name_of_policy
from proxy.session.revert import Revert
from proxy.session.signers import OWNABLE_FORMS, OwnableForm
from proxy.session.state import SessionState, SessionStatus
from proxy.session.validity import Window
from proxy.userop.execution import Call
from proxy.userop.key_forms import MESSAGE_KEY
from proxy.userop.primitives import Address, print_bytes, print_checksummed
from proxy.userop.session_data import FLAG_TARGET, VALUE_SELECTOR

_ANOTHER_GRANT: Final = "have the owner grant a session that allows it"
_EXECUTE_SIMPLY: Final = "use execute(bytes32,bytes) with call type 0x00 or 0x01 and execution type 0x00"


def scope(sentence: str, remedy: str, *, wanted: str | None = None, got: str | None = None) -> Reason:
    """Outside what the session may do."""
    return Reason(code=Code.SESSION_SCOPE, sentence=sentence, remedy=remedy, wanted=wanted, got=got)


def at_call(reason: Reason, index: int, calls: int) -> Reason:
    """The same reason pointing at one call; said in words where there are several. Calls are counted from 0."""
    sentence = f"call {index}: {reason.sentence}" if calls > 1 else reason.sentence
    return replace(reason, call=index, sentence=sentence)


def not_enabled(state: SessionState) -> Reason:
    """InvalidPermissionId: never enabled, or removed."""
    shown = print_bytes(state.key.permission_id)
    account = print_checksummed(state.key.account)
    if state.status is SessionStatus.REMOVED:
        return Reason(
            code=Code.SESSION_REVOKED,
            sentence=f"session {shown} of account {account} has been removed",
            remedy="ask the owner for a new session",
        )
    return Reason(
        code=Code.SESSION_UNKNOWN,
        sentence=f"session {shown} is not enabled for account {account}",
        remedy="have the owner enable it first, or send it in ENABLE mode with the owner's signature",
    )


def paymaster_not_permitted() -> Reason:
    """PaymasterValidationNotEnabled."""
    return scope(
        "the operation names a paymaster and the session does not permit one",
        "send it without a paymaster, or have the owner call setPermit4337Paymaster",
    )


def paymaster_without_policies() -> Reason:
    """NoPoliciesSet for a sponsored operation."""
    return scope(
        "the operation names a paymaster, for which the session needs at least one user-operation policy; it has none",
        "send it without a paymaster, or have the owner enable a user-operation policy",
    )


def no_action(call: Call, module: Address) -> Reason:
    """NoPoliciesSet for one call."""
    if call.target == module:
        return scope(
            "the session may not call the session module itself",
            "let the owner change sessions",
        )
    what = "plain value transfers" if call.selector == VALUE_SELECTOR else f"selector {print_bytes(call.selector)}"
    return scope(
        f"target {print_checksummed(call.target)} with {what} is not among the session's actions",
        f"call a target and selector of the grant, or {_ANOTHER_GRANT}",
    )


def no_account_action(call: Call) -> Reason:
    """NoPoliciesSet for call data that is not `execute`."""
    return scope(
        f"call data with selector {print_bytes(call.selector)} is no execute(bytes32,bytes), and the session has no "
        "action for this function of the account",
        _EXECUTE_SIMPLY,
    )


def self_execute() -> Reason:
    """InvalidSelfCall."""
    return scope("the account calls its own execute; a session may not nest executions", "put the calls in one batch")


def flag_target() -> Reason:
    """InvalidTarget."""
    return scope(
        f"target {print_checksummed(FLAG_TARGET)} stands for the fallback action and cannot be called",
        "call a real contract",
    )


def execution_type() -> Reason:
    """UnsupportedExecutionType."""
    return scope("sessions cannot use try mode or executeUserOp", _EXECUTE_SIMPLY)


def call_type(number: int) -> Reason:
    """UnsupportedCallType."""
    return scope(f"sessions cannot use call type 0x{number:02x} (delegatecall, static call)", _EXECUTE_SIMPLY)


def empty_batch() -> Reason:
    """NoExecutionsInBatch."""
    return scope("the batch is empty", "put at least one call in it")


def undecodable(problem: str) -> Reason:
    """Call data that the module cannot read."""
    return Reason(code=Code.UNDECODABLE, sentence=problem, remedy="encode the call data as ERC-7579 execute")


def overspent(problem: Undecodable) -> Reason:
    """An operation that would take more work to judge than one may."""
    return Reason(
        code=Code.UNDECODABLE,
        sentence=str(problem),
        remedy="put fewer calls into one operation, or send several",
        got=problem.where,
    )


def bad_signature(wanted: OwnableForm | None = None, got: OwnableForm | None = None) -> Reason:
    """The session validator said no. `wanted` is the form it takes, where releases differ; `got` another's."""
    remedy = "sign the userOpHash of exactly these fields with the session key, for this chain and entry point"
    if wanted is None:
        return scope("the signature is not the session key's over this operation's userOpHash", remedy)
    if got is None:
        return scope(
            "the signature is not the session key's over this operation's userOpHash",
            f"{remedy}; this validator takes {wanted.wanted}: {wanted.sdk_call}",
            wanted=wanted.wanted,
        )
    return scope(
        f"the session key signed {got.wanted}, and this release of the OwnableValidator takes {wanted.wanted}",
        f"sign with {wanted.sdk_call}",
        wanted=wanted.wanted,
        got=got.wanted,
    )


def unsigned_by_key(form: Address, session_key: Address) -> Reason:
    """At a declared module: the session key did not sign, or not in the form that the module takes."""
    wanted = "its EIP-191 form (signMessage of the raw hash)" if form == MESSAGE_KEY else "the bare hash"
    return scope(
        "the signature is not the session key's over this operation's userOpHash",
        f"sign the userOpHash with the key of {print_checksummed(session_key)}; this module takes {wanted}",
        wanted=wanted,
    )


def malformed_signature(revert: Revert) -> Reason:
    """The session validator reverted."""
    named = f" ({revert.error})" if revert.error else ""
    return scope(
        f"the session validator cannot read the signature{named}",
        "sign in the format of the session's validator, with as many signatures as its threshold",
    )


def unknown_validator(validator: Address) -> Reason:
    """A validator that cannot be checked, where such are refused."""
    if validator in VALIDATOR_KINDS:
        others = " or ".join(map(print_checksummed, OWNABLE_FORMS))
        return scope(
            f"what the release of the OwnableValidator at {print_checksummed(validator)} wants signed can only be asked"
            " at the chain's node, which this gate does not do",
            "have the operator of the gate set the chain's `node` and `unknown_validator: ask`, or use a session with"
            f" the release at {others}",
        )
    return scope(
        f"the session validator {print_checksummed(validator)} is not known to this gate, which refuses such sessions",
        "use a session with a published validator, or have the operator of the gate allow others",
    )


def undecided_signature(validator: Address) -> Reason:
    """A signature on which releases of a known validator differ, where nobody can be asked."""
    return scope(
        f"whether the session validator {print_checksummed(validator)} accepts this signature cannot be told here",
        "sign once with each key that the session needs, and add nothing",
    )


def unknown_policy(policy: Address) -> Reason:
    """A policy that cannot be checked, where such are refused."""
    name = name_of_policy(policy)
    return Reason(
        code=Code.SESSION_SCOPE,
        sentence=f"the policy {name} is not known to this gate, which refuses such sessions",
        remedy="use a session with published policies, or have the operator of the gate allow others",
        policy=name,
    )


def asked_policy_refuses(policy: Address) -> Reason:
    """A policy that is unknown here, and said no when asked on chain."""
    name = name_of_policy(policy)
    return Reason(
        code=Code.SESSION_SCOPE,
        sentence=f"the policy {name} refuses the operation on chain",
        remedy="see what this policy allows, or ask the owner for another session",
        policy=name,
    )


def not_installed(module: Address) -> Reason:
    """An ENABLE at an account that does not have the session module."""
    shown = print_checksummed(module)
    return scope(
        f"the account has not installed the session module {shown} as a validator (ValidatorNotInstalled)",
        f"have the owner install it first: installModule(1, {shown}, 0x)",
        wanted="the session module among the account's validators",
    )


def unproven_grant() -> Reason:
    """An enable signature that cannot be checked, where such are refused."""
    return scope(
        "the owner's signature on the grant cannot be checked here",
        "have the owner enable the session in an operation of its own first",
    )


def too_much_validator_data(size: int, most: int) -> Reason:
    """A session that no module of this release can store."""
    return scope(
        f"the session can never be enabled: its session validator's init data have {size} bytes, and the session"
        f" module stores at most {most}",
        "name fewer keys in the session validator (an OwnableValidator has room for 7), or use one with shorter data",
        wanted=f"at most {most} bytes of sessionValidatorInitData",
        got=f"{size} bytes",
    )


def outside_window(window: Window, now: int) -> Reason:
    """The entry point will refuse it for its time (AA22). All in unix seconds."""
    early = now <= window.valid_after
    sentence = (
        f"valid from {window.valid_after}, it is {now}" if early else f"expired at {window.valid_until}, it is {now}"
    )
    return Reason(
        code=Code.SESSION_NOT_VALID_NOW,
        sentence=f"the session is not valid now: {sentence}",
        remedy="wait until it begins" if early else "ask the owner for a new session",
        wanted=f"{window.valid_after}…{window.valid_until}",
        got=str(now),
        retryable=early,
    )


_ENABLE_WORDS: Final = {
    "ChainIdMismatch": ("the grant names another chain", "point chainDigestIndex at the digest of this chain"),
    "HashMismatch": (
        "the grant was signed for another session, account, module, mode or enable nonce; a grant enables once",
        "have the owner sign the session afresh, with the present enable nonce",
    ),
    "InvalidEnableSignature": (
        "the account does not accept the owner's signature on the grant",
        "have the owner sign it",
    ),
    "InvalidUserSignature": (
        "the account does not accept the owner's signature on the grant",
        "have the owner sign it",
    ),
    "InvalidAllocatorSignature": (
        "the grant is bound to an allocator's lock, and whether the allocator agrees cannot be told here",
        "grant the session without an allocator, or have the account itself call setConfig",
    ),
    "InvalidEmissaryEnableData": ("the grant has expired", "have the owner sign one that is still valid"),
    "UnsafeFallbackNotAllowed": (
        "the grant lets the session call the session module itself, which the emissary never allows",
        "leave that action out",
    ),
    "UnsupportedPolicy": (
        "the grant uses a policy in a way that it does not support",
        "use a policy of the right kind",
    ),
    "InvalidActionId": (
        "the grant names the zero address or the session module as the target of an action",
        "name a real target, or the fallback action",
    ),
    "InvalidISessionValidator": ("the grant names no session validator", "name one"),
    "PolicyNotInitialized": (
        "the grant's init data for a policy set no limit or no valid window",
        "encode the init data for this generation of the policy",
    ),
    "Panic": ("the grant cannot be read: an index is out of range", "encode the grant anew"),
}


def refused_grant(revert: Revert, form: OwnableForm | None = None) -> Reason:
    """Why an ENABLE envelope enables nothing. `form` is what the validator of the owner's signature takes, if told."""
    problem, remedy = _ENABLE_WORDS.get(
        revert.error or "",
        (f"the grant cannot be enabled{f': {revert.error}' if revert.error else ''}", "check the grant"),
    )
    if form is not None and revert.error in ("InvalidEnableSignature", "InvalidUserSignature"):
        takes = form.of("digest")
        remedy = f"{remedy}; the OwnableValidator that the signature names takes {takes.wanted}: {takes.sdk_call}"
        return scope(problem, remedy, wanted=takes.wanted)
    got = print_bytes(revert.args[0]) if revert.args and isinstance(revert.args[0], bytes) else None
    return scope(problem, remedy, got=got)
