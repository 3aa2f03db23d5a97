"""Answers as bytes."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Final

CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"
_STATUS_LINES: Final = {
    status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode("ascii") for status in HTTPStatus
}


def print_answer(status: int, headers: Mapping[str, str], body: bytes | None, *, date: bytes, last: bool) -> bytes:
    """One whole answer, or its head alone; `last` tells the caller that the connection ends with it.

    Names and values of `headers` are our own words or have come through the grammar of a head: none holds a line break.
    """
    line = _STATUS_LINES.get(status) or b"HTTP/1.1 %d \r\n" % status
    named = "".join([f"{name}: {value}\r\n" for name, value in headers.items()]).encode("utf-8", "surrogateescape")
    # RFC 9110 §8.6: none with 204
    lengthless = body is None or status == HTTPStatus.NO_CONTENT
    length = b"" if lengthless else b"Content-Length: %d\r\n" % len(body or b"")
    ending = b"Connection: close\r\n\r\n" if last else b"\r\n"
    return b"%b%b%bDate: %b\r\n%b%b" % (line, named, length, date, ending, body or b"")
