"""userop_hash.json: both the bundler form and the packed form of each operation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from proxy.errors import Undecodable
from proxy.userop.entry_point import EntryPoint, EntryPointVersion
from proxy.userop.primitives import Address, Hash32
from proxy.userop.user_op_hash import packed_user_op_hash, user_op_hash
from proxy.userop.user_operation import parse_user_operation
from tests.vectors.fields import read_hex
from tests.vectors.registry import Finding

DESIGNATOR = bytes.fromhex("ef0100")


def check_user_op_hashes(document: Mapping[str, Any]) -> Iterator[Finding]:
    for vector in document["vectors"]:
        problem = _problem_of(vector)
        yield vector["id"], problem is None, problem or ""


def _problem_of(vector: Mapping[str, Any]) -> str | None:
    version = EntryPointVersion("v" + vector["entryPointVersion"])
    entry_point = EntryPoint(version, Address(read_hex(vector["entryPoint"])))
    delegate = _delegate_of(vector)
    wanted = read_hex(vector["userOpHash"]) if "userOpHash" in vector else None
    if "userOp" in vector:
        op = parse_user_operation(vector["userOp"], version)
        if user_op_hash(op, entry_point, vector["chainId"], delegate=delegate) != wanted:
            return "another hash of the bundler form"
    if "packed" in vector:
        try:
            got = _packed_hash(vector["packed"], entry_point, vector["chainId"], delegate)
        except Undecodable as error:
            return None if "contractError" in vector else f"refused: {error}"
        if got != wanted:
            return "another hash of the packed form"
    return None


def _delegate_of(vector: Mapping[str, Any]) -> Address | None:
    if "eip7702Delegate" in vector:
        return Address(read_hex(vector["eip7702Delegate"]))
    code = read_hex(vector.get("senderCode", "0x"))
    is_designator = len(code) == 23 and code.startswith(DESIGNATOR)
    return Address(code[3:]) if is_designator else None


def _packed_hash(packed: Mapping[str, str], entry_point: EntryPoint, chain_id: int, delegate: Address | None) -> Hash32:
    return packed_user_op_hash(
        entry_point,
        chain_id,
        sender=Address(read_hex(packed["sender"])),
        nonce=int(packed["nonce"], 16),
        init_code=read_hex(packed["initCode"]),
        call_data=read_hex(packed["callData"]),
        account_gas_limits=read_hex(packed["accountGasLimits"]),
        pre_verification_gas=int(packed["preVerificationGas"], 16),
        gas_fees=read_hex(packed["gasFees"]),
        paymaster_and_data=read_hex(packed["paymasterAndData"]),
        delegate=delegate,
    )


CHECKERS = {"userop-hash/1": check_user_op_hashes}
