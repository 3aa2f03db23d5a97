"""The facts of a decision on their way into the trail: from plain values to JSON, and back to the record of them.

What stands in a column of its own is not said twice. An operation's lists are cut at `MOST_ITEMS`; what was cut is
counted, and a digest stands for the whole. Most operations have short lists: those are printed straight from the plain
values, in the words of `proxy.judge.facts_json`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields
from hashlib import blake2b
from operator import attrgetter, itemgetter
from typing import Any, Final, TypeVar

import orjson

from proxy.judge.facts import CallFacts, Facts, GrantFacts, MoveFacts
from proxy.judge.facts_json import facts_to_json

MOST_ITEMS: Final = 32
"""So many calls, moves, acts or grants of an operation are kept; within a grant a quarter."""

MOST_BYTES: Final = 16_384
"""Facts longer than this are cut once more, to a quarter of the items."""

IN_COLUMNS: Final = ("chain", "client", "method", "account", "user_op_hash", "permission_id", "mode")
"""Facts that a record has columns for."""

_NESTED: Final = frozenset({"calls", "moves", "grants"})

FLAT: Final = tuple(field.name for field in fields(Facts) if field.name not in _NESTED)
"""The facts that are no records themselves, in the order in which they are handed on, apart from the nested ones."""

_NOTHING: Final[Mapping[str, object]] = {}
_DIGEST_BYTES: Final = 16
_INT64: Final = 2**63

_TOLD: Final = attrgetter(*IN_COLUMNS)
_TOLD_FLAT: Final = itemgetter(*map(FLAT.index, IN_COLUMNS))
_REST: Final = tuple(place for place, name in enumerate(FLAT) if name not in IN_COLUMNS)
_REST_FLAT: Final = itemgetter(*_REST)
_ACTS: Final = FLAT.index("acts")


def _shape(record: type[Any], *, rest: bool = False) -> tuple[tuple[str, object], ...]:
    """Name and default of each field, in the order of the plain values."""
    found = [(field.name, field.default) for field in fields(record) if field.name not in _NESTED]
    return tuple(found[place] for place in _REST) if rest else tuple(found)


_FACTS: Final = _shape(Facts, rest=True)
_CALL: Final = _shape(CallFacts)
_MOVE: Final = _shape(MoveFacts)
_AS_IT_IS: Final = frozenset({str, bool, float, type(None)})


def print_facts(plain: Any, columns: tuple[object, ...]) -> tuple[str, Mapping[str, object]]:
    """Facts as JSON, and how many there were of what was cut. `columns` are what the record says of `IN_COLUMNS`.

    Any: a tuple as `proxy.edge.audit.plain.plain_facts` makes it.
    """
    flat, calls, moves, grants = plain
    short = len(calls) <= MOST_ITEMS and len(moves) <= MOST_ITEMS and len(flat[_ACTS]) <= MOST_ITEMS
    if short and not grants and _TOLD_FLAT(flat) == columns:
        told = _described(_FACTS, _REST_FLAT(flat))
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
    """Facts out of plain values; kinds of moves are their names. Any: as for `print_facts`."""
    flat, calls, moves, grants = plain
    told: dict[str, Any] = dict(zip(FLAT, flat, strict=True))
    return Facts(
        **told,
        calls=tuple(_made(CallFacts, calls)),
        moves=tuple(_made(MoveFacts, moves)),
        grants=tuple(_made(GrantFacts, grants)),
    )


_Record = TypeVar("_Record", CallFacts, MoveFacts, GrantFacts)


def _made(record: type[_Record], plain: Any) -> Iterator[_Record]:
    names = [field.name for field in fields(record)]
    return (record(**dict(zip(names, values, strict=True))) for values in plain)


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
