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
        """The mined operations whose blocks the chain has no more: from the newest down to one that it has."""
        gone: list[Ended] = []
        known: dict[Hash32, bool] = {}
        mined = [(each.mined.block, each) for each in self if each.mined is not None and each.mined.block is not None]
        for _, ended in sorted(mined, key=lambda each: each[0], reverse=True):
            receipt = ended.mined
            if receipt is None or receipt.block_hash is None:
                continue
            if receipt.block_hash not in known:
                known[receipt.block_hash] = await block_hash(receipt) == receipt.block_hash
            if known[receipt.block_hash]:
                break
            gone.append(ended)
        return tuple(each for each in gone if self._ended.get(each.operation.user_op_hash) is each)

    def _dropped_in(self, slot: NonceSlot) -> tuple[Ended, ...]:
        return tuple(each for each in self if each.mined is None and each.operation.reservation.slot == slot)
