"""Starts gates as `tests.chaos.nursery` does, each with a small disk of its own that is nearly full.

It is in `disk` beside the settings, for that gate's eyes alone, and has room again once a file `mend` is beside it.
Linux gives such a disk to root, and elsewhere to anybody who may have a user namespace.
"""

from __future__ import annotations

import ctypes
import os
import threading
import time
from pathlib import Path
from typing import Final

from tests.chaos import nursery

_NEW_MOUNTS: Final = 0x00020000
_NEW_USERS: Final = 0x10000000
_ALL_PRIVATE: Final = 0x4000 | 1 << 18
_BYTES: Final = 64 << 20
_LIBC: Final = ctypes.CDLL(None, use_errno=True)
_serve = nursery.serve


def _give_disk(place: Path) -> None:
    user, group = os.geteuid(), os.getegid()
    if _LIBC.unshare(_NEW_MOUNTS):
        _do(_LIBC.unshare(_NEW_MOUNTS | _NEW_USERS), "unshare")
        for name, text in (("setgroups", "deny"), ("uid_map", f"0 {user} 1"), ("gid_map", f"0 {group} 1")):
            Path(f"/proc/self/{name}").write_text(text)
    place.mkdir(exist_ok=True)
    _do(_LIBC.mount(None, b"/", None, _ALL_PRIVATE, None), "mount / privately")
    _do(_LIBC.mount(b"none", str(place).encode(), b"tmpfs", 0, f"size={_BYTES}".encode()), "mount a disk")


def _do(failed: int, what: str) -> None:
    if failed:
        raise OSError(ctypes.get_errno(), what)


def _fill(place: Path, mended: Path) -> None:
    ballast = place / "ballast"
    ballast.write_bytes(bytes(_BYTES * 92 // 100))
    while not mended.exists():
        time.sleep(0.1)
    ballast.unlink()


def serve(config: str, log: str, most_bytes: int, astray: str) -> None:
    """A gate with such a disk."""
    place = Path(config).parent / "disk"
    _give_disk(place)
    threading.Thread(target=_fill, args=(place, place.with_name("mend")), daemon=True).start()
    _serve(config, log, most_bytes, astray)


if __name__ == "__main__":
    nursery.serve = serve
    nursery.main()
