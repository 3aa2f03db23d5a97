"""Which alerts are active: happenings alike are one alert, and it ends when nothing like it has happened for a while.

Pure: moments are arguments, in unix seconds, because an alert outlives the process that saw its first happening.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from heapq import heapify, heappop, heappush
from typing import Final, NamedTuple

from proxy.happening import Happening, HappeningKind
from proxy.session.lint.findings import Severity
from proxy.userop.primitives import Address, Hash32

DECISIONS_KEPT: Final = 5
"""Of an alert the newest so many decision ids are told."""


class AlertKey(NamedTuple):
    """What makes two happenings one alert. Without `permission_id` and `account` it stands for those of many."""

    kind: HappeningKind
    severity: Severity
    chain: str | None
    rule: str | None
    mode: str | None
    permission_id: Hash32 | None
    account: Address | None
    tags: tuple[str, ...]
    folded: bool = False

    @property
    def digest(self) -> str:
        """32 hex digits that stay the same for as long as the alert is meant, restarts included."""
        text = "\x1f".join(
            "" if part is None else part.hex() if isinstance(part, bytes) else str(part) for part in self
        )
        return sha256(text.encode()).hexdigest()[:32]


@dataclass(frozen=True, slots=True, kw_only=True)
class ActiveAlert:
    """One alert. `latest` is the newest happening, `decisions` the newest ids, newest last."""

    key: AlertKey
    first: float
    last: float
    count: int
    latest: Happening
    decisions: tuple[str, ...] = ()


class Board:
    """The active alerts, at most `max_active` that name a session; what comes above is told by rule only.

    An alert ends `resolve_after_seconds` after its last happening. Every call costs the logarithm of their number.
    """

    def __init__(self, *, max_active: int, resolve_after_seconds: float) -> None:
        self._max_active = max_active
        self._resolve_after = resolve_after_seconds
        self._alerts: dict[AlertKey, ActiveAlert] = {}
        self._ends: list[tuple[float, str, AlertKey]] = []  # a heap; a later happening is seen when its entry is due

    def __len__(self) -> int:
        return len(self._alerts)

    def __iter__(self) -> Iterator[ActiveAlert]:
        return iter(self._alerts.values())

    def get(self, key: AlertKey) -> ActiveAlert | None:
        """The active alert of a key."""
        return self._alerts.get(key)

    def ends_at(self, alert: ActiveAlert) -> float:
        """When it is over unless something like it happens again."""
        return alert.last + self._resolve_after

    def note(self, happening: Happening) -> ActiveAlert:
        """Take a happening in; the alert it belongs to, as it is now."""
        key = key_of(happening)
        known = self._alerts.get(key)
        if known is None and len(self._alerts) >= self._max_active and not key.folded:
            key = key._replace(permission_id=None, account=None, folded=True)
            known = self._alerts.get(key)
        ids = (happening.decision_id,) if happening.decision_id is not None else ()
        if known is None:
            moment = happening.unix_time
            alert = ActiveAlert(key=key, first=moment, last=moment, count=1, latest=happening, decisions=ids)
            heappush(self._ends, (self.ends_at(alert), key.digest, key))
        else:
            alert = ActiveAlert(
                key=key,
                first=known.first,
                last=max(known.last, happening.unix_time),
                count=known.count + 1,
                latest=happening,
                decisions=(*known.decisions, *ids)[-DECISIONS_KEPT:],
            )
        self._alerts[key] = alert
        return alert

    def restore(self, alerts: Iterable[ActiveAlert]) -> None:
        """Take up alerts of before a restart."""
        for alert in alerts:
            self._alerts[alert.key] = alert
            self._ends.append((self.ends_at(alert), alert.key.digest, alert.key))
        heapify(self._ends)

    def take_ended(self, now: float) -> Iterator[ActiveAlert | None]:
        """The alerts that are over at `now`, from then on no longer on the board; `None` for each that was looked at
        and is not over, so that whoever goes through many can give way in between."""
        while self._ends and self._ends[0][0] <= now:
            _, digest, key = heappop(self._ends)
            alert = self._alerts.get(key)
            if alert is None or self.ends_at(alert) <= now:
                yield self._alerts.pop(key, None)
            else:
                heappush(self._ends, (self.ends_at(alert), digest, key))
                yield None

    def next_end(self) -> float | None:
        """When to look next for one that is over; it may turn out that none is."""
        return self._ends[0][0] if self._ends else None


def key_of(happening: Happening) -> AlertKey:
    """The alert a happening belongs to."""
    return AlertKey(
        kind=happening.kind,
        severity=happening.severity,
        chain=happening.chain,
        rule=happening.rule,
        mode=happening.mode,
        permission_id=happening.permission_id,
        account=happening.account,
        tags=happening.tags,
    )
