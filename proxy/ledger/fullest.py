"""Of each rule the window that was fullest when an operation met it: noted as operations pass, and looked at again by
whoever shows how much of a rule's limit is used."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Final, NamedTuple

from proxy.judge.counts import CountKey

_made: Final = tuple.__new__


class FullWindow(NamedTuple):
    """What share of its limit was used, in flight included, and whose window it is."""

    share: float
    key: CountKey


class FullestWindows:
    """The windows that were met since they were asked for last; as many as there are rules at most."""

    def __init__(self) -> None:
        self._fullest: dict[bytes, FullWindow] = {}  # by rule

    def meet(self, shares: Mapping[CountKey, float]) -> None:
        """Such a share of its limit is used of each of these windows."""
        fullest = self._fullest
        for key, share in shares.items():
            before = fullest.get(key.rule)
            if before is None or share >= before.share or key == before.key:
                fullest[key.rule] = _made(FullWindow, (share, key))

    def take(self) -> Collection[FullWindow]:
        """All of them; they may have emptied since."""
        fullest, self._fullest = self._fullest, {}
        return fullest.values()

    def keep_only(self, rules: Collection[bytes]) -> None:
        """Forget those of other rules."""
        self._fullest = {rule: window for rule, window in self._fullest.items() if rule in rules}
