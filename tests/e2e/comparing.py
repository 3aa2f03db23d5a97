"""Comparing two runs of a flow: other accounts, other hashes and other prices, but the same story."""

from __future__ import annotations

import re
from typing import Any

# alto words a taken nonce by how far the first operation has got by then, which is a matter of milliseconds
_VARYING = re.compile(r"0x[0-9a-fA-F]+|\b[0-9]{5,}\b|(?<=AA25 invalid account nonce: ).*")


def shape(value: object) -> object:
    """`value` with everything that differs between two accounts blotted out: hashes, addresses, prices."""
    if isinstance(value, dict):
        return {key: shape(item) for key, item in value.items() if key != "logsBloom"}
    if isinstance(value, list):
        return [shape(item) for item in value]
    if isinstance(value, str):
        return _VARYING.sub("…", value)
    return value


def contains(whole: Any, part: Any) -> bool:
    """Whether `whole` has every member that `part` names; lists are of the same length."""
    if isinstance(part, dict):
        return isinstance(whole, dict) and all(key in whole and contains(whole[key], part[key]) for key in part)
    if isinstance(part, list):
        return (
            isinstance(whole, list)
            and len(whole) == len(part)
            and all(contains(one, other) for one, other in zip(whole, part, strict=True))
        )
    return bool(whole == part)


def refusal_of(step: dict[str, Any]) -> dict[str, Any] | None:
    """The JSON-RPC error of a step, from an SDK's report or from a raw answer."""
    refused = step.get("refused")
    if isinstance(refused, dict):
        return refused
    answer = step.get("answer")
    found = answer.get("error") if isinstance(answer, dict) else None
    return found if isinstance(found, dict) else None
