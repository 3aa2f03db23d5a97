"""Boots the rig and the gate, tells the story, then stays up until Ctrl-C.

python -m tests.e2e.demo           stays up
python -m tests.e2e.demo --once    ends after the story: exit code 0 only if every step went as told
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from contextlib import ExitStack, suppress
from pathlib import Path
from types import FrameType

from tests.e2e.children import ChildFailed, bound
from tests.e2e.demo.rules import write_rules
from tests.e2e.gate import CHAIN, Gate
from tests.e2e.rig import CHAIN_ID, HERE, Rig, node_binary
from tests.e2e.watchers import are_installed, watching
from tests.ports import free_port

TO_TRY = ("sessions list", "audit --verdict reject", "explain 'AA24 signature error'")
"""What the command can say of what was just shown."""


def main(arguments: list[str]) -> int:
    signal.signal(signal.SIGTERM, _as_interrupt)
    colourful = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    with tempfile.TemporaryDirectory(prefix="sessiongate-demo-") as folder:
        rig, gate = Rig(Path(folder)), Gate.in_folder(Path(folder) / "gate")
        try:
            print("Starting a chain, a bundler and the gate …", flush=True)
            rig.start()
            write_rules(gate.folder)
            gate.start(rig, more="rules: [rules/*.yaml]\n")
            _introduce(rig, gate, colourful)
            code = _tell_story(rig, gate)
            if "--once" not in arguments:
                _stay(rig, gate, Path(folder))
        except ChildFailed as failed:
            print(failed, file=sys.stderr)
            return 1
        except KeyboardInterrupt:
            return 130
        finally:
            gate.stop()
            rig.stop()
    return code


def _as_interrupt(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _introduce(rig: Rig, gate: Gate, colourful: bool) -> None:
    bold = "\x1b[1m{}\x1b[0m".format if colourful else str
    print(f"\n{bold('sessiongate: the life of a session')}\n")
    print(f"   dapp (Startale SDK)  →  gate {gate.url}  →  bundler (alto)  →  chain {CHAIN_ID} (anvil)", flush=True)


def _tell_story(rig: Rig, gate: Gate) -> int:
    environment = {
        "RIG": str(rig.state_file),
        "BUNDLER_URL": gate.url,
        "RUN": "demo",
        "REPORT": os.devnull,
    }
    story = subprocess.run(
        bound([node_binary(), "demo/story.mjs"]), cwd=HERE, env={**os.environ, **environment}, check=False
    )
    return story.returncode


def _invite(gate: Gate) -> None:
    """What to type next, in another terminal: the command finds this gate by one variable."""
    print("\nTry it, in another terminal:\n")
    print(f"   export SESSIONGATE_CONFIG={gate.config_file}")
    command = Path(sys.executable).with_name("sessiongate")
    for arguments in TO_TRY:
        print(f"   {command} {arguments}")


def _stay(rig: Rig, gate: Gate, folder: Path) -> None:
    shown = {
        "RPC": gate.url,
        "metrics": f"{gate.admin}/metrics",
        "health": f"{gate.admin}/readyz",
        "audit": f"{gate.admin}/audit?chain={CHAIN}",
        "rules": f"{gate.admin}/rules",
        "chain": rig.node,
    }
    with ExitStack() as stack:
        if are_installed():
            port = free_port()
            watchers = stack.enter_context(watching(folder / "watchers", port, f"127.0.0.1:{gate.admin_port}"))
            shown |= {"graphs": watchers.page("graph"), "alerts": watchers.page("alerts")}
            shown["told"] = watchers.alertmanager
        _invite(gate)
        print("\nStill running; Ctrl-C ends everything.\n")
        for name, url in shown.items():
            print(f"   {name:<8} {url}")
        sys.stdout.flush()
        with suppress(KeyboardInterrupt):  # the wanted end: what counts is how the story went
            signal.pause()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
