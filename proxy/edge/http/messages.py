"""What the RPC listener takes in and gives out, whichever server carries it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from http import HTTPStatus
from typing import Final

from multidict import CIMultiDictProxy

from proxy.record import record

DECISION_HEADER: Final = "X-Sessiongate-Decision-Id"
"""Tells the caller under which id a decision is on file."""


@record()
class HttpRequest:
    """A request up to its body. `length` as far as it is declared.

    `peer` is the address at the other end of the connection, `None` where the system does not tell.
    """

    method: str
    target: str
    headers: CIMultiDictProxy[str]
    length: int | None
    peer: str | None

    @property
    def path(self) -> str:
        """The path without its query, in which nothing is read here, and without slashes at its end."""
        return self.target.partition("?")[0].rstrip("/") or "/"


class PrintedFields(dict[str, str]):
    """Headers of answers, and how they are printed. Nobody changes them.

    Names and values are our own words or have come through the grammar of a head: none holds a line break.
    """

    __slots__ = ("printed",)

    def __init__(self, fields: Mapping[str, str]) -> None:
        super().__init__(fields)
        self.printed = print_fields(fields)


def print_fields(fields: Mapping[str, str]) -> bytes:
    """The lines of a head."""
    return "".join([f"{name}: {value}\r\n" for name, value in fields.items()]).encode("utf-8", "surrogateescape")


@record()
class HttpAnswer:
    """What goes back. `headers` are those beside content-length, connection, date and the one that tells the id of a
    decision, if there was one."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    decision_id: str | None = None


def plain(status: HTTPStatus, text: str, **headers: str) -> HttpAnswer:
    """An answer in words, for whoever speaks HTTP and no JSON-RPC."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return HttpAnswer(status, text.encode(), {"Content-Type": "text/plain; charset=utf-8", **named})
