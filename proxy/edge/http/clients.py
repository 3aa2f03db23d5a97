"""Who may call: dapps known by an API key or by the origin of their pages, and which pages browsers let call (CORS)."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from hmac import compare_digest
from ipaddress import IPv4Network, IPv6Network
from typing import Final

from proxy.clients.keys import digest_of
from proxy.clients.licence import ANYBODY, Guest, Licence
from proxy.clients.rations import Rations
from proxy.edge.http.forwarded import read_ip
from proxy.edge.http.messages import DECISION_HEADER
from proxy.edge.http.wire.fields import Fields
from proxy.errors import InvalidRequest, NotLicensed

ANY_ORIGIN: Final = "*"

"""Names the verdict on the operation that was asked about, whatever became of it; of a batch the verdicts in order."""

USUAL_HEADERS: Final = (
    *("content-type", "x-api-key", "authorization"),
    *("traceparent", "tracestate", "baggage", "sentry-trace", "x-request-id", "x-correlation-id", "x-requested-with"),
    # Alchemy's aa-sdk, whatever URL it is given
    *("alchemy-aa-sdk-version", "alchemy-aa-sdk-signer", "alchemy-aa-sdk-factory-address"),
    *("x-alchemy-client-trace-id", "x-alchemy-client-breadcrumb", "x-alchemy-client-request-id"),
)
"""What pages and the tracing in them send along; none of it means anything here but the first three."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownClient:
    """One dapp. Without a key it is known by its origins; `chains` is `None` for all of them.

    `keys` are the SHA-256 digests of its keys. `networks` are those it may call from; none means any.
    """

    name: str
    keys: frozenset[bytes] = field(default=frozenset(), repr=False)
    origins: frozenset[str] = frozenset()
    networks: Sequence[IPv4Network | IPv6Network] = ()
    chains: frozenset[str] | None = None
    licence: Licence = field(default_factory=Licence)

    def __post_init__(self) -> None:
        if not self.keys and not self.origins:
            raise ValueError(f"client {self.name} needs an api_key or origins")


class Clients:
    """Tells callers apart and knows which origins may be told so. Without clients anybody may call."""

    def __init__(
        self,
        clients: Iterable[KnownClient] = (),
        *,
        origins: Collection[str] = frozenset(),
        headers: Sequence[str] = USUAL_HEADERS,
        rations: Rations | None = None,
    ) -> None:
        self._clients = tuple(clients)
        self._origins = frozenset(origins)
        self.allowed_headers = ", ".join(headers)
        self._guests = {
            each.name: Guest(each.name, each.licence, rations, has_key=bool(each.keys)) for each in self._clients
        }
        # found by digest: how long a lookup takes then tells nothing about a key
        self._by_digest = {key: client for client in self._clients for key in client.keys}
        self._keyless = tuple(client for client in self._clients if not client.keys)
        self._all_origins = self._origins.union(*(client.origins for client in self._clients))

    @property
    def take_keys(self) -> bool:
        """Whether a key means anything: without clients there is none."""
        return bool(self._clients)

    def identify(self, headers: Fields, chain: str, address: str | None, told: Sequence[str] = ()) -> Guest:
        """The client that calls from `address`; `told` are the keys in the URL.

        Raises `InvalidRequest` when there is none, `NotLicensed` when it may not call this chain from there.
        """
        if not self._clients:
            return ANYBODY
        origins = headers.getall("Origin", ())
        if len(origins) > 1:
            raise InvalidRequest("more than one Origin header")
        origin = origins[0] if origins else None
        client = self._by_key([*told, *_keys_in(headers)]) or self._by_origin(origin)
        if client.origins and origin is not None and not _contains(client.origins, origin):
            raise NotLicensed(f"client {client.name} may not call from this origin")
        if client.networks and not _is_within(client.networks, address):
            raise NotLicensed(f"client {client.name} may not call from this address")
        if client.chains is not None and chain not in client.chains:
            raise NotLicensed(f"client {client.name} may not use this chain")
        return self._guests[client.name]

    def _by_key(self, keys: Sequence[str]) -> KnownClient | None:
        if not keys:
            return None
        digests = {digest_of(key) for key in keys}
        if len(digests) > 1:
            raise InvalidRequest("more than one API key was sent")
        digest = digests.pop()
        client = self._by_digest.get(digest)
        if client is None or not any(compare_digest(key, digest) for key in client.keys):
            raise InvalidRequest("unknown API key")
        return client

    def _by_origin(self, origin: str | None) -> KnownClient:
        if origin is not None:
            for client in self._keyless:
                if _contains(client.origins, origin):
                    return client
        raise InvalidRequest("API key missing: send it as x-api-key, as authorization: Bearer, or in the URL")

    def cors(self, headers: Fields) -> dict[str, str]:
        """The response headers that let the page at `Origin` read the answer; none when it may not."""
        origin = headers.get("Origin")
        if origin is None:
            return {}
        if ANY_ORIGIN in self._all_origins:
            return {"Access-Control-Allow-Origin": ANY_ORIGIN, "Access-Control-Expose-Headers": DECISION_HEADER}
        if origin in self._all_origins:
            exposed = {"Access-Control-Expose-Headers": DECISION_HEADER}
            return {"Access-Control-Allow-Origin": origin, "Vary": "Origin", **exposed}
        return {}


def _keys_in(headers: Fields) -> list[str]:
    keys = list(headers.getall("X-Api-Key", ()))
    for value in headers.getall("Authorization", ()):
        scheme, _, token = value.partition(" ")
        if scheme.lower() == "bearer":
            keys.append(token.strip())
    return keys


def _contains(origins: frozenset[str], origin: str) -> bool:
    return ANY_ORIGIN in origins or origin in origins


def _is_within(networks: Sequence[IPv4Network | IPv6Network], address: str | None) -> bool:
    """Whether an address that is known lies in one of them."""
    read = None if address is None else read_ip(address)
    return read is not None and any(read in network for network in networks)
