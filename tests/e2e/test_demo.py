"""`make demo ONCE=1` tells its story to the end, legibly where there is no terminal too."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from itertools import takewhile

from tests.e2e.children import is_ok
from tests.e2e.gate import ROOT
from tests.e2e.rig import install
from tests.patience import PATIENCE_SECONDS, patiently


def test_every_step_of_the_demo_goes_as_told() -> None:
    install()
    told = subprocess.run(
        [sys.executable, "-m", "tests.e2e.demo", "--once"],
        cwd=ROOT,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert told.returncode == 0, told.stdout + told.stderr
    assert (told.stdout.count("✔ mined"), told.stdout.count("✘ rejected")) == (7, 4)
    assert "\x1b[" not in told.stdout


def answers_in_time(url: str) -> bool:
    return any(is_ok(url) or time.sleep(0.1) for _ in patiently())


def test_what_the_demo_invites_to_try_works_as_it_is_printed_and_prometheus_stays(
    program: Callable[[str, str], str],
) -> None:
    for name in ("prometheus", "prometheus-alertmanager"):
        program(name, name)
    install()
    with subprocess.Popen(
        [sys.executable, "-m", "tests.e2e.demo"],
        cwd=ROOT,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        text=True,
    ) as demo:
        assert demo.stdout is not None
        try:
            printed = [line.strip() for line in takewhile(lambda line: "Still running" not in line, demo.stdout)]
            start = printed.index("Try it, in another terminal:")
            export, *commands = [line for line in printed[start + 1 :] if line]
            variable, _, place = export.removeprefix("export ").partition("=")
            assert variable == "SESSIONGATE_CONFIG"
            assert len(commands) == 3
            for command in commands:
                tried = subprocess.run(
                    shlex.split(command),
                    cwd="/",
                    env={**os.environ, variable: place},
                    capture_output=True,
                    text=True,
                    timeout=PATIENCE_SECONDS,
                    check=False,
                )
                assert tried.returncode == 0, (command, tried.stdout, tried.stderr)
                assert tried.stdout, command
            shown: dict[str, str] = {}
            for line in demo.stdout:
                shown.update([line.split()] if line.strip() else [])
                if "told" in shown:  # the last one
                    break
            for name in ("metrics", "graphs", "alerts", "told"):
                assert answers_in_time(shown[name]), (name, shown)
        finally:
            demo.send_signal(signal.SIGTERM)
        assert demo.wait(timeout=PATIENCE_SECONDS) == 0
