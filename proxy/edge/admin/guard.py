"""Who may talk to the admin listener.

There is no CORS here at all, so a page of another site can send, at most, what a form can send, and read nothing. Four
checks close the rest: the Host header (a site that rebinds its own name to this address), Origin and content type (a
form that posts), and the token (anybody else on the network).
"""

from __future__ import annotations

import hmac
from collections.abc import Collection
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Final
from urllib.parse import urlsplit

from aiohttp import hdrs, web

READING: Final = frozenset({hdrs.METH_GET, hdrs.METH_HEAD})


@dataclass(frozen=True, slots=True, kw_only=True)
class AdminAccess:
    """What the guard knows: the token, if there is one, whether only this machine can connect, further host names."""

    token: str | None = None
    loopback: bool = True
    hosts: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class AdminRefusal:
    """An HTTP status of 400 or more, and why."""

    status: int
    why: str


def refuse(request: web.BaseRequest, access: AdminAccess) -> AdminRefusal | None:
    """Why a request is not served, or None when it is."""
    # not request.host, which asks the resolver when the header is missing
    host = request.headers.get(hdrs.HOST, "")
    if not is_host_ours(host, access.hosts):
        return AdminRefusal(421, "this listener does not answer to that host name")
    if request.method in READING:
        return None
    origin = request.headers.get(hdrs.ORIGIN)
    if origin is not None and urlsplit(origin).netloc != host:
        return AdminRefusal(403, "pages of another site may not change anything here")
    if request.method == hdrs.METH_POST and request.content_type != "application/json":
        return AdminRefusal(415, "send content-type: application/json")
    if access.token is None:
        if access.loopback:
            return None
        return AdminRefusal(403, "changes need an admin token when this listener is reachable from other machines")
    return None if _has_token(request, access.token) else AdminRefusal(401, "send authorization: Bearer <admin token>")


def is_host_ours(host: str, further: Collection[str] = ()) -> bool:
    """Whether a Host header cannot be a name that somebody else controls: an IP address, a name without a dot (a
    container, this machine), or one of `further`."""
    try:
        name = urlsplit(f"//{host}").hostname
    except ValueError:
        return False
    if not name:
        return False
    if name in further or ("." not in name.removesuffix(".localhost") and ":" not in name):
        return True
    try:
        ip_address(name)
    except ValueError:
        return False
    return True


def is_loopback(host: str) -> bool:
    """Whether a listener bound to `host` can be reached from this machine only."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _has_token(request: web.BaseRequest, token: str) -> bool:
    scheme, _, sent = request.headers.get(hdrs.AUTHORIZATION, "").partition(" ")
    # compared as bytes: compare_digest takes no text beyond ASCII
    return scheme.lower() == "bearer" and hmac.compare_digest(
        sent.strip().encode("utf-8", "surrogateescape"), token.encode()
    )
