"""The command `sessiongate`. Exit codes: 0 all well; 1 refused, faulty or not found; 2 not doable as asked."""

from __future__ import annotations

import sys

from proxy.cli.application import application

__all__ = ["application", "main"]


def main() -> None:
    """Run the command line of this process."""
    try:
        application(prog_name="sessiongate")
    except BrokenPipeError:
        # the reader of our output has gone, as with `| head`
        sys.stderr.close()
        sys.exit(1)
