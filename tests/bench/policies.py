"""What each policy costs: the verdict on a session that has this one alone, on one decoded operation.

The session key's signature is left out of it and measured by itself, for each kind of session validator.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from proxy.session.addresses import ValidatorKind
from proxy.session.enforce import Accepted, Refused, enforce
from proxy.session.signers import UNKNOWN, VALID, check_session_signature
from proxy.session.state import SessionState
from proxy.userop.decode import DecodedOperation
from proxy.userop.execution import Call
from proxy.userop.session_data import PolicyData, SessionData
from tests.bench.decision import Part, best
from tests.session.builders import (
    FRIEND,
    NOW,
    TOKEN,
    TRANSFER,
    action,
    arg,
    enabled,
    gas,
    node,
    nothing_in_flight,
    only,
    operation,
    rule,
    session,
    signed,
    spending,
    sudo,
    time_frame,
    transfer,
    uni_action,
    usage,
    value_limit,
)
from tests.session.signers.keys import (
    HASH,
    Key,
    Passkey,
    credentials_data,
    owners_data,
    session_form,
    signatures_of,
    signers_data,
    v0_form,
    validators,
)

_LARGE = 10**9
_TO_FRIEND = rule(0, 0, int.from_bytes(FRIEND, "big"))
_UP_TO_100 = rule(4, 32, 100, limit=_LARGE)
_ACTION_ONLY, _USER_OP_ONLY = (True, False), (False, True)

_POLICIES: tuple[tuple[str, PolicyData, tuple[bool, bool]], ...] = (
    ("sudo", sudo, (True, True)),
    ("universal action, 2 rules", uni_action(_TO_FRIEND, _UP_TO_100), _ACTION_ONLY),
    (
        "arg policy, 2 rules in 3 nodes",
        arg(
            [_TO_FRIEND, _UP_TO_100],
            [node("rule"), node("rule", index=1), node("and", left=0, right=1)],
            root=2,
        ),
        _ACTION_ONLY,
    ),
    ("spending limit", spending((TOKEN, _LARGE)), _ACTION_ONLY),
    ("contract whitelist", only(TOKEN), _ACTION_ONLY),
    ("time frame", time_frame(NOW + 1_000), (True, True)),
    ("usage limit", usage(_LARGE), (True, True)),
    ("value limit", value_limit(_LARGE), (True, True)),
    ("simple gas", gas(_LARGE, 2**100), _USER_OP_ONLY),
)
"""Name, the policy, and whether it may be an action's and the operation's."""


@dataclass(frozen=True)
class PolicyCost:
    """Microseconds a verdict; `None` where the contract does not allow that use."""

    name: str
    action: float | None
    user_op: float | None


def policy_costs(repeats: int) -> list[PolicyCost]:
    """Every policy under each of its uses, on one transfer of a token."""
    call = transfer(5)

    def cost(grant: SessionData) -> float:
        verdict = _verdict(enabled(grant), call)
        assert isinstance(verdict(), Accepted)
        return best(verdict, repeats)

    return [
        PolicyCost(
            name,
            cost(session(action(TOKEN, TRANSFER, policy))) if as_action else None,
            cost(session(action(TOKEN, TRANSFER, sudo), user_op=[policy])) if as_user_op else None,
        )
        for name, policy, (as_action, as_user_op) in _POLICIES
    ]


def operation_costs(repeats: int) -> list[Part]:
    """What else a verdict may be about: a batch, and an operation that is refused."""
    state = enabled(session(action(TOKEN, TRANSFER, spending((TOKEN, 100)))))
    ten = _verdict(state, *[transfer(1)] * 10)
    over, outside = _verdict(state, transfer(101)), _verdict(state, Call(FRIEND, 0, b"\1\2\3\4"))
    assert isinstance(ten(), Accepted)
    assert isinstance(over(), Refused)
    assert isinstance(outside(), Refused)
    return [
        Part("batch of ten transfers", best(ten, repeats)),
        Part("refused, over the limit", best(over, repeats)),
        Part("refused, no such action", best(outside, repeats)),
    ]


def signature_costs(repeats: int) -> list[Part]:
    """One good signature for each kind of session validator."""
    key, second = sorted((Key(1), Key(2)), key=lambda each: each.address)
    passkey = Passkey(11)
    assertion = passkey.assert_challenge(HASH)
    # the release that module-sdk takes reads the bare hash
    two = key.sign(HASH) + second.sign(HASH)
    kinds = (
        ("ownable, 1 key", ValidatorKind.OWNABLE, owners_data(1, key.address), key.sign(HASH)),
        ("ownable, 2 of 2", ValidatorKind.OWNABLE, owners_data(2, key.address, second.address), two),
        ("ECDSA", ValidatorKind.ECDSA, key.address, key.sign_message(HASH)),
        ("passkey (WebAuthn)", ValidatorKind.WEBAUTHN, credentials_data(passkey), session_form(assertion)),
        ("passkey, older encoding", ValidatorKind.WEBAUTHN_V0, passkey.words, v0_form(assertion)),
        (
            "multi-signer, 1 key",
            ValidatorKind.MULTI_SIGNER,
            signers_data(key.address),
            signatures_of(key.sign_message(HASH)),
        ),
    )
    return [Part(name, _signature_cost(kind, config, signature, repeats)) for name, kind, config, signature in kinds]


def _signature_cost(kind: ValidatorKind, config: bytes, signature: bytes, repeats: int) -> float:
    validator = validators(kind)[0]
    # a good passkey of the older encoding is UNKNOWN: the chain has the last word on it
    assert check_session_signature(validator, config, HASH, signature).outcome in (VALID.outcome, UNKNOWN.outcome)
    return best(lambda: check_session_signature(validator, config, HASH, signature), repeats)


def _verdict(state: SessionState, *calls: Call) -> Callable[[], object]:
    decoded: DecodedOperation = operation(state, *calls)
    return lambda: enforce(decoded, state, base_fee=7, in_flight=nothing_in_flight, now=NOW, check_signature=signed)
