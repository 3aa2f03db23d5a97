"""Requests as bytes: what a listener is to serve, and the tricks it is to refuse."""

from __future__ import annotations

from typing import Final

CALL: Final = b'{"jsonrpc":"2.0","id":"a","method":"echo","params":["x"]}'
JSON: Final = b"Content-Type: application/json\r\n"


def post(body: bytes = CALL, fields: bytes = JSON, line: bytes = b"POST /soneium HTTP/1.1") -> bytes:
    """A POST with a length."""
    return line + b"\r\nHost: gate\r\n" + fields + b"Content-Length: %d\r\n\r\n" % len(body) + body


def chunked(*pieces: bytes, fields: bytes = JSON, trailer: bytes = b"") -> bytes:
    """A POST in chunks."""
    body = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces)
    head = b"POST /soneium HTTP/1.1\r\nHost: gate\r\n" + fields + b"Transfer-Encoding: chunked\r\n\r\n"
    return head + body + b"0\r\n" + trailer + b"\r\n"


SERVED: Final = {
    "a call": post(),
    "a call at the root": post(line=b"POST / HTTP/1.1"),
    "a query": post(line=b"POST /soneium?apikey=1 HTTP/1.1"),
    "a notification": post(b'{"jsonrpc":"2.0","method":"echo"}'),
    "a batch": post(b"[" + CALL + b"," + CALL + b"]"),
    "an upstream's error": post(b'{"jsonrpc":"2.0","id":1,"method":"fail"}'),
    "a denied method": post(b'{"jsonrpc":"2.0","id":1,"method":"deny"}'),
    "no JSON": post(b"{"),
    "no body": post(b""),
    "no length and no body": b"POST / HTTP/1.1\r\nHost: gate\r\n" + JSON + b"\r\n",
    "a body at the bound": post(CALL + b" " * (2048 - len(CALL))),
    "a body over the bound": post(b" " * 2049),
    "chunks": chunked(CALL[:5], CALL[5:]),
    "chunks of one byte": chunked(*(CALL[i : i + 1] for i in range(len(CALL)))),
    "chunks over the bound": chunked(*[b" " * 512] * 5),
    "a chunk with an extension": chunked(CALL).replace(b"39\r\n", b"39;a=b\r\n"),
    "an upper-case size": chunked(CALL + b" ").replace(b"3a\r\n", b"3A\r\n"),
    "a trailer": chunked(CALL, trailer=b"Checksum: 1\r\n"),
    "another media type": post(fields=b"Content-Type: text/plain\r\n"),
    "no media type": post(fields=b""),
    "a compressed body": post(fields=JSON + b"Content-Encoding: gzip\r\n"),
    "an unknown path": post(line=b"POST /elsewhere HTTP/1.1"),
    "an unknown path and chunks": chunked(CALL).replace(b"/soneium", b"/elsewhere"),
    "a page": post(fields=JSON + b"Origin: https://dapp.example\r\n"),
    "a preflight": b"OPTIONS /soneium HTTP/1.1\r\nHost: gate\r\nOrigin: https://dapp.example\r\n\r\n",
    "a preflight from nowhere": b"OPTIONS /soneium HTTP/1.1\r\nHost: gate\r\n\r\n",
    "a look": b"GET / HTTP/1.1\r\nHost: gate\r\n\r\n",
    "a look at nothing": b"GET /elsewhere HTTP/1.1\r\nHost: gate\r\n\r\n",
    "a look with a body": b"GET / HTTP/1.1\r\nHost: gate\r\nContent-Length: 2\r\n\r\nhi",
    "another method": b"DELETE /soneium HTTP/1.1\r\nHost: gate\r\n\r\n",
    "a head only": b"HEAD /soneium HTTP/1.1\r\nHost: gate\r\n\r\n",
    "white space around a value": post(fields=b"Content-Type: \t application/json \t \r\n"),
    "an empty value": post(fields=JSON + b"X-Nothing:\r\n"),
    "names in capitals": post().replace(b"Content-Length", b"CONTENT-LENGTH"),
    "many headers": post(fields=JSON + b"".join(b"X-%d: 1\r\n" % i for i in range(60))),
}
"""Whole requests; every listener gives the same answer to them."""

_LENGTH: Final = b"Content-Length: %d\r\n" % len(CALL)

TRICKS: Final = {
    "both lengths": post(fields=JSON + b"Transfer-Encoding: chunked\r\n"),
    "both lengths, the other way": chunked(CALL).replace(b"Transfer", b"Content-Length: 3\r\nTransfer"),
    "two lengths": post(fields=JSON + b"Content-Length: 3\r\n"),
    "the same length twice": post(fields=JSON + _LENGTH),
    "a list of lengths": post().replace(b"Content-Length: 57", b"Content-Length: 57, 57"),
    "a signed length": post().replace(b"Content-Length: 57", b"Content-Length: +57"),
    "a negative length": post().replace(b"Content-Length: 57", b"Content-Length: -57"),
    "a hexadecimal length": post().replace(b"Content-Length: 57", b"Content-Length: 0x39"),
    "an empty length": post().replace(b"Content-Length: 57", b"Content-Length: "),
    "a huge length": post().replace(b"Content-Length: 57", b"Content-Length: " + b"9" * 40),
    "digits that are not ASCII": post().replace(b"Content-Length: 57", b"Content-Length: \xd9\xa5\xd9\xa7"),
    "a gap before the colon": post().replace(b"Content-Length:", b"Content-Length :"),
    "a folded line": post(fields=b"Content-Type: application/json\r\n X-Folded: 1\r\n"),
    "a bare line feed": post().replace(b"Host: gate\r\n", b"Host: gate\n"),
    "bare line feeds": post().replace(b"\r\n", b"\n"),
    "a bare carriage return": post(fields=JSON + b"X-A: b\rc\r\n"),
    "a zero byte": post(fields=JSON + b"X-A: b\0c\r\n"),
    "a control character": post(fields=JSON + b"X-A: b\x01c\r\n"),
    "a name with a space": post(fields=JSON + b"X A: b\r\n"),
    "a line without a colon": post(fields=JSON + b"nonsense\r\n"),
    "no name": post(fields=JSON + b": b\r\n"),
    "an unknown coding": chunked(CALL).replace(b": chunked", b": cow"),
    "a coding more": chunked(CALL).replace(b": chunked", b": gzip, chunked"),
    "chunked twice": chunked(CALL).replace(b": chunked", b": chunked, chunked"),
    "chunked in two lines": chunked(CALL, fields=JSON + b"Transfer-Encoding: chunked\r\n"),
    "identity": chunked(CALL).replace(b": chunked", b": identity"),
    "an odd chunked": chunked(CALL).replace(b": chunked", b": xchunked"),
    "a tab behind the coding": chunked(CALL).replace(b": chunked", b": chunked\t"),
    "a vertical tab": chunked(CALL).replace(b": chunked", b": \x0bchunked"),
    "another version": post(line=b"POST /soneium HTTP/2.0"),
    "no version": post(line=b"POST /soneium"),
    "a lower-case version": post(line=b"POST /soneium http/1.1"),
    "two spaces": post(line=b"POST  /soneium HTTP/1.1"),
    "a space in the target": post(line=b"POST /so neium HTTP/1.1"),
    "a long target": post(line=b"POST /" + b"a" * 70_000 + b" HTTP/1.1"),
    "a long header": post(fields=JSON + b"X-Long: " + b"a" * 70_000 + b"\r\n"),
    "too many headers": post(fields=JSON + b"".join(b"X-%d: 1\r\n" % i for i in range(5000))),
    "the preface of HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(32) + b"\r\n\r\n",
}
"""Requests that could be read in two ways, or in none: no listener serves them."""

BAD_CHUNKS: Final = {
    "no size": chunked(CALL).replace(b"39\r\n", b"\r\n"),
    "a size that is none": chunked(CALL).replace(b"39\r\n", b"zz\r\n"),
    "a signed size": chunked(CALL).replace(b"39\r\n", b"+39\r\n"),
    "a prefixed size": chunked(CALL).replace(b"39\r\n", b"0x39\r\n"),
    "a size too small": chunked(CALL).replace(b"39\r\n", b"38\r\n"),
    "a size too large": chunked(CALL).replace(b"39\r\n", b"3a\r\n"),
    "a size that overflows": chunked(CALL).replace(b"39\r\n", b"10000000000000039\r\n"),
    "a bare line feed after the size": chunked(CALL).replace(b"39\r\n", b"39\n"),
    "an extension without a name": chunked(CALL).replace(b"39\r\n", b"39;\r\n"),
    "an extension whose quotes are never closed": chunked(CALL).replace(b"39\r\n", b'39;a="b\r\n'),
    "a trailer with a length": chunked(CALL, trailer=_LENGTH),
    "a trailer with a coding": chunked(CALL, trailer=b"Transfer-Encoding: chunked\r\n"),
    "a bare line feed after the data": chunked(CALL).replace(CALL + b"\r\n", CALL + b"\n"),
}
"""Bodies whose chunks cannot be read."""
