"""The wheel holds what the checkout holds."""

from __future__ import annotations

import tomllib
from pathlib import Path

ROOT = Path(__file__).parent.parent


def test_every_package_on_disk_is_listed_for_the_wheel() -> None:
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]["packages"]
    on_disk = sorted(".".join(init.parent.relative_to(ROOT).parts) for init in (ROOT / "proxy").rglob("__init__.py"))
    assert listed == on_disk


def test_the_lock_files_name_no_index_and_pin_by_hash() -> None:
    for name in ("requirements.lock", "requirements-dev.lock"):
        lock = (ROOT / name).read_text(encoding="utf-8")
        assert "index-url" not in lock
        assert "://" not in lock
        pins = [line for line in lock.splitlines() if "==" in line and not line.startswith((" ", "#"))]
        assert len(pins) > 10
        assert lock.count("--hash=sha256:") >= len(pins)
