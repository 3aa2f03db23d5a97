"""Where to talk and where to keep: URLs, browser origins, listeners, the ledger."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from difflib import get_close_matches
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Annotated
from urllib.parse import SplitResult, urlsplit

from pydantic import BeforeValidator

from proxy.config.fields import fault, kind_of, shorten


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A URL to talk to. Its text may carry an API key anywhere, so only `shown` may be printed."""

    url: str = field(repr=False)
    shown: str

    def __str__(self) -> str:
        return self.shown


_SOCKETS_TOO = ("wss", "ws", "https", "http")
_USUAL_PORTS = {"https": 443, "http": 80}
_SHOWN_SEGMENT = re.compile(r"[A-Za-z0-9._~-]{0,15}\Z")


def read_endpoint(value: object, schemes: tuple[str, ...] = ("https", "http")) -> Endpoint:
    """An http or https URL, or one of other schemes."""
    if not isinstance(value, str):
        raise fault(f"wanted a URL, got {kind_of(value)}", "write it as https://host/path")
    parts = _split_url(value)
    if parts.scheme not in schemes:
        close = get_close_matches(parts.scheme, schemes, n=1)
        cure = f'did you mean "{close[0]}"?' if close else "write it as https://host/path"
        raise fault(f"the URL's scheme is {shorten(parts.scheme)}, not {_one_of(schemes)}", cure)
    if not parts.hostname:
        raise fault("the URL names no host", "write it as https://host/path")
    if parts.fragment:
        raise fault("the URL has a fragment (#…), which is never sent", "remove it, or write # as %23")
    return Endpoint(value, _shown_url(parts))


def _one_of(schemes: tuple[str, ...]) -> str:
    *others, last = reversed(schemes)
    return f"{', '.join(others)} or {last}"


def read_bundler(value: object) -> Endpoint:
    """The URL of a bundler, which may speak over a WebSocket."""
    return read_endpoint(value, _SOCKETS_TOO)


@dataclass(frozen=True, slots=True)
class NodeEndpoints:
    """One or more nodes of a chain, in the order in which they are preferred."""

    endpoints: tuple[Endpoint, ...]

    @property
    def urls(self) -> tuple[str, ...]:
        """To be asked, and not to be printed."""
        return tuple(endpoint.url for endpoint in self.endpoints)

    @property
    def url(self) -> str:
        """Of the one that is preferred."""
        return self.endpoints[0].url

    def __str__(self) -> str:
        return ", ".join(map(str, self.endpoints))


def read_nodes(value: object) -> NodeEndpoints:
    """The URL of a node, or a list of those of several nodes of the chain."""
    if not isinstance(value, list | tuple):
        return NodeEndpoints((read_endpoint(value, _SOCKETS_TOO),))
    if not value:
        raise fault("the list names no node", "name one, or leave node: out")
    endpoints = tuple(read_endpoint(each, _SOCKETS_TOO) for each in value)
    if len({endpoint.url for endpoint in endpoints}) < len(endpoints):
        raise fault("the list names one node twice", "name each once")
    return NodeEndpoints(endpoints)


def _split_url(value: str) -> SplitResult:
    if any(character.isspace() for character in value):
        raise fault("the URL contains a space", "remove it, or write %20")
    if "://" not in value:
        raise fault("the URL has no scheme", "write https:// in front")
    try:
        parts = urlsplit(value)
        _ = parts.port
    except ValueError:
        raise fault("the URL's host or port cannot be read", "write it as https://host:8545/path") from None
    return parts


def _shown_url(parts: SplitResult) -> str:
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    port = f":{parts.port}" if parts.port is not None else ""
    # hosted nodes put the API key into the path: long segments are not shown
    path = "/".join(segment if _SHOWN_SEGMENT.match(segment) else "…" for segment in parts.path.split("/"))
    return f"{parts.scheme}://{host}{port}{path}"


def _host_as_sent(parts: SplitResult) -> str:
    """Host and port as browsers send them: in ASCII and lower case, without the port that goes without saying."""
    host = parts.hostname or ""
    try:
        host = host if host.isascii() else host.encode("idna").decode()
    except UnicodeError:
        raise fault("the origin's host cannot be read", "write it as https://dapp.example") from None
    named = f"[{host}]" if ":" in host else host
    return named if parts.port in (None, _USUAL_PORTS.get(parts.scheme)) else f"{named}:{parts.port}"


def read_origin(value: object) -> str:
    """A browser origin as browsers send it: scheme, host and port, nothing behind; or `*` for any."""
    if value == "*":
        return "*"
    if not isinstance(value, str):
        raise fault(f"wanted an origin, got {kind_of(value)}", "write it as https://dapp.example")
    parts = _split_url(value)
    if not parts.scheme or not parts.hostname:
        raise fault(f"{shorten(value)} is no origin", "write it as https://dapp.example")
    origin = f"{parts.scheme}://{_host_as_sent(parts)}"
    if value != origin:
        raise fault(f"{shorten(value)} is not an origin as browsers send it", f"write {origin}")
    return origin


@dataclass(frozen=True, slots=True)
class Listen:
    """Where a listener is bound. Port 0 takes any free one."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def is_local(self) -> bool:
        """Whether only this machine can reach it."""
        return self.host in {"::1", "localhost"} or self.host.startswith("127.")


def read_listen(value: object) -> Listen:
    """`127.0.0.1:8080`, `[::1]:8080`."""
    text = value if isinstance(value, str) else kind_of(value)
    host, separator, port = text.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    if not separator or not (port.isascii() and port.isdigit()) or int(port) > 65_535:
        raise fault(f"{shorten(text)} is no address to listen on", "write it as 127.0.0.1:8080")
    if not host:
        cure = f"127.0.0.1:{port} for this machine only, 0.0.0.0:{port} for every interface"
        raise fault(f"{shorten(text)} does not say on which interface to listen", cure)
    if ":" in host and not bracketed:
        raise fault(f"{shorten(text)} is ambiguous", f"write an IPv6 address in brackets: [{host}]:{port}")
    return Listen(host.strip("[]"), int(port))


_MAPPED_BITS = 96  # of ::ffff:0:0/96
_HOST_NAME = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*\Z")


def read_host_name(value: object) -> str:
    """A host name in lower case, without a port: `gate.internal.example`; without the dot of the root."""
    text = value.removesuffix(".") if isinstance(value, str) else kind_of(value)
    if len(text) > 253 or _HOST_NAME.match(text) is None:
        raise fault(f"{shorten(text)} is no host name", "write it in lower case and without a port: gate.example")
    return text


def read_network(value: object) -> IPv4Network | IPv6Network:
    """A network, or one address: `10.0.0.0/8`, `fd00::/8`, `127.0.0.1`."""
    text = value if isinstance(value, str) else kind_of(value)
    try:
        proper = ip_network(text, strict=False)
    except ValueError:
        raise fault(f"{shorten(text)} is no network", "write it as 10.0.0.0/8, or one address as 10.0.0.1") from None
    try:
        network = ip_network(text)
    except ValueError:
        raise fault(
            f"{shorten(text)} is an address inside a network", f"write {proper}, or the address alone"
        ) from None
    mapped = None if isinstance(network, IPv4Network) else network.network_address.ipv4_mapped
    if mapped is not None and network.prefixlen >= _MAPPED_BITS:  # it would hold nobody
        cure = f"write {IPv4Network((mapped, network.prefixlen - _MAPPED_BITS))}"
        raise fault(f"{shorten(text)} is IPv4 written as IPv6; who calls from there is known by IPv4", cure)
    return network


@dataclass(frozen=True, slots=True)
class LedgerPlace:
    """Where sessions, reservations and audit are kept. `path` is `None` for memory: a restart forgets all."""

    path: Path | None

    def __str__(self) -> str:
        return "memory" if self.path is None else f"sqlite://{self.path}"


def read_ledger(value: object) -> LedgerPlace:
    """`memory`, `sqlite:///absolute/path` or `sqlite:relative/path` (relative to the file's folder)."""
    text = value if isinstance(value, str) else kind_of(value)
    if text in {"memory", "memory:"}:
        return LedgerPlace(None)
    scheme, _, rest = text.partition(":")
    if scheme == "sqlite" and rest.strip("/") and not rest.endswith("/"):
        if rest.startswith("//") and not rest.startswith("///"):
            raise fault(f"{shorten(text)} names a host", f"write sqlite:{rest[2:]} or sqlite:///absolute/path")
        return LedgerPlace(Path(rest.removeprefix("//")))
    cure = "write sqlite:///var/lib/sessiongate/ledger.db, or memory to forget everything at a restart"
    raise fault(f"{shorten(text)} is no ledger this gate can keep", cure)


NodesText = Annotated[NodeEndpoints, BeforeValidator(read_nodes)]
EndpointText = Annotated[Endpoint, BeforeValidator(read_endpoint)]
BundlerText = Annotated[Endpoint, BeforeValidator(read_bundler)]
Origin = Annotated[str, BeforeValidator(read_origin)]
NetworkText = Annotated[IPv4Network | IPv6Network, BeforeValidator(read_network)]
HostName = Annotated[str, BeforeValidator(read_host_name)]
ListenText = Annotated[Listen, BeforeValidator(read_listen)]
LedgerText = Annotated[LedgerPlace, BeforeValidator(read_ledger)]
