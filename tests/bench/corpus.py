"""The requests of the load, by kind: each operation prepared once, with all that the upstream has to know of it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import cycle, islice
from pathlib import Path
from typing import Any, Final

from proxy.userop.primitives import Address, print_bytes
from proxy.userop.user_operation import UserOperation, print_user_operation
from tests.bench.operations import (
    accounts,
    distinct_batches,
    distinct_enables,
    distinct_owner_operations,
    distinct_uses,
    grants,
    hash_of,
    packed,
    submission,
)

_SEND, _ESTIMATE, _RECEIPT = "eth_sendUserOperation", "eth_estimateUserOperationGas", "eth_getUserOperationReceipt"
_MAKERS: Final = {
    "use": distinct_uses,
    "batch of 5": distinct_batches,
    "enable": distinct_enables,
    "owner": distinct_owner_operations,
}
KINDS: Final = (*_MAKERS, "estimate", "receipt", "mix")
_PERMISSION: Final = slice(1, 33)
_RECORDED_SESSION: Final = next(distinct_uses(1)).signature[_PERMISSION]
_GRANTED: Final[Mapping[str, Callable[[UserOperation], bytes]]] = {
    "enable": lambda op: op.signature[_PERMISSION],
    "grant": lambda _: _RECORDED_SESSION,
}
"""The permission id of the session that is in force once an operation of this kind is mined."""


@dataclass
class Corpus:
    """Bodies by kind, each used once, and the file that tells an upstream of every operation in them.

    `supply` hands them out; whoever measures a gate takes from a copy of his own, so that no gate sees one twice.
    """

    known: Path
    grants: list[bytes] = field(default_factory=list)
    bodies: dict[str, list[bytes]] = field(default_factory=dict)
    parked: list[bytes] = field(default_factory=list)


def write_corpus(
    folder: Path, amounts: Mapping[str, int], *, sessions: int = 1, parked: int = 0, name: str = "known"
) -> Corpus:
    """So many requests of each kind, of that many sessions in turn, and so many operations that stay in flight."""
    of = accounts(sessions)
    corpus = Corpus(folder / name)
    lane = 1
    with corpus.known.open("wb") as known:
        corpus.grants = _write(known, grants(of), "grant")
        for kind, amount in amounts.items():
            if kind in _MAKERS:
                corpus.bodies[kind] = _write(known, _MAKERS[kind](amount, of, first=lane), kind)
                lane += amount
        corpus.parked = _write(known, distinct_uses(parked, of, first=lane), "use", parked=True)
        lane += parked
        if amounts.get("estimate"):
            corpus.bodies["estimate"] = _estimates(of, amounts["estimate"])
        if amounts.get("receipt"):
            corpus.bodies["receipt"] = list(_receipts(amounts["receipt"]))
        if amounts.get("mix"):
            corpus.bodies["mix"] = list(islice(_mix(known, of, amounts["mix"], lane), amounts["mix"]))
    return corpus


def _write(known: Any, operations: Iterable[UserOperation], kind: str, *, parked: bool = False) -> list[bytes]:
    bodies = []
    granted = _GRANTED.get(kind)
    for op in operations:
        told = {
            "hash": print_bytes(hash_of(op)),
            "sender": print_bytes(op.sender),
            "nonce": hex(op.nonce),
            "packed": packed(op).hex(),
            "parked": parked,
            "held": kind != "owner",
            "grants": None if granted is None else print_bytes(granted(op)),
        }
        known.write(json.dumps(told).encode() + b"\n")
        bodies.append(submission(print_user_operation(op)))
    return bodies


def _estimates(of: Sequence[Address], count: int) -> list[bytes]:
    """A few different ones: to ask again changes nothing."""
    few = [submission(print_user_operation(op), _ESTIMATE) for op in distinct_uses(min(count, 200), of, first=1 << 23)]
    return list(islice(cycle(few), count))


def _receipts(count: int) -> Iterator[bytes]:
    """Of operations that nobody sent: `null`, as most polls are answered."""
    for number in range(count):
        yield _request(_RECEIPT, f"0x{number + 1:064x}")


def _request(method: str, *params: object) -> bytes:
    body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": list(params)}
    return json.dumps(body, separators=(",", ":")).encode()


def recorded_methods() -> list[str]:
    """What the recorded SDKs asked their bundler, in the order in which they did."""
    recorded = json.loads((Path(__file__).parent / "mix.json").read_text())
    return [recorded["methods"][letter] for letter in recorded["order"]]


def _mix(known: Any, of: Sequence[Address], count: int, lane: int) -> Iterator[bytes]:
    """The recorded order of methods, again and again, with operations of every kind where one is sent."""
    methods = recorded_methods()
    sends = count * methods.count(_SEND) // len(methods) + len(methods)
    each = sends // 4 + 1
    kinds = []
    for place, kind in enumerate(("use", "batch of 5", "owner", "use")):
        operations = _MAKERS[kind](each, of, first=lane + place * each)
        kinds.append(_write(known, operations, kind))
    submissions = iter([body for together in zip(*kinds, strict=True) for body in together])
    estimates, receipts = cycle(_estimates(of, 200)), cycle(list(_receipts(200)))
    for method in cycle(methods):
        match method:
            case "eth_sendUserOperation":
                yield next(submissions)
            case "eth_estimateUserOperationGas":
                yield next(estimates)
            case "eth_getUserOperationReceipt":
                yield next(receipts)
            case _:
                yield _request(method)
