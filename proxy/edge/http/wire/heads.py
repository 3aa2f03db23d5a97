"""What stands before a body: the head of a request, the head of a reply."""

from __future__ import annotations

import re
from typing import Final, Self

from proxy.edge.http.wire.fields import (
    TOKEN,
    UNTIL_CLOSED,
    BrokenHttp,
    Fields,
    asks_to_close,
    body_length,
    read_fields,
)
from proxy.record import record

# RFC 9112 §3.2: a path, a whole URL, or the asterisk of OPTIONS
_TARGET: Final = rb"/[!-~]*|https?://[!-~]+|\*"
_REQUEST_LINE: Final = re.compile(rb"(" + TOKEN + rb") (" + _TARGET + rb") HTTP/1\.([01])\r\n")
_STATUS_LINE: Final = re.compile(rb"HTTP/1\.([01]) ([1-5][0-9]{2})(?: [\t -~\x80-\xff]*)?\r\n")
# allowed by RFC 9110 §5.5, and to some readers part of the coding's name: they see a body of another length
_TAB_AT_CODING: Final = re.compile(rb"\r\ntransfer-encoding:[^\r]*\t", re.IGNORECASE)
_NO_CONTENT, _NOT_MODIFIED, _OK = 204, 304, 200


@record()
class RequestHead:
    """A request up to its body. `length` is a number of bytes or `CHUNKED`."""

    method: str
    target: str
    fields: Fields
    length: int
    last: bool  # nothing more is answered on this connection
    expects_continue: bool

    def of_length(self, length: int) -> Self:
        """The same head before a body of so many bytes."""
        return type(self)(self.method, self.target, self.fields, length, self.last, self.expects_continue)


@record()
class ReplyHead:
    """A reply up to its body. `length` is a number of bytes, `CHUNKED` or `UNTIL_CLOSED`."""

    status: int
    fields: Fields
    length: int
    last: bool  # nothing more is asked on this connection
    plain: bool  # its status is 200, and what follows is the body as it is, with nothing said of the connection

    def of_length(self, length: int) -> Self:
        """The same head before a body of so many bytes."""
        return type(self)(self.status, self.fields, length, self.last, self.plain)


def read_request_head(raw: bytes) -> RequestHead:
    """Read a head, the blank line behind it left out. Raises `BrokenHttp`."""
    line = _REQUEST_LINE.match(raw)
    if line is None:
        raise BrokenHttp("the request line is malformed, or not of HTTP/1.1")
    fields = read_fields(raw, line.end())
    newest = line[3] == b"1"
    if newest and len(fields.getall("Host", ())) != 1:
        raise BrokenHttp("host: wanted exactly one")  # RFC 9112 §3.2
    if "Transfer-Encoding" in fields and _TAB_AT_CODING.search(raw):
        raise BrokenHttp("transfer-encoding: a tab beside it")
    expected = fields.get("Expect") if newest else None
    if expected is not None and expected.lower() != "100-continue":
        raise BrokenHttp("expect: only 100-continue is met", 417)
    return RequestHead(
        method=line[1].decode("ascii"),
        target=line[2].decode("ascii"),
        fields=fields,
        length=body_length(fields, otherwise=0, chunks=newest),
        last=not newest or asks_to_close(fields),
        expects_continue=expected is not None,
    )


def read_reply_head(raw: bytes) -> ReplyHead:
    """Read a head, the blank line behind it left out. Raises `BrokenHttp`."""
    line = _STATUS_LINE.match(raw)
    if line is None:
        raise BrokenHttp("the status line is malformed, or not of HTTP/1.1")
    fields = read_fields(raw, line.end())
    newest = line[1] == b"1"
    status = int(line[2])
    if status < _OK or status in (_NO_CONTENT, _NOT_MODIFIED):
        length = 0
    else:
        length = body_length(fields, otherwise=UNTIL_CLOSED, chunks=newest)
    last = not newest or length == UNTIL_CLOSED or asks_to_close(fields)
    plain = status == _OK and not last and "Content-Encoding" not in fields and "Keep-Alive" not in fields
    return ReplyHead(status, fields, length, last, plain)
