"""Chance that can be had again."""

from __future__ import annotations

from collections.abc import Iterable
from random import Random


class Dice(Random):
    """A seeded generator that can also deal: every option once, in random order, before any comes again."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self._decks: dict[tuple[str, ...], list[str]] = {}

    def deal(self, options: Iterable[str]) -> str:
        names = tuple(sorted(options))
        deck = self._decks.setdefault(names, [])
        if not deck:
            deck.extend(names)
            self.shuffle(deck)
        return deck.pop()
