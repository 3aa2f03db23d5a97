"""For whom a rule counts: groups as bytes, made of what the operation says, one or two parts."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from math import prod
from typing import Final

from proxy.judge.facts import Facts
from proxy.judge.match import LEAVING
from proxy.judge.rule import Of, Per
from proxy.userop.primitives import keccak256

MARK_BYTES: Final = 8

MOST_PLACES: Final = 1_024
"""In more places no rule counts one operation: a thousand calls that pay a thousand people have a million pairs."""
_FEW: Final = 32  # squared it is no more than that


def groups_of(facts: Facts, per: tuple[Per, ...]) -> list[bytes]:
    """Every group an operation belongs to: one, unless it is counted per target, recipient or token. None where it
    has no such thing: an owner's operation belongs to no session."""
    if not per:
        return [b""]
    if len(per) == 1:
        return _PARTS[per[0]](facts)
    return [join(first, second) for first in _PARTS[per[0]](facts) for second in _PARTS[per[1]](facts)]


def join(first: bytes, second: bytes) -> bytes:
    """Two parts in one, so that no other two make the same."""
    return len(first).to_bytes(2, "big") + first + second


def spread(facts: Facts, per: tuple[Per, ...], of: Of | None) -> int:
    """In how many places a rule would count an operation, groups × things; 0 where it can only be few."""
    if len(facts.calls) <= _FEW and len(facts.moves) <= _FEW:
        return 0
    return prod(len(_PARTS[each](facts)) for each in per) * (1 if of is None else len(set(_THINGS[of](facts))))


def session_part(facts: Facts) -> list[bytes]:
    """The one name of a session: chain id (32 bytes) ‖ module ‖ account ‖ permission id."""
    if facts.permission_id is None or facts.module is None:
        return []
    return [chain_part(facts) + facts.module + facts.account + facts.permission_id]


def marks_of(facts: Facts, of: Of) -> tuple[bytes, ...]:
    """The things of one kind in an operation, as marks of 8 bytes: two differ unless their hashes begin alike."""
    return tuple(dict.fromkeys(mark_of(thing) for thing in _THINGS[of](facts)))


def mark_of(thing: bytes) -> bytes:
    """One thing as a mark."""
    return keccak256(thing)[:MARK_BYTES]


def chain_part(facts: Facts) -> bytes:
    """The chain id in 32 bytes, as wide as the chain itself has it."""
    return facts.chain_id.to_bytes(32, "big")


def _distinct(parts: Iterable[bytes]) -> list[bytes]:
    return list(dict.fromkeys(parts))


def _account(facts: Facts) -> list[bytes]:
    return [chain_part(facts) + facts.account]


def _targets(facts: Facts) -> list[bytes]:
    return _distinct(chain_part(facts) + call.target for call in facts.calls)


def _recipients(facts: Facts) -> list[bytes]:
    return _distinct(
        move.counterparty for move in facts.moves if move.kind in LEAVING and move.counterparty is not None
    )


def _tokens(facts: Facts) -> list[bytes]:
    return _distinct(chain_part(facts) + (move.token or b"") for move in facts.moves if move.kind in LEAVING)


_PARTS: Final[dict[Per, Callable[[Facts], list[bytes]]]] = {
    Per.SESSION: session_part,
    Per.ACCOUNT: _account,
    Per.CLIENT: lambda facts: [facts.client.encode()],
    Per.TARGET: _targets,
    Per.RECIPIENT: _recipients,
    Per.TOKEN: _tokens,
    Per.CHAIN: lambda facts: [chain_part(facts)],
}

_THINGS: Final[dict[Of, Callable[[Facts], Iterable[bytes]]]] = {
    Of.TARGET: _targets,
    Of.SELECTOR: lambda facts: (chain_part(facts) + call.target + call.selector for call in facts.calls),
    Of.RECIPIENT: _recipients,
    Of.TOKEN: _tokens,
    Of.CLIENT: lambda facts: (facts.client.encode(),),
    Of.PAYMASTER: lambda facts: () if facts.paymaster is None else (facts.paymaster,),
    Of.NONCE_KEY: lambda facts: ((facts.nonce >> 64).to_bytes(24, "big"),),
    Of.ACCOUNT: _account,
    Of.SESSION: session_part,
}
