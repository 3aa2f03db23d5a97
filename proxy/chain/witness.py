"""What the chain itself says of an operation, whatever its bundler says: the entry point's nonces and events."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping, Sized
from enum import Enum, auto
from typing import Final, Protocol

from proxy.chain import contract_abi
from proxy.chain.blocks.events import USER_OPERATION_EVENT
from proxy.chain.blocks.source import LogFilter
from proxy.chain.logs import Log
from proxy.chain.node import Node
from proxy.chain.settlement.slices import BlockName
from proxy.chain.together import together
from proxy.chain.views import ask, view_of
from proxy.errors import StateUnavailable, Undecodable
from proxy.ledger.operations import Mined
from proxy.ledger.reservation import NonceSlot
from proxy.userop.primitives import Address, Hash32

_KEY_SHIFT: Final = 64  # the nonce: a key of 192 bits, then a sequence number of 64 (ERC-4337)
GET_ENTRY_POINT_NONCE: Final = view_of("getNonce(address,uint192)", "uint256")
"""The next unused nonce of a sender and key (ERC-4337, NonceManager)."""
_EVENT: Final = ("uint256", "bool", "uint256", "uint256")  # nonce, success, gas cost, gas used
_BLOCKS_SEARCHED: Final = 2_000  # at a time, backwards
_MOST_SEARCHED: Final = 50_000
_SMALLER: Final = 16
"""By which a stretch is divided of which a node does not tell."""
_NAMES_A_CALL: Final = 128
_NONCES_AT_ONCE: Final = 256
"""So many questions others have to wait behind, and enough for some batches to be under way."""
_MOST_STRETCHES: Final = 64
"""That are asked for many operations together: what they do not show is asked for one by one."""


class Fate(Enum):
    """What became of an operation that has not been found mined."""

    OPEN = auto()  # its nonce is unused
    TAKEN = auto()  # its nonce was used by another operation
    HIDDEN = auto()  # its nonce was used, and no node shows by what: the account may have burnt it
    UNTOLD = auto()  # two nodes say different things


class Witness(Protocol):
    """What is asked of the chain. Every method raises `StateUnavailable`."""

    async def fate(self, slot: NonceSlot, user_op_hash: Hash32, *, since: int, near: int | None = None) -> Mined | Fate:
        """What became of an operation, as of the newest block; from a node that has got block `since` at least. In
        block `near` its nonce was seen to be used: there the node looks first. Never `UNTOLD`: that raises."""

    async def shown(self, slots: Mapping[Hash32, NonceSlot], *, since: int) -> Mapping[Hash32, Mined | Fate]:
        """Of many operations at once what `fate` would say of those that are mined or open, as far as few questions
        show it: of what is not among them `fate` has to be asked. Raises where the node does not tell its newest block,
        or that is before `since`."""

    async def used_by(self, slots: Mapping[Hash32, NonceSlot], *, since: int) -> Mapping[Hash32, Mined | Fate]:
        """The same by what used their nonces, whatever that was: for those of which `shown` tells nothing."""

    async def used(self, slots: Collection[NonceSlot], block: BlockName) -> frozenset[NonceSlot]:
        """Those of the slots whose nonce had been used at a block."""

    async def block_hash(self, number: int) -> Hash32 | None:
        """The hash of a block, `None` when there is no such block."""


_Tell = Callable[[Mapping[Hash32, NonceSlot], int], Awaitable[dict[Hash32, Mined | Fate]]]
_Lane = tuple[Address, Address, int]
"""An entry point, a sender, and a key of its nonces there."""
_Place = tuple[Address, Hash32]
"""An entry point and a sender, as events name them."""


class NodeWitness:
    """See `Witness` for the meaning of each call."""

    def __init__(self, node: Node) -> None:
        self._node = node

    async def fate(self, slot: NonceSlot, user_op_hash: Hash32, *, since: int, near: int | None = None) -> Mined | Fate:
        block = await self._head(since)
        if not await self.used((slot,), block):
            return Fate.OPEN
        head = block.number
        found = None if near is None else await self._event_in(slot, near)
        # one account may have executed more than a node tells at once: its own event is looked for first
        found = found or await self._event_of(slot, head, user_op_hash) or await self._event_of(slot, head)
        if found is not None and found[0].topics[1] == user_op_hash:
            return _mined(*found)
        here = Fate.HIDDEN if found is None else Fate.TAKEN
        elsewhere = self._node.elsewhere()
        if elsewhere is None:
            return here
        there = await NodeWitness(elsewhere).fate(slot, user_op_hash, since=since, near=near)
        if (told := _said_by_both(here, there)) is Fate.UNTOLD:
            raise StateUnavailable("what became of the operation: two nodes say different things")
        return told

    async def shown(self, slots: Mapping[Hash32, NonceSlot], *, since: int) -> Mapping[Hash32, Mined | Fate]:
        return await self._many(slots, since, self._mined_among)

    async def used_by(self, slots: Mapping[Hash32, NonceSlot], *, since: int) -> Mapping[Hash32, Mined | Fate]:
        elsewhere = self._node.elsewhere()
        if elsewhere is None:
            return await self._used_by(slots, since)
        here, there = await together(self._used_by(slots, since), NodeWitness(elsewhere)._used_by(slots, since))
        told: dict[Hash32, Mined | Fate] = {}
        for name, fate in here.items():
            if isinstance(fate, Mined) or fate is Fate.OPEN:
                told[name] = fate
            elif name in there:
                told[name] = _said_by_both(fate, there[name])
        return told

    async def _used_by(self, slots: Mapping[Hash32, NonceSlot], since: int) -> dict[Hash32, Mined | Fate]:
        """As far as this node tells."""
        return await self._many(slots, since, self._used_among)

    async def _many(self, slots: Mapping[Hash32, NonceSlot], since: int, tell: _Tell) -> dict[Hash32, Mined | Fate]:
        """Which of them are open, and what `tell` says of the others, some at a time."""
        block = await self._head(since)
        try:
            used = await self.used(frozenset(slots.values()), block)
        except StateUnavailable:
            return {}  # one of many may be what cannot be told
        found: dict[Hash32, Mined | Fate] = {name: Fate.OPEN for name, slot in slots.items() if slot not in used}
        names = [name for name, slot in slots.items() if slot in used]
        for first in range(0, len(names), _NAMES_A_CALL):
            found |= await tell({name: slots[name] for name in names[first : first + _NAMES_A_CALL]}, block.number)
        return found

    async def _head(self, since: int) -> BlockName:
        head = await self._node.head()
        if head.number < since:  # one of several behind a balancer: to it what was mined since is not mined yet
            where = f"the node that answered is at {head.number}, before {since}"
            raise StateUnavailable(f"what became of operations: {where}")
        return BlockName(head.number, head.hash)

    async def _mined_among(self, slots: Mapping[Hash32, NonceSlot], head: int) -> dict[Hash32, Mined | Fate]:
        """Those of which the node shows events of their own, the newest first."""
        found: dict[Hash32, Mined | Fate] = {}
        left = dict(slots)

        def see(log: Log) -> None:
            slot = left.get(log.topics[1]) if len(log.topics) > 1 else None
            if slot is None or not _is_of(log, slot):
                return
            try:
                nonce, success = _read(log.data)
            except StateUnavailable:
                left.pop(log.topics[1])
                return
            if nonce == slot.nonce:
                left.pop(log.topics[1])
                found[log.topics[1]] = _mined(log, success)

        await self._look_back(head, left, lambda: _executed(left.values(), tuple(left)), see)
        return found

    async def _used_among(self, slots: Mapping[Hash32, NonceSlot], head: int) -> dict[Hash32, Mined | Fate]:
        """What used the nonces of these, which are all used: nothing that the node shows, where it shows all blocks."""
        found: dict[Hash32, Mined | Fate] = {}
        left: dict[_Place, dict[int, list[Hash32]]] = {}  # names by their nonces
        for name, slot in slots.items():
            left.setdefault((slot.entry_point, _padded(slot.sender)), {}).setdefault(slot.nonce, []).append(name)

        def see(log: Log) -> None:
            place = (log.address, log.topics[2]) if len(log.topics) > 2 and not log.removed else None
            if place is None or (names := left.get(place)) is None:
                return
            try:
                nonce, success = _read(log.data)
            except StateUnavailable:
                del left[place]  # it may be what used any of them
                return
            for name in names.pop(nonce, ()):
                found[name] = _mined(log, success) if log.topics[1] == name else Fate.TAKEN
            if not names:
                del left[place]

        def wanted() -> LogFilter:
            return _executed([slots[name] for names in left.values() for some in names.values() for name in some])

        if await self._look_back(head, left, wanted, see):
            found |= {name: Fate.HIDDEN for names in left.values() for some in names.values() for name in some}
        return found

    async def _look_back(
        self, head: int, left: Sized, wanted: Callable[[], LogFilter], see: Callable[[Log], None]
    ) -> bool:
        """What is `wanted` at that time, the newest first, until nothing is `left` to be looked for. Whether the node
        has told of all that."""
        last, step = head, _BLOCKS_SEARCHED
        for _ in range(_MOST_STRETCHES):
            if not left or last <= max(head - _MOST_SEARCHED, -1):
                return True
            try:
                logs = await self._node.logs_between(max(last - step + 1, 0), last, wanted())
            except StateUnavailable:
                if step == 1:
                    return False
                step //= 2  # they may have been more than it tells at once
                continue
            for log in reversed(logs):
                see(log)
            last, step = last - step, min(step + step // 4 + 1, _BLOCKS_SEARCHED)
        return not left or last <= max(head - _MOST_SEARCHED, -1)

    async def _event_of(self, slot: NonceSlot, head: int, name: Hash32 | None = None) -> tuple[Log, bool] | None:
        """The event of whichever operation used the nonce, or of that name, and whether that succeeded. That none is
        shown says little: the node may lag, keep no older logs, or answer with none."""
        last, step = head, _BLOCKS_SEARCHED
        while last > max(head - _MOST_SEARCHED, -1):
            try:
                found = await self._event_between(slot, max(last - step + 1, 0), last, name)
            except StateUnavailable:
                if step == 1:
                    raise
                step = max(step // _SMALLER, 1)  # they may have been more than it tells at once
                continue
            if found is not None:
                return found
            last -= step
        return None

    async def _event_in(self, slot: NonceSlot, block: int) -> tuple[Log, bool] | None:
        """The same in one block, as far as it can be had."""
        try:
            return await self._event_between(slot, block, block)
        except StateUnavailable:
            return None

    async def _event_between(
        self, slot: NonceSlot, first: int, last: int, name: Hash32 | None = None
    ) -> tuple[Log, bool] | None:
        named = () if name is None else (name,)
        topics = ((USER_OPERATION_EVENT,), named, (_padded(slot.sender),))
        wanted = LogFilter(addresses=(slot.entry_point,), topics=topics)
        for log in reversed(await self._node.logs_between(first, last, wanted)):
            if not _is_of(log, slot):
                continue
            nonce, success = _read(log.data)
            if nonce == slot.nonce:
                return log, success
        return None

    async def next_nonce(self, slot: NonceSlot) -> int:
        """The next unused nonce of a slot's sender and key, as of the newest block. Raises `StateUnavailable`."""
        return await self._next_nonce(*_lane_of(slot))

    async def used(self, slots: Collection[NonceSlot], block: BlockName) -> frozenset[NonceSlot]:
        unused: dict[_Lane, int] = {}
        used, every = set[NonceSlot](), tuple(slots)
        for first in range(0, len(every), _NONCES_AT_ONCE):
            part = {slot: _lane_of(slot) for slot in every[first : first + _NONCES_AT_ONCE]}
            lanes = [lane for lane in dict.fromkeys(part.values()) if lane not in unused]
            nonces = await together(*(self._next_nonce(*lane, block) for lane in lanes))
            unused.update(zip(lanes, nonces, strict=True))
            used.update(slot for slot, lane in part.items() if slot.nonce < unused[lane])
            await asyncio.sleep(0)  # where all of a part are known, nothing was waited for
        return frozenset(used)

    async def block_hash(self, number: int) -> Hash32 | None:
        return await self._node.block_hash(number)

    async def _next_nonce(self, entry_point: Address, sender: Address, key: int, block: BlockName | None = None) -> int:
        nonce: int = (await ask(self._node, entry_point, GET_ENTRY_POINT_NONCE, sender, key, block=block))[0]
        return nonce


def _read(data: bytes) -> tuple[int, bool]:
    """The nonce of an executed operation, and whether its calls succeeded."""
    try:
        nonce, success, _, _ = contract_abi.decode(_EVENT, data, "UserOperationEvent")
    except Undecodable as error:
        raise StateUnavailable(f"the entry point's event cannot be read: {error.problem}") from None
    return int(nonce), bool(success)


def _lane_of(slot: NonceSlot) -> _Lane:
    return slot.entry_point, slot.sender, slot.nonce >> _KEY_SHIFT


def _padded(sender: Address) -> Hash32:
    return Hash32(sender.rjust(32, b"\0"))


def _executed(slots: Collection[NonceSlot], names: tuple[Hash32, ...] = ()) -> LogFilter:
    """The events of operations of these senders, and names where some are given."""
    senders = tuple(sorted({_padded(slot.sender) for slot in slots}))
    addresses = tuple(sorted({slot.entry_point for slot in slots}))
    return LogFilter(addresses=addresses, topics=((USER_OPERATION_EVENT,), names, senders))


def _said_by_both(here: Fate, there: Mined | Fate) -> Mined | Fate:
    """What two nodes say of an operation whose nonce was used, to one of them."""
    if here is Fate.HIDDEN and there is not Fate.OPEN:
        return there  # as much, or more: one that keeps older logs may show what used it
    return here if there is here else Fate.UNTOLD


def _is_of(log: Log, slot: NonceSlot) -> bool:
    """Whether it is of that entry point and sender, and stands."""
    return not log.removed and log.address == slot.entry_point and log.topics[2:3] == (_padded(slot.sender),)


def _mined(log: Log, success: bool) -> Mined:
    return Mined(
        user_op_hash=log.topics[1],
        success=success,
        block=log.block,
        block_hash=log.block_hash,
        transaction=log.transaction_hash,
    )
