"""The process that writes a gate's trail: `python -m proxy.edge.audit.child DESCRIPTOR`; see `proxy.edge.audit.apart`.

It hears of nothing but its line: not of Ctrl-C, nor of what is said to the gate's group of processes.
"""

from __future__ import annotations

import signal
import socket
import sqlite3
import sys
import time
from pathlib import Path
from typing import Any

from proxy.edge.audit.chain import ChainKey
from proxy.edge.audit.line import PlainLine
from proxy.edge.audit.scribe import Scribe, TrailSettings
from proxy.edge.audit.space import DiskBudget
from proxy.edge.malloc import give_back_what_is_large


class _Word:
    """What the gate says while a disk refuses: to hurry, or nothing any more. See `proxy.edge.audit.scribe.Pause`."""

    def __init__(self, line: PlainLine) -> None:
        self._line = line
        self._hurried = False
        self.gone = False

    def is_set(self) -> bool:
        return self.wait(0)

    def wait(self, seconds: float) -> bool:
        # a gate that waits for an answer says nothing else
        if not (self._hurried or self.gone) and self._line.is_spoken(seconds):
            self.hear()
        return self._hurried or self.gone

    def hear(self) -> tuple[Any, ...] | None:
        """The next message that is none to hurry; `None` when there will be none."""
        while (message := self._line.receive()) is not None:
            if message != ("hurry",):
                return message
            self._hurried = True
            if not self._line.is_spoken(0):
                return ()
        self.gone = True
        return None


def main(descriptor: int) -> None:
    """Serve until the trail is closed or the gate is gone."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    give_back_what_is_large()
    line = PlainLine(socket.socket(fileno=descriptor))
    word = _Word(line)
    while (message := word.hear()) == ():
        pass
    # a gate may be killed while this process still imports: nothing is on record of it, and another may wait already
    if message is None or line.is_cut():
        return
    _, path, earlier, key, budget, told, run = message
    scribe = Scribe(
        Path(path),
        TrailSettings(
            key=ChainKey(*key),
            budget=DiskBudget(max_bytes=budget[0], reserve_bytes=budget[1], retention_seconds=budget[2]),
            told=told,
        ),
        word,
        earlier=None if earlier is None else Path(earlier),
        clock=time.time,
        refused=lambda error: line.send("waiting", str(error)),
    )
    try:
        scribe.open(run)
    except sqlite3.Error as error:
        line.send("refused", type(error).__name__, str(error))
        return
    try:
        _say(line, scribe)
        _serve(line, word, scribe, scribe.newest_seq())
    except OSError:
        return  # nobody listens any more; what was handed over is on file
    finally:
        scribe.leave()


def _serve(line: PlainLine, word: _Word, scribe: Scribe, on_file: int) -> None:
    while (message := word.hear()) is not None:
        match message:
            case ("write", first, size):
                if (packed := line.receive_bytes(size)) is None:
                    return
                # what another process before this one had written is not written again
                scribe.write(scribe.print_all(first, packed, after=on_file))
                _say(line, scribe)
            case ("prune",):
                _say(line, scribe, more=scribe.prune_old())
            case ("close", lost):
                scribe.close(lost)
                _say(line, scribe)
                return


def _say(line: PlainLine, scribe: Scribe, *, more: bool = False) -> None:
    head = scribe.head
    assert head is not None, "it is open"  # noqa: S101 - our own promise
    line.send("done", (head.id, head.hash), scribe.used, scribe.writable, scribe.dropped, scribe.run, more)


if __name__ == "__main__":
    main(int(sys.argv[1]))
