"""How long and how often the bundler and the chain are asked what became of an operation."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long and how often to ask for a receipt, in seconds."""

    first: float = 0.5  # between the first two questions about an operation
    longest: float = 15.0  # the interval grows up to this
    growth: float = 1.5
    give_up: float = 600.0  # no receipt for so long: the bundler has dropped it
    lag: float = 60.0  # after the end of its validity window an operation may still be waiting for its receipt
    timeout: float = 5.0  # for one question
    store: float = 2.0  # for the store to take what became known, and before it is asked again
    at_once: int = 8  # questions at a time
    questions: int = 3  # to the bundler, before the chain is asked as well
    look_back: float = 4.0  # between two looks whether the chain still has the blocks of mined operations
    final: float = 900.0  # a block so old stays
