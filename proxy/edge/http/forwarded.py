"""Who calls through proxies that are trusted to say so: the first address from the right that is none of them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Final

from proxy.edge.http.wire.fields import Fields


class ForwardedBy(StrEnum):
    """The header in which proxies name who called them. Only this one is read: any other comes as callers wrote it."""

    X_FORWARDED_FOR = "x-forwarded-for"
    FORWARDED = "forwarded"  # RFC 7239


_PORT: Final = re.compile(r":[0-9]{1,5}\Z")
_BRACKETED: Final = re.compile(r"\[([0-9A-Fa-f:.]+)\](?::[0-9]{1,5})?\Z")
# one element of Forwarded: pairs between semicolons, their values tokens or quoted
_FOR: Final = re.compile(r'(?:\A|;)\s*for\s*=\s*(?:"([^"\\]*)"|([^";,\s]*))\s*(?=;|\Z)', re.IGNORECASE)
_ELEMENTS: Final = re.compile(r'(?:[^,"]|"[^"]*")+')


@dataclass(frozen=True, slots=True)
class TrustedProxies:
    """Networks whose word is taken. Without any, the caller is whoever is at the other end of the connection."""

    networks: Sequence[IPv4Network | IPv6Network] = ()
    header: ForwardedBy = ForwardedBy.X_FORWARDED_FOR

    def trusts(self, address: str | None) -> bool:
        """Whether the word of this peer is taken."""
        if not self.networks or address is None:
            return False
        read = read_ip(address)
        return read is not None and any(read in network for network in self.networks)

    def caller(self, peer: str | None, fields: Fields) -> str | None:
        """Who calls. What cannot be read is not believed: then it is the last proxy that could be."""
        if not self.trusts(peer):
            return peer
        caller = peer
        for named in self._named(fields):
            read = read_ip(named)
            if read is None:
                break
            caller = str(read)
            if not self.trusts(caller):
                break
        return caller

    def _named(self, fields: Fields) -> Iterator[str]:
        """What the header names, the nearest first."""
        whole = ",".join(fields.getall(self.header, ()))
        if self.header is ForwardedBy.X_FORWARDED_FOR:
            yield from reversed(whole.split(","))
            return
        for element in reversed(_ELEMENTS.findall(whole)):
            found = _FOR.findall(element.strip())
            yield (found[0][0] or found[0][1]) if len(found) == 1 else ""


def read_ip(text: str) -> IPv4Address | IPv6Address | None:
    """The address in a text, its port and brackets left aside; an IPv4 address in IPv6's clothes is IPv4."""
    text = text.strip()
    if (bracketed := _BRACKETED.match(text)) is not None:
        text = bracketed[1]
    elif text.count(":") == 1:
        text = _PORT.sub("", text)
    try:
        address = ip_address(text)
    except ValueError:
        return None
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped  # how a socket for both families names a caller by IPv4
    return address


# addresses that end with the IPv4 address of whoever has them: NAT64 (RFC 6052), and stateless translation (RFC 2765)
_TRANSLATED: Final = (IPv6Network("64:ff9b::/96"), IPv6Network("::ffff:0:0:0/96"))


@lru_cache(maxsize=4_096)
def household_of(address: str) -> str:
    """The addresses that whoever has this one has at will, as one text: of IPv6 the /64 that a line is given, or the
    IPv4 address that it was made of. What is counted for each caller is counted for these together."""
    read = read_ip(address) if ":" in address else None
    if read is None:
        return address
    if isinstance(read, IPv4Address):
        return str(read)
    behind = _ipv4_behind(read)
    return str(IPv6Network((read, 64), strict=False) if behind is None else behind)


def _ipv4_behind(address: IPv6Address) -> IPv4Address | None:
    """The address of a line without IPv6 that has this one by a tunnel or a translator: 6to4 gives it 65,536 of /64,
    and Teredo and NAT64 put lines of many people into one."""
    if address.sixtofour is not None:
        return address.sixtofour
    if address.teredo is not None:
        _server, client = address.teredo
        return client
    if any(address in network for network in _TRANSLATED):
        return IPv4Address(address.packed[-4:])
    return None
