"""action_id.json: action ids and the config ids under which policies keep their counters."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from proxy.userop.primitives import Address, Hash32, Selector
from proxy.userop.session_data import (
    action_config_id,
    action_id_of,
    erc1271_config_id,
    selector_of,
    user_op_config_id,
)
from tests.vectors.fields import read_hex
from tests.vectors.registry import Finding


def check_action_ids(document: Mapping[str, Any]) -> Iterator[Finding]:
    for vector in document["vectors"]:
        if "callData" in vector:
            selector = selector_of(read_hex(vector["callData"]))
        else:
            selector = Selector(read_hex(vector["selector"]))
        action_id = action_id_of(Address(read_hex(vector["target"])), selector)
        got = {"actionId": action_id}
        if "permissionId" in vector:
            account, permission_id = Address(read_hex(vector["account"])), Hash32(read_hex(vector["permissionId"]))
            got["actionConfigId"] = action_config_id(account, permission_id, action_id)
            got["userOpConfigId"] = user_op_config_id(account, permission_id)
            got["erc1271ConfigId"] = erc1271_config_id(account, permission_id)
        wrong = [name for name, value in got.items() if value != read_hex(vector[name])]
        yield vector["id"], not wrong, ", ".join(wrong)


CHECKERS = {"action-id/1": check_action_ids}
