"""How old is what is known of a chain, on a clock that nobody sets.

Three things make it old: that the newest blocks were not heard of or not taken in; that the node's newest block does
not move though this chain has shown that its blocks come whether or not anybody needs them; and that somebody else
names a block which the node has not got. A quiet chain is held against the longest rest it has shown lately, and one
that makes blocks on demand is never frozen for resting: there is nothing newer to know.
"""

from __future__ import annotations

import logging
from collections import Counter, deque
from collections.abc import Callable, Sequence
from itertools import pairwise
from math import inf
from typing import Final, NamedTuple

from proxy.admission.sources import Staleness
from proxy.chain.blocks.header import Header

_LOG: Final = logging.getLogger(__name__)
_RESTS_KEPT: Final = 256
_FORGET_SECONDS: Final = 3_600.0
"""A rest so long ago, with many shorter ones since, says nothing of today."""
_RESTS_AT_ONCE: Final = 4
"""So many times its longest rest a chain may rest before it counts as frozen."""
_SHORTEST_BOUND: Final = 10.0
_FEWEST_RESTS: Final = 3
_INTERVALS_KEPT: Final = 64
_FEWEST_INTERVALS: Final = 24
_OF_ONE_BEAT: Final = 0.875
_SHORTEST_BEAT: Final = 2.0
"""Development nodes put blocks made at once a second apart, so that such a distance shows no beat."""
_SHORT_REST: Final = 30.0
"""A chain that was looked at for an hour and never rested for longer does not make its blocks on demand."""
_SHOWN_WITHOUT: Final = 3
"""So many new blocks the node has to show without one that was named before that is not believed any more."""
_NEW_SECONDS: Final = 60.0
"""A newest block so old, or older, is that of a node which may be behind."""


_AT_LEAST: Final = 2
_SHORTEST_PACE: Final = 0.1


class _Rest(NamedTuple):
    seconds: float
    ended_at: float


class _Named(NamedTuple):
    number: int
    at: float
    head: int  # the newest block then


class ChainAge:
    """`monotonic` gives seconds. `bound` is the age past which what is known does not count, `None` for never.

    `before` is how old what was kept is at the start, in seconds. `clock` gives unix seconds: by it a node shows that
    its blocks are new. `misnamed` hears of each block that was named and that the node has shown to be none.
    """

    def __init__(
        self,
        monotonic: Callable[[], float],
        *,
        bound: float | None,
        before: float = 0.0,
        clock: Callable[[], float] | None = None,
        misnamed: Callable[[], None] = lambda: None,
    ) -> None:
        self._misnamed = misnamed
        self._monotonic = monotonic
        self._bound = bound
        self._clock = clock
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
        self._begun_at = now
        self._is_restless = False
        self._intervals: deque[float] = deque(maxlen=_INTERVALS_KEPT)  # between two blocks, by their own time
        self._times: Counter[float] = Counter()  # how many of these are the same
        self._newest: Header | None = None
        self._came_at: float | None = None
        self._highest = -1
        self._named: _Named | None = None  # the lowest block that the node has not got
        # a number that the node's own blocks show to be none, and so are those above it that no chain could be at yet
        self._unbelieved: int | None = None

    def seed(self, headers: Sequence[Header], unix_now: float) -> None:
        """What the newest blocks, ascending, show of the chain before it was followed: how often they come, and for how
        long the last one has been there, as far as this machine's time of day is right."""
        now = self._monotonic()
        for older, newer in pairwise(headers):
            self._rested(float(max(newer.timestamp - older.timestamp, 0)), now)
            self._note_interval(older, newer)
        if headers:
            newest = headers[-1]
            self._head = (newest.number, newest.hash)
            self._newest, self._highest = newest, max(self._highest, newest.number)
            self._moved_at = now - min(max(unix_now - newest.timestamp, 0.0), 86_400.0)

    def failed(self, why: str) -> None:
        """A look at the newest blocks came to nothing."""
        self.trouble = why

    def heard(self, head: Header) -> bool:
        """The node has answered with its newest block. Whether that has just come."""
        now = self._monotonic()
        self._heard_at = now
        self._is_heard = True
        name = (head.number, head.hash)
        if self._head is None:
            self._moved_at = now
        elif name != self._head and head.number >= self._head[0]:
            self._rested(now - self._moved_at, now)
            self._moved_at = now
            self._is_restless = now - self._begun_at >= _FORGET_SECONDS and self._longest_lately(now) <= _SHORT_REST
        elif name != self._head:
            return False  # a node that is behind the other one does not move the head back
        has_come = self._head is not None and name != self._head
        if name != self._head:
            if self._newest is not None:
                self._note_interval(self._newest, head)
            self._newest, self._highest = head, max(self._highest, head.number)
            self._weigh_named(head)
        if has_come:
            self._came_at = now
        self._head = name
        return has_come

    @property
    def chain_time(self) -> float | None:
        """The time by this chain's own blocks, in unix seconds; `None` before one was heard of. For how long the first
        of them has been there nobody here can tell: until another one comes it is taken for new."""
        if self._newest is None:
            return None
        return self._newest.timestamp + (0.0 if self._came_at is None else self._monotonic() - self._came_at)

    def named(self, number: int) -> None:
        """Somebody else, who knows the chain by another node, names a block of this number."""
        # one that was there once may have been taken back
        if number <= self._highest or not self.believes(number):
            return
        if self._named is None:
            self._named = _Named(number, self._monotonic(), self._highest)
        elif number < self._named.number:
            self._named = self._named._replace(number=number)

    def believes(self, number: int) -> bool:
        """Whether a block of this number may be one. Once somebody has named one that was none, no number is believed
        that the chain, at twice its pace, could not have come to since the node's newest block."""
        return self._unbelieved is None or number < self._unbelieved or number <= self._highest + self._since_highest()

    def _since_highest(self) -> int:
        """So many blocks there may be that the node has not shown."""
        if self._newest is None:
            return _AT_LEAST
        seconds = self._monotonic() - self._moved_at
        if self._clock is not None:
            seconds = max(seconds, self._clock() - self._newest.timestamp)
        pace = sum(self._intervals) / len(self._intervals) if self._intervals else 1.0
        return _AT_LEAST + int(2 * seconds / max(pace, _SHORTEST_PACE))

    def may_show(self, number: int) -> bool:
        """Whether the node can be expected to show a block of this number soon, which somebody has named."""
        return self.trouble is None and self.believes(number) and self.stale() is None

    def _weigh_named(self, head: Header) -> None:
        """Who names a block that is not there long after is mistaken, or lies, as long as the node's own are new: what
        they show is no older than they are."""
        if self._unbelieved is not None and head.number >= self._unbelieved:
            self._unbelieved = None
        named = self._named
        if named is None:
            return
        if head.number >= named.number:
            self._named = None
        elif head.number - named.head >= _SHOWN_WITHOUT and self._is_new(head):
            self._named, self._unbelieved = None, named.number
            self._misnamed()
            _LOG.warning("a bundler names block %d; the node, whose newest is %d, has none", named.number, head.number)

    def _is_new(self, head: Header) -> bool:
        """By its own time and this machine's, which both have to be right."""
        return self._clock is not None and abs(self._clock() - head.timestamp) <= min(self._bound or inf, _NEW_SECONDS)

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

    def _longest_lately(self, now: float) -> float:
        while len(self._longest) > 1 and self._longest[0].ended_at < now - _FORGET_SECONDS:
            self._longest.popleft()
        return self._longest[0].seconds

    def _note_interval(self, older: Header, newer: Header) -> None:
        """How far apart blocks are, by their own time; of several that were not looked at one by one, on average."""
        if newer.number <= older.number:
            return
        if len(self._intervals) == _INTERVALS_KEPT:
            oldest = self._intervals[0]
            self._times[oldest] -= 1
            if not self._times[oldest]:
                del self._times[oldest]
        interval = max(newer.timestamp - older.timestamp, 0) / (newer.number - older.number)
        self._intervals.append(interval)
        self._times[interval] += 1

    @property
    def _has_beat(self) -> bool:
        """Whether this chain's blocks come by the clock, as far as it has shown."""
        if len(self._intervals) >= _FEWEST_INTERVALS:
            interval, times = max(self._times.items(), key=lambda each: each[1])
            if interval >= _SHORTEST_BEAT and times >= _OF_ONE_BEAT * len(self._intervals):
                return True
        return self._is_restless

    @property
    def number(self) -> int | None:
        """Of the newest block that was heard of."""
        return None if self._head is None else self._head[0]

    @property
    def frozen_bound(self) -> float | None:
        """For how long the newest block may stay the same, in seconds; `None` while the chain has shown too little."""
        if len(self._rests) < _FEWEST_RESTS:
            return None
        return max(_RESTS_AT_ONCE * self._longest_lately(self._monotonic()), _SHORTEST_BOUND)

    @property
    def is_frozen(self) -> bool:
        """Whether the newest block has been the same for longer than this chain rests, which makes its blocks by the
        clock."""
        bound = self.frozen_bound
        return bound is not None and self._monotonic() - self._moved_at > bound and self._has_beat

    @property
    def is_behind(self) -> bool:
        """Whether the node shows less than there has to be: it is frozen, or has not got what somebody names."""
        is_missing = self._named is not None and self._monotonic() - self._named.at > (self._bound or inf)
        return self.is_frozen or is_missing

    def begin_anew(self) -> None:
        """Another node is asked: what was the newest block of the one before may be none."""
        self._head = self._newest = self._came_at = None
        self._highest = -1

    @property
    def seconds(self) -> float:
        """How old what is known is."""
        now = self._monotonic()
        age = max(now - self._confirmed_at, 0.0)
        if self._named is not None:
            age = max(age, now - self._named.at)
        return max(age, now - self._moved_at) if self.is_frozen else age

    def stale(self) -> Staleness | None:
        """Why what is known does not count any more; `None` while it does."""
        bound, now = self._bound, self._monotonic()
        if bound is None:
            return None
        if self._named is None and now - self._confirmed_at <= bound and now - self._moved_at <= bound:
            return None  # nearly always: frozen or not, its newest block is not as old as that
        if self.seconds <= bound:
            return None
        if not self._is_heard and self.trouble is None:
            return Staleness("the chain's state: it is from before the start, and no block was looked at yet", True)
        unheard, still = now - self._heard_at, now - self._moved_at
        if unheard > bound:
            return Staleness(f"the chain's state: nothing was heard of it for {unheard:.0f} s", False)
        if self.is_frozen and still > bound:
            return Staleness(f"the chain's state: the node's newest block has been the same for {still:.0f} s", False)
        if self._named is not None and now - self._named.at > bound:
            missing, since = self._named.number, now - self._named.at
            what = f"the chain's state: a bundler names block {missing}, which the node has not got for {since:.0f} s"
            return Staleness(what, False)
        behind = now - self._confirmed_at
        return Staleness(f"the chain's state: its newest blocks are not read yet, {behind:.0f} s behind", True)
