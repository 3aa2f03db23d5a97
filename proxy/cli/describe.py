"""What was decoded, as values fit for `--json` and the tree: bytes as 0x-hex, addresses checksummed, uint256 as text.

Of a signature only its length is told; of call data the selector, the length, and what is handed to functions that are
known by their types.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from enum import Enum, IntEnum
from typing import Final

from pydantic.alias_generators import to_camel

from proxy.cli.functions import arguments_of, function_name
from proxy.session.addresses import MODULE_KINDS, POLICIES, VALIDATOR_KINDS, is_published_policy, name_of_policy
from proxy.session.counters import ConfigKey
from proxy.session.policies.policy import Initialised
from proxy.userop.decode import DecodedOperation, SessionClaim
from proxy.userop.emissary_abi import EmissaryEnable
from proxy.userop.execution import Call, CallType, ExecType, Execution
from proxy.userop.nonce import nonce_key, nonce_sequence
from proxy.userop.primitives import ZERO_ADDRESS, Address, Hash32, print_bytes, print_checksummed, print_uint
from proxy.userop.session_data import (
    FALLBACK_SELECTOR,
    FLAG_TARGET,
    SMART_SESSION_CALL_SELECTOR,
    VALUE_SELECTOR,
    ActionData,
    EnableSession,
    PolicyData,
    SessionData,
)
from proxy.userop.signature import SessionEnvelope, Wrapping
from proxy.userop.user_operation import UserOperation

Described = dict[str, object]

_COUNTED_IN_LENGTH: Final = frozenset({"signature", "enable_signature", "permission_enable_signature", "inner"})
_SMALL_NUMBERS: Final = frozenset(
    {"call", "chain_id", "module_type", "threshold", "chain_digest_index", "until", "scope", "reset_period"}
)


def plain(value: object, name: str = "") -> object:
    """Any record of this package, ready to print. `name` is the field it stands in."""
    if isinstance(value, Enum):
        return value.name.lower() if isinstance(value, IntEnum) else value.value
    if value is None or isinstance(value, bool | str | float):
        return value
    if isinstance(value, bytes):
        if name in _COUNTED_IN_LENGTH:
            return in_length(value)
        return print_checksummed(value) if len(value) == 20 else print_bytes(value)
    if isinstance(value, int):
        return value if name in _SMALL_NUMBERS else str(value)
    return _plain_container(value, name)


def _plain_container(value: object, name: str) -> object:
    if isinstance(value, PolicyData):
        return describe_policy(value)
    if isinstance(value, ActionData):
        return describe_action(value)
    if isinstance(value, SessionData):
        return describe_session(value)
    if isinstance(value, EnableSession | EmissaryEnable):
        return _describe_enable(value)
    if isinstance(value, Mapping):
        return {str(plain(key)): plain(item) for key, item in value.items()}
    if isinstance(value, Sequence | frozenset):
        return [plain(item, name) for item in value]
    if dataclasses.is_dataclass(value):
        fields = dataclasses.fields(value)
        return {to_camel(field.name): plain(getattr(value, field.name), field.name) for field in fields}
    return str(value)


def in_length(data: bytes) -> str:
    """Bytes that are nobody's business but their length."""
    return f"{len(data)} byte{'' if len(data) == 1 else 's'}"


def describe_operation(decoded: DecodedOperation, *, hash_is_known: bool) -> Described:
    """Everything read from an operation. The hash is left out when the chain it depends on was not told."""
    op = decoded.op
    return {
        "kind": "owner or foreign operation" if decoded.claim is None else "session operation",
        "userOpHash": print_bytes(decoded.told_hash) if hash_is_known and decoded.told_hash else None,
        "entryPoint": f"{decoded.entry_point.version} {print_checksummed(decoded.entry_point.address)}",
        "sender": print_checksummed(op.sender),
        "nonce": {
            "value": print_uint(op.nonce),
            "key": print_uint(nonce_key(op.nonce)),
            "sequence": nonce_sequence(op.nonce),
        },
        "session": None if decoded.claim is None else describe_claim(decoded.claim),
        "execution": None if decoded.execution is None else _describe_execution(decoded.execution),
        "calls": [describe_call(call) for call in decoded.calls],
        "movements": [plain(movement) for movement in decoded.movements],
        "acts": [describe_act(act) for act in decoded.acts],
        "fees": _describe_fees(op),
        "factory": None if op.factory is None else print_bytes(op.factory),
        "paymaster": None if op.paymaster is None else print_checksummed(op.paymaster),
        "eip7702Auth": plain(op.eip7702_auth),
        "signature": in_length(op.signature),
    }


def describe_claim(claim: SessionClaim) -> Described:
    """The session that an operation claims, and what its account does before asking the module."""
    return {
        **_describe_module(claim.module),
        "nonceLayout": claim.layout.value,
        **describe_envelope(claim.envelope),
        "before": None if claim.module_enable is None else _describe_wrapping(claim.module_enable),
    }


def describe_signature(envelope: SessionEnvelope, module: Address | None) -> Described:
    """A session signature by itself, and the module that it is for where that is told."""
    return {**({} if module is None else _describe_module(module)), **describe_envelope(envelope)}


def _describe_module(module: Address) -> Described:
    kind = MODULE_KINDS.get(module)
    return {"module": print_checksummed(module), "moduleKind": None if kind is None else kind.value}


def describe_envelope(envelope: SessionEnvelope) -> Described:
    """A session signature: mode, permission id, and the grant that an ENABLE mode carries."""
    described: Described = {
        "mode": envelope.mode.label,
        "permissionId": print_bytes(envelope.permission_id),
        "sessionKeySignature": in_length(envelope.signature),
        "enable": None if envelope.enable is None else _describe_enable(envelope.enable),
    }
    if envelope.claim_policy_data is not None:
        described["claimPolicyData"] = in_length(envelope.claim_policy_data)
    return described


def _describe_enable(enable: EnableSession | EmissaryEnable) -> Described:
    described: Described = {
        "chainDigestIndex": enable.chain_digest_index,
        "digests": [plain(digest) for digest in enable.digests],
        "session": describe_session(enable.session),
    }
    if isinstance(enable, EnableSession):
        return {**described, "permissionEnableSignature": in_length(enable.permission_enable_signature)}
    return {
        **described,
        "claimPolicies": [describe_policy(policy) for policy in enable.claim_policies],
        "config": plain(enable.config),
        "expires": plain(enable.expires),
        "userSignature": in_length(enable.user_signature),
        "allocatorSignature": in_length(enable.allocator_signature),
    }


def _describe_wrapping(wrapping: Wrapping) -> Described:
    described = plain(wrapping)
    assert isinstance(described, dict)  # noqa: S101  # for the type checker: records become dicts
    return {"kind": type(wrapping).__name__, **described}


def describe_session(session: SessionData) -> Described:
    """A session as it is granted."""
    kind = VALIDATOR_KINDS.get(session.session_validator)
    return {
        "permissionId": print_bytes(session.permission_id),
        "validator": print_checksummed(session.session_validator),
        "validatorKind": None if kind is None else kind.value,
        "validatorInitData": print_bytes(session.session_validator_init_data),
        "salt": print_bytes(session.salt),
        "userOpPolicies": [describe_policy(policy) for policy in session.user_op_policies],
        "actions": [describe_action(action) for action in session.actions],
        "erc7739": plain(session.erc7739_policies),
        "permitsPaymaster": session.permit_erc4337_paymaster,
    }


def describe_action(action: ActionData) -> Described:
    """An allowed target and selector with the policies that limit it."""
    names = {
        FALLBACK_SELECTOR: "any target and function not listed otherwise",
        SMART_SESSION_CALL_SELECTOR: "the session module itself",
    }
    special = names.get(action.selector) if action.target == FLAG_TARGET else None
    return {
        "name": special or function_or_selector(action.selector),
        "target": print_checksummed(action.target),
        "selector": print_bytes(action.selector),
        "policies": [describe_policy(policy) for policy in action.policies],
    }


def describe_policy(data: PolicyData) -> Described:
    """A policy contract and, where its code is known, what its init data comes to."""
    contract = POLICIES.get(data.policy)
    described: Described = {
        "name": name_of_policy(data.policy) if is_published_policy(data.policy) else "unknown policy",
        "policy": print_checksummed(data.policy),
        "initData": print_bytes(data.init_data),
    }
    if contract is not None:
        key = ConfigKey(ZERO_ADDRESS, ZERO_ADDRESS, data.policy, Hash32(bytes(32)))
        outcome = contract.policy.initialise(data.init_data, key)
        limits = plain(outcome.config) if isinstance(outcome, Initialised) else "init data that the contract refuses"
        described["limits"] = limits
    return described


def describe_call(call: Call) -> Described:
    """One call of the account."""
    return {
        "name": function_or_selector(call.selector),
        "target": print_checksummed(call.target),
        "value": str(call.value),
        "selector": print_bytes(call.selector),
        "arguments": arguments_of(call.data),
        "data": in_length(call.data),
    }


def function_or_selector(selector: bytes) -> str:
    """What a selector is usually called, or the selector itself."""
    if selector == VALUE_SELECTOR:
        return "value transfer"
    return function_name(selector) or print_bytes(selector)


def describe_act(act: object) -> Described:
    """One act of administration, named after the call that does it."""
    described = plain(act)
    assert isinstance(described, dict)  # noqa: S101  # for the type checker: records become dicts
    return {"act": type(act).__name__, **described}


def _describe_execution(execution: Execution) -> Described:
    return {
        "function": None if execution.selector is None else function_or_selector(execution.selector),
        "callType": _label(CallType, execution.call_type),
        "execType": _label(ExecType, execution.exec_type),
    }


def _label(kind: type[IntEnum], number: int | None) -> str | None:
    if number is None:
        return None
    return next((member.name.lower() for member in kind if member == number), f"0x{number:02x}")


def _describe_fees(op: UserOperation) -> Described:
    names = [field.name for field in dataclasses.fields(op) if "gas" in field.name]
    return {to_camel(name): plain(getattr(op, name)) for name in names if getattr(op, name) is not None}
