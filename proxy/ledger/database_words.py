"""What goes wrong with a database, in words an operator can act on."""

from __future__ import annotations

import sqlite3
from typing import Final

_WORDS: Final = {
    sqlite3.SQLITE_BUSY: "it is locked by another process",
    sqlite3.SQLITE_LOCKED: "it is locked by another process",
    sqlite3.SQLITE_FULL: "the disk is full",
    sqlite3.SQLITE_IOERR: "the disk cannot be written, or is full",
    sqlite3.SQLITE_READONLY: "it is read-only",
    sqlite3.SQLITE_CORRUPT: "it is damaged",
    sqlite3.SQLITE_NOTADB: "it is no database",
    sqlite3.SQLITE_CANTOPEN: "it cannot be opened",
}


def in_words(error: BaseException) -> str:
    """What went wrong with a database, in words an operator can act on; nothing of what was being written."""
    if isinstance(error, sqlite3.Error):
        code = getattr(error, "sqlite_errorcode", None)
        if code is not None and (words := _WORDS.get(code & 0xFF)) is not None:
            return words
    return type(error).__name__
