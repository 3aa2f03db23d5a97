"""A session read together with which of its operations in flight that reading has counted already.

Use on chain and use in flight are added up, so each operation must be in exactly one of them. The entry point's nonces
tell: they are asked at the block at which the session was read, for a nonce is used in the very step that validates
the operation and moves the policies' counters.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Final

from proxy.chain.hydrate import Reading, hydrate
from proxy.chain.node import Node
from proxy.chain.policy_views import read_token
from proxy.chain.settlement.slices import BlockName
from proxy.chain.together import together
from proxy.chain.witness import Witness
from proxy.errors import BlockUnknown, StateUnavailable
from proxy.ledger.reservation import NonceSlot, Reservation
from proxy.session.counters import SessionKey
from proxy.session.policies.erc20_spending_limit import SpendingLimits
from proxy.session.state import ConfigId, SessionState
from proxy.userop.primitives import Address, Hash32

Tokens = Mapping[ConfigId, Collection[Address]]
"""The tokens of spending limits, which no view enumerates."""
_OF_A_TOKEN: Final = 20  # bytes of the name of a counter that is a token's


@dataclass(frozen=True, slots=True)
class ExactReading:
    """A reading, the slots of operations in flight whose use is in it, and the block that its own one stands on."""

    reading: Reading
    counted: frozenset[NonceSlot]
    parent: Hash32


class ReadAnew(StateUnavailable):
    """The chain has left the block at which a session was read, while it was read, or who was asked last of several has
    not got it."""


async def read_exactly(
    node: Node, witness: Witness | None, key: SessionKey, slots: Collection[NonceSlot], tokens: Tokens
) -> ExactReading:
    """Read a session with these tokens, all at one block. Raises `StateUnavailable`, `ReadAnew` when it may be read
    at once again.

    `slots` are those of its operations in flight at the time of the call: one sent later cannot be in the reading.
    """
    try:
        reading = await hydrate(node, key)
        state = await _with_tokens(node, reading.state, tokens, reading.at)
        counted = await _counted(witness, slots, reading.at)
    except BlockUnknown as error:
        raise ReadAnew(str(error)) from error
    # the last question: what was told before is of this block, or none, by a node too that is asked by number
    there = await node.header(reading.at.number)
    if there is None:
        raise ReadAnew("the node has not got the block at which it told of the session")
    if there.hash != reading.at.hash:
        raise ReadAnew("the block at which the session was read is not on the chain any more")
    return ExactReading(replace(reading, state=state), counted, there.parent)


async def _counted(witness: Witness | None, slots: Collection[NonceSlot], block: BlockName) -> frozenset[NonceSlot]:
    return await witness.used(slots, block) if witness is not None and slots else frozenset()


async def _with_tokens(node: Node, state: SessionState, tokens: Tokens, block: BlockName) -> SessionState:
    wanted = [
        (config, token)
        for config, limits in state.configs.items()
        if isinstance(limits, SpendingLimits)
        for token in tokens.get(config, ())
    ]
    answers = await together(
        *(read_token(node, state.config_key(*config), token, block=block) for config, token in wanted)
    )
    for (config, token), (limit, used) in zip(wanted, answers, strict=True):
        state = state.with_token_limit(*config, token, limit, used)
    return state


def limits_met(state: SessionState) -> Iterator[tuple[ConfigId, Address]]:
    """The tokens whose spending limits are known, each with the configuration that has the limit."""
    for config, limits in state.configs.items():
        if isinstance(limits, SpendingLimits):
            yield from ((config, token) for token in limits.limits)


def tokens_of(reservation: Reservation) -> Iterator[tuple[ConfigId, Address]]:
    """The same of the limits that an operation in flight charges."""
    for charge in reservation.charges:
        counter = charge.counter
        if len(counter.slot) == _OF_A_TOKEN:
            yield ConfigId(counter.policy, counter.config_id), Address(counter.slot)
