"""One bundler endpoint: its URL, which carries an API key, and what is known of it, which is free of secrets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from hashlib import sha256

from yarl import URL

from proxy.edge.http.bundler_health import Breaker, QuestionKind
from proxy.edge.http.client import HttpLine
from proxy.edge.http.url_secrets import secrets_in
from proxy.errors import InvalidParams
from proxy.jsonrpc import Reply
from proxy.userop.primitives import Address, parse_address, parse_uint, print_checksummed


class Health(StrEnum):
    """What is known of an endpoint. A closed set, fit for a metric label."""

    UNKNOWN = "unknown"
    HEALTHY = "healthy"
    UNREACHABLE = "unreachable"  # used only when no other endpoint is left
    MISCONFIGURED = "misconfigured"  # another chain, or an entry point missing: never used


_FIT = (Health.HEALTHY, Health.UNKNOWN)


@dataclass(slots=True, eq=False)
class BundlerEndpoint:
    """One bundler URL and what is known of it. `problem` is in words, and free of secrets.

    `name` is its place in the settings, `number` its own for as long as the gate runs. `mark` is what it is known by
    across restarts: its scheme, host and port, of which the mark tells nothing. `secrets` is what
    of its URL may be a key.
    """

    name: str
    url: URL = field(repr=False)
    number: int = 0
    mark: str = field(default="", kw_only=True)
    secrets: tuple[str, ...] = field(default=(), repr=False, kw_only=True)
    line: HttpLine | None = None  # once it was asked
    health: Health = Health.UNKNOWN
    problem: str | None = None
    told: Health | None = None  # the log, last; `None` before there was anything to tell
    breakers: Mapping[QuestionKind, Breaker] = field(
        default_factory=lambda: {kind: Breaker(kind) for kind in QuestionKind}
    )

    def go_on_as(self, other: BundlerEndpoint) -> None:
        """It has the other's URL from now on: how it fares there nobody knows. What may have been a key of it is none
        to tell either."""
        self.url, self.line = other.url, None
        self.secrets = tuple(sorted({*other.secrets, *self.secrets}, key=lambda each: (-len(each), each)))
        self.health, self.problem = Health.UNKNOWN, None

    def is_well(self, kind: QuestionKind) -> bool:
        """Whether nothing speaks against asking it such a question, before any other that stands behind it."""
        return self.health in _FIT and self.breakers[kind].rests_until is None


def misfit_of(chain: Reply, supported: Reply, *, chain_id: int, entry_points: frozenset[Address]) -> str | None:
    """Why an endpoint that answered its probe is not a bundler for this chain; `None` when it is."""
    try:
        parse_uint(chain.result, "eth_chainId")
        if not isinstance(supported.result, list):
            return "answers eth_supportedEntryPoints with no list"
        there = {parse_address(item, "eth_supportedEntryPoints") for item in supported.result}
    except InvalidParams as error:
        return f"gives no usable answer to {error.field}"
    if problem := misfit_of_chain(chain, chain_id):
        return problem
    if missing := entry_points - there:
        return f"does not serve entry point {', '.join(sorted(map(print_checksummed, missing)))}"
    return None


def misfit_of_chain(chain: Reply, chain_id: int) -> str | None:
    """Why an endpoint that tells a chain id is none of this chain; `None` when it is, or what it tells is no id."""
    try:
        served = parse_uint(chain.result, "eth_chainId")
    except InvalidParams:
        return None
    return None if served == chain_id else f"serves chain {served}, configured is {chain_id}"


def endpoint_at(name: str, text: str, number: int = 0) -> BundlerEndpoint:
    """The endpoint at a URL. Raises `ValueError`, which does not quote it."""
    try:
        url = URL(text)
    except ValueError:
        raise ValueError(f"{name}: not a URL") from None
    if url.scheme not in ("http", "https", "ws", "wss") or not url.host:
        raise ValueError(f"{name}: not an http, https, ws or wss URL")
    mark = sha256(str(url.origin()).encode()).hexdigest()[:16]
    return BundlerEndpoint(name, url, number, mark=mark, secrets=secrets_in(text))
