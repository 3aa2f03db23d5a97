"""A session's state as JSON and back, exactly: integers and bytes are hex text, nothing is rounded or dropped.

`state_from_json` is strict: it raises `ValueError` for anything that `state_to_json` would not have written.
"""

from __future__ import annotations

from binascii import unhexlify
from collections.abc import Callable, Hashable, Mapping, Sequence
from contextlib import suppress
from functools import lru_cache
from typing import Any, Final

import orjson

from proxy.session.counters import Counter, SessionKey
from proxy.session.granted import GrantedAction
from proxy.session.policies.arg import ArgNode, ArgRules, NodeType
from proxy.session.policies.contract_whitelist import AllowedTargets
from proxy.session.policies.erc20_spending_limit import SpendingLimits
from proxy.session.policies.parameter_rules import Condition, ParameterRule
from proxy.session.policies.policy import PolicyConfig
from proxy.session.policies.simple_gas import GasLimits
from proxy.session.policies.sudo import Sudo
from proxy.session.policies.time_frame import TimeFrame
from proxy.session.policies.universal_action import ActionRules
from proxy.session.policies.usage_limit import UsageLimit
from proxy.session.policies.value_limit import ValueLimit
from proxy.session.state import ConfigId, SessionState, SessionStatus, ToldAt
from proxy.userop.declared_acts import GrantedTerms
from proxy.userop.primitives import UINT256_MAX, Address, Hash32, Selector

Json = dict[str, Any]

_OPERATIONS: Final = "operations"


_NO_HEX: Final = "wanted bytes as hex, 0x and digits in lower case"


def _hex(data: bytes) -> str:
    return "0x" + data.hex()


def _bytes(value: object, size: int | None = None) -> bytes:
    if type(value) is not str:
        raise ValueError(f"wanted bytes as hex, got {type(value).__name__}")
    # only as it would have been printed
    if value[:2] != "0x" or value.lower() != value:  # `islower` takes ten times as long
        raise ValueError(_NO_HEX)
    try:
        data = unhexlify(value[2:])
    except ValueError:
        raise ValueError(_NO_HEX) from None
    if size is not None and len(data) != size:
        raise ValueError(f"wanted {size} bytes, got {len(data)}")
    return data


@lru_cache(maxsize=1 << 14)
def _address(value: Hashable) -> Address:
    """Sessions have policies, tokens and targets in common."""
    return Address(_bytes(value, 20))


def _addresses(value: Sequence[Hashable]) -> tuple[Address, ...]:
    return tuple(map(_address, value))


def _hash(value: object) -> Hash32:
    return Hash32(_bytes(value, 32))


@lru_cache(maxsize=1 << 13)
def _action_id(value: Hashable) -> Hash32:
    """The same in all sessions that may do the same."""
    return _hash(value)


@lru_cache(maxsize=1 << 13)
def _number(value: Hashable) -> int:
    if type(value) is not str:
        raise ValueError(f"wanted a number as minimal hex, got {type(value).__name__}")
    with suppress(ValueError):
        number = int(value, 16)
        if hex(number) == value and 0 <= number <= UINT256_MAX:  # only as it would have been printed
            return number
    raise ValueError("wanted a number as minimal hex, of 256 bits at most")


@lru_cache(maxsize=1 << 12)
def _config(text: bytes) -> PolicyConfig:
    """Likewise what a policy was set up with. Nothing of it is ever changed."""
    value = orjson.loads(text)
    return _CONFIGS[value["type"]](value)


def _known_flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"wanted a boolean, got {type(value).__name__}")
    return value


def _flag(value: object) -> bool | None:
    return None if value is None else _known_flag(value)


def state_to_json(state: SessionState) -> Json:
    """A dict of strings, booleans, nulls, lists and dicts."""
    key = state.key
    return {
        "key": {
            "chainId": hex(key.chain_id),
            "module": _hex(key.module),
            "account": _hex(key.account),
            "permissionId": _hex(key.permission_id),
        },
        "status": state.status.value,
        "validator": None if state.session_validator is None else _hex(state.session_validator),
        "validatorInitData": _hex(state.session_validator_init_data),
        "userOpPolicies": [_hex(policy) for policy in state.user_op_policies],
        "actions": [
            {"id": _hex(action_id), "policies": [_hex(policy) for policy in policies]}
            for action_id, policies in state.actions.items()
        ],
        "erc1271Policies": [_hex(policy) for policy in state.erc1271_policies],
        "permitsPaymaster": state.permits_paymaster,
        "enableNonce": None if state.enable_nonce is None else hex(state.enable_nonce),
        "configs": [
            {"policy": _hex(each.policy), "id": _hex(each.config_id), "config": _config_to_json(config)}
            for each, config in state.configs.items()
        ],
        "used": [
            {
                "policy": _hex(counter.policy),
                "id": _hex(counter.config_id),
                "slot": _hex(counter.slot),
                "used": hex(use),
            }
            for counter, use in state.used.items()
        ],
        "targets": [
            {"id": _hex(action_id), "target": _hex(target), "selector": _hex(selector)}
            for action_id, (target, selector) in state.targets.items()
        ],
        **({} if state.told_at is None else {"toldAt": [hex(number) for number in state.told_at]}),
    }


def state_from_json(value: Mapping[str, Any]) -> SessionState:
    """The state that was written. Raises `ValueError` naming what is wrong."""
    try:
        return _state(value)
    except (KeyError, TypeError, AttributeError) as problem:
        raise ValueError(f"not a session state: {problem!r}") from problem


def _state(value: Mapping[str, Any]) -> SessionState:
    names = value["key"]
    key = SessionKey(
        _number(names["chainId"]),
        _address(names["module"]),
        _address(names["account"]),
        _hash(names["permissionId"]),
    )
    nonce, validator = value["enableNonce"], value["validator"]
    return SessionState(
        key=key,
        status=SessionStatus(value["status"]),
        session_validator=None if validator is None else _address(validator),
        session_validator_init_data=_bytes(value["validatorInitData"]),
        user_op_policies=_addresses(value["userOpPolicies"]),
        actions={_action_id(each["id"]): _addresses(each["policies"]) for each in value["actions"]},
        erc1271_policies=_addresses(value["erc1271Policies"]),
        permits_paymaster=_flag(value["permitsPaymaster"]),
        enable_nonce=None if nonce is None else _number(nonce),
        configs={
            ConfigId(_address(each["policy"]), _hash(each["id"])): _config_from_json(each["config"])
            for each in value["configs"]
        },
        used={
            Counter(
                key.module, key.account, _address(each["policy"]), _hash(each["id"]), _bytes(each["slot"])
            ): _number(each["used"])
            for each in value["used"]
        },
        targets={
            _action_id(each["id"]): (_address(each["target"]), Selector(_bytes(each["selector"], 4)))
            for each in value["targets"]
        },
        told_at=_told_at(value["toldAt"]) if "toldAt" in value else None,
    )


def _told_at(value: Sequence[object]) -> ToldAt:
    block, log_index = value
    return ToldAt(_number(block), _number(log_index))


def _config_to_json(config: PolicyConfig) -> Json:
    match config:
        case Sudo():
            return {"type": "sudo"}
        case UsageLimit(limit):
            return {"type": "usage", "limit": hex(limit)}
        case ValueLimit(limit):
            return {"type": "value", "limit": hex(limit)}
        case GasLimits(gas, cost):
            return {"type": "gas", "gas": hex(gas), "cost": hex(cost)}
        case TimeFrame(until, after):
            return {"type": "time", "until": hex(until), "after": hex(after)}
        case SpendingLimits(limits, complete):
            printed = {_hex(token): hex(limit) for token, limit in limits.items()}
            return {"type": "spending", "limits": printed, "complete": complete}
        case AllowedTargets(allowed, refused, complete):
            printed_lists = {"allowed": sorted(map(_hex, allowed)), "refused": sorted(map(_hex, refused))}
            return {"type": "targets", **printed_lists, "complete": complete}
        case ActionRules(value, rules):
            return {"type": "rules", "value": hex(value), "rules": [_rule_to_json(rule) for rule in rules]}
        case ArgRules(value, rules, nodes, root):
            tree = [[node.type.value, node.rule, node.left, node.right] for node in nodes]
            printed_rules = [_rule_to_json(rule) for rule in rules]
            return {"type": "arg", "value": hex(value), "rules": printed_rules, "nodes": tree, "root": root}
        case GrantedAction():
            return _granted_to_json(config)
    raise ValueError(f"no JSON form for {type(config).__name__}")


def _granted_to_json(action: GrantedAction) -> Json:
    terms = action.terms
    limits = {"value": terms.max_value, "total": terms.max_total, "uses": terms.max_uses}
    return {
        "type": "granted",
        "target": None if action.target is None else _hex(action.target),
        "selector": None if action.selector is None else _hex(action.selector),
        **{name: None if limit is None else hex(limit) for name, limit in limits.items()},
        "after": hex(terms.valid_after),
        "until": hex(terms.valid_until),
        **({"counts": _OPERATIONS} if terms.per_operation else {}),
    }


def _granted(value: Mapping[str, Any]) -> GrantedAction:
    target, selector = value["target"], value["selector"]
    limits = {name: None if value[name] is None else _number(value[name]) for name in ("value", "total", "uses")}
    terms = GrantedTerms(
        max_value=limits["value"],
        max_total=limits["total"],
        max_uses=limits["uses"],
        per_operation=_counts_operations(value.get("counts")),
        valid_after=_number(value["after"]),
        valid_until=_number(value["until"]),
    )
    return GrantedAction(
        None if target is None else _address(target),
        None if selector is None else Selector(_bytes(selector, 4)),
        terms,
    )


def _counts_operations(value: object) -> bool:
    """What is not said counts calls, as all that was kept by earlier releases does."""
    if value not in (None, _OPERATIONS):
        raise ValueError(f"uses that count {value!r}")
    return value == _OPERATIONS


def _spending(value: Mapping[str, Any]) -> SpendingLimits:
    limits = {_address(token): _number(limit) for token, limit in value["limits"].items()}
    return SpendingLimits(limits, _known_flag(value["complete"]))


def _targets(value: Mapping[str, Any]) -> AllowedTargets:
    allowed, refused = frozenset(_addresses(value["allowed"])), frozenset(_addresses(value["refused"]))
    return AllowedTargets(allowed, refused, _known_flag(value["complete"]))


def _arg(value: Mapping[str, Any]) -> ArgRules:
    nodes = tuple(ArgNode(NodeType(kind), rule, left, right) for kind, rule, left, right in value["nodes"])
    return ArgRules(_number(value["value"]), _rules(value["rules"]), nodes, int(value["root"]))


_CONFIGS: Final[Mapping[str, Callable[[Mapping[str, Any]], PolicyConfig]]] = {
    "sudo": lambda value: Sudo(),  # noqa: ARG005  # it has no fields
    "usage": lambda value: UsageLimit(_number(value["limit"])),
    "value": lambda value: ValueLimit(_number(value["limit"])),
    "gas": lambda value: GasLimits(_number(value["gas"]), _number(value["cost"])),
    "time": lambda value: TimeFrame(_number(value["until"]), _number(value["after"])),
    "spending": _spending,
    "targets": _targets,
    "rules": lambda value: ActionRules(_number(value["value"]), _rules(value["rules"])),
    "arg": _arg,
    "granted": _granted,
}


def _config_from_json(value: Mapping[str, Any]) -> PolicyConfig:
    return _config(orjson.dumps(value))


def _rule_to_json(rule: ParameterRule) -> list[Any]:
    return [rule.condition.value, hex(rule.offset), rule.is_limited, hex(rule.reference), hex(rule.limit)]


def _rules(value: Sequence[Sequence[Any]]) -> tuple[ParameterRule, ...]:
    return tuple(
        ParameterRule(
            Condition(condition), _number(offset), _known_flag(is_limited), _number(reference), _number(limit)
        )
        for condition, offset, is_limited, reference, limit in value
    )
