"""Who may call: dapps known by an API key or by the origin of their pages, and which pages browsers let call (CORS)."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from hmac import compare_digest
from typing import Final

from proxy.errors import InvalidRequest

ANONYMOUS: Final = "anonymous"
"""The label of every caller when no clients are configured."""

ANY_ORIGIN: Final = "*"

DECISION_HEADER: Final = "X-Sessiongate-Decision-Id"
"""Names the verdict on the operation that was asked about, whatever became of it; of a batch the verdicts in order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Client:
    """One dapp. Without a key it is known by its origins; `chains` is `None` for all of them."""

    name: str
    api_key: str | None = field(default=None, repr=False)
    origins: frozenset[str] = frozenset()
    chains: frozenset[str] | None = None

    def __post_init__(self) -> None:
        if self.api_key is None and not self.origins:
            raise ValueError(f"client {self.name} needs an api_key or origins")


class Clients:
    """Tells callers apart and knows which origins may be told so. Without clients anybody may call."""

    def __init__(self, clients: Iterable[Client] = (), *, origins: Collection[str] = frozenset()) -> None:
        self._clients = tuple(clients)
        self._origins = frozenset(origins)
        # found by digest: how long a lookup takes then tells nothing about a key
        self._by_digest = {_digest(client.api_key): client for client in self._clients if client.api_key is not None}
        self._keyless = tuple(client for client in self._clients if client.api_key is None)
        self._all_origins = self._origins.union(*(client.origins for client in self._clients))

    def identify(self, headers: Mapping[str, str], chain: str) -> str:
        """The name of the calling client. Raises `InvalidRequest` when it may not call this chain from there."""
        if not self._clients:
            return ANONYMOUS
        origin = headers.get("Origin")
        client = self._by_key(headers) or self._by_origin(origin)
        if client.origins and origin is not None and not _contains(client.origins, origin):
            raise InvalidRequest(f"client {client.name} may not call from this origin")
        if client.chains is not None and chain not in client.chains:
            raise InvalidRequest(f"client {client.name} may not use this chain")
        return client.name

    def _by_key(self, headers: Mapping[str, str]) -> Client | None:
        key = headers.get("X-Api-Key")
        if key is None:
            scheme, _, token = headers.get("Authorization", "").partition(" ")
            if scheme.lower() != "bearer":
                return None
            key = token.strip()
        digest = _digest(key)
        client = self._by_digest.get(digest)
        if client is None or client.api_key is None or not compare_digest(_digest(client.api_key), digest):
            raise InvalidRequest("unknown API key")
        return client

    def _by_origin(self, origin: str | None) -> Client:
        if origin is not None:
            for client in self._keyless:
                if _contains(client.origins, origin):
                    return client
        raise InvalidRequest("API key missing: send it as x-api-key, or as authorization: Bearer")

    def cors(self, headers: Mapping[str, str]) -> dict[str, str]:
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


def _contains(origins: frozenset[str], origin: str) -> bool:
    return ANY_ORIGIN in origins or origin in origins


def _digest(key: str) -> bytes:
    return sha256(key.encode("utf-8", "surrogateescape")).digest()
