"""How much may be with the bundlers of a chain at once, and whose: reads, estimates and sends are counted together."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from proxy.edge.http.bundler_health import QuestionKind
from proxy.edge.http.households import WORKED_FOR
from proxy.errors import UpstreamFull

_SMALL: Final = 16
"""Of fewer places none is set aside for what is vouched for."""
_LEFT_BY_ONE: Final = 8
"""So many places who is alone leaves to newcomers, or an eighth, but no more than half."""
_LOOKED_AT: Final = 4
"""Households in line that are looked at for one place."""
_WORDS: Final = {QuestionKind.READ: "questions", QuestionKind.SEND: "operations"}

_Turns = OrderedDict[str | None, OrderedDict[asyncio.Future[None], None]]
"""By household, that first whose turn it is; of each in the order of coming."""


class _Line:
    """Who waits to ask in one way, and how many places that way leaves free: a newcomer fewer than others."""

    __slots__ = ("least", "least_of_newcomers", "newcomers", "others")

    def __init__(self, least: int, least_of_newcomers: int) -> None:
        self.least = least
        self.least_of_newcomers = least_of_newcomers
        self.newcomers: _Turns = OrderedDict()
        self.others: _Turns = OrderedDict()


class BundlerPlaces:
    """A bundler may take long over whatever it is asked. Of all connections an eighth is for sends alone that are
    vouched for: their session's key has signed, or their client has shown a key. Of the others an eighth of all is left
    by what sends nothing to what is sent, to the settlement and to probes, and half of that by what is sent. Beside
    others a household has no more places, for reads and sends together, than are free to it, so that a newcomer finds
    one; where nothing else is, half of what is left is for who has none, and nearly all of it where he sends. Who finds
    no place waits for one: of all households that wait one after the other is given a place, whatever each of them has
    asked for, what is vouched for first, and then those that have none.

    While more than `plenty` are free what is sent needs no `take`: `free` is made one less, and nobody's name is kept.
    """

    def __init__(
        self, connections: int, wait_seconds: float, on_full: Callable[[QuestionKind], None] = lambda _kind: None
    ) -> None:
        kept = max(1, connections // 8)
        apart = connections // 8 if connections >= _SMALL else 0
        for_reads = max(1, connections - kept - apart)
        self.free = connections
        self.plenty: Final = connections - connections // 4
        self._reads = _Line(connections - for_reads, connections - for_reads - kept // 2)
        self._sends = _Line(apart + kept // 2, apart + kept // 16)
        self._vouched = _Line(kept // 2, kept // 16)
        self._lines = self._vouched, self._sends, self._reads
        self._left_by_one = min(max(_LEFT_BY_ONE, for_reads // 8), for_reads // 2)
        self._wait_seconds = wait_seconds
        self._on_full = on_full
        self._held: dict[str, int] = {}
        self._waiting = 0

    def take(self, kind: QuestionKind, household: str | None = None, *, vouched: bool = False) -> bool:
        """One, where there is one for it now. It has to be left."""
        return self._take(self._line_for(kind, vouched=vouched), household)

    def _take(self, line: _Line, household: str | None) -> bool:
        if not self._may_take(line, household):
            return False
        self.free -= 1
        if household is not None:
            self._held[household] = held = self._held.get(household, 0) + 1
            if held == 1 and self._waiting:
                for each in self._lines:
                    if (turns := each.newcomers.pop(household, None)) is not None:
                        each.others[household] = turns
        return True

    def _line_for(self, kind: QuestionKind, *, vouched: bool) -> _Line:
        if kind is QuestionKind.READ:
            return self._reads
        return self._vouched if vouched else self._sends

    def _may_take(self, line: _Line, household: str | None) -> bool:
        if line is not self._reads and self.free > self.plenty:
            return True
        room = self.free - line.least
        if household is None:  # nobody can tell whose it is
            return room > 0
        held = self._held.get(household, 0)
        if not held:
            return self.free > line.least_of_newcomers
        return held < room if len(self._held) > 1 else room > self._left_by_one

    def leave(self, household: str | None = None) -> None:
        """What it was taken for has been answered, or never will be. Whose name was not kept is nobody's here."""
        self.free += 1
        if household is not None:
            held = self._held[household] - 1
            if held:
                self._held[household] = held
            else:
                del self._held[household]
                for line in self._lines:
                    if (turns := line.others.pop(household, None)) is not None:
                        line.newcomers[household] = turns
        if self._waiting:
            for line in self._lines:
                self._hand_out(line, line.newcomers)
            for line in self._lines:
                self._hand_out(line, line.others)

    def _hand_out(self, line: _Line, of: _Turns) -> None:
        looked_at = 0
        while of and self.free and looked_at < _LOOKED_AT:
            household = next(iter(of))
            if self._may_take(line, household):
                self._give(line, of)
            else:
                of.move_to_end(household)
                looked_at += 1

    def _give(self, line: _Line, of: _Turns) -> None:
        household, turns = of.popitem(last=False)
        turn, _ = turns.popitem(last=False)
        is_given = not turn.done() and self._take(line, household)
        if turns:  # after all others
            self._turns_of(line, household)[household] = turns
        if is_given:
            turn.set_result(None)

    def _turns_of(self, line: _Line, household: str | None) -> _Turns:
        return line.others if household is not None and household in self._held else line.newcomers

    def place(self, kind: QuestionKind, asked: str, *, vouched: bool = False) -> _Place:
        """Ask within it whom `asked` names. Raises `UpstreamFull` where there is none in time."""
        return _Place(self, kind, asked, vouched=vouched)

    async def wait(self, kind: QuestionKind, household: str | None, asked: str, *, vouched: bool = False) -> None:
        """Until there is one for it, which has to be left. Raises `UpstreamFull` where there is none in time."""
        turn = asyncio.get_running_loop().create_future()
        line = self._line_for(kind, vouched=vouched)
        self._turns_of(line, household).setdefault(household, OrderedDict())[turn] = None
        self._waiting += 1
        is_given = False
        try:
            async with asyncio.timeout(self._wait_seconds):
                await turn
            is_given = True
        except TimeoutError:
            self._on_full(kind)
            raise UpstreamFull(f"{asked} has too many {_WORDS[kind]} that are not answered yet") from None
        finally:
            self._waiting -= 1
            if not is_given:
                self._give_back(line, household, turn)

    def _give_back(self, line: _Line, household: str | None, turn: asyncio.Future[None]) -> None:
        if turn.done() and not turn.cancelled():  # it was given all the same
            self.leave(household)
            return
        of = self._turns_of(line, household)
        if (turns := of.get(household)) is not None and turn in turns:
            del turns[turn]
            if not turns:
                del of[household]


class _Place:
    """One for as long as it is within it: no generator, which would outlive who is closed while he waits."""

    __slots__ = ("_asked", "_household", "_kind", "_places", "_vouched")

    def __init__(self, places: BundlerPlaces, kind: QuestionKind, asked: str, *, vouched: bool) -> None:
        self._places = places
        self._kind = kind
        self._asked = asked
        self._vouched = vouched
        self._household = WORKED_FOR.get()

    async def __aenter__(self) -> None:
        if not self._places.take(self._kind, self._household, vouched=self._vouched):
            await self._places.wait(self._kind, self._household, self._asked, vouched=self._vouched)

    async def __aexit__(self, *_: object) -> None:
        self._places.leave(self._household)
