"""What a rule makes of operations as most of them are: whether a fact that it asks for is missing of those.

An enforcing rule whose condition cannot be told refuses. That is meant where something is odd about an operation, and
is a trap where nothing is: one that asks for the argument of a function refuses whatever calls another one.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from proxy.judge.expression import Expression
from proxy.judge.expression.fields import FIELDS
from proxy.judge.facts import CallFacts, Facts, MoveFacts
from proxy.judge.rule import Match
from proxy.userop.movement import AssetKind, MovementKind
from proxy.userop.primitives import Address, Hash32, Selector

_HOUR: Final = 3_600
_NOW: Final = 1_800_000_000
_SOMEBODY: Final = Address(b"\x5e" * 20)
_SOMETHING: Final = Hash32(b"\x5e" * 32)
_OF_NO_FUNCTION_KNOWN: Final = Selector(b"\x5e" * 4)
_SOMEBODY_ELSE: Final = Address(b"\x5f" * 20)
_OF_ANOTHER_FUNCTION: Final = Selector(b"\x5f" * 4)
_MANY: Final = 20
_NOT_TELLING: Final = ("grant", "any_act", "acts", "any_move", "moves")
"""In a match: what asks for an operation of a kind of its own."""


def unknown_of_most(match: Match, when: Expression) -> str | None:
    """Operations, in words, that fit `match`, are like most, and of which `when` cannot be told; `None` for none."""
    if when.per_grant or any(getattr(match, name) for name in _NOT_TELLING) or match.verdicts != frozenset({"allow"}):
        return None
    if when.functions & (match.selectors or frozenset()):
        return None  # of the calls it is for the argument is there
    whose = next((words for words, facts in _everyday(match) if when.holds(facts) is None), None)
    return None if whose is None else f"operations {whose}, of which {_missing(when)} is missing"


def is_untold(match: Match, when: Expression) -> bool:
    """Whether it cannot be told of a call of a function that nobody knows, which may move anything."""
    facts = _operation(match, session=match.session is not False, until=_NOW + _HOUR)
    moves = (
        MoveFacts(
            call=0,
            kind=kind,
            asset=AssetKind.UNKNOWN,
            token=None,
            amount=None,
            counterparty=_SOMEBODY,
            holder=_SOMEBODY,
        )
        for kind in (MovementKind.UNATTRIBUTED, MovementKind.OPAQUE)
    )
    return any(when.holds(facts._replace(moves=(move,))) is not False for move in moves)


def batches_with(match: Match) -> Iterator[Facts]:
    """Operations in which one call is of a target and selector that `match` names, and others go to somebody else."""
    facts = _operation(match, session=match.session is not False, until=_NOW + _HOUR)
    named = next(iter(match.targets or [_SOMEBODY])), next(iter(match.selectors or [_OF_NO_FUNCTION_KNOWN]))
    one = CallFacts(target=named[0], selector=named[1], value=0)
    other = CallFacts(target=_SOMEBODY_ELSE, selector=_OF_ANOTHER_FUNCTION, value=0)
    for others in (1, _MANY):
        yield facts._replace(calls=(one, *[other] * others))


def _everyday(match: Match) -> Iterator[tuple[str, Facts]]:
    if match.session is not False:
        yield "of sessions", _operation(match, session=True, until=_NOW + _HOUR)
        yield "of sessions without an end", _operation(match, session=True, until=None)
    if match.session is not True:
        yield "of owners", _operation(match, session=False, until=None)


def _operation(match: Match, *, session: bool, until: int | None) -> Facts:
    sponsored = match.any_paymaster or match.paymasters is not None
    return Facts(
        unix_time=_NOW,
        chain_id=1,
        chain="somewhere",
        client="somebody",
        method="eth_sendUserOperation",
        preview=False,
        verdict="allow",
        account=_SOMEBODY,
        entry_point="v0.7",
        user_op_hash=_SOMETHING,
        nonce=1,
        session=session,
        permission_id=_SOMETHING if session else None,
        module=_SOMEBODY if session else None,
        mode="use" if session else None,
        call_type="single",
        calls=(CallFacts(target=_SOMEBODY, selector=next(iter(match.selectors or [_OF_NO_FUNCTION_KNOWN])), value=0),),
        paymaster=_SOMEBODY if sponsored else None,
        session_since=_NOW - _HOUR if session else None,
        session_until=until,
        limit_used_percent=1 if session else None,
    )


def _missing(when: Expression) -> str:
    named = sorted(name for name in when.fields if name.startswith("op.") and FIELDS[name].type.nullable)
    if when.functions:
        named.append("the argument of a function that they do not call")
    return " or ".join(named)
