"""The lines of a head (RFC 9110 §5, RFC 9112 §5), and what they say of the body that follows (RFC 9112 §6)."""

from __future__ import annotations

import re
from typing import Final

from multidict import CIMultiDict, CIMultiDictProxy

TOKEN: Final = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
"""RFC 9110 §5.6.2."""

CHUNKED: Final = -1
"""The length of a body that comes in chunks."""

UNTIL_CLOSED: Final = -2
"""The length of a reply's body that ends with its connection."""

MOST_FIELDS: Final = 100

# one line, CRLF included: no white space before the colon, no folded line, no bare CR or LF, no control character
_FIELD: Final = re.compile(rb"(" + TOKEN + rb"):([\t -~\x80-\xff]*)\r\n")
_LENGTH: Final = re.compile(r"[0-9]{1,15}\Z", re.ASCII)

Fields = CIMultiDictProxy[str]


BROKEN_BODY: Final = "body broken off or badly encoded"


class BrokenHttp(Exception):
    """The bytes are no message we read. `status` is what HTTP calls it, none of those after which SDKs hand the same in
    again; `of_body` is what its sender is told where the head was in order. The text quotes nothing that came."""

    def __init__(self, problem: str, status: int = 400, of_body: str = BROKEN_BODY) -> None:
        super().__init__(problem)
        self.problem = problem
        self.status = status
        self.of_body = of_body


def read_fields(raw: bytes, start: int) -> Fields:
    """The header lines of a head from `start` on. Raises `BrokenHttp`."""
    fields: CIMultiDict[str] = CIMultiDict()
    end, count = len(raw), 0
    while start < end:
        found = _FIELD.match(raw, start)
        if found is None:
            raise BrokenHttp("a header line is malformed")
        count += 1
        if count > MOST_FIELDS:
            raise BrokenHttp(f"more than {MOST_FIELDS} header lines", 431)
        fields.add(found[1].decode("ascii"), found[2].strip(b" \t").decode("utf-8", "surrogateescape"))
        start = found.end()
    return CIMultiDictProxy(fields)


def body_length(fields: Fields, *, otherwise: int, chunks: bool) -> int:
    """How long the body is: a number of bytes, `CHUNKED`, or `otherwise` where nothing is said of it.

    Two answers to this question are how requests are smuggled: whatever could be read in two ways is refused.
    `chunks` is whether the version of HTTP knows them. Raises `BrokenHttp`.
    """
    lengths = fields.getall("Content-Length", ())
    codings = fields.getall("Transfer-Encoding", ())
    if codings:
        if lengths:
            raise BrokenHttp("both content-length and transfer-encoding")
        if not chunks or len(codings) > 1 or codings[0].lower() != "chunked":
            raise BrokenHttp("transfer-encoding: only chunked is read, once, in HTTP/1.1")
        return CHUNKED
    if not lengths:
        return otherwise
    if len(lengths) > 1:
        raise BrokenHttp("content-length is given more than once")
    if _LENGTH.match(lengths[0]) is None:
        raise BrokenHttp("content-length is no number")
    return int(lengths[0])


def asks_to_close(fields: Fields) -> bool:
    """Whether `Connection` says that this message is the last one on its connection."""
    values = fields.getall("Connection", ())
    return any(option.strip().lower() == "close" for value in values for option in value.split(","))
