"""What nearly every operation in flight is, as text: short, for it is written while a caller waits, stands in two
tables one after the other, and a transaction writes whole pages.

An operation that only uses its session is `{"type":"held","bundler":{"text":"…"},"of":[…]}`, the array as `read_held`
takes it: bytes as hex digits, times as numbers, charges without what they share with the session, and all that rules
count in one. Whatever else one may
be is printed by the list of its fields (`proxy.ledger.records`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from math import isfinite
from typing import Any, Final

import orjson

from proxy.ledger.operations import AcceptedOperation
from proxy.ledger.reservation import NonceSlot, Reservation
from proxy.ledger.rule_records import in_two, print_counted
from proxy.session.changes import Changes
from proxy.session.counters import Charge, Counter, SessionKey
from proxy.userop.primitives import Address, Hash32

HELD: Final = "held"
"""The `type` of such an object."""


def print_held(operation: AcceptedOperation) -> str | None:
    """The operation; `None` for one that is more than this form can say."""
    held, changes = operation.reservation, operation.changes
    session, user_op_hash = held.session, held.user_op_hash
    if session is None or held.grant is not None or held.gas_price is not None:
        return None
    if changes.at_validation or changes.on_success:
        return None
    chain_id, entry_point, sender, nonce = held.slot
    if sender != session.account or chain_id != session.chain_id:
        return None
    if changes.user_op_hash != user_op_hash or changes.chain_id != chain_id or changes.account != sender:
        return None
    accepted_at, known_at = operation.accepted_at, operation.known_at
    if not isfinite(accepted_at + known_at):
        return None
    charges: str | None = ""
    if held.charges and (charges := _charges(held.charges, session)) is None:
        return None
    times = orjson.dumps((accepted_at, known_at))[1:-1].decode()  # `repr` of a float takes twenty times as long
    until = "null" if held.valid_until is None else held.valid_until
    items = (*held.rule_charges, *held.lessons)
    counted = print_counted(items) if items else "null"
    return (
        f'{{"type":"{HELD}","bundler":{_text(operation.bundler)},"of":["{user_op_hash.hex()}",{_session(session)},'
        f'"{entry_point.hex()}",{nonce},[{charges}],{until},{counted},{times}]}}'
    )


def _charges(charges: tuple[Charge, ...], session: SessionKey) -> str | None:
    """Without what they share with the session; `None` where one does not share it."""
    printed = []
    for charge in charges:
        counter = charge.counter
        if counter.account != session.account or counter.module != session.module:
            return None
        printed.append(f"[{_counter(counter)},{charge.amount},{charge.limit}]")
    return ",".join(printed)


@lru_cache(maxsize=4_096)
def _session(session: SessionKey) -> str:
    names = (session.module, session.account, session.permission_id)
    return ",".join([str(session.chain_id), *(f'"{name.hex()}"' for name in names)])


@lru_cache(maxsize=4_096)
def _counter(counter: Counter) -> str:
    return ",".join([f'"{name.hex()}"' for name in (counter.policy, counter.config_id, counter.slot)])


@lru_cache(maxsize=256)
def _text(text: str) -> str:
    """The marks of bundlers are few."""
    return json.dumps({"text": text}, separators=(",", ":"))


def read_held(written: Mapping[str, Any]) -> AcceptedOperation:
    """The same operation; objects inside of it are read already. Raises `ValueError`, `TypeError` or `KeyError` for
    what is none."""
    name, chain_id, module, account, permission_id, *rest = written["of"]
    entry_point, nonce, charges, valid_until, *counted, accepted_at, known_at = rest
    if len(counted) == 1:
        rule_charges, lessons = in_two(counted[0] or ())
    else:  # an earlier release kept them apart
        rule_charges, lessons = (each or () for each in counted)
    user_op_hash, session = Hash32(bytes.fromhex(name)), _read_session(chain_id, module, account, permission_id)
    return AcceptedOperation(
        reservation=Reservation(
            user_op_hash=user_op_hash,
            slot=NonceSlot(session.chain_id, Address(bytes.fromhex(entry_point)), session.account, nonce),
            session=session,
            charges=tuple([_read_charge(session, charge) for charge in charges]),
            valid_until=valid_until,
            rule_charges=rule_charges,
            lessons=lessons,
        ),
        changes=Changes(user_op_hash=user_op_hash, chain_id=session.chain_id, account=session.account),
        accepted_at=accepted_at,
        known_at=known_at,
        bundler=str(written["bundler"]),
    )


def _read_charge(session: SessionKey, written: Sequence[Any]) -> Charge:
    policy, config_id, slot, amount, limit = written
    return Charge(_read_counter(session.module, session.account, policy, config_id, slot), amount, limit)


@lru_cache(maxsize=4_096)
def _read_counter(module: Address, account: Address, policy: str, config_id: str, slot: str) -> Counter:
    """Few of them are charged by many operations, which share one record."""
    of = Address(bytes.fromhex(policy)), Hash32(bytes.fromhex(config_id)), bytes.fromhex(slot)
    return Counter(module, account, *of)


@lru_cache(maxsize=4_096)
def _read_session(chain_id: int, module: str, account: str, permission_id: str) -> SessionKey:
    of = Address(bytes.fromhex(module)), Address(bytes.fromhex(account)), Hash32(bytes.fromhex(permission_id))
    return SessionKey(chain_id, *of)
