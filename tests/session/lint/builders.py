"""Sessions of the least privilege, on which no reviewer has a word to say: tests change one thing at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from proxy.session.lint import lint
from proxy.userop.primitives import Address, Selector
from proxy.userop.session_data import ActionData, PolicyData, SessionData
from tests.session.builders import (
    ACCOUNT,
    FRIEND,
    NOW,
    TOKEN,
    TRANSFER,
    action,
    gas,
    rule,
    session,
    spending,
    time_frame,
    uni_action,
    usage,
    value_limit,
)

EQUAL, GREATER, LESS, AT_LEAST, AT_MOST, UNEQUAL, IN_RANGE = range(7)
DAY = 86_400
GAME = Address(b"\x6a" * 20)
PLAY = Selector(bytes.fromhex("11223344"))
V1_SUDO = Address(bytes.fromhex("0000003111cD8e92337C100F22B7A9dbf8DEE301"))
V1_TIME = Address(bytes.fromhex("8177451511dE0577b911C254E9551D981C26dc72"))
V1_USAGE = Address(bytes.fromhex("1F34eF8311345A3A4a4566aF321b313052F51493"))

Pairs = Mapping[str, tuple[SessionData, SessionData]]
"""By the id of a finding: a session that has it, and its nearest neighbour that has not."""

LIMITS = (time_frame(NOW + DAY), usage(10), value_limit(10**16), gas(10**8, 10**16))
to_friend = uni_action(rule(EQUAL, 0, int.from_bytes(FRIEND, "big")))
capped_transfer = action(TOKEN, TRANSFER, spending((TOKEN, 1_000)), to_friend)


def play(*policies: PolicyData) -> ActionData:
    """An action on a contract of which nothing is known."""
    return action(GAME, PLAY, *policies)


def played_with(*rules: tuple[int, ...], value: int = 0) -> ActionData:
    return play(uni_action(*rules, value=value))


tight_play = played_with(rule(EQUAL, 0, 7))


def tight(*actions: ActionData, user_op: Sequence[PolicyData] = LIMITS, **changes: Any) -> SessionData:
    """A session with every limit on its operations."""
    return replace(session(*(actions or (tight_play,)), user_op=user_op), **changes)


def found(grant: SessionData, **arguments: Any) -> dict[str, list[str]]:
    """Where the findings are, by id."""
    places: dict[str, list[str]] = {}
    for finding in lint(grant, **{"now": NOW, "account": ACCOUNT, **arguments}):
        places.setdefault(finding.id, []).append(str(finding.where))
    return places
