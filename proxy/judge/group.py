"""For whom a rule counts: groups as bytes, made of what the operation says, one or two parts."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import lru_cache
from math import prod
from typing import Final

from proxy.errors import InvalidParams
from proxy.judge.facts import Facts
from proxy.judge.match import LEAVING
from proxy.judge.rule import Limit, Of, Per, Rate
from proxy.userop.budget import MOST_COUNTS
from proxy.userop.primitives import keccak256, parse_address, parse_bytes, print_bytes, print_checksummed

MARK_BYTES: Final = 8
_MOST_MARKS: Final = 8_192  # that are not hashed again: most operations go where others went before

MOST_PLACES: Final = MOST_COUNTS
"""In more places no rule counts one operation: a thousand calls that pay a thousand people have a million pairs."""

SEVERAL: Final[frozenset[Per | Of | None]] = frozenset(
    {Per.TARGET, Per.RECIPIENT, Per.TOKEN, Of.TARGET, Of.SELECTOR, Of.RECIPIENT, Of.TOKEN}
)
"""What one operation may have several of."""


def groups_of(facts: Facts, per: tuple[Per, ...]) -> list[bytes]:
    """See `groups_by`."""
    return groups_by(per)(facts)


def groups_by(per: tuple[Per, ...]) -> Callable[[Facts], list[bytes]]:
    """Finds every group an operation belongs to: one, unless it is counted per target, recipient or token. None where
    it has no such thing: an owner's operation belongs to no session."""
    if not per:
        return lambda _facts: [b""]
    if len(per) == 1:
        return _PARTS[per[0]]
    one, other = _PARTS[per[0]], _PARTS[per[1]]
    return lambda facts: [join(first, second) for first in one(facts) for second in other(facts)]


def join(first: bytes, second: bytes) -> bytes:
    """Two parts in one, so that no other two make the same."""
    return len(first).to_bytes(2, "big") + first + second


def spread(facts: Facts, per: tuple[Per, ...], of: Of | None) -> int:
    """In how many places a rule would count an operation, groups × things."""
    if len(facts.calls) <= 1 and len(facts.moves) <= 1:
        return 1
    return prod(len(_PARTS[each](facts)) for each in per) * (1 if of is None else len(set(_THINGS[of](facts))))


def session_part(facts: Facts) -> list[bytes]:
    """The one name of a session: chain id (32 bytes) ‖ module ‖ account ‖ permission id."""
    if facts.permission_id is None or facts.module is None:
        return []
    return [chain_bytes(facts.chain_id) + facts.module + facts.account + facts.permission_id]


def marks_of(facts: Facts, of: Of) -> tuple[bytes, ...]:
    """See `marks_by`."""
    return marks_by(of)(facts)


def marks_by(of: Of) -> Callable[[Facts], tuple[bytes, ...]]:
    """Finds the things of one kind in an operation, as marks of 8 bytes: two differ unless their hashes begin alike."""
    things_of = _THINGS[of]

    def marks(facts: Facts) -> tuple[bytes, ...]:
        things = things_of(facts)
        if type(things) is list and len(things) == 1:  # nearly always
            return (mark_of(things[0]),)
        return tuple(dict.fromkeys(map(mark_of, things)))

    return marks


def group_in_words(group: bytes, per: tuple[Per, ...]) -> dict[str, str]:
    """The group of a count as people read it, by what it is counted per: chain ids as numbers, bytes as 0x-hex."""
    told: dict[str, str] = {}
    for what, part in zip(per, _parts(group, per), strict=True):
        told |= _in_words(what, part)
    return told


def chain_of(group: bytes, per: tuple[Per, ...]) -> int:
    """The chain that a group belongs to, 0 where it is of all."""
    for what, part in zip(per, _parts(group, per), strict=True):
        if what not in (Per.CLIENT, Per.RECIPIENT):
            return int.from_bytes(part[:32], "big")
    return 0


def most_under(check: Limit | Rate, group: bytes) -> int | None:
    """How much a group may use; `None` where the limit's token does not exist on its chain."""
    return check.maximum if isinstance(check, Rate) else check.maximum_on(chain_of(group, check.per))


def _parts(group: bytes, per: tuple[Per, ...]) -> list[bytes]:
    if len(per) < 2:
        return [group] * len(per)
    size = int.from_bytes(group[:2], "big")
    return [group[2 : 2 + size], group[2 + size :]]


def _in_words(what: Per, part: bytes) -> dict[str, str]:
    if what is Per.CLIENT:
        return {"client": part.decode(errors="replace")}
    if what is Per.RECIPIENT:
        return {"recipient": print_checksummed(part)}
    told = {"chainId": str(int.from_bytes(part[:32], "big"))}
    rest = part[32:]
    if what is Per.SESSION:
        told |= {
            "module": print_checksummed(rest[:20]),
            "account": print_checksummed(rest[20:40]),
            "permissionId": print_bytes(rest[40:]),
        }
    elif what is not Per.CHAIN:
        told[what.value] = print_checksummed(rest) if rest else "native"
    return told


def thing_of(of: Of, text: str, chain_id: int | None) -> bytes | str:
    """The thing that a text names, as histories know it; otherwise, what is wrong.

    Targets, functions, tokens and accounts are told apart by chain, so they need one.
    """
    if of is Of.CLIENT:
        return text.encode()
    if of is Of.NONCE_KEY:
        known = text.isascii() and text.isdigit() and int(text) < 2**192
        return int(text).to_bytes(24, "big") if known else "wanted a decimal number below 2^192"
    if of is Of.SESSION:
        return "a session cannot be allowed by hand"
    address, _, selector = text.partition(":")
    try:
        named = parse_address(address, "it")
        function = parse_bytes(selector, "it") if of is Of.SELECTOR else b""
    except InvalidParams as error:
        return error.problem
    if of is Of.SELECTOR and len(function) != 4:
        return "write the contract and the function: 0x…:0xa9059cbb"
    if of in (Of.RECIPIENT, Of.PAYMASTER):
        return named
    if chain_id is None:
        return f"a {of.value} is of one chain: name it"
    return chain_id.to_bytes(32, "big") + named + function


@lru_cache(maxsize=_MOST_MARKS)
def mark_of(thing: bytes) -> bytes:
    """One thing as a mark."""
    return keccak256(thing)[:MARK_BYTES]


@lru_cache(maxsize=64)
def chain_bytes(chain_id: int) -> bytes:
    """A chain id in 32 bytes, as wide as the chain itself has it."""
    return chain_id.to_bytes(32, "big")


def chain_part(facts: Facts) -> bytes:
    """The chain id of an operation likewise."""
    return chain_bytes(facts.chain_id)


def _distinct(parts: Iterable[bytes]) -> list[bytes]:
    return list(dict.fromkeys(parts))


def _account(facts: Facts) -> list[bytes]:
    return [chain_part(facts) + facts.account]


def _targets(facts: Facts) -> list[bytes]:
    if len(facts.calls) == 1:
        return [chain_bytes(facts.chain_id) + facts.calls[0].target]
    return _distinct(chain_part(facts) + call.target for call in facts.calls)


def _selectors(facts: Facts) -> list[bytes]:
    chain = chain_bytes(facts.chain_id)
    if len(facts.calls) == 1:
        call = facts.calls[0]
        return [chain + call.target + call.selector]
    return [chain + call.target + call.selector for call in facts.calls]


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
    Of.SELECTOR: _selectors,
    Of.RECIPIENT: _recipients,
    Of.TOKEN: _tokens,
    Of.CLIENT: lambda facts: (facts.client.encode(),),
    Of.PAYMASTER: lambda facts: () if facts.paymaster is None else (facts.paymaster,),
    Of.NONCE_KEY: lambda facts: ((facts.nonce >> 64).to_bytes(24, "big"),),
    Of.ACCOUNT: _account,
    Of.SESSION: session_part,
}
