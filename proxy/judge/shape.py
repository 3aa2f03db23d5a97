"""The shape of a small operation: all that is the same each time a session does the same again.

Not in it are amounts, values, gas, fees, the nonce, the time and what is in flight.
"""

from __future__ import annotations

from collections.abc import Hashable
from operator import attrgetter
from typing import Final

from proxy.judge.facts import Facts

_OPERATION: Final = (
    "chain",
    "chain_id",
    "client",
    "method",
    "preview",
    "verdict",
    "account",
    "entry_point",
    "session",
    "permission_id",
    "module",
    "mode",
    "call_type",
    "acts",
    "paymaster",
    "factory",
    "eip7702",
)
_CALL: Final = ("target", "selector")
_MOVE: Final = ("kind", "asset", "token", "counterparty", "holder", "unlimited")

OF_SHAPE: Final = frozenset(
    {f"op.{name}" for name in _OPERATION}
    | {f"call.{name}" for name in _CALL}
    | {f"move.{name}" for name in _MOVE}
    | {"op.calls", "op.moves", "move.call", "move.is_self_holder"}
)
"""Names of the fields of expressions whose values, for small operations, hang on the shape alone."""

_of_operation: Final = attrgetter(*_OPERATION)
_of_call: Final = attrgetter(*_CALL)
_of_move: Final = attrgetter(*_MOVE, "call")

Shape = Hashable


def shape_of(facts: Facts) -> Shape:
    """The shape of an operation of no more than one call, which moves no more than one thing."""
    calls, moves = facts.calls, facts.moves
    call = _of_call(calls[0]) if calls else None
    return _of_operation(facts), call, _of_move(moves[0]) if moves else None
