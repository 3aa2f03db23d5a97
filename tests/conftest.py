"""What all tests share: who runs beside whom, and the look-up of programs that are not Python packages."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("house", deadline=None)  # a busy machine is no fault
settings.load_profile("house")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Where tests run side by side (`-n`), those of one file stay together, and all that share the rig."""
    here = Path(__file__).parent
    for item in items:
        file = item.path.relative_to(here)
        item.add_marker(pytest.mark.xdist_group("rig" if file.parts[0] == "e2e" else file.as_posix()))


@pytest.fixture(scope="session")
def program() -> Callable[[str, str], str]:
    """`program(name, package)`: the path of a program, or where to get it.

    Without it a test cannot run: in CI, which installs everything, that is a failure; elsewhere the test is skipped.
    """

    def find(name: str, package: str) -> str:
        found = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin")
        if found is not None:
            return found
        problem = f"{name} is not installed (Debian: apt-get install {package})"
        if os.environ.get("CI"):
            pytest.fail(problem)
        pytest.skip(problem)

    return find
