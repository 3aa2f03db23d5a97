"""The unit starts what is there, keeps to itself, and gives the gate the time it asks for."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from configparser import ConfigParser
from pathlib import Path

import pytest

from proxy.app.memory import _BOOT
from proxy.config.loading import load_config
from proxy.config.settings import Config
from tests.deploy.conftest import DEPLOY

UNIT = DEPLOY / "systemd" / "sessiongate.service"


@pytest.fixture
def service() -> dict[str, str]:
    parser = ConfigParser(strict=False, interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read(UNIT)
    return dict(parser["Service"])


@pytest.fixture(scope="session")
def analyze(program: Callable[[str, str], str]) -> str:
    return program("systemd-analyze", "systemd")


def test_systemd_calls_its_exposure_ok(analyze: str) -> None:
    done = subprocess.run(
        [analyze, "--offline=yes", "--no-pager", "security", UNIT], capture_output=True, text=True, check=False
    )
    exposure = re.search(r"Overall exposure level for sessiongate.service: ([0-9.]+)", done.stdout)
    assert exposure is not None, done.stdout + done.stderr
    assert float(exposure[1]) < 2.0


def test_systemd_reads_it_without_a_complaint_but_that_nothing_is_installed_here(analyze: str) -> None:
    done = subprocess.run([analyze, "verify", UNIT], capture_output=True, text=True, check=False)
    complaints = [line for line in done.stderr.splitlines() if UNIT.name in line]
    assert [line for line in complaints if "is not executable" not in line] == []


def test_it_reloads_by_the_signal_the_gate_takes_and_waits_for_the_drain(service: dict[str, str]) -> None:
    assert service["ExecReload"].startswith("/bin/kill -HUP")
    assert float(service["TimeoutStopSec"]) > Config.model_fields["drain_seconds"].default + 30
    assert Path(service["WorkingDirectory"]).name == service["StateDirectory"]


def test_what_tells_one_life_of_the_machine_from_another_is_in_its_view(service: dict[str, str]) -> None:
    """It is in /proc and of no process; without it a restart trusts whatever the time of day is."""
    assert _BOOT.is_relative_to("/proc")
    assert service.get("ProcSubset", "all") == "all"


def test_the_ledger_that_its_head_tells_to_write_is_in_the_only_folder_that_can_be_written(
    service: dict[str, str], tmp_path: Path
) -> None:
    (line,) = re.findall(r"^# +(ledger: \S+)$", UNIT.read_text(), re.MULTILINE)
    settings = tmp_path / "sessiongate.yaml"
    settings.write_text(f"{line}\nchains: {{soneium: {{chain_id: 1868, bundlers: [http://127.0.0.1:1]}}}}\n")
    ledger = load_config(settings, {}).ledger.path
    assert ledger is not None
    assert str(ledger.parent) == service["WorkingDirectory"]
    assert service["ProtectSystem"] == "strict"
