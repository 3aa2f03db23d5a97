"""Who may talk to the admin listener.

There is no CORS here at all, so a page of another site can send, at most, what a form can send, and read nothing. Four
checks close the rest: the Host header (a site that rebinds its own name to this address), what browsers say of the page
that asks (Origin, Sec-Fetch-Site: not even a look is had for another site's), the content type (a form that posts), and
the token (anybody else on the network). Of tokens there are two: one reads, the other may change things, too.
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
CHANGE_NOTHING: Final = frozenset({"/explain"})
"""Paths of POST that change nothing."""
METRICS: Final = "metrics"
HEALTH: Final = "health"
ALWAYS_OPEN: Final = frozenset({METRICS, HEALTH})
"""What may be shown without a token."""

_OF_THIS_SITE: Final = frozenset({"same-origin", "none"})  # none: somebody typed the address


@dataclass(frozen=True, slots=True, kw_only=True)
class AdminAccess:
    """What the guard knows: the tokens, if there are any, whether only this machine can connect, further host names,
    and what of `ALWAYS_OPEN` needs no token."""

    token: str | None = None
    read_token: str | None = None
    loopback: bool = True
    hosts: frozenset[str] = frozenset()
    open: frozenset[str] = ALWAYS_OPEN


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
    if request.headers.get("Sec-Fetch-Site", "none") not in _OF_THIS_SITE:
        return AdminRefusal(403, "pages of another site may not ask anything here")
    origin = request.headers.get(hdrs.ORIGIN)
    if origin is not None and urlsplit(origin).netloc != host:
        return AdminRefusal(403, "pages of another site may not ask anything here")
    if request.method == hdrs.METH_POST and request.content_type != "application/json":
        return AdminRefusal(415, "send content-type: application/json")
    if request.method in READING:
        return None if _kind_of(request.path) in access.open else _refuse_reader(request, access)
    if request.path in CHANGE_NOTHING:
        return _refuse_reader(request, access)
    return _refuse_writer(request, access)


def _kind_of(path: str) -> str | None:
    if path == "/metrics":
        return METRICS
    return HEALTH if path in ("/healthz", "/readyz") or path.startswith("/readyz/") else None


def _refuse_reader(request: web.BaseRequest, access: AdminAccess) -> AdminRefusal | None:
    tokens = [token for token in (access.token, access.read_token) if token is not None]
    if not tokens:
        if access.loopback:
            return None
        return AdminRefusal(403, "looking needs an admin token when this listener is reachable from other machines")
    # every token is compared, whichever fits
    fits = [_has_token(request, token) for token in tokens]
    return None if any(fits) else AdminRefusal(401, "send authorization: Bearer <admin token>")


def _refuse_writer(request: web.BaseRequest, access: AdminAccess) -> AdminRefusal | None:
    if access.read_token is not None and _has_token(request, access.read_token):
        return AdminRefusal(403, "this token may read, and change nothing")
    if access.token is None:
        if access.loopback and access.read_token is None:
            return None
        return AdminRefusal(403, "changes need an admin token when this listener is reachable from other machines")
    return None if _has_token(request, access.token) else AdminRefusal(401, "send authorization: Bearer <admin token>")


def is_host_ours(host: str, further: Collection[str] = ()) -> bool:
    """Whether a Host header cannot be a name that somebody else controls: an IP address, a name without a dot (a
    container, this machine), or one of `further`, as it is or ended by the dot of the root."""
    try:
        name = urlsplit(f"//{host}").hostname
    except ValueError:
        return False
    if not name:
        return False
    if name.removesuffix(".") in further or ("." not in name.removesuffix(".localhost") and ":" not in name):
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
