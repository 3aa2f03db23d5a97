"""Open files are shared out between callers and bundlers, and a start says where that leaves few."""

from __future__ import annotations

import logging
import resource
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.app.descriptors import FEW_FOR_BUNDLERS, descriptors_of, share_out
from proxy.config import load_config
from proxy.edge.http.bundler_health import QuestionKind
from proxy.edge.http.places import BundlerPlaces
from tests.config.test_alerting import write


@given(st.integers(256, 100_000), st.integers(1, 10_000), st.integers(1, 20))
def test_callers_and_bundlers_together_open_no_more_than_the_system_allows(
    allowed: int, callers: int, chains: int
) -> None:
    shared = share_out(allowed, callers=callers, chains=chains)
    assert shared.callers + shared.bundlers * chains <= allowed
    assert shared.callers <= callers


@pytest.mark.parametrize("allowed", [256, 65_536])
def test_a_start_says_where_the_open_files_leave_few(
    allowed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _which: (allowed, allowed))
    with caplog.at_level(logging.WARNING):
        shared = descriptors_of(load_config(write(tmp_path, ""), {}))
    assert ("ulimit -n" in caplog.text) is (shared.bundlers < FEW_FOR_BUNDLERS) is (allowed == 256)


@pytest.mark.parametrize(("places", "households"), [(1000, 60), (96, 11), (32, 7)])
def test_it_takes_so_many_addresses_to_hold_all_places_at_a_bundler(places: int, households: int) -> None:
    shared, took = BundlerPlaces(places, 3), 0
    while shared.take(QuestionKind.SEND, f"household {took}"):
        while shared.take(QuestionKind.SEND, f"household {took}"):
            pass
        took += 1
    assert took >= households
