"""policy_addresses.json: the address book, the flag actions, and init data that the SDKs built."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from proxy.session import addresses
from proxy.session.counters import ConfigKey, Meter
from proxy.session.policies.policy import Initialised, Passed
from proxy.userop import session_data
from proxy.userop.entry_point import ENTRY_POINT_BY_ADDRESS
from proxy.userop.execution import Call
from proxy.userop.primitives import ZERO_ADDRESS, Address, Hash32
from tests.vectors.fields import read_hex
from tests.vectors.registry import Finding

FLAGS = {
    "fallbackTarget": session_data.FLAG_TARGET,
    "fallbackSelector": session_data.FALLBACK_SELECTOR,
    "smartSessionCallSelector": session_data.SMART_SESSION_CALL_SELECTOR,
    "fallbackActionId": session_data.FALLBACK_ACTION_ID,
    "smartSessionCallActionId": session_data.SMART_SESSION_CALL_ACTION_ID,
    "valueSelector": session_data.VALUE_SELECTOR,
}


def check_policy_addresses(document: Mapping[str, Any]) -> Iterator[Finding]:
    for name, wanted in document["flags"].items():
        yield name, FLAGS[name] == read_hex(wanted), FLAGS[name].hex()
    for entry in document["addresses"]:
        yield f"{entry['name']} {entry['generation']}", _is_known(entry), entry["address"]
    for encoding in document["encodings"]:
        problem = _problem_of_encoding(encoding)
        yield encoding["id"], problem is None, problem or ""


def _is_known(entry: Mapping[str, Any]) -> bool:
    address = Address(read_hex(entry["address"]))
    name, generation = entry["name"], entry["generation"]
    if name.startswith("EntryPoint"):
        return ENTRY_POINT_BY_ADDRESS[address].version == generation
    if name.startswith("SmartSession") and "Fallback" not in name:
        return addresses.MODULE_KINDS[address] == generation
    if name.startswith("OwnableValidator"):
        return addresses.VALIDATOR_KINDS[address] is addresses.ValidatorKind.OWNABLE
    if (contract := addresses.POLICIES.get(address)) is not None:
        return contract.name == name and contract.generation == generation
    return addresses.name_of_policy(address) == name.partition(" (")[0]


def _problem_of_encoding(encoding: Mapping[str, Any]) -> str | None:
    contract = addresses.POLICIES[Address(read_hex(encoding["policy"]))]
    key = ConfigKey(ZERO_ADDRESS, ZERO_ADDRESS, contract.address, Hash32(bytes(32)))
    stored = contract.policy.initialise(read_hex(encoding["initData"]), key)
    if not isinstance(stored, Initialised):
        return f"init data refused: {stored}"
    if (check := encoding.get("contractCheck")) is None:
        return None
    assert contract.action is not None
    answer = contract.action.check_action(stored.config, Call(ZERO_ADDRESS, 0, b""), Meter(key, {}), key)
    agreed = isinstance(answer, Passed) and answer.validation_data == int(check["value"], 16)
    return None if agreed else f"{answer}, wanted {check}"


CHECKERS = {"policy-addresses/1": check_policy_addresses}
