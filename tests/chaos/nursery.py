"""Starts gates fast: a process that has imported everything forks one whenever it is told to.

    python -m tests.chaos.nursery

`start CONFIG LOG BYTES ASTRAY` on its standard input starts a gate, none of whose files may grow beyond that (0: any
size; less than 0: it runs as somebody who may not write here), and prints its pid; `wait PID` prints how it ended. Its
time of day is `ASTRAY`: wrong by so many seconds at first, and a moment later, as in `0,-3600`. When its input ends, so
do its gates.
"""

from __future__ import annotations

import os
import resource
import signal
import sys
import time
import traceback
from pathlib import Path

import proxy.app
import proxy.cli
from proxy.config import load_config

_NOBODY = 65_534


_MOMENT = 0.3
"""Seconds of a gate's life, after which its time of day is set."""


def set_the_clock(first: float, later: float) -> None:
    """Both in seconds from what is so. No other clock is touched."""
    real, begun = time.time, time.monotonic()

    def astray() -> float:
        return real() + (first if time.monotonic() - begun < _MOMENT else later)

    time.time = astray


def serve(config: str, log: str, most_bytes: int, astray: str) -> None:
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(output, 1)
    os.dup2(output, 2)
    if most_bytes > 0:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # a write beyond the limit fails instead of ending the process
        resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, most_bytes))
    if astray != "0,0":
        set_the_clock(*map(float, astray.split(",")))
    code = 1
    try:
        if os.geteuid() == 0 and most_bytes < 0:
            load_config(Path(config), os.environ)  # imports what only root may read here
            "".encode("utf-8-sig")
            os.setgid(_NOBODY)
            os.setuid(_NOBODY)  # root may write what is read-only
        sys.argv = ["sessiongate", "serve", "--config", config]
        proxy.cli.main()
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else 1
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def main() -> None:
    children: set[int] = set()
    for line in sys.stdin:
        command, *arguments = line.split()
        if command == "start":
            config, log, most_bytes, astray = arguments
            pid = os.fork()
            if pid == 0:
                serve(config, log, int(most_bytes), astray)
            children.add(pid)
            print(pid, flush=True)
        else:
            pid = int(arguments[0])
            children.discard(pid)
            print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
    for pid in children:
        os.kill(pid, signal.SIGKILL)


if __name__ == "__main__":
    main()
