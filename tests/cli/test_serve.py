"""`sessiongate serve` hands the settings to the gate, wherever the file is named."""

from __future__ import annotations

import sqlite3

import pytest

from proxy.config import Config
from proxy.edge.audit.holding import TrailHeldError
from tests.cli.conftest import Run


@pytest.mark.parametrize("arguments", [[], ["sessiongate.yaml"], ["--config", "sessiongate.yaml"]])
def test_serves_the_settings(run: Run, monkeypatch: pytest.MonkeyPatch, arguments: list[str]) -> None:
    served: list[Config] = []
    monkeypatch.setattr("proxy.app.serve", lambda config, _reread: served.append(config))
    assert run("serve", *arguments).exit_code == 0
    assert [list(config.chains) for config in served] == [["soneium"]]


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (OSError(98, "Address already in use"), "cannot serve: Address already in use"),
        (sqlite3.OperationalError("unable to open database file"), "cannot be used: unable to open database file"),
        (
            TrailHeldError("the trail a.db is being written", "give each gate its own"),
            "cannot serve: the trail a.db is being written; give each gate its own",
        ),
    ],
)
def test_what_keeps_the_gate_from_serving_is_told_in_a_sentence(
    run: Run, monkeypatch: pytest.MonkeyPatch, error: Exception, told: str
) -> None:
    def refuse(_config: Config, _reread: object) -> None:
        raise error

    monkeypatch.setattr("proxy.app.serve", refuse)
    result = run("serve")
    assert result.exit_code == 2
    assert told in result.stderr
