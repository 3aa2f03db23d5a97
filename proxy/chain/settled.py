"""Operations that have ended, remembered for as long as the chain could take their block back."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterator

from proxy.ledger.operations import Ended, Mined
from proxy.ledger.reservation import NonceSlot
from proxy.userop.primitives import Hash32

BlockHash = Callable[[Mined], Awaitable[Hash32 | None]]
"""The hash that the block of a mined operation has now; `None` when it is gone. Raises when nobody can tell."""

_MOST_REMEMBERED = 50_000


class Settled:
    """What has ended lately, oldest first. Bounded in age and number."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._ended: OrderedDict[Hash32, Ended] = OrderedDict()
        self._line: frozenset[Hash32] = frozenset()  # blocks that were on the chain together, each below the next

    def __len__(self) -> int:
        return len(self._ended)

    def __iter__(self) -> Iterator[Ended]:
        return iter(self._ended.values())

    def get(self, user_op_hash: Hash32) -> Ended | None:
        """How this operation ended, if that is remembered."""
        return self._ended.get(user_op_hash)

    def is_mined(self, user_op_hash: Hash32) -> bool:
        """Whether this operation was mined lately."""
        ended = self._ended.get(user_op_hash)
        return ended is not None and ended.mined is not None

    def remember(self, ended: Ended) -> None:
        """This operation has ended."""
        self._ended[ended.operation.user_op_hash] = ended
        if len(self._ended) > _MOST_REMEMBERED:
            self._ended.popitem(last=False)

    def forget_old(self, now: float) -> None:
        """The chain will not take back what is older than this."""
        while self._ended:
            oldest = next(iter(self._ended.values()))
            if oldest.ended_at > now - self._seconds:
                return
            self._ended.popitem(last=False)

    def take_out(self, user_op_hash: Hash32) -> tuple[Ended, ...]:
        """The operation is in flight again, and with it those that were dropped because it took their nonce."""
        ended = self._ended.pop(user_op_hash)
        rivals = self._dropped_in(ended.operation.reservation.slot) if ended.mined is not None else ()
        for rival in rivals:
            del self._ended[rival.operation.user_op_hash]
        return (ended, *rivals)

    async def off_chain(self, block_hash: BlockHash) -> tuple[Ended, ...]:
        """The mined operations whose blocks the chain has no more.

        Asked from the newest down. A block that the chain has answers for those below it that were found with it
        before, and for no others: an operation may be mined, and seen, after the chain went back, above the place of
        one that is gone. What was found so far is remembered when this raises.
        """
        newest_first: list[tuple[int, Ended, Mined, Hash32]] = []
        for ended in self:
            mined = ended.mined
            if mined is not None and mined.block is not None and mined.block_hash is not None:
                newest_first.append((mined.block, ended, mined, mined.block_hash))
        newest_first.sort(key=lambda each: each[0], reverse=True)
        gone: list[Ended] = []
        there: dict[Hash32, bool] = {}
        line: frozenset[Hash32] = frozenset()  # that of before, once one of its blocks was found
        try:
            for _, ended, mined, name in newest_first:
                if name not in there:
                    there[name] = name in line or await block_hash(mined) == name
                if not there[name]:
                    gone.append(ended)
                elif name in self._line:
                    line = self._line
        finally:
            remembered = frozenset(name for _, _, _, name in newest_first)
            gone_too = frozenset(name for name, is_there in there.items() if not is_there)
            self._line = (remembered & (line | there.keys())) - gone_too
        return tuple(each for each in gone if self._ended.get(each.operation.user_op_hash) is each)

    def _dropped_in(self, slot: NonceSlot) -> tuple[Ended, ...]:
        return tuple(each for each in self if each.mined is None and each.operation.reservation.slot == slot)
