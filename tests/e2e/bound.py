"""Becomes another program that the kernel ends together with its parent:  python bound.py PROGRAM ARGUMENT…

A program of its own, since only code between fork and exec may ask for this, and forking with Python code in
between is not safe where there are threads.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1

if sys.platform == "linux":
    parent = os.getppid()
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it ended in between
        sys.exit(1)
os.execvp(sys.argv[1], sys.argv[1:])
