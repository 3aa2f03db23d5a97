"""Child processes that never outlive their parent, and free ports for them."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

BOUND = Path(__file__).parent / "bound.py"


def bound(command: Sequence[str | Path]) -> list[str]:
    """`command` as a program that ends when this process does, however it ends."""
    return [sys.executable, str(BOUND), *(str(part) for part in command)]


class ChildFailed(AssertionError):
    """A child ended or stayed silent when it was needed; the message carries the end of its log."""


@dataclass
class Child:
    """One running program; its output goes to `log`."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path

    @classmethod
    def start(
        cls, name: str, command: Sequence[str | Path], log: Path, *, cwd: Path, env: Mapping[str, str] | None = None
    ) -> Child:
        with log.open("ab") as output:
            process = subprocess.Popen(
                bound(command),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=cwd,
                env={**os.environ, **(env or {})},
            )
        return cls(name, process, log)

    def wait_until(self, ready: Callable[[], bool], what: str, *, seconds: float = 180) -> None:
        """Polls `ready` until it holds; fails at once when the child ends.

        A machine with much else to do starts node in more than a minute.
        """
        deadline = time.monotonic() + seconds
        while not ready():
            if self.process.poll() is not None:
                raise ChildFailed(f"{self.name} ended with {self.process.returncode}:\n{self.tail()}")
            if time.monotonic() > deadline:
                raise ChildFailed(f"{self.name}: no {what} within {seconds:.0f} s:\n{self.tail()}")
            time.sleep(0.02)

    def stop(self) -> None:
        """Asks to end, then insists."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(timeout=5)
            except subprocess.TimeoutExpired:
                self.process.kill()
        self.process.wait()

    def kill(self) -> None:
        """kill -9: no chance to put anything in order."""
        self.process.kill()
        self.process.wait()

    def tail(self, lines: int = 30) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])


def answers(url: str) -> bool:
    """Whether anything speaks HTTP at `url`."""
    try:
        with urllib.request.urlopen(url, timeout=2):
            return True
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False


def is_ok(url: str) -> bool:
    """Whether `url` answers 200."""
    try:
        with urllib.request.urlopen(url, timeout=2) as response:
            return bool(response.status == 200)
    except OSError:
        return False
