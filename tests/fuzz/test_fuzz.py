"""What fuzzing found stays found, and a bounded search goes on from there in every run of the suite."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fuzz.targets import TARGETS, kept


@pytest.mark.parametrize("name", TARGETS)
def test_nothing_that_was_kept_breaks_a_promise(name: str) -> None:
    found = kept(name)
    assert found, "nothing to begin with: put an input into the corpus"
    for path in found:
        TARGETS[name](path.read_bytes())


@pytest.mark.parametrize("name", TARGETS)
def test_nor_does_anything_near_it(name: str) -> None:
    seeds = [path.read_bytes() for path in kept(name)]

    @settings(max_examples=25, deadline=None)
    @given(
        st.integers(0, len(seeds) - 1),
        st.randoms(use_true_random=False),
        st.lists(st.binary(max_size=6), max_size=4),
    )
    def search(seed: int, chance: random.Random, pieces: list[bytes]) -> None:
        data = bytearray(seeds[seed])
        for piece in pieces:
            at = chance.randint(0, len(data))
            data[at : at + chance.choice([0, 0, 1, len(piece)])] = piece
        TARGETS[name](bytes(data))

    search()
