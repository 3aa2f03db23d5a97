"""The facts of a decision on their way into the trail: from plain values to JSON, and back to the record of them.

What stands in a column of its own is not said twice. An operation's lists are cut at `MOST_ITEMS`; what was cut is
counted, and a digest stands for the whole. Most operations have short lists: those are printed straight from the plain
values, in the words of `proxy.judge.facts_json`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import blake2b
from operator import attrgetter
from typing import Any, Final

import orjson

from proxy.judge.facts import CallFacts, Facts, GrantFacts, MoveFacts
from proxy.judge.facts_json import facts_to_json

MOST_ITEMS: Final = 32
"""So many calls, moves, acts or grants of an operation are kept; within a grant a quarter."""

MOST_BYTES: Final = 16_384
"""Facts longer than this are cut once more, to a quarter of the items."""

IN_COLUMNS: Final = ("chain", "client", "method", "account", "user_op_hash", "permission_id", "mode")
"""Facts that a record has columns for."""

_NESTED: Final = ("calls", "moves", "grants")
_FIELDS: Final = Facts._fields
_FROM: Final = _FIELDS.index(IN_COLUMNS[0])
_TO: Final = _FROM + len(IN_COLUMNS)
assert (_FIELDS[_FROM:_TO], _FIELDS[-3:]) == (IN_COLUMNS, _NESTED)  # noqa: S101 - our own promise
_REST: Final = (*_FIELDS[:_FROM], *_FIELDS[_TO:-3])

_NOTHING: Final[Mapping[str, object]] = {}
_DIGEST_BYTES: Final = 16
_INT64: Final = 2**63

_TOLD: Final = attrgetter(*IN_COLUMNS)
_ACTS: Final = _FIELDS.index("acts")
_MUST: Final = object()


def _shape(record: type[Any], names: Sequence[str]) -> tuple[tuple[str, object], ...]:
    """Name and default of each field, in the order of the plain values. Any: a named tuple."""
    return tuple((name, record._field_defaults.get(name, _MUST)) for name in names)


_FACTS: Final = _shape(Facts, _REST)
_CALL: Final = _shape(CallFacts, CallFacts._fields)
_MOVE: Final = _shape(MoveFacts, MoveFacts._fields)
_AS_IT_IS: Final = frozenset({str, bool, float, type(None)})


def plain_facts(facts: Facts) -> tuple[Any, ...]:
    """Facts as plain values: those that are no records as they stand there; calls, moves, grants.

    Any: as said. Nearly every operation is one call, and moves one thing: a loop takes longer than what it is for, and
    so does looking what the columns of the record say likewise.
    """
    calls, moves, grants = facts[-3:]
    return (
        facts[:-3],
        (calls[0][:],) if len(calls) == 1 else tuple([call[:] for call in calls]),
        (_plain_move(moves[0]),) if len(moves) == 1 else tuple([_plain_move(move) for move in moves]),
        tuple(map(tuple, grants)) if grants else (),
    )


def _plain_move(move: MoveFacts) -> tuple[Any, ...]:
    call, kind, asset, token, amount, counterparty, holder, unlimited = move[:]
    return call, kind._value_, asset._value_, token, amount, counterparty, holder, unlimited


def print_facts(plain: Any, columns: tuple[object, ...]) -> tuple[str, Mapping[str, object]]:
    """Facts as JSON, and how many there were of what was cut. `columns` are what the record says of `IN_COLUMNS`.

    Any: a tuple as `plain_facts` makes it.
    """
    said, calls, moves, grants = plain
    short = len(calls) <= MOST_ITEMS and len(moves) <= MOST_ITEMS and len(said[_ACTS]) <= MOST_ITEMS
    if short and said[_FROM:_TO] == columns and not grants:
        told = _described(_FACTS, said[:_FROM] + said[_TO:])
        if calls:
            told["calls"] = [_described(_CALL, call) for call in calls]
        if moves:
            told["moves"] = [_described(_MOVE, move) for move in moves]
        printed = orjson.dumps(told)
        if len(printed) <= MOST_BYTES:
            return printed.decode(), _NOTHING
    return _print_long(facts_of(plain), columns)


def _described(shape: tuple[tuple[str, object], ...], values: tuple[Any, ...]) -> dict[str, object]:
    """What of a record is not as usual: printed as `facts_to_json` prints it. Any: plain values."""
    told: dict[str, object] = {}
    for (name, default), value in zip(shape, values, strict=True):
        if value != default:
            kind = type(value)
            if kind is int:
                told[name] = value if -_INT64 <= value < _INT64 else str(value)
            elif kind in _AS_IT_IS:
                told[name] = value
            else:
                told[name] = "0x" + value.hex() if kind is bytes else list(value)
    return told


def _print_long(made: Facts, columns: tuple[object, ...]) -> tuple[str, Mapping[str, object]]:
    whole = facts_to_json(made)
    facts, cut = cut_to(whole, MOST_ITEMS)
    # a fact that is not there and has a column is said to be none
    for name, fact, column in zip(IN_COLUMNS, _TOLD(made), columns, strict=True):
        if fact == column:
            facts.pop(name, None)
        elif fact is None:
            facts[name] = None
    printed = orjson.dumps(facts)
    if len(printed) > MOST_BYTES:
        shorter, cut = cut_to(whole, MOST_ITEMS // 4)
        printed = orjson.dumps({name: shorter.get(name) for name in facts})
    return printed.decode(), cut


def facts_of(plain: Any) -> Facts:
    """Facts out of plain values; kinds of moves are their names. As for `print_facts`."""
    said, calls, moves, grants = plain
    nested = (
        tuple(map(CallFacts._make, calls)),
        tuple(map(MoveFacts._make, moves)),
        tuple(map(GrantFacts._make, grants)),
    )
    return Facts._make((*said, *nested))


def cut_to(described: dict[str, Any], most: int) -> tuple[dict[str, Any], Mapping[str, object]]:
    """The object with each of its lists no longer than `most`; how long they were, and a digest of those."""
    if "grants" not in described and not any(type(v) is list and len(v) > most for v in described.values()):
        return described, _NOTHING
    counts = {name: len(value) for name, value in described.items() if type(value) is list and len(value) > most}
    kept = {name: value[:most] if name in counts else value for name, value in described.items()}
    nested = False
    if grants := kept.get("grants"):
        kept["grants"] = [cut_to(grant, most // 4)[0] for grant in grants]
        nested = kept["grants"] != grants
    if not counts and not nested:
        return kept, {}
    told = {name: described[name] for name in ("calls", "moves", "acts", "grants") if name in described}
    return kept, {**counts, "digest": blake2b(orjson.dumps(told), digest_size=_DIGEST_BYTES).hexdigest()}
