"""What all tests share: who runs beside whom, and the look-up of programs that are not Python packages."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable

import pytest
from hypothesis import settings
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling
from xdist.workermanage import WorkerController

settings.register_profile("house", deadline=None)  # a busy machine is no fault
settings.load_profile("house")


RIG = "rig"
LONGEST = (
    RIG,
    "tests/chaos/test_crash_loop.py",
    "tests/chaos/test_crash_loop_with_node.py",
    "tests/properties/test_ledger_machine.py",
)
"""What is begun first, so that nobody waits for it at the end."""


class BesideEachOther(LoadScopeScheduling):
    """Where tests run side by side (`-n`), those of one file stay together, and all that share the rig."""

    def _split_scope(self, nodeid: str) -> str:
        return RIG if nodeid.startswith("tests/e2e/") else nodeid.partition("::")[0]

    def _assign_work_unit(self, node: WorkerController) -> None:
        for scope in reversed(LONGEST):
            if scope in self.workqueue:
                self.workqueue.move_to_end(scope, last=False)
        super()._assign_work_unit(node)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> BesideEachOther:
    """In xdist's own words: who gives tests to those who run them."""
    return BesideEachOther(config, log)


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
