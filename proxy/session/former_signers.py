"""Who signed for sessions that were removed: the module forgets them, and ops want to know whether the holder of such a
key still tries."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final, NamedTuple

from proxy.session.counters import SessionKey
from proxy.userop.primitives import Address

_MOST: Final = 4_096


class Signer(NamedTuple):
    """Who signs for a session: the contract that checks, and how it is set up for the session."""

    validator: Address
    init_data: bytes


class FormerSigners:
    """Those of so many sessions as were removed last."""

    def __init__(self, most: int = _MOST) -> None:
        self._most = most
        self._signers: OrderedDict[SessionKey, Signer] = OrderedDict()

    def get(self, key: SessionKey) -> Signer | None:
        """Who signed for this session; `None` when that is not known, or not any more."""
        return self._signers.get(key)

    def remember(self, key: SessionKey, signer: Signer) -> None:
        """The session is removed now. Whoever was remembered longest is forgotten where there are too many."""
        self._signers[key] = signer
        self._signers.move_to_end(key)
        if len(self._signers) > self._most:
            self._signers.popitem(last=False)
