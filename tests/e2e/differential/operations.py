"""Dice operations of a session: within its terms, around its limits, and wrong in one of many ways.

All of it comes out of one seeded generator, so a run that found something is found again by its seed.
"""

from __future__ import annotations

from typing import Any

from coincurve import PrivateKey

from tests.e2e.differential.dice import Dice
from tests.e2e.differential.draft import Attempt, Draft, apply
from tests.e2e.differential.grants import Grant
from tests.e2e.differential.twists import CALL_TWISTS, DATA_TWISTS, ENVELOPE_TWISTS, SIGNATURE_TWISTS
from tests.e2e.differential.wallet import (
    PAYMASTER,
)


def a_use(rng: Dice, grant: Grant, other: Grant | None, stranger: PrivateKey) -> Attempt:
    """A USE operation; about half of them are odd in one way, or in two at once. It may claim the `other` session."""
    draft = draft_of(rng, grant, stranger)
    chosen = rng.random()
    if chosen < 0.20:
        apply(draft, CALL_TWISTS)
    if 0.17 < chosen < 0.30:
        draft.fields |= sponsorship(rng)
        draft.labels.append("paymaster")
    draft.pack()
    if 0.28 < chosen < 0.40:
        apply(draft, DATA_TWISTS)
    elif grant.name == "own functions" and chosen > 0.75:
        draft.labels.append("account function")
        DATA_TWISTS["account function"](draft)
    if 0.38 < chosen < 0.50:
        apply(draft, SIGNATURE_TWISTS)
    if 0.49 < chosen < 0.56:
        apply(draft, ENVELOPE_TWISTS)
    if other is not None and 0.56 < chosen < 0.60:
        _claim_another(draft, other)
    return draft.finish()


def draft_of(rng: Dice, grant: Grant, stranger: PrivateKey) -> Draft:
    draft = Draft(rng, grant, stranger)
    for _ in range(rng.choice([1, 1, 1, 1, 2, 2, 3, 5])):
        draft.orders.append(rng.choice(grant.menu)(rng, grant.budgets, grant.wallet))
    return draft


def sponsorship(rng: Dice) -> dict[str, Any]:
    return {
        "paymaster": PAYMASTER,
        "paymaster_verification_gas_limit": 100_000,
        "paymaster_post_op_gas_limit": 50_000,
        "paymaster_data": rng.choice([b"", rng.randbytes(20)]),
    }


def _claim_another(draft: Draft, other: Grant) -> None:
    """The permission id is not signed: a key may name any session, and is held to that one's terms."""
    draft.labels.append(f"claims {other.name}")
    draft.claims = other
    draft.twist_envelope = lambda _, envelope: envelope[:1] + other.session.permission_id + envelope[33:]
