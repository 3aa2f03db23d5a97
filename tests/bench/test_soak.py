"""The soak tells what grows from what merely moves."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.bench.soak import Look, judge, soak

FLAT = Look(memory=80, tasks=20, sockets=30, files=12)


def test_what_moves_about_one_value_is_flat() -> None:
    looks = [replace(FLAT, tasks=20 + number % 5, memory=80 + number % 3) for number in range(40)]
    assert judge(looks, 0).grew == ()


@pytest.mark.parametrize("name", ["memory", "tasks", "sockets", "files"])
def test_what_grows_all_the_time_is_named(name: str) -> None:
    looks = [replace(FLAT, **{name: getattr(FLAT, name) + number}) for number in range(60)]
    assert judge(looks, 0).grew == (name,)


def test_what_fills_at_the_start_and_stays_is_flat() -> None:
    looks = [replace(FLAT, memory=min(60 + 3 * number, 90)) for number in range(60)]
    assert judge(looks, 0).grew == ()


def test_a_run_that_was_hardly_looked_at_says_nothing() -> None:
    with pytest.raises(ValueError, match="too few"):
        judge([FLAT] * 3, 0)


def test_a_gate_under_the_recorded_mix_keeps_its_tasks_sockets_and_files(tmp_path: Path) -> None:
    """Short: it finds what leaks with each request; `make soak` is for what leaks slowly."""
    found = soak(tmp_path, seconds=8, rate=40)
    assert found.failed == 0
    assert {"tasks", "sockets", "files"}.isdisjoint(found.grew), found
