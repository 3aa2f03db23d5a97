"""Ops' kill switch."""

from __future__ import annotations

from dataclasses import replace

import pytest

from proxy.session.counters import SessionKey
from proxy.session.freezes import Freeze, Freezes
from proxy.userop.primitives import Address, Hash32
from tests.flat.effort import effort_of

PERMISSION = Hash32(b"\x1d" * 32)
ACCOUNT = Address(b"\xac" * 20)
KEY = SessionKey(1, Address(b"\x5e" * 20), ACCOUNT, PERMISSION)
EVERYWHERE = Freeze(permission_id=PERMISSION, since=1.0, note="leaked")


def freezes(*standing: Freeze) -> Freezes:
    made = Freezes()
    for freeze in standing:
        made.put(freeze)
    return made


def test_nothing_is_frozen_at_first() -> None:
    assert freezes().on(KEY) is None


def test_a_freeze_of_the_id_holds_it_everywhere() -> None:
    assert freezes(EVERYWHERE).on(KEY) == EVERYWHERE
    assert freezes(EVERYWHERE).on(KEY._replace(chain_id=2, account=Address(b"\x01" * 20))) == EVERYWHERE
    assert freezes(EVERYWHERE).on(KEY._replace(permission_id=Hash32(bytes(32)))) is None


@pytest.mark.parametrize(
    ("scope", "elsewhere"),
    [
        ({"account": ACCOUNT}, {"account": Address(b"\x01" * 20)}),
        ({"chain_id": 1}, {"chain_id": 2}),
        ({"account": ACCOUNT, "chain_id": 1}, {"chain_id": 2}),
        ({"account": ACCOUNT, "chain_id": 1}, {"account": Address(b"\x01" * 20)}),
    ],
    ids=["account", "chain", "both, other chain", "both, other account"],
)
def test_a_scoped_freeze_holds_its_scope_only(scope: dict[str, object], elsewhere: dict[str, object]) -> None:
    freeze = replace(EVERYWHERE, **scope)  # type: ignore[arg-type]  # fields by name
    standing = freezes(freeze)
    assert standing.on(KEY) == freeze
    assert standing.on(KEY._replace(**elsewhere)) is None  # type: ignore[arg-type]  # fields by name


def test_a_freeze_of_the_same_scope_takes_the_place_of_the_old_one() -> None:
    again = replace(EVERYWHERE, note="again")
    standing = freezes(EVERYWHERE, again)
    assert list(standing) == [again]
    assert len(standing) == 1


def test_lifting_an_id_lifts_every_freeze_of_it() -> None:
    scoped = replace(EVERYWHERE, account=ACCOUNT)
    other = replace(EVERYWHERE, permission_id=Hash32(bytes(32)))
    standing = freezes(EVERYWHERE, scoped, other)
    assert standing.lift(PERMISSION) == (EVERYWHERE, scoped)
    assert standing.on(KEY) is None
    assert list(standing) == [other]


def test_lifting_a_scope_leaves_the_others_standing() -> None:
    scoped = replace(EVERYWHERE, account=ACCOUNT)
    standing = freezes(EVERYWHERE, scoped)
    assert standing.lift(PERMISSION, account=ACCOUNT) == (scoped,)
    assert standing.on(KEY) == EVERYWHERE
    assert standing.lift(PERMISSION, account=ACCOUNT) == ()
    assert len(standing) == 1


def test_whether_a_session_is_held_takes_as_many_steps_however_many_freezes_of_its_id_stand() -> None:
    def of_accounts(number: int) -> Freezes:
        return freezes(*(replace(EVERYWHERE, account=Address(each.to_bytes(20, "big"))) for each in range(number)))

    few, many = of_accounts(10), of_accounts(1_000)
    last = KEY._replace(account=Address((9).to_bytes(20, "big")))
    assert few.on(last) == many.on(last) is not None
    assert effort_of(lambda: many.on(KEY)).steps == effort_of(lambda: few.on(KEY)).steps
    one_more = replace(EVERYWHERE, account=ACCOUNT)
    assert effort_of(lambda: many.put(one_more)).steps == effort_of(lambda: few.put(one_more)).steps


def test_of_several_freezes_that_hold_a_session_the_one_that_has_stood_longest_is_told_of() -> None:
    later = replace(EVERYWHERE, account=ACCOUNT, chain_id=1, since=2.0)
    assert freezes(later, EVERYWHERE).on(KEY) == EVERYWHERE
