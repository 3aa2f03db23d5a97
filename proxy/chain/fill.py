"""What a verdict was missing, asked of the node."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Final

from proxy.chain.hydrate import permits_paymaster_of
from proxy.chain.installed import is_dropped
from proxy.chain.node import Node, Reverted
from proxy.chain.policy_views import read_policy, read_target, read_token
from proxy.chain.together import together
from proxy.chain.views import (
    CHECK_ACTION,
    CHECK_USER_OP,
    EMISSARY_GET_NONCE,
    GET_NONCE,
    GET_SESSION_VALIDATOR,
    IS_VALID_SIGNATURE,
    VALIDATE_SIGNATURE,
    ask,
)
from proxy.errors import StateUnavailable
from proxy.session.counters import SessionKey
from proxy.session.emissary_grant import NO_LOCK_TAG
from proxy.session.facts import (
    AllowedTargetFact,
    Answer,
    AskedFact,
    BaseFeeFact,
    EmissaryNonceFact,
    EnableNonceFact,
    EnableSignatureFact,
    MissingFact,
    ModuleInstalledFact,
    PaymasterFlagFact,
    PolicyCheckFact,
    PolicyConfigFact,
    SessionSignatureFact,
    SessionValidatorFact,
    TokenLimitFact,
)
from proxy.session.policies.policy import PolicyKind
from proxy.session.revert import Revert
from proxy.session.signers import SignatureOutcome, SignatureVerdict
from proxy.session.state import SessionState
from proxy.userop.primitives import Address, print_bytes
from proxy.userop.user_operation import UserOperation

_ACCEPTED: Final = bytes.fromhex("1626ba7e")  # ERC-1271
_VALID: Final = SignatureVerdict(SignatureOutcome.VALID)
_INVALID: Final = SignatureVerdict(SignatureOutcome.INVALID)
_UNKNOWN: Final = SignatureVerdict(SignatureOutcome.UNKNOWN)


@dataclass(frozen=True, slots=True, kw_only=True)
class Filled:
    """The state with what was missing, and the answers that are good for this operation only.

    `base_fee` is in wei per gas, `None` when it was not asked for. A signature that the node could not tell about
    stands among the answers as UNKNOWN, so whoever asks for it a second time knows that it will not be known.
    """

    state: SessionState
    answers: dict[AskedFact, Answer] = field(default_factory=dict)
    base_fee: int | None = None


async def fill(node: Node, state: SessionState, facts: Iterable[MissingFact], op: UserOperation) -> Filled:
    """Ask for `facts`, which `enforce` named in judging `op` by `state`. Raises `StateUnavailable`.

    The answers are those of the newest block, at which `state` may not have been read: where an operation was mined
    in between, its use may count twice until its receipt has come, never less than once.
    """
    questions = [_told(node, state, fact, op) for fact in dict.fromkeys(facts)]
    filled = Filled(state=state)
    for put in await together(*questions):
        filled = put(filled)
    return filled


_Put = Callable[[Filled], Filled]


async def _told(node: Node, state: SessionState, fact: MissingFact, op: UserOperation) -> _Put:
    """Ask for one fact; the answer knows where it belongs."""
    match fact:
        case PolicyConfigFact() | TokenLimitFact() | AllowedTargetFact():
            return _into_state(await _policy_told(node, state, fact))
        case SessionValidatorFact() | EnableNonceFact() | PaymasterFlagFact():
            return _into_state(await _session_told(node, state.key, fact))
        case BaseFeeFact():
            base_fee = (await node.head()).base_fee
            if base_fee is None:
                raise StateUnavailable("the newest block has no base fee")
            return lambda filled: replace(filled, base_fee=base_fee)
        case EmissaryNonceFact():
            key = state.key
            (nonce,) = await ask(node, key.module, EMISSARY_GET_NONCE, key.account, NO_LOCK_TAG)
            return _answer(fact, nonce)
        case PolicyCheckFact():
            return _answer(fact, await _check_policy(node, state.key.module, fact, op))
        case SessionSignatureFact():
            return _answer(fact, await _check_session_signature(node, state.key.module, fact))
        case EnableSignatureFact():
            return _answer(fact, await check_enable_signature(node, state.key.module, fact))
        case ModuleInstalledFact():
            return _answer(fact, int(not await is_dropped(node, state.key.account, state.key.module)))


def _into_state(change: Callable[[SessionState], SessionState]) -> _Put:
    return lambda filled: replace(filled, state=change(filled.state))


def _answer(fact: AskedFact, answer: Answer) -> _Put:
    return lambda filled: replace(filled, answers={**filled.answers, fact: answer})


async def _policy_told(
    node: Node, state: SessionState, fact: PolicyConfigFact | TokenLimitFact | AllowedTargetFact
) -> Callable[[SessionState], SessionState]:
    policy, config_id = fact.policy, fact.config_id
    key = state.config_key(policy, config_id)
    if isinstance(fact, TokenLimitFact):
        token = fact.token
        limit, used = await read_token(node, key, token)
        return lambda state: state.with_token_limit(policy, config_id, token, limit, used)
    if isinstance(fact, AllowedTargetFact):
        target = fact.target
        allowed = await read_target(node, key, target)
        return lambda state: state.with_target(policy, config_id, target, allowed)
    initialised = await read_policy(node, key)
    if initialised is None:
        raise StateUnavailable(f"how policy {print_bytes(policy)} keeps its configuration is not known here")
    return lambda state: state.with_policy_config(policy, config_id, initialised)


async def _session_told(
    node: Node, key: SessionKey, fact: SessionValidatorFact | EnableNonceFact | PaymasterFlagFact
) -> Callable[[SessionState], SessionState]:
    if isinstance(fact, SessionValidatorFact):
        validator, init_data = await ask(node, key.module, GET_SESSION_VALIDATOR, key.account, key.permission_id)
        return lambda state: state.with_validator(validator, init_data)
    if isinstance(fact, EnableNonceFact):
        (nonce,) = await ask(node, key.module, GET_NONCE, key.permission_id, key.account)
        return lambda state: state.with_enable_nonce(nonce)
    permitted = await permits_paymaster_of(node, key)
    if permitted is None:
        raise StateUnavailable("whether the session permits paymasters cannot be told")
    return lambda state: state.with_paymaster(permitted)


async def _check_policy(node: Node, module: Address, fact: PolicyCheckFact, op: UserOperation) -> int | Revert:
    """What the contract answers the module: a word, or how it reverts."""
    if fact.kind is PolicyKind.ACTION and fact.call is not None:
        call = fact.call
        data = CHECK_ACTION.call_data(fact.config_id, op.sender, call.target, call.value, call.data)
    elif fact.kind is PolicyKind.USER_OP:
        data = CHECK_USER_OP.call_data(fact.config_id, packed(op))
    else:
        raise StateUnavailable(f"a {fact.kind} policy is not asked about an operation")
    answer = await node.call(fact.policy, data, sender=module)
    if isinstance(answer, Reverted):
        return Revert(raw=answer.data)
    return Revert() if len(answer) < 32 else int.from_bytes(answer[:32], "big")


async def _check_session_signature(node: Node, module: Address, fact: SessionSignatureFact) -> SignatureVerdict:
    data = VALIDATE_SIGNATURE.call_data(fact.user_op_hash, fact.signature, fact.init_data)
    answer = await node.call(fact.validator, data, sender=module)
    if isinstance(answer, Reverted):
        return SignatureVerdict(SignatureOutcome.MALFORMED, Revert(raw=answer.data))
    if len(answer) < 32:
        return SignatureVerdict(SignatureOutcome.MALFORMED, Revert())
    return _VALID if int.from_bytes(answer[:32], "big") == 1 else _INVALID


async def check_enable_signature(node: Node, module: Address, fact: EnableSignatureFact) -> SignatureVerdict:
    """Whether the account accepts its owner's signature on a grant (ERC-1271), asked as the session module does.

    UNKNOWN for an account that is not deployed yet: what its code will say is not known. Raises `StateUnavailable`.
    """
    if not await node.code(fact.account):
        return _UNKNOWN
    data = IS_VALID_SIGNATURE.call_data(fact.digest, fact.signature)
    answer = await node.call(fact.account, data, sender=module)
    if isinstance(answer, Reverted):
        return SignatureVerdict(SignatureOutcome.MALFORMED, Revert(raw=answer.data))
    return _VALID if len(answer) >= 32 and answer[:4] == _ACCEPTED else _INVALID


def packed(op: UserOperation) -> tuple[object, ...]:
    """The operation as contracts see it (ERC-4337 PackedUserOperation); gas fields left out of an estimate are zero."""
    return (
        op.sender,
        op.nonce,
        op.packed_init_code(),
        op.call_data,
        _two(op.verification_gas_limit, op.call_gas_limit),
        op.pre_verification_gas or 0,
        _two(op.max_priority_fee_per_gas, op.max_fee_per_gas),
        op.packed_paymaster_and_data(),
        op.signature,
    )


def _two(high: int | None, low: int | None) -> bytes:
    return (high or 0).to_bytes(16, "big") + (low or 0).to_bytes(16, "big")
