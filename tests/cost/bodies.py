"""Requests that are made to cost: operations whose parts share their bytes, and everything around them."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any, Final

from proxy.userop import abi
from proxy.userop.arguments import selector
from proxy.userop.execution import EXECUTE, Call
from proxy.userop.primitives import Address
from proxy.userop.user_operation import UserOperation, print_user_operation
from tests.admission.builders import enabling
from tests.bypass_list.desk import OWNER_NONCE, STRANGERS_KEY, V07, a_session, an_operation, single, use
from tests.cost.counter import ANYTHING, FREE, TREE
from tests.cost.rule_sets import FIRST_TARGET
from tests.session.builders import ACCOUNT, TOKEN, TRANSFER, action, sudo, transfer, word

_EXECUTE: Final = abi.tuple_of(abi.BYTES32, abi.BYTES)
MULTICALL: Final = selector("multicall(bytes[])")


def submission(op: UserOperation, method: str = "eth_sendUserOperation") -> bytes:
    """One request that submits it."""
    params = [print_user_operation(op), "0x" + V07.address.hex()]
    return json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).encode()


def carrying(op: UserOperation, method: str) -> bytes:
    """One request that carries it, in the shape in which this method does."""
    if method == "zd_sponsorUserOperation":
        params: list[Any] = [
            {"chainId": 1, "userOp": print_user_operation(op), "entryPointAddress": "0x" + V07.address.hex()}
        ]
    elif method.startswith("pm_getPaymaster"):
        params = [print_user_operation(op), "0x" + V07.address.hex(), "0x1", {"policy": "none"}]
    else:
        return submission(op, method)
    return json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).encode()


def execute(plain: bytes, mode: bytes = b"\x01") -> bytes:
    """execute(bytes32,bytes)."""
    return EXECUTE + abi.encode(_EXECUTE, [mode.ljust(32, b"\0"), plain])


def many_of(call: Call, times: int) -> bytes:
    """abi.encode(Execution[]) in which every entry is the same few bytes."""
    padded = call.data + bytes(-len(call.data) % 32)
    entry = word(call.target) + word(call.value) + word(0x60) + word(len(call.data)) + padded
    return word(0x20) + word(times) + word(32 * times) * times + entry


def multicall(data: bytes, times: int) -> bytes:
    """multicall(bytes[]) in which every item is the same bytes."""
    return MULTICALL + word(0x20) + word(times) + word(32 * times) * times + word(len(data)) + data


def nested_multicall(data: bytes, levels: Sequence[int]) -> bytes:
    """Multicalls inside multicalls."""
    for times in levels:
        data = multicall(data, times)
    return data


def by_owner(call_data: bytes, **changes: Any) -> UserOperation:
    """An operation that no session answers for."""
    return an_operation(call_data, **{"nonce": OWNER_NONCE, "signature": b"\x0e" * 65, **changes})


def padded_use(size: int) -> bytes:
    """A valid USE as long as `size` bytes, or as short as one can be: what every other request is measured by."""
    return _padded(size, lambda call: submission(use(FREE, single(call))))


def padded_grant(size: int) -> bytes:
    """The same of the grant of a small session, which its owner has still to vouch for."""
    return _padded(size, lambda call: submission(enabling(_SMALL, single(call))))


def padded_owners(size: int) -> bytes:
    """The same of an owner's operation."""
    return _padded(size, lambda call: submission(by_owner(single(call))))


def padded_estimate(size: int) -> bytes:
    """The same of a session's estimate."""
    return _padded(size, lambda call: submission(use(FREE, single(call)), "eth_estimateUserOperationGas"))


def padded_listed(size: int) -> bytes:
    """The same of a call to one of the targets that rules name."""
    target = Address(word(FIRST_TARGET)[12:])
    return _padded(size, lambda call: submission(use(ANYTHING, single(Call(target, 0, call.data)))))


def _padded(size: int, carried: Callable[[Call], bytes]) -> bytes:
    call = transfer(1)
    body = carried(call)
    missing = max(size - len(body), 0) // 2
    return body if missing == 0 else carried(Call(call.target, 0, call.data + bytes(missing)))


def good_under(rules: str) -> Callable[[int], bytes]:
    """What is good of the kind that the rules of this name are asked of: what ops ask of every grant, or of a call to
    every listed target, is no doing of who brings one."""
    return _GOOD.get(rules, padded_use)


_SMALL: Final = a_session(action(TOKEN, TRANSFER, sudo), salt=93)
_GOOD: Final = {
    "grants": padded_grant,
    "calls of owners": padded_owners,
    "what is estimated": padded_estimate,
    "a list": padded_listed,
}
_ALIASED: Final = execute(many_of(Call(ACCOUNT, 0, execute(many_of(transfer(1), 256))), 120))
NAMED: Final = {
    "an inner batch of 256 under 120 calls of the account to itself": submission(by_owner(_ALIASED)),
    "the same, signed by nobody for a session": submission(use(FREE, _ALIASED, key=STRANGERS_KEY)),
    "the same, signed by a session": submission(use(FREE, _ALIASED)),
    "multicalls of nine of nine of nine": submission(
        by_owner(single(Call(TOKEN, 0, nested_multicall(transfer(1).data, (9, 9, 9)))))
    ),
    "7,000 calls that are one": submission(use(FREE, execute(many_of(transfer(1), 7000)))),
    "7,000 calls that are one, under an expression of 121 nodes": submission(
        use(TREE, execute(many_of(transfer(1), 7000)))
    ),
    "400 calls that are one, under an expression of 121 nodes": submission(
        use(TREE, execute(many_of(transfer(1), 400)))
    ),
    "keys given twice": b"{" + b",".join(b'"k%d":1' % (number % 20_000) for number in range(40_000)) + b"}",
    "plain numbers": b"[" + b",".join([b"1"] * 200_000) + b"]",
    "plain numbers and half a character": b'["\\ud800",' + b",".join([b"1.5"] * 4_000) + b"]",
}
"""What an attack of an hour found, kept by name."""
