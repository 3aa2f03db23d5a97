"""A best-effort reading of operations that no session answers for: the calls inside the wrappers accounts know.

Owner-signed and foreign operations are looked at for value and administration, never refused for their shape, so
nothing here raises: what cannot be opened stays the call it is. The wrappers themselves are listed in `wrappers`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from proxy.errors import Undecodable
from proxy.userop.budget import ITEM, Budget, Overspent
from proxy.userop.execution import Call
from proxy.userop.primitives import Address
from proxy.userop.wrappers import WRAPPER_BY_SELECTOR

MAX_DEPTH: Final = 4
"""Wrappers opened inside wrappers."""
MAX_CALLS: Final = 480
"""Calls shown for one operation; a wrapper that would exceed it stays closed."""
MAX_BYTES: Final = 1 << 20
"""Call data of all calls shown; a wrapper that would exceed it stays closed."""


def calls_for_inspection(call_data: bytes, sender: Address, budget: Budget | None = None) -> tuple[Call, ...]:
    """The calls an account probably makes for this call data, wrappers opened as far as they are understood.

    Call data that is not understood is one call of the account to itself. At most `MAX_CALLS`. Raises `Overspent` where
    a `budget` is given that does not pay for what the outer wrapper describes; whatever else is not paid for stays
    closed.
    """
    paying = Budget() if budget is None else budget
    calls = [Call(sender, 0, call_data)]
    for depth in range(MAX_DEPTH):
        try:
            opened = _open_once(calls, sender, paying)
        except Overspent:
            if depth == 0 and budget is not None:
                raise
            break
        if opened is None:
            break
        calls = opened
    return tuple(calls)


def _open_once(calls: Sequence[Call], account: Address, budget: Budget) -> list[Call] | None:
    """Every wrapper replaced by what is in it, as long as there is room; `None` when nothing could be opened."""
    opened: list[Call] = []
    count = len(calls)
    size = sum(len(call.data) for call in calls)
    changed = False
    for call in calls:
        inner = _inside(call, account, budget) if call.target == account else None
        if inner is None:
            opened.append(call)
            continue
        count_after = count - 1 + len(inner)
        size_after = size - len(call.data) + sum(len(each.data) for each in inner)
        if count_after > MAX_CALLS or size_after > MAX_BYTES:
            opened.append(call)
            continue
        opened += inner
        count, size, changed = count_after, size_after, True
    return opened if changed else None


def _inside(call: Call, account: Address, budget: Budget) -> Sequence[Call] | None:
    """The calls a call of the account to itself stands for; `None` when it is no wrapper we can open."""
    wrapper = WRAPPER_BY_SELECTOR.get(call.data[:4])
    if wrapper is None:
        return None
    budget.draw(ITEM)
    try:
        return wrapper.read(call.data, account, budget)
    except Overspent:
        raise
    except Undecodable:
        return None
