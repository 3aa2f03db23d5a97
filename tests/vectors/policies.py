"""policies_*.json: every step of every sequence against one policy contract, and its counters at the end."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from proxy.errors import Undecodable
from proxy.session.addresses import POLICIES, PolicyContract
from proxy.session.counters import ConfigKey, Counter, Meter
from proxy.session.policies.arg import ArgRules
from proxy.session.policies.erc20_spending_limit import SpendingLimits
from proxy.session.policies.parameter_rules import ParameterRule
from proxy.session.policies.policy import (
    Failed,
    Initialised,
    Outcome,
    Passed,
    PolicyConfig,
    PolicyReverted,
    SignedAction,
    UserOpView,
)
from proxy.session.policies.simple_gas import COST_SLOT, GAS_SLOT, GasLimits
from proxy.session.policies.universal_action import ActionRules
from proxy.session.policies.usage_limit import UsageLimit
from proxy.session.policies.value_limit import ValueLimit
from proxy.session.revert import BARE, Revert
from proxy.session.validity import VALIDATION_FAILED
from proxy.userop.execution import Call, DecodingError, Execution, decode_execution
from proxy.userop.primitives import Address, Hash32
from proxy.userop.user_operation import UserOperation
from tests.vectors.fields import read_hex, read_int
from tests.vectors.registry import Finding


def operation_of(packed: Mapping[str, str]) -> UserOperation:
    """A packed operation as a record; the unsplit fields are those of the v0.6 shape."""
    limits, fees = read_hex(packed["accountGasLimits"]), read_hex(packed["gasFees"])
    return UserOperation(
        sender=Address(read_hex(packed["sender"])),
        nonce=int(packed["nonce"], 16),
        call_data=read_hex(packed["callData"]),
        signature=read_hex(packed["signature"]),
        verification_gas_limit=int.from_bytes(limits[:16], "big"),
        call_gas_limit=int.from_bytes(limits[16:], "big"),
        pre_verification_gas=int(packed["preVerificationGas"], 16),
        max_priority_fee_per_gas=int.from_bytes(fees[:16], "big"),
        max_fee_per_gas=int.from_bytes(fees[16:], "big"),
        init_code=read_hex(packed["initCode"]),
        paymaster_and_data=read_hex(packed["paymasterAndData"]),
    )


def execution_of(call_data: bytes) -> Execution | Revert:
    """The chain's reading of call data, or its revert."""
    try:
        return decode_execution(call_data)
    except DecodingError:
        return Revert("DecodingError")
    except Undecodable:
        return BARE


def same_revert(revert: Revert, wanted: Mapping[str, Any]) -> bool:
    """Whether a predicted revert is the observed one, data and name."""
    if revert.halted:
        return wanted["status"] == "halt"
    return (
        wanted["status"] == "revert"
        and read_hex(wanted["data"]) == revert.data
        and (wanted["error"] == revert.error or revert.error is None)
    )


@dataclass
class Contract:
    """One deployed policy contract: what it stores for every configuration."""

    contract: PolicyContract
    configs: dict[ConfigKey, PolicyConfig] = field(default_factory=dict)
    used: dict[Counter, int] = field(default_factory=dict)
    base_fee: int = 0
    now: int = 0

    def run(self, step: Mapping[str, Any], key: ConfigKey) -> tuple[bool, str]:
        op, wanted = step["op"], step.get("result", {"status": "ok"})
        if op == "block":
            self.base_fee = read_int(step.get("basefee", self.base_fee))
            self.now = read_int(step.get("timestamp", self.now))
            return True, ""
        if op == "init":
            return self._initialise(read_hex(step["initData"]), key, wanted)
        if op == "check1271SignedAction":
            return self._check_1271(step, key, wanted)
        config, meter = self.configs.get(key), Meter(key, self.used)
        if op == "checkAction":
            assert self.contract.action is not None
            call = Call(Address(read_hex(step["target"])), int(step["value"], 16), read_hex(step["callData"]))
            outcome = self.contract.action.check_action(config, call, meter, key)
        else:
            assert self.contract.user_op is not None
            operation = operation_of(step["userOp"])
            view = UserOpView(operation, execution_of(operation.call_data), self.base_fee)
            outcome = self.contract.user_op.check_user_op(config, view, meter, key)
        return self._agree(outcome, wanted)

    def _initialise(self, init_data: bytes, key: ConfigKey, wanted: Mapping[str, Any]) -> tuple[bool, str]:
        outcome = self.contract.policy.initialise(init_data, key)
        if isinstance(outcome, Initialised):
            self.configs[key] = outcome.config
            self.used = {counter: use for counter, use in self.used.items() if counter[:4] != key}
            self.used.update({Counter(*key, slot): use for slot, use in outcome.used.items()})
            return wanted["status"] == "ok", f"initialised, wanted {wanted}"
        return same_revert(outcome, wanted), f"{outcome}, wanted {wanted}"

    def _check_1271(self, step: Mapping[str, Any], key: ConfigKey, wanted: Mapping[str, Any]) -> tuple[bool, str]:
        assert self.contract.erc1271 is not None
        signed = SignedAction(Address(read_hex(step["requestSender"])), Hash32(read_hex(step["hash"])), self.now)
        outcome = self.contract.erc1271.check_1271(self.configs.get(key), signed, key)
        if isinstance(outcome, PolicyReverted):
            return same_revert(outcome.revert, wanted), f"{outcome.revert}, wanted {wanted}"
        return wanted["status"] == "ok" and wanted["value"] == outcome, f"{outcome}, wanted {wanted}"

    def _agree(self, outcome: Outcome, wanted: Mapping[str, Any]) -> tuple[bool, str]:
        if isinstance(outcome, PolicyReverted):
            return same_revert(outcome.revert, wanted), f"{outcome.revert}, wanted {wanted}"
        if not isinstance(outcome, Passed | Failed):
            return False, f"{outcome}, wanted {wanted}"
        for charge in outcome.charges:
            self.used[charge.counter] = self.used.get(charge.counter, 0) + charge.amount
        value = outcome.validation_data if isinstance(outcome, Passed) else VALIDATION_FAILED
        return wanted["status"] == "ok" and read_int(wanted["value"]) == value, f"{outcome}, wanted {wanted}"

    def final(self, getter: Mapping[str, Any]) -> tuple[bool, str]:
        """Compare what a getter said at the end with what stands here."""
        arguments = [read_hex(argument) for argument in getter["args"]]
        key = ConfigKey(Address(arguments[1]), Address(arguments[-1]), self.contract.address, Hash32(arguments[0]))
        got = _getters(self.configs.get(key), Meter(key, self.used), Address(arguments[2]))
        if "result" in getter:
            return getter["result"]["error"] == "InvalidTokenAddress" and not got[
                "spendingLimit"
            ], f"{got}, wanted a revert"
        said = getter.get("values", getter)
        wanted = {name: said[name] for name in said if name not in ("getter", "args", "used", "length")}
        wanted |= _comparable(said, got)
        if "alreadySpent" in wanted:
            wanted["total"] = read_int(wanted.pop("alreadySpent")) + read_int(wanted.pop("approvedAmount", 0))
        plain = {name: value if isinstance(value, list) else read_int(value) for name, value in wanted.items()}
        return all(got.get(name, 0) == value for name, value in plain.items()), f"{got}, wanted {plain}"


def _getters(config: PolicyConfig | None, meter: Meter, token: Address) -> dict[str, Any]:
    """What the contract's getters would say, under the names of the file."""
    match config:
        case UsageLimit(limit):
            return {"used": meter.used(), "limit": limit}
        case ValueLimit(limit):
            return {"limitUsed": meter.used(), "valueLimit": limit}
        case GasLimits(gas, cost):
            used = {"gasUsed": meter.used(GAS_SLOT), "costUsed": meter.used(COST_SLOT)}
            return {"gasLimit": gas, "costLimit": cost, **used}
        case SpendingLimits(limits):
            return {"spendingLimit": limits.get(token, 0), "total": meter.used(token)}
        case ActionRules(value_limit, rules):
            return {"valueLimitPerUse": value_limit, "length": len(rules), "used": _used(rules, meter)}
        case ArgRules(value_limit, rules, _, root):
            return {"valueLimitPerUse": value_limit, "rootNodeIndex": root, "used": _used(rules, meter)}
    return {}


def _comparable(said: Mapping[str, Any], got: Mapping[str, Any]) -> dict[str, Any]:
    """What the file says, where this package keeps it in another form.

    Spent and approved are one counter here, because the limit holds for their sum. Only limited rules have a counter.
    """
    comparable: dict[str, Any] = {name: said[name] for name in ("length", "used") if name in said}
    if isinstance(said.get("used"), list):
        mine = got.get("used")
        if mine is None:  # never initialised: the getter says nothing was used
            return comparable | {"used": sum(read_int(use) for use in said["used"])}
        pairs = zip(said["used"], mine, strict=True)
        comparable["used"] = [None if counted is None else read_int(use) for use, counted in pairs]
    return comparable


def _used(rules: tuple[ParameterRule, ...], meter: Meter) -> list[int | None]:
    return [meter.used(bytes([index])) if rule.is_limited else None for index, rule in enumerate(rules)]


def check_policy_sequences(document: Mapping[str, Any]) -> Iterator[Finding]:
    contract = POLICIES[Address(read_hex(document["policyAddress"]))]
    for sequence in document["sequences"]:
        block = document["block"]
        deployed = Contract(contract, base_fee=read_int(block["basefee"]), now=read_int(block["timestamp"]))
        problems = []
        for number, step in enumerate(sequence["steps"]):
            account = step.get("account", sequence["account"])
            if "userOp" in step:
                account = step["userOp"]["sender"]
            key = ConfigKey(
                Address(read_hex(step.get("multiplexer", document["multiplexer"]))),
                Address(read_hex(account)),
                contract.address,
                Hash32(read_hex(step.get("configId", sequence["configId"]))),
            )
            agreed, detail = deployed.run(step, key)
            if not agreed:
                problems.append(f"step {number} {step['op']}: {detail}")
        for getter in sequence.get("finalState", ()):
            agreed, detail = deployed.final(getter)
            if not agreed:
                problems.append(f"final {getter['getter']}: {detail}")
        yield sequence["id"], not problems, "; ".join(problems)


CHECKERS = {"policy-sequences/1": check_policy_sequences}


CHECKERS = {"policy-sequences/1": check_policy_sequences}
