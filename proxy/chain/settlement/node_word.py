"""What a node can be asked by who looks after the settlement."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass
from typing import Final

from proxy.chain.settlement.taker import Taker
from proxy.chain.witness import Witness
from proxy.ledger.operations import Mined
from proxy.ledger.reservation import NonceSlot
from proxy.session.counters import SessionKey
from proxy.userop.primitives import Address

Reread = Callable[[SessionKey], Awaitable[object]]
"""Reads a session from the node into the registry. Raises `StateUnavailable`."""

CatchUp = Callable[[], Awaitable[None]]
"""Reads the blocks there are and returns when they are settled, or cannot be read. Never raises."""


AskBundle = Callable[[Mined, NonceSlot], Awaitable[Mined]]
"""The same operation with what the bundle claims that mined it. Raises `StateUnavailable`."""


_AT_ONCE: Final = 4


async def _as_told(mined: Mined, _slot: NonceSlot) -> Mined:
    return mined


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeWord:
    """What a node tells. Where nobody follows its blocks, `taker` and `catch_up` are `None`; `wake` has new blocks
    looked for soon. `named` hears of the blocks that bundlers name, `may_come` says whether such a block can be
    expected soon. Sessions of the `declared` modules cannot be read: their logs tell all there is to know of them."""

    witness: Witness
    reread: Reread
    bundle: AskBundle = _as_told  # of an operation that came under several claims
    read: Reread | None = None  # for a client who waits
    at_once: Callable[[], int] = lambda: _AT_ONCE  # questions that are worth while, as the node takes them now
    several: bool = False  # nodes: what one of them says of another operation in a nonce, a second one is asked about
    taker: Taker | None = None
    catch_up: CatchUp | None = None
    wake: Callable[[], None] = lambda: None
    named: Callable[[int], None] = lambda _: None
    may_come: Callable[[int], bool] = lambda _: True
    declared: Collection[Address] = frozenset()
