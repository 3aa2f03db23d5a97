"""What statements are given goes to SQLite as it stands.

Of a value that is neither a number nor text `sqlite3` asks who adapts it. Where nobody does, the protocol is asked and
the value itself, and each has no answer but an exception, which is put into words first: for bytes and for nothing at
all that takes as long as to write them, and an operation has two dozen of those.
"""

from __future__ import annotations

import sqlite3
from typing import Final

_NOTHING: Final = dict[None, None]().get
"""Makes nothing of nothing, without a step of Python."""


def bind_as_they_are() -> None:
    """Bytes and `None` are adapted to themselves in this process from now on, truth values to the numbers they are."""
    sqlite3.register_adapter(bytes, bytes.__bytes__)
    sqlite3.register_adapter(type(None), _NOTHING)
    sqlite3.register_adapter(bool, bool.__int__)
