"""A caller is who a trusted proxy says it is, and nobody can say so of himself."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict, CIMultiDictProxy

from proxy.edge.http.forwarded import ForwardedBy, TrustedProxies, household_of
from proxy.edge.http.listener import ListenerSettings, Transport
from proxy.edge.http.server import RpcServer
from proxy.edge.http.wire.fields import Fields
from proxy.jsonrpc import Request
from proxy.ports import Answer, RequestContext
from tests.edge.http.corpus import JSON, post
from tests.edge.http.peers import SETTINGS, Peer

PROXIES = TrustedProxies((ip_network("10.0.0.0/8"), ip_network("fd00::/8"), ip_network("127.0.0.1/32")))
RFC7239 = TrustedProxies(PROXIES.networks, ForwardedBy.FORWARDED)


def said(name: str, *lines: str) -> Fields:
    return CIMultiDictProxy(CIMultiDict((name, line) for line in lines))


@pytest.mark.parametrize(
    ("lines", "caller"),
    [
        ((), "10.0.0.1"),
        (("203.0.113.7",), "203.0.113.7"),
        (("203.0.113.7, 10.0.0.9",), "203.0.113.7"),
        (("1.1.1.1, 203.0.113.7, 10.0.0.9",), "203.0.113.7"),
        (("1.1.1.1", "203.0.113.7"), "203.0.113.7"),
        (("203.0.113.7:4711",), "203.0.113.7"),
        (("2001:db8::1",), "2001:db8::1"),
        (("[2001:db8::1]:4711",), "2001:db8::1"),
        (("::ffff:203.0.113.7",), "203.0.113.7"),
        (("10.0.0.3, 10.0.0.2",), "10.0.0.3"),
        (("203.0.113.7, nonsense",), "10.0.0.1"),
        (("203.0.113.7, nonsense, 10.0.0.2",), "10.0.0.2"),
        (("203.0.113.7,",), "10.0.0.1"),
        (("",), "10.0.0.1"),
    ],
)
def test_the_first_address_from_the_right_that_is_no_proxy_calls(lines: tuple[str, ...], caller: str) -> None:
    assert PROXIES.caller("10.0.0.1", said("X-Forwarded-For", *lines)) == caller


@pytest.mark.parametrize(
    ("line", "caller"),
    [
        ("for=203.0.113.7", "203.0.113.7"),
        ("For=203.0.113.7;proto=https;by=10.0.0.1", "203.0.113.7"),
        ('for="[2001:db8::1]:4711"', "2001:db8::1"),
        ('for=1.1.1.1, for="203.0.113.7:80";host="a,b", for=10.0.0.2', "203.0.113.7"),
        ("for=unknown", "10.0.0.1"),
        ("for=_hidden", "10.0.0.1"),
        ("proto=https", "10.0.0.1"),
        ("for=1.1.1.1;for=2.2.2.2", "10.0.0.1"),
        ('for="1.1.1.1', "10.0.0.1"),
    ],
)
def test_the_standard_header_is_read_by_its_grammar(line: str, caller: str) -> None:
    assert RFC7239.caller("10.0.0.1", said("Forwarded", line)) == caller


def test_who_is_no_proxy_cannot_name_another() -> None:
    assert PROXIES.caller("203.0.113.7", said("X-Forwarded-For", "1.1.1.1")) == "203.0.113.7"
    assert TrustedProxies().caller("10.0.0.1", said("X-Forwarded-For", "1.1.1.1")) == "10.0.0.1"


def test_only_the_header_that_the_proxies_write_is_read() -> None:
    assert PROXIES.caller("10.0.0.1", said("Forwarded", "for=1.1.1.1")) == "10.0.0.1"
    assert RFC7239.caller("10.0.0.1", said("X-Forwarded-For", "1.1.1.1")) == "10.0.0.1"


@given(st.text(max_size=60), st.sampled_from([PROXIES, RFC7239]))
def test_whatever_a_caller_writes_to_the_left_changes_nothing(text: str, proxies: TrustedProxies) -> None:
    here = "203.0.113.7" if proxies is PROXIES else "for=203.0.113.7"
    if '"' in text:  # it would run on into what the proxy wrote, which is then not believed
        assert proxies.caller("10.0.0.1", said(proxies.header, f"{text}, {here}")) in ("203.0.113.7", "10.0.0.1")
    else:
        assert proxies.caller("10.0.0.1", said(proxies.header, f"{text}, {here}")) == "203.0.113.7"


@pytest.mark.parametrize("transport", Transport)
async def test_the_gate_hears_who_called_through_a_proxy(transport: Transport) -> None:
    callers: list[str | None] = []

    async def answer(request: Request, context: RequestContext) -> Answer | None:
        callers.append(context.remote)
        return Answer(b"{}")

    bounds = ListenerSettings(shutdown_seconds=0.1, connections_per_peer=1)
    settings = replace(SETTINGS, transport=transport, bounds=bounds, proxies=PROXIES)
    server = await RpcServer(answer, settings).start("127.0.0.1", 0)
    peers = [await Peer.at(server.port) for _ in range(3)]  # a proxy may have more connections than a caller
    for number, peer in enumerate(peers):
        await peer.say(post(fields=JSON + b"X-Forwarded-For: 203.0.113.%d\r\n" % number))
        assert (await peer.hear())[0] == 200
        peer.leave()
    await server.stop()
    assert callers == ["203.0.113.0", "203.0.113.1", "203.0.113.2"]


@pytest.mark.parametrize(
    ("address", "household"),
    [
        ("203.0.113.7", "203.0.113.7"),
        ("::ffff:203.0.113.7", "203.0.113.7"),
        ("2001:db8:1:2::7", "2001:db8:1:2::/64"),
        ("2001:db8:1:2:ffff:ffff:ffff:ffff", "2001:db8:1:2::/64"),
        ("2001:db8:1:3::7", "2001:db8:1:3::/64"),
        ("2002:cb00:7107::1", "203.0.113.7"),  # 6to4: one IPv4 address has 65,536 of /64
        ("2002:cb00:7107:ffff::9", "203.0.113.7"),
        ("2001:0:4136:e378:8000:63bf:34ff:8ef8", "203.0.113.7"),  # Teredo: all of one server are in one /64
        ("64:ff9b::203.0.113.7", "203.0.113.7"),  # NAT64: all of IPv4 is in one /64
        ("64:ff9b::203.0.113.8", "203.0.113.8"),
        ("::ffff:0:203.0.113.7", "203.0.113.7"),  # stateless translation
        ("2001:db8:1:2:0:5efe:203.0.113.7", "2001:db8:1:2::/64"),  # ISATAP: within the /64 of its site
        ("nowhere", "nowhere"),
        ("no:where:at:all", "no:where:at:all"),
    ],
)
def test_the_addresses_that_one_line_is_given_are_one_caller(address: str, household: str) -> None:
    assert household_of(address) == household


@pytest.mark.parametrize("transport", Transport)
async def test_what_is_counted_for_a_caller_is_counted_for_all_addresses_of_its_line(transport: Transport) -> None:
    callers: list[str | None] = []

    async def answer(request: Request, context: RequestContext) -> Answer | None:
        callers.append(context.remote)
        return Answer(b"{}")

    bounds = ListenerSettings(shutdown_seconds=0.1)
    settings = replace(SETTINGS, transport=transport, bounds=bounds, proxies=PROXIES)
    server = await RpcServer(answer, settings).start("127.0.0.1", 0)
    for number in range(3):
        peer = await Peer.at(server.port)
        await peer.say(post(fields=JSON + b"X-Forwarded-For: 2001:db8::%d\r\n" % number))
        assert (await peer.hear())[0] == 200
        peer.leave()
    await server.stop()
    assert callers == ["2001:db8::/64"] * 3
