"""Answers as bytes."""

from __future__ import annotations

from http import HTTPStatus
from typing import Final

from proxy.edge.http.messages import DECISION_HEADER, HttpAnswer, PrintedFields, print_fields

CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"
_STATUS_LINES: Final = {
    status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode("ascii") for status in HTTPStatus
}
_OK: Final = int(HTTPStatus.OK)
_NO_CONTENT: Final = int(HTTPStatus.NO_CONTENT)
_PLAIN: Final = b"HTTP/1.1 200 OK\r\n%bContent-Length: %d\r\nDate: %b\r\n\r\n%b"
_DECIDED: Final = b"%b" + DECISION_HEADER.encode() + b": %b\r\n"


def print_answer(answer: HttpAnswer, date: bytes, *, last: bool = False, bodiless: bool = False) -> bytes:
    """One whole answer, or its head alone where that is `bodiless`; `last` tells the caller that the connection ends
    with it.

    See `PrintedFields` for what headers may hold.
    """
    status, body, headers = answer.status, answer.body, answer.headers
    named = headers.printed if isinstance(headers, PrintedFields) else print_fields(headers)
    if answer.decision_id is not None:
        named = _DECIDED % (named, answer.decision_id.encode())
    if status == _OK and not last and not bodiless:  # nearly always
        return _PLAIN % (named, len(body), date, body)
    line = _STATUS_LINES.get(status) or b"HTTP/1.1 %d \r\n" % status
    # RFC 9110 §8.6: none with 204
    length = b"" if bodiless or status == _NO_CONTENT else b"Content-Length: %d\r\n" % len(body)
    ending = b"Connection: close\r\n\r\n" if last else b"\r\n"
    return b"%b%b%bDate: %b\r\n%b%b" % (line, named, length, date, ending, b"" if bodiless else body)
