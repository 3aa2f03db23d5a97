"""The operations of the load: a handful as an SDK sent them, and as many of their kind as a run needs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from itertools import cycle, islice
from pathlib import Path
from typing import Any

from coincurve import PrivateKey
from eth_hash.auto import keccak

from proxy.userop.entry_point import ENTRY_POINT_BY_ADDRESS, EntryPoint
from proxy.userop.primitives import Hash32, parse_address
from proxy.userop.user_op_hash import user_op_hash
from proxy.userop.user_operation import UserOperation, parse_user_operation

RECORDED: dict[str, Any] = json.loads((Path(__file__).parent / "operations.json").read_text())
CHAIN_ID: int = RECORDED["chainId"]
ENTRY_POINT: EntryPoint = ENTRY_POINT_BY_ADDRESS[parse_address(RECORDED["entryPoint"], "entryPoint")]

_ENVELOPE_HEAD = 33  # mode and permission id, before the session key's signature
_LANE_SHIFT = 232  # the first three bytes of the nonce


def read(recorded: dict[str, Any]) -> UserOperation:
    return parse_user_operation(recorded, ENTRY_POINT.version)


def distinct_uses(count: int) -> Iterator[UserOperation]:
    """Session operations on a nonce lane each, signed: what a busy dapp sends, no two of the same hash."""
    key = PrivateKey(bytes.fromhex(RECORDED["sessionKey"][2:]))
    templates = [read(recorded) for recorded in RECORDED["use"]]
    for lane, template in enumerate(islice(cycle(templates), count)):
        without_lane = template.nonce & ((1 << _LANE_SHIFT) - 1)
        unsigned = replace(template, nonce=lane << _LANE_SHIFT | without_lane)
        yield replace(unsigned, signature=template.signature[:_ENVELOPE_HEAD] + _signed(unsigned, key))


def hash_of(op: UserOperation) -> Hash32:
    return user_op_hash(op, ENTRY_POINT, CHAIN_ID)


def _signed(op: UserOperation, key: PrivateKey) -> bytes:
    """EIP-191 over the operation's hash, as the SDKs' `signMessage` does it."""
    digest = keccak(b"\x19Ethereum Signed Message:\n32" + hash_of(op))
    signature = key.sign_recoverable(digest, hasher=None)
    return signature[:64] + bytes([signature[64] + 27])


def submission(op: dict[str, object]) -> bytes:
    """One `eth_sendUserOperation` request."""
    body = {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "eth_sendUserOperation",
        "params": [op, RECORDED["entryPoint"]],
    }
    return json.dumps(body, separators=(",", ":")).encode()
