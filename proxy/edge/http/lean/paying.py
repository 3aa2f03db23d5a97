"""A connection whose caller pays for what is read of him."""

from __future__ import annotations

from abc import abstractmethod
from functools import partial
from typing import TYPE_CHECKING, Final

from proxy.edge.http.lean.answering import Answering

if TYPE_CHECKING:
    from proxy.edge.http.lean.house import House

TAKEN_IN_SECONDS: Final = 0.0001  # about what a connection takes before anybody can see whose it is
_PIECE_SECONDS: Final = 0.00003  # about what it takes to hear a piece of a request, and for each byte of it
_BYTE_SECONDS: Final = 1e-9


class Paying(Answering):
    """What comes in pieces takes its household's time with each of them: while others wait, the next one is read in its
    turn. Of what a trusted proxy sends nobody knows whose it is until its head is there.
    """

    __slots__ = ("household", "in_line", "peer")

    def __init__(self, house: House) -> None:
        super().__init__(house)
        self.peer: str | None = None
        self.household: str | None = None  # with whom its caller is counted
        self.in_line = False  # it is read on when it is its household's turn

    def _pay_for(self, received: int) -> None:
        """For a piece of so many bytes."""
        call, service = self._call or self._served, self._house.service
        household, turns = self.household if call is None else call.household, service.turns
        turns.charge(household, _PIECE_SECONDS + received * _BYTE_SECONDS)
        if turns.is_due and not self.in_line and (call is not None or not service.settings.proxies.trusts(self.peer)):
            self.in_line = True
            turns.begin(household, partial(self._read_in_turn, household))
            self._measure()

    def _read_in_turn(self, household: str | None) -> None:
        self._house.service.turns.charge(household, _PIECE_SECONDS)
        self.in_line = False
        self._measure()

    @abstractmethod
    def _measure(self) -> None:
        """Look again whether it is read on."""
