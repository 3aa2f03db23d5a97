"""How old is what is known of a chain, on a clock that nobody sets.

Two things make it old: that the newest blocks were not heard of or not taken in, and that the node's newest block does
not move though this chain has shown that it moves more often. A chain that makes blocks only now and then, or on
demand, is not frozen while it rests: it is held against the longest rest it has shown lately.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Final, NamedTuple

from proxy.admission.sources import Staleness
from proxy.chain.blocks.header import Header

_RESTS_KEPT: Final = 256
_FORGET_SECONDS: Final = 3_600.0
"""A rest so long ago, with many shorter ones since, says nothing of today."""
_RESTS_AT_ONCE: Final = 4
"""So many times its longest rest a chain may rest before it counts as frozen."""
_SHORTEST_BOUND: Final = 10.0
_FEWEST_RESTS: Final = 3


class _Rest(NamedTuple):
    seconds: float
    ended_at: float


class ChainAge:
    """`monotonic` gives seconds. `bound` is the age past which what is known does not count, `None` for never.

    `before` is how old what was kept is at the start, in seconds.
    """

    def __init__(self, monotonic: Callable[[], float], *, bound: float | None, before: float = 0.0) -> None:
        self._monotonic = monotonic
        self._bound = bound
        now = monotonic()
        self._confirmed_at = now - before
        self._heard_at = now - before
        self._is_heard = False
        self._moved_at = now
        self.trouble: str | None = None
        """Why the last look came to nothing; `None` when it did not."""
        self._head: tuple[int, bytes] | None = None
        self._rests: deque[_Rest] = deque(maxlen=_RESTS_KEPT)
        self._longest: deque[_Rest] = deque()  # descending: the longest rest of the last hour, without looking for it

    def seed(self, headers: Sequence[Header], unix_now: float) -> None:
        """What the newest blocks, ascending, show of the chain before it was followed: how often they come, and for how
        long the last one has been there, as far as this machine's time of day is right."""
        now = self._monotonic()
        for older, newer in pairwise(headers):
            self._rested(float(max(newer.timestamp - older.timestamp, 0)), now)
        if headers:
            newest = headers[-1]
            self._head = (newest.number, newest.hash)
            self._moved_at = now - min(max(unix_now - newest.timestamp, 0.0), 86_400.0)

    def failed(self, why: str) -> None:
        """A look at the newest blocks came to nothing."""
        self.trouble = why

    def heard(self, head: Header) -> None:
        """The node has answered with its newest block."""
        now = self._monotonic()
        self._heard_at = now
        self._is_heard = True
        name = (head.number, head.hash)
        if self._head is None:
            self._moved_at = now
        elif name != self._head and head.number >= self._head[0]:
            self._rested(now - self._moved_at, now)
            self._moved_at = now
        elif name != self._head:
            return  # a node that is behind the other one does not move the head back
        self._head = name

    def confirmed(self) -> None:
        """All up to the newest block that was heard of is taken in."""
        self.trouble = None
        self._confirmed_at = self._monotonic()

    def _rested(self, seconds: float, now: float) -> None:
        rest = _Rest(seconds, now)
        self._rests.append(rest)
        while self._longest and self._longest[-1].seconds <= seconds:
            self._longest.pop()
        self._longest.append(rest)

    @property
    def number(self) -> int | None:
        """Of the newest block that was heard of."""
        return None if self._head is None else self._head[0]

    @property
    def frozen_bound(self) -> float | None:
        """For how long the newest block may stay the same, in seconds; `None` while the chain has shown too little."""
        now = self._monotonic()
        while len(self._longest) > 1 and self._longest[0].ended_at < now - _FORGET_SECONDS:
            self._longest.popleft()
        if len(self._rests) < _FEWEST_RESTS:
            return None
        return max(_RESTS_AT_ONCE * self._longest[0].seconds, _SHORTEST_BOUND)

    @property
    def is_frozen(self) -> bool:
        """Whether the newest block has been the same for longer than this chain rests."""
        bound = self.frozen_bound
        return bound is not None and self._monotonic() - self._moved_at > bound

    @property
    def seconds(self) -> float:
        """How old what is known is."""
        now = self._monotonic()
        age = max(now - self._confirmed_at, 0.0)
        return max(age, now - self._moved_at) if self.is_frozen else age

    def stale(self) -> Staleness | None:
        """Why what is known does not count any more; `None` while it does."""
        if self._bound is None or self.seconds <= self._bound:
            return None
        if not self._is_heard and self.trouble is None:
            return Staleness("the chain's state: it is from before the start, and no block was looked at yet", True)
        now = self._monotonic()
        unheard, still = now - self._heard_at, now - self._moved_at
        if unheard > self._bound:
            return Staleness(f"the chain's state: nothing was heard of it for {unheard:.0f} s", False)
        if self.is_frozen and still > self._bound:
            return Staleness(f"the chain's state: the node's newest block has been the same for {still:.0f} s", False)
        behind = now - self._confirmed_at
        return Staleness(f"the chain's state: its newest blocks are not read yet, {behind:.0f} s behind", True)
