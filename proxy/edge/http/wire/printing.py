"""Answers as bytes."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Final

from proxy.edge.http.messages import PrintedFields, print_fields

CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"
_STATUS_LINES: Final = {
    status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode("ascii") for status in HTTPStatus
}
_OK: Final = int(HTTPStatus.OK)
_NO_CONTENT: Final = int(HTTPStatus.NO_CONTENT)
_PLAIN: Final = b"HTTP/1.1 200 OK\r\n%bContent-Length: %d\r\nDate: %b\r\n\r\n%b"


def print_answer(status: int, headers: Mapping[str, str], body: bytes | None, *, date: bytes, last: bool) -> bytes:
    """One whole answer, or its head alone; `last` tells the caller that the connection ends with it.

    See `PrintedFields` for what `headers` may hold.
    """
    if status == _OK and body is not None and not last and isinstance(headers, PrintedFields):  # nearly always
        return _PLAIN % (headers.printed, len(body), date, body)
    line = _STATUS_LINES.get(status) or b"HTTP/1.1 %d \r\n" % status
    named = headers.printed if isinstance(headers, PrintedFields) else print_fields(headers)
    # RFC 9110 §8.6: none with 204
    lengthless = body is None or status == _NO_CONTENT
    length = b"" if lengthless else b"Content-Length: %d\r\n" % len(body or b"")
    ending = b"Connection: close\r\n\r\n" if last else b"\r\n"
    return b"%b%b%bDate: %b\r\n%b%b" % (line, named, length, date, ending, body or b"")
