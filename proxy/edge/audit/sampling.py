"""Refusals past a rate are counted, not kept: a stranger decides how many there are.

One bucket a client, and another for refusals that come after a session's signature was checked, so that a flood from
outside hides nothing of what a session's own key was refused.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from proxy.errors import Code
from proxy.judge.decision import Decision
from proxy.judge.verdict import Reject

_BY_ANYBODY: Final = frozenset(
    {Code.UNDECODABLE, Code.SESSION_UNKNOWN, Code.STATE_UNAVAILABLE, Code.SESSION_REVOKED, Code.SESSION_SCOPE}
)
"""What is said to somebody who has shown no key, or may not have, unless the reason says that the key signed."""

_MOST_COUNTS: Final = 1_024


@dataclass(frozen=True, slots=True)
class RefusalRate:
    """So many refusals a second of one client are kept, after a first `burst`."""

    per_second: float = 10.0
    burst: float = 200.0


@dataclass(frozen=True, slots=True)
class Uncounted:
    """What refusals are counted by when they are not kept."""

    chain: str
    client: str
    code: int
    estimate: bool


@dataclass(slots=True)
class _Bucket:
    left: float
    at: float


class Sampler:
    """Says which refusals to keep, and counts the others exactly. Seconds are the monotonic clock's."""

    def __init__(self, rate: RefusalRate) -> None:
        self._rate = rate
        self._buckets: dict[tuple[str, bool], _Bucket] = {}
        self._counts: dict[Uncounted, int] = {}
        self.left_out = 0

    def keeps(self, decision: Decision, now: float, *, estimate: bool) -> bool:
        """Whether this refusal is kept whole; if not, it is counted."""
        verdict = decision.verdict
        if not isinstance(verdict, Reject):
            return True
        code = verdict.first.code
        by_anybody = decision.permission_id is None or (code in _BY_ANYBODY and verdict.first.signed is not True)
        bucket = self._buckets.get((decision.client, by_anybody))
        if bucket is None:
            bucket = self._buckets[decision.client, by_anybody] = _Bucket(self._rate.burst, now)
        bucket.left = min(self._rate.burst, bucket.left + (now - bucket.at) * self._rate.per_second)
        bucket.at = now
        if bucket.left >= 1:
            bucket.left -= 1
            return True
        name = Uncounted(decision.chain, decision.client, int(code), estimate)
        if len(self._counts) >= _MOST_COUNTS and name not in self._counts:
            name = Uncounted("other", "other", int(code), estimate)
        self._counts[name] = self._counts.get(name, 0) + 1
        self.left_out += 1
        return False

    def take(self) -> dict[Uncounted, int]:
        """What was counted since the last time."""
        counts, self._counts = self._counts, {}
        return counts
