"""How an operation leaves the flights on disk, and how it comes back: its row moves to what has ended, and takes along
what it counted for its session.

Nearly every operation ends once, in flight until then: one row. What is more than that is done with the sums of
sessions in the same step, so that none is counted twice, however often its end is told.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Final

from proxy.ledger.operations import Ended, Evidence, InFlight
from proxy.ledger.records import record_to_json
from proxy.ledger.session_uses import ADD, counted_of, is_counted, take_back
from proxy.ledger.sqlite import (
    DROP,
    ENDED_COLUMNS,
    FORGET,
    begin,
    claim_in_rows,
    name_in_rows,
    of_name,
    without_grant,
)
from proxy.ledger.statement import Statement
from proxy.session.counters import HoldName

END: Final = "operation ended, 1"
"""Stands for all that an end takes, which depends on what the tables know of it: see `spelled_out`. It is no SQL.

Its values: the name's two, chain, when and why it ended, block and its hash, whether it was successful and its charges
added, when it was counted, the rest of the evidence, its record where that has changed; and what it counts for its
session (`session_uses.counted_of`), five times `None` where nothing."""

_COLUMNS: Final = f"{ENDED_COLUMNS}, reverted, gas, gwei, wei"
_HELD: Final = "EXISTS (SELECT 1 FROM operations_in_flight WHERE user_op_hash = ?1 AND claim = ?2)"
_IF_HELD: Final = f"{of_name(1, 2)} AND {_HELD}"
_KEEP_COUNT: Final = f"""INSERT INTO operations_counted (user_op_hash, claim, reverted, gas, gwei, wei, ended_at)
    SELECT user_op_hash, ?3, reverted, gas, gwei, wei, ended_at FROM operations_ended
    {_IF_HELD} AND gas IS NOT NULL"""  # noqa: S608  # ours
_FORGET_IF_HELD: Final = f"DELETE FROM operations_ended {_IF_HELD}"  # noqa: S608  # ours
"""What is remembered comes from what was held: an end that is told once more, as nobody knew whether it had been
written, leaves what is remembered of it."""
_REMEMBER: Final = f"""INSERT INTO operations_ended ({_COLUMNS})
    SELECT user_op_hash, claim, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, accepted_at, stage, silent, ?11, coalesce(?12, record),
        {{counts}}
    FROM operations_in_flight WHERE user_op_hash = ?1 AND claim = ?2"""  # noqa: S608  # ours
_REMEMBER_AND_COUNT: Final = _REMEMBER.format(
    counts=", ".join(f"iif(changes() > 0, ?{number}, NULL)" for number in range(13, 17))
)
"""Right after `ADD`: where that was for nothing, it is counted elsewhere."""
REMEMBER_HELD: Final = _REMEMBER.format(counts="?13, ?14, ?15, ?16")
"""Of one that has not ended before."""
REMEMBER_NEW: Final = f"INSERT INTO operations_ended ({_COLUMNS}) VALUES ({', '.join('?' * (_COLUMNS.count(',') + 1))})"  # noqa: S608  # ours
"""Of one that was never written as in flight."""
_COUNT: Final = f"""INSERT INTO operations_counted (user_op_hash, claim, reverted, gas, gwei, wei, ended_at)
    SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7 WHERE NOT {is_counted(1, 2)}"""  # ours
COUNT_UNLESS_REMEMBERED: Final = """INSERT INTO operations_counted
    (user_op_hash, claim, reverted, gas, gwei, wei, ended_at) SELECT ?, ?, ?, ?, ?, ?, ? WHERE changes() = 0"""
"""Right after `REMEMBER_HELD`: what was sent although it could not be kept has no row to be counted in."""
_COUNTS_FOR_NOBODY: Final = (None,) * 5

Values = Sequence[Any]
"""Of `END`."""


def end(ended: Sequence[HoldName], remembered: Sequence[Ended]) -> list[Statement]:
    """Operations that hold nothing any more, some of them remembered; those that were mined count for their sessions,
    each once."""
    names = [each.operation.reservation.name for each in remembered]
    if names == list(ended):  # nearly always
        return [(END, _values(each)) for each in remembered]
    left = dict.fromkeys(ended)
    statements: list[Statement] = []
    for name, each in zip(names, remembered, strict=True):
        if name in left:
            del left[name]
            statements.append((END, _values(each)))
        else:  # it was sent again since
            statements += spelled_out(_values(each))[:-1]
    return statements + [(DROP, name_in_rows(name)) for name in left]


def revive(flight: InFlight) -> list[Statement]:
    """The operation had ended and is in flight again: it counts for nothing."""
    operation = flight.operation
    name = operation.name
    return [
        *take_back(name),
        begin(operation, flight.stage, flight.silent_seconds),
        (FORGET, name_in_rows(name)),
    ]


def spelled_out(values: Values) -> list[Statement]:
    """The statements of SQL that an `END` of these values stands for, whatever the tables know of the operation."""
    *ended, reverted, gas, gwei, wei, at = values
    user_op_hash, claim, chain_id, ended_at, *_ = ended
    name, counts = (user_op_hash, claim), (reverted, gas, gwei, wei)
    of_session = without_grant(claim)
    statements: list[Statement] = [(_KEEP_COUNT, (*name, of_session)), (_FORGET_IF_HELD, name)]
    session, _ = claim_in_rows(chain_id, claim)
    if session is None or gas is None:
        statements.append((REMEMBER_HELD, (*ended, *counts)))
    else:
        statements.append((ADD, (*session, *counts, at, user_op_hash, of_session)))
        statements.append((_REMEMBER_AND_COUNT, (*ended, *counts)))
        statements.append((_COUNT, (user_op_hash, of_session, *counts, ended_at)))
    statements.append((DROP, name))
    return statements


def _values(ended: Ended) -> Values:
    operation, ended_at, mined, cause, evidence, added, counted_at, _, is_restated = ended
    held = operation.reservation
    return (
        *name_in_rows(held.name),
        held.slot.chain_id,
        ended_at,
        cause._value_,
        evidence.block,
        evidence.block_hash,
        None if mined is None else mined.success,
        added,
        counted_at,
        _told(evidence),
        record_to_json(operation) if is_restated else None,
        *(counted_of(ended) or _COUNTS_FOR_NOBODY),
    )


def _told(evidence: Evidence) -> str:
    """What is in no column of its own, as JSON."""
    if evidence.silent_seconds is None and evidence.said is None and evidence.by is None:
        # nearly all: what the chain showed to be mined
        at, transaction = evidence.timestamp, evidence.transaction
        if at is not None and transaction is not None:
            return f'{{"timestamp":{at},"transaction":"{transaction.hex()}"}}'
    told: dict[str, object] = {
        "timestamp": evidence.timestamp,
        "transaction": None if evidence.transaction is None else evidence.transaction.hex(),
        "by": None if evidence.by is None else evidence.by.hex(),
        "silent": evidence.silent_seconds,
        "said": evidence.said,
    }
    return json.dumps({name: value for name, value in told.items() if value is not None}, separators=(",", ":"))
