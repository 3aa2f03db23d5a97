"""The wheel holds what the checkout holds."""

from __future__ import annotations

import tomllib
from pathlib import Path

ROOT = Path(__file__).parent.parent


def test_every_folder_with_python_in_it_is_a_package_that_the_wheel_finds() -> None:
    found = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]["packages"]
    assert found == {"find": {"include": ["proxy", "proxy.*"]}}
    folders = {path.parent for path in (ROOT / "proxy").rglob("*.py")}
    assert [folder for folder in sorted(folders) if not (folder / "__init__.py").exists()] == []


def test_the_lock_files_name_no_index_and_pin_by_hash() -> None:
    for name in ("requirements.lock", "requirements-tracing.lock", "requirements-dev.lock"):
        lock = (ROOT / name).read_text(encoding="utf-8")
        assert "index-url" not in lock
        assert "://" not in lock
        pins = [line for line in lock.splitlines() if "==" in line and not line.startswith((" ", "#"))]
        assert len(pins) > 10
        assert lock.count("--hash=sha256:") >= len(pins)


def test_the_wheel_brings_the_rules_the_example_settings_and_the_unit() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    held: set[str] = set()
    for folder, patterns in project["tool"]["setuptools"]["data-files"].items():
        found = {f"{folder}/{path.name}" for pattern in patterns for path in ROOT.glob(pattern)}
        assert found, folder
        held |= found
    share = "share/sessiongate"
    shipped = {f"{share}/{path.relative_to(ROOT)}" for path in (ROOT / "rules").rglob("*") if path.is_file()}
    assert held == shipped | {f"{share}/sessiongate.example.yaml", f"{share}/systemd/sessiongate.service"}
