"""Operations in flight that are waited for: asked about, and their nonces looked at.

Nearly all that are sent end within seconds. Until then one is fresh: it stands in a row with the others, in the order
in which they were sent, and no more is kept of it than when that was. One that is in flight for longer is waited for
by itself, and how far it has come is noted down.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from proxy.chain.settlement.flights import LET_GO
from proxy.chain.settlement.nonce_looks import NonceLooks
from proxy.chain.settlement.patience import Patience
from proxy.chain.settlement.polling import Polling
from proxy.chain.settlement.settlement import Settlement
from proxy.ledger.operations import Stage
from proxy.userop.primitives import Hash32

_FRESH_SECONDS: Final = 5.0
"""More than most take to be mined, and less than anything is asked about one where blocks tell of all. After a kill
so much of what bundlers have taken is in doubt, and proven by the chain."""
_AT_ONCE: Final = 500


class Waits:
    """`monotonic` gives seconds that no change of the clock moves; `wake_by` hears when something is due, by that, that
    may be sooner than anything else. `is_told` says whether blocks tell of all that is mined, so that nobody is asked;
    `looks` is `None` where no nonce can be looked at."""

    def __init__(
        self,
        settlement: Settlement,
        polling: Polling,
        looks: NonceLooks | None,
        *,
        patience: Patience,
        monotonic: Callable[[], float],
        is_told: Callable[[], bool],
        wake_by: Callable[[float], None],
    ) -> None:
        self._settlement = settlement
        self._polling = polling
        self._looks = looks
        self._monotonic = monotonic
        self._is_told = is_told
        self._wake_by = wake_by
        self._untold_seconds = patience.first
        self._told_seconds = min(_FRESH_SECONDS, patience.nonce_first)
        self._fresh: OrderedDict[Hash32, float] = OrderedDict()  # since when, by `monotonic`: in this order

    def sent(self, user_op_hash: Hash32) -> None:
        """It was sent a moment ago, for the first time."""
        now = self._monotonic()
        if not self._fresh and not self._is_told():  # otherwise it is soon enough with the next round
            self._wake_by(now + self._untold_seconds)
        self._fresh[user_op_hash] = now

    def begin(self, user_op_hash: Hash32, stage: Stage) -> None:
        """It has come this far, and is waited for by itself, unless it is only about to be sent."""
        if self._fresh.pop(user_op_hash, None) is not None:  # it came again, maybe under another claim
            self._settlement.books.note_stages((user_op_hash,))
        if stage is not Stage.FORWARDED:
            self._begin(user_op_hash, self._monotonic(), remembered=stage in LET_GO)

    def begin_now(self, user_op_hash: Hash32) -> None:
        """If it is fresh, somebody wants to hear of it before it is not any more."""
        since = self._fresh.pop(user_op_hash, None)
        if since is not None:
            self._begin(user_op_hash, since)
            self._settlement.books.note_stages((user_op_hash,))

    def begin_old(self) -> None:
        """Those that are not fresh any more, as many as one turn of the loop may be about."""
        until, fresh, old = self._monotonic() - self._seconds, self._fresh, list[Hash32]()
        while fresh and len(old) < _AT_ONCE:
            user_op_hash, since = next(iter(fresh.items()))
            if since > until:
                break
            del fresh[user_op_hash]
            self._begin(user_op_hash, since)
            old.append(user_op_hash)
        if old:
            self._settlement.books.note_stages(old)

    def first(self) -> float | None:
        """When the first one is not fresh any more; `None` when none is."""
        return next(iter(self._fresh.values())) + self._seconds if self._fresh else None

    @property
    def lag_seconds(self) -> float:
        """For how long the first one has been fresh no more, and nobody has looked."""
        first = self.first()
        return 0.0 if first is None else max(self._monotonic() - first, 0.0)

    def note_fresh(self) -> None:
        """Nothing is waited for any more: how far they have come is noted down all the same."""
        self._settlement.books.note_stages(self._fresh)

    def forget(self, user_op_hash: Hash32) -> None:
        """It is in flight no more."""
        if self._fresh.pop(user_op_hash, None) is None:
            self._polling.forget(user_op_hash)
            if self._looks is not None:
                self._looks.forget(user_op_hash)

    def _begin(self, user_op_hash: Hash32, since: float, *, remembered: bool = False) -> None:
        self._polling.begin(user_op_hash, since, remembered=remembered)
        if self._looks is not None:
            self._wake_by(self._looks.begin(user_op_hash, since))

    @property
    def _seconds(self) -> float:
        """For how long one is fresh."""
        return self._told_seconds if self._is_told() else self._untold_seconds
