"""What a process has needed much memory for at times is not its own for good."""

from __future__ import annotations

import platform
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
MEBIBYTE = 1 << 20
SIDE_BY_SIDE = """
import ctypes
from proxy.edge.malloc import give_back_what_is_large

class Mallinfo(ctypes.Structure):
    _fields_ = [(name, ctypes.c_size_t) for name in "arena o s h hblkhd u f uordblks fordblks keepcost".split()]

mallinfo = ctypes.CDLL(None).mallinfo2
mallinfo.restype = Mallinfo
{first}
kept = []
for _ in range(6):
    answers = [bytearray() for _ in range(8)]
    for _ in range(64):  # each of four megabytes, as they come
        for answer in answers:
            answer += bytes(65536)
    for _ in range(8):
        parsed = [bytes(700) for _ in range(6_000)]  # what is in one
        kept.append(parsed[-1])  # and a little of it stays
        answers.pop()
        parsed.clear()
print(mallinfo().fordblks)
"""


def kept_for_nothing(first: str = "") -> int:
    """Bytes that malloc has of the system, and nobody of malloc."""
    command = [sys.executable, "-c", SIDE_BY_SIDE.format(first=first)]
    return int(subprocess.run(command, cwd=ROOT, capture_output=True, check=True, text=True).stdout)


def test_answers_that_were_large_leave_no_memory_that_nobody_uses() -> None:
    assert platform.libc_ver()[0] == "glibc", "other C libraries have not got this trouble, and this test shows nothing"
    assert kept_for_nothing() > 16 * MEBIBYTE
    assert kept_for_nothing("give_back_what_is_large()") < 12 * MEBIBYTE
