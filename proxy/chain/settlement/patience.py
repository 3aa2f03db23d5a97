"""How long and how often the bundler and the chain are asked what became of an operation."""

from __future__ import annotations

from dataclasses import dataclass

from proxy.ledger.reservation import Grip


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """In seconds where nothing else is said."""

    unmined_after: float = 600.0  # answered absence after which what the chain enforces itself is let go
    unmined_grip: Grip = Grip.LOCAL  # what is still held then
    margin: float = 60.0  # past the end of its validity an operation may still be waiting to be told of
    longest_step: float = 30.0  # of silence between two blocks that were told of, no more counts: nobody could know
    final: float = 900.0  # a block so old stays
    store: float = 2.0  # for the store to take what became known, and before it is asked again

    told: float = 1.0  # for which an answer that names a block may be kept back until that block is settled here

    # questions to the bundler
    first: float = 0.5  # between the first two about an operation
    longest: float = 15.0  # the interval grows up to this
    growth: float = 1.5
    remembered: float = 60.0  # between two about one of which something was let go
    timeout: float = 5.0  # for one question
    a_second: float = 100.0  # questions
    at_once: int = 32  # questions
    questions: int = 3  # before the chain is asked as well, where it can be
    quiet: float = 60.0  # with no word of the chain's blocks for so long the bundler is asked in their place
    nonce_first: float = 120.0  # of waiting, after which it is looked whether the nonce is used
    nonce_longest: float = 3_600.0  # between two such looks
    rechecks: tuple[float, ...] = (4.0, 15.0, 60.0, 300.0, 900.0)  # of a block that only the bundler told of
