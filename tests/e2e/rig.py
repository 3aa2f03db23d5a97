"""The world around the gate: a chain with everything deployed, a bundler, and a recorder in front of the bundler.

    SDK -> [gate] -> recorder -> alto -> anvil

All of it comes from registry packages (package.json) and listens on free ports of 127.0.0.1.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.e2e.children import Child, answers
from tests.ports import free_ports

HERE = Path(__file__).parent
CHAIN_ID = 1946
ENTRY_POINT = "0x0000000071727De22E5E9d8BAf0edAc6f37da032"


def install() -> None:
    """Brings the npm packages and the compiled contracts, as far as they are missing or out of date."""
    packages = HERE / "node_modules" / ".installed"
    if _older(packages, [HERE / "package-lock.json", HERE / "package.json"]):
        # not `npm ci`: it refuses a lock file in which a registry client left out other platforms' packages
        subprocess.run(["npm", "install", "--no-audit", "--no-fund", "--no-save"], cwd=HERE, check=True)
        packages.touch()
    if _older(HERE / "build" / "contracts.json", (HERE / "contracts").rglob("*.sol")):
        subprocess.run(["npm", "run", "--silent", "build"], cwd=HERE, check=True)


def _older(made: Path, sources: Iterable[Path]) -> bool:
    return not made.exists() or made.stat().st_mtime < max(source.stat().st_mtime for source in sources)


@dataclass
class Rig:
    """A running chain and bundler. Logs, state and traffic go to `folder`."""

    folder: Path
    node: str = ""
    bundler: str = ""
    recorder: str = ""
    deployed: dict[str, str] = field(default_factory=dict)
    children: list[Child] = field(default_factory=list)

    @property
    def state_file(self) -> Path:
        return self.folder / "rig.json"

    @property
    def traffic_file(self) -> Path:
        return self.folder / "traffic.jsonl"

    def start(self) -> Rig:
        install()
        node, bundler, recorder = free_ports(3)
        self.node, self.bundler, self.recorder = (f"http://127.0.0.1:{port}" for port in (node, bundler, recorder))
        try:
            self._start_chain(node)
            self._start_bundler(bundler)
            self._start_recorder(recorder)
        except BaseException:
            self.stop()
            raise
        state = {key: getattr(self, key) for key in ("node", "bundler", "recorder", "deployed")}
        self.state_file.write_text(json.dumps(state))
        return self

    def stop(self) -> None:
        while self.children:
            self.children.pop().stop()

    def _child(self, name: str, *command: str | Path) -> Child:
        child = Child.start(name, command, self.folder / f"{name}.log", cwd=HERE)
        self.children.append(child)
        return child

    def _start_chain(self, port: int) -> None:
        options = ["--host", "127.0.0.1", "--port", str(port), "--chain-id", str(CHAIN_ID), "--hardfork", "prague"]
        chain = self._child("anvil", anvil_binary(), *options, "--silent")
        chain.wait_until(lambda: answers(self.node), "JSON-RPC")
        out = self.folder / "deployed.json"
        subprocess.run([node_binary(), "rig/genesis.mjs", self.node, out], cwd=HERE, check=True, timeout=120)
        self.deployed = json.loads(out.read_text())

    def _start_bundler(self, port: int) -> None:
        executor, utility = development_keys("executor", "utility")
        options = {
            "--entrypoints": ENTRY_POINT,
            "--executor-private-keys": executor,
            "--utility-private-key": utility,
            "--safe-mode": "false",  # anvil has no tracer that alto's safe mode understands
            "--deploy-simulations-contract": "true",
            "--rpc-url": self.node,
            "--port": str(port),
            "--block-time": "100",  # receipts in tenths of a second
            "--max-bundle-interval": "200",
            "--mempool-max-parallel-ops": "256",  # of one account, on different nonce keys
            "--log-level": "info",
            "--json": "true",
        }
        command: list[str | Path] = [node_binary(), "--import", HERE / "rig/loopback.mjs", _alto_script(), "run"]
        alto = self._child("alto", *command, *(word for pair in options.items() for word in pair))
        alto.wait_until(lambda: answers(f"{self.bundler}/health"), "JSON-RPC")

    def _start_recorder(self, port: int) -> None:
        self.traffic_file.touch()
        recorder = self._child(
            "recorder", node_binary(), "rig/recorder.mjs", str(port), self.bundler, self.traffic_file
        )
        recorder.wait_until(lambda: answers(self.recorder), "HTTP")

    def traffic(self, run: str) -> list[dict[str, Any]]:
        """What the bundler was asked during one run, in order."""
        lines = (json.loads(line) for line in self.traffic_file.read_text().splitlines())
        return [line for line in lines if line["run"] == run]


def node_binary() -> str:
    """Node 20 or newer."""
    found = shutil.which("node")
    if found is None:
        raise FileNotFoundError("node is not installed: the end-to-end tests need Node 20")
    return found


def anvil_binary() -> Path:
    """The binary itself where the package for this platform has it: its launcher would be one process more."""
    machine = {"x86_64": "amd64", "aarch64": "arm64"}.get(os.uname().machine, "")
    binary = HERE / f"node_modules/@foundry-rs/anvil-{os.uname().sysname.lower()}-{machine}/bin/anvil"
    return binary if binary.exists() else HERE / "node_modules/.bin/anvil"


def _alto_script() -> Path:
    return next((HERE / "node_modules/@pimlico/alto").glob("**/esm/cli/alto.js"))


def development_keys(*names: str) -> list[str]:
    """Keys out of rig/addresses.mjs, the one place that lists them."""
    source = "import('./rig/addresses.mjs').then(a => console.log(JSON.stringify(a.KEYS)))"
    output = subprocess.run([node_binary(), "-e", source], cwd=HERE, check=True, capture_output=True, text=True)
    keys = json.loads(output.stdout)
    return [keys[name] for name in names]


if __name__ == "__main__":
    install()
