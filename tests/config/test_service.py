"""`tracing:` in the settings: where spans go, and with what; `metrics:`: which sessions have series of their own."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from proxy.config import checks, load_config
from tests.config.test_alerting import faults, write


def test_nothing_is_traced_unless_the_settings_say_where_to(tmp_path: Path) -> None:
    assert load_config(write(tmp_path, ""), {}).tracing.otlp is None


def test_a_token_for_the_collector_is_shown_nowhere(tmp_path: Path) -> None:
    text = "tracing: {otlp: http://127.0.0.1:4318/v1/traces?key=hush, headers: {authorization: Bearer hush}}\n"
    assert "hush" not in repr(load_config(write(tmp_path, text), {}))


@pytest.mark.parametrize("name", ["content-type", "a b", "x:y"])
def test_a_header_that_cannot_be_sent_is_a_fault(tmp_path: Path, name: str) -> None:
    text = f"tracing: {{otlp: http://127.0.0.1:4318/v1/traces, headers: {{'{name}': v}}}}\n"
    (told,) = faults(tmp_path, text)
    assert "cannot be sent with spans; name another header" in told


def test_a_gate_without_opentelemetry_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(checks, "find_spec", lambda name: None if name == "opentelemetry" else found(name))
    (told,) = faults(tmp_path, "tracing:\n  otlp: http://127.0.0.1:4318/v1/traces\n")
    assert told == ("3: tracing.otlp needs OpenTelemetry, which is not installed; pip install 'sessiongate[tracing]'")


def test_no_more_than_a_hundred_sessions_have_series_of_their_own(tmp_path: Path) -> None:
    each = "  - {{name: s{0}, permission_id: 0x{0:064x}}}\n"
    text = "metrics:\n sessions:\n" + "".join(map(each.format, range(1, 101)))
    assert len(load_config(write(tmp_path, text), {}).metrics.sessions) == 100
    (told,) = faults(tmp_path, text + each.format(101))
    assert "metrics.sessions: too long: wanted at most 100 entries" in told
