"""Under which claim an operation was mined, as the bundler has it: for a chain whose bundles nobody else reads."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Final, NamedTuple

from proxy.chain.settlement.flights import Flights
from proxy.errors import InvalidParams, SessiongateError, Undecodable
from proxy.ledger.operations import Mined
from proxy.userop.decode import decode_claim
from proxy.userop.entry_point import EntryPoint
from proxy.userop.primitives import Address, Hash32, parse_address, parse_bytes, parse_uint, print_bytes
from proxy.userop.user_operation import UserOperation

_LOG: Final = logging.getLogger(__name__)


class ToldClaim(NamedTuple):
    """The sessions under which a bundler has an operation, and whether it brings a grant along."""

    permission_ids: tuple[Hash32, ...]
    enables: bool


AskClaim = Callable[[Hash32], Awaitable[ToldClaim | None]]


def read_claim(
    found: Mapping[str, object],
    user_op_hash: Hash32,
    entry_points: Collection[EntryPoint],
    modules: Collection[Address],
) -> ToldClaim | None:
    """What an answer of `eth_getUserOperationByHash` (ERC-7769) says of it; `None` where that cannot be read."""
    op = found.get("userOperation")
    if not isinstance(op, Mapping):
        return None
    try:
        address = parse_address(found.get("entryPoint"), "entryPoint")
        entry_point = next((each for each in entry_points if each.address == address), None)
        signed = UserOperation(
            sender=parse_address(op.get("sender"), "sender"),
            nonce=parse_uint(op.get("nonce"), "nonce"),
            call_data=b"",
            signature=parse_bytes(op.get("signature"), "signature"),
        )
        if entry_point is None:
            return None
        claim = decode_claim(signed, entry_point, modules, user_op_hash=user_op_hash)
    except (InvalidParams, Undecodable):
        return None
    if claim is None:
        return ToldClaim((), enables=False)
    return ToldClaim((claim.envelope.permission_id,), enables=claim.envelope.enable is not None)


async def with_claim(mined: Mined, flights: Flights, ask: AskClaim | None, *, seconds: float) -> Mined:
    """The same with what the bundler says of its claim, where it came under several. Never raises for what it does not
    tell: then all of them stay charged."""
    flight = flights.get(mined.user_op_hash)
    if ask is None or mined.permission_ids is not None or flight is None or len(flight.claims) == 1:
        return mined
    try:
        async with asyncio.timeout(seconds):
            told = await ask(mined.user_op_hash)
    except (TimeoutError, SessiongateError, OSError) as error:
        _LOG.info("under which claim %s was mined is not told: %s", print_bytes(mined.user_op_hash), error)
        return mined
    return mined if told is None else mined._replace(permission_ids=told.permission_ids, enables=told.enables)
