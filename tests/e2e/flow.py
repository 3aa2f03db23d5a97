"""Runs one SDK flow as its own process and reads back how each step ended."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import dataclass
from typing import Any, Self

from tests.e2e.children import bound
from tests.e2e.rig import HERE, Rig, node_binary

LONGEST_FLOW_SECONDS = 180


@dataclass(frozen=True)
class Flow:
    """A script in flows/ with its argument."""

    name: str
    script: str
    arguments: tuple[str, ...] = ()


STARTALE = Flow("startale", "flows/startale.mjs")
NEXUS = Flow("nexus", "flows/rhinestone.mjs", ("nexus",))
SAFE = Flow("safe", "flows/rhinestone.mjs", ("safe",))
BICONOMY = Flow("biconomy", "flows/biconomy.mjs")
ZERODEV = Flow("zerodev", "flows/zerodev.mjs")
BUNDLER = Flow("bundler", "flows/bundler.mjs")
LANES = Flow("lanes", "flows/lanes.mjs")


class FlowFailed(AssertionError):
    """The script itself broke off; the message carries its output."""


class RunningFlow:
    """A flow in progress: `wait` for its end, or walk it from pause to pause. Leaving the `with` ends it."""

    def __init__(
        self, rig: Rig, flow: Flow, *, run: str, bundler_url: str, account_index: int, pause_after: tuple[str, ...] = ()
    ) -> None:
        self.report = rig.folder / f"{run}.report.json"
        self.log = rig.folder / f"{run}.log"
        environment = {
            "RIG": str(rig.state_file),
            "BUNDLER_URL": bundler_url,
            "RUN": run,
            "ACCOUNT_INDEX": str(account_index),
            "REPORT": str(self.report),
            **({"PAUSE_AFTER": ",".join(pause_after)} if pause_after else {}),
        }
        self.process = subprocess.Popen(
            bound([node_binary(), flow.script, *flow.arguments]),
            cwd=HERE,
            env={**os.environ, **environment},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_failure: object) -> None:
        self.process.kill()
        self.process.communicate()

    def until_paused(self, step: str) -> None:
        """Returns when the flow waits after `step`."""
        assert self.process.stdout is not None
        seen = []
        for line in self.process.stdout:
            seen.append(line)
            if line.strip() == f"paused after {step}":
                return
        raise FlowFailed("".join(seen))

    def go_on(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def wait(self) -> list[dict[str, Any]]:
        """The steps in order, each `{"step", "mined" | "refused" | …}`."""
        output, _ = self.process.communicate(timeout=LONGEST_FLOW_SECONDS)
        self.log.write_text(output)
        if self.process.returncode != 0:
            raise FlowFailed(output)
        steps: list[dict[str, Any]] = json.loads(self.report.read_text())["steps"]
        return steps


def run_flow(rig: Rig, flow: Flow, *, run: str, bundler_url: str, account_index: int) -> list[dict[str, Any]]:
    with RunningFlow(rig, flow, run=run, bundler_url=bundler_url, account_index=account_index) as running:
        return running.wait()
