"""What all tests share: who runs beside whom, and the look-up of programs that are not Python packages."""

from __future__ import annotations

import gc
import os
import shutil
from collections.abc import Callable, Generator

import pytest
from hypothesis import settings
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling
from xdist.workermanage import WorkerController

settings.register_profile("house", deadline=None)  # a busy machine is no fault
settings.load_profile("house")


RIG = "rig"
WITH_A_RIG_OF_THEIR_OWN = ("tests/e2e/test_walk.py", "tests/e2e/test_demo.py")
LONGEST = (
    RIG,
    "tests/chaos/test_crash_loop.py",
    "tests/chaos/test_crash_loop_with_node.py",
    *WITH_A_RIG_OF_THEIR_OWN,
    "tests/bench/test_bench.py",
    "tests/app/test_following.py",
    "tests/edge/audit/test_apart.py",
)
"""What is begun first, so that nobody waits for it at the end."""


class BesideEachOther(LoadScopeScheduling):
    """Where tests run side by side (`-n`), those of one file stay together, and all that share the rig."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        return RIG if file.startswith("tests/e2e/") and file not in WITH_A_RIG_OF_THEIR_OWN else file

    def _assign_work_unit(self, node: WorkerController) -> None:
        for scope in reversed(LONGEST):
            if scope in self.workqueue:
                self.workqueue.move_to_end(scope, last=False)
        super()._assign_work_unit(node)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> BesideEachOther:
    """In xdist's own words: who gives tests to those who run them."""
    return BesideEachOther(config, log)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Thousands of tests are made, and all of them stay: the collector looks through them neither then nor later."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()
        gc.collect()
        gc.freeze()


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
