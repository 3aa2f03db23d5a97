"""The gate as ops run it: its own process, its own configuration file, its own database."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prometheus_client.core import Sample
from prometheus_client.parser import text_string_to_metric_families

from tests.e2e.children import Child, is_ok
from tests.e2e.rig import CHAIN_ID, Rig
from tests.patience import PATIENCE_SECONDS
from tests.ports import free_ports

ROOT = Path(__file__).parents[2]
CHAIN = "local"


@dataclass
class Gate:
    """One gate in front of the rig's recorder. Ports and database stay the same from life to life."""

    folder: Path
    port: int
    admin_port: int
    child: Child | None = None

    @classmethod
    def in_folder(cls, folder: Path) -> Gate:
        folder.mkdir(parents=True, exist_ok=True)
        port, admin_port = free_ports(2)
        return cls(folder, port, admin_port)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/{CHAIN}"

    @property
    def admin(self) -> str:
        return f"http://127.0.0.1:{self.admin_port}"

    @property
    def config_file(self) -> Path:
        return self.folder / "sessiongate.yaml"

    def start(
        self,
        rig: Rig,
        *,
        mode: str = "enforce",
        node: bool = True,
        bundler: str | None = None,
        more: str = "",
        of_chain: str = "",
        env: Mapping[str, str] | None = None,
    ) -> Gate:
        """Starts it and waits until it is ready. Without `node` it knows only what it has kept or seen.

        `bundler` is something else to put it in front of than the rig's, another gate perhaps. `more` are settings,
        `of_chain` those of its chain, indented; `env` is beside this process's environment.
        """
        self.config_file.write_text(
            f"listen: 127.0.0.1:{self.port}\n"
            f"admin_listen: 127.0.0.1:{self.admin_port}\n"
            f"mode: {mode}\n"
            f"ledger: sqlite:gate.db\n{more}"
            "chains:\n"
            f"  {CHAIN}:\n"
            f"    chain_id: {CHAIN_ID}\n"
            f"    bundlers: [{bundler or f'{rig.recorder}/bundler'}]\n"
            + (f"    node: {rig.node}\n" if node else "")
            + f"    poll_seconds: 0.1\n{of_chain}"
        )
        command: list[str | Path] = [sys.executable, "-m", "proxy.cli", "serve", "--config", self.config_file]
        self.child = Child.start("gate", command, self.folder / "gate.log", cwd=ROOT, env=env)
        self.child.wait_until(lambda: is_ok(f"{self.admin}/readyz"), "readiness")
        return self

    def stop(self) -> None:
        if self.child is not None:
            self.child.stop()

    def kill(self) -> None:
        assert self.child is not None
        self.child.kill()

    def command(self, *arguments: str) -> str:
        """What `sessiongate ARGUMENTS` prints for this gate's configuration."""
        done = subprocess.run(
            [sys.executable, "-m", "proxy.cli", *arguments, "--config", str(self.config_file)],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=PATIENCE_SECONDS,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def show(self, path: str) -> Any:
        """An answer of the admin listener, as JSON."""
        with urllib.request.urlopen(self.admin + path, timeout=PATIENCE_SECONDS) as response:
            return json.load(response)

    def audit(self, query: str = "") -> list[dict[str, Any]]:
        """The audit trail, once everything decided so far is on file."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while any(sample.value for sample in self._samples("sessiongate_audit_queue")) and time.monotonic() < deadline:
            time.sleep(0.02)
        rows: list[dict[str, Any]] = self.show(f"/audit{query}")["audit"]
        return rows

    def verdicts(self) -> Counter[str]:
        """How often each code was the verdict, as the metrics count it."""
        counted = [sample for sample in self._samples("sessiongate_verdicts_total") if sample.value]
        return Counter({sample.labels["code"]: int(sample.value) for sample in counted})

    def counted(self, name: str, **labels: str) -> float:
        """What a metric has counted under these labels."""
        return sum(sample.value for sample in self._samples(name) if labels.items() <= sample.labels.items())

    def _samples(self, name: str) -> list[Sample]:
        with urllib.request.urlopen(f"{self.admin}/metrics", timeout=PATIENCE_SECONDS) as response:
            families = list(text_string_to_metric_families(response.read().decode()))
        return [sample for family in families for sample in family.samples if sample.name == name]
