"""A caller is one configured client, from a page, an address and on a chain of its own, or is refused."""

from __future__ import annotations

from ipaddress import ip_network

import pytest
from multidict import CIMultiDict, CIMultiDictProxy

from proxy.clients.keys import digest_of
from proxy.clients.licence import ANYBODY
from proxy.edge.http.clients import Clients, KnownClient
from proxy.edge.http.wire.fields import Fields
from proxy.errors import InvalidRequest, NotLicensed

DAPP = "https://dapp.example"
KEYED = KnownClient(name="keyed", keys=frozenset({digest_of("a-secret-key")}))


def fields(*named: tuple[str, str]) -> Fields:
    return CIMultiDictProxy(CIMultiDict(named))


def name_of(clients: Clients, *named: tuple[str, str], address: str | None = None, told: tuple[str, ...] = ()) -> str:
    return clients.identify(fields(*named), "soneium", address, told).name


def test_anybody_may_call_when_no_client_is_configured() -> None:
    assert Clients().identify(fields(), "soneium", None) is ANYBODY
    assert name_of(Clients(), ("X-Api-Key", "any"), ("Origin", DAPP)) == "anonymous"


def test_nobody_without_a_key_may_call_once_a_client_is_configured() -> None:
    assert name_of(Clients([KEYED]), ("X-Api-Key", "a-secret-key")) == "keyed"
    with pytest.raises(InvalidRequest, match="API key missing"):
        name_of(Clients([KEYED]))


@pytest.mark.parametrize("key", ["a-secret-ke", "a-secret-keyy", "", "\udcff", "é" * 10_000])
def test_a_key_is_the_whole_key_and_is_never_repeated(key: str) -> None:
    for told, named in (((), [("X-Api-Key", key)]), ((key,), [])):
        with pytest.raises(InvalidRequest, match=r"unknown API key\Z"):
            name_of(Clients([KEYED]), *named, told=told)


@pytest.mark.parametrize("value", ["Bearer a-secret-key", "bearer  a-secret-key "])
def test_a_key_may_come_as_a_bearer_token(value: str) -> None:
    assert name_of(Clients([KEYED]), ("Authorization", value)) == "keyed"


def test_a_key_said_twice_is_one_key_and_two_keys_are_none() -> None:
    clients = Clients([KEYED, KnownClient(name="other", keys=frozenset({digest_of("other-key")}))])
    header = ("X-Api-Key", "a-secret-key")
    assert name_of(clients, header, ("Authorization", "Bearer a-secret-key"), told=("a-secret-key",)) == "keyed"
    for named, told in (([header], ("other-key",)), ([header, ("X-Api-Key", "other-key")], ()), ([header], ("",))):
        with pytest.raises(InvalidRequest, match=r"more than one API key was sent\Z"):
            name_of(clients, *named, told=told)


class Incomparable(str):
    """A key whose comparison with another would take the longer the more of it is right."""

    __slots__ = ()
    __hash__ = str.__hash__

    def __eq__(self, other: object) -> bool:
        raise AssertionError("a key is compared with a text")


def test_a_key_is_compared_with_nothing_but_by_its_digest() -> None:
    clients = Clients([KEYED, KnownClient(name="other", keys=frozenset({digest_of("other-key")}))])
    assert name_of(clients, told=(Incomparable("a-secret-key"),)) == "keyed"
    for guess in ("a-secret-kez", "other-kex"):
        with pytest.raises(InvalidRequest, match=r"unknown API key\Z"):
            name_of(clients, told=(Incomparable(guess),))


def test_a_client_known_by_any_origin_still_needs_one() -> None:
    open_to_pages = Clients([KnownClient(name="pages", origins=frozenset({"*"}))])
    assert name_of(open_to_pages, ("Origin", "https://any.example")) == "pages"
    with pytest.raises(InvalidRequest):
        name_of(open_to_pages)
    with pytest.raises(InvalidRequest, match="more than one Origin"):
        name_of(open_to_pages, ("Origin", DAPP), ("Origin", "https://evil.example"))


NETWORKS = (ip_network("10.1.0.0/16"), ip_network("fd00::/8"))
AT_HOME = Clients([KnownClient(name="backend", keys=KEYED.keys, networks=NETWORKS)])


@pytest.mark.parametrize("address", ["10.1.2.3", "::ffff:10.1.2.3", "fd00::1"])
def test_a_client_may_call_from_its_networks(address: str) -> None:
    assert name_of(AT_HOME, address=address, told=("a-secret-key",)) == "backend"


@pytest.mark.parametrize("address", ["10.2.0.1", "fe80::1", "::ffff:10.2.0.1", "no address", None])
def test_a_client_may_call_from_nowhere_else(address: str | None) -> None:
    with pytest.raises(NotLicensed, match=r"client backend may not call from this address"):
        name_of(AT_HOME, address=address, told=("a-secret-key",))


def test_a_client_that_could_be_anybody_is_refused() -> None:
    with pytest.raises(ValueError, match="client nobody needs an api_key or origins"):
        KnownClient(name="nobody")


def test_a_client_prints_without_its_keys() -> None:
    assert repr(KEYED).startswith("KnownClient(name='keyed'")
    assert "a-secret-key" not in repr(KEYED)
    assert next(iter(KEYED.keys)).hex() not in repr(KEYED)


def test_only_a_configured_origin_may_read_answers() -> None:
    clients = Clients([KnownClient(name="dapp", origins=frozenset({DAPP}))], origins={"https://wallet.example"})
    told = clients.cors(fields(("Origin", DAPP)))
    assert (told["Access-Control-Allow-Origin"], told["Vary"]) == (DAPP, "Origin")
    wallet = fields(("Origin", "https://wallet.example"))
    assert clients.cors(wallet)["Access-Control-Allow-Origin"] == "https://wallet.example"
    assert clients.cors(fields(("Origin", "https://evil.example"))) == {}
    assert clients.cors(fields()) == {}
    assert Clients().cors(fields(("Origin", DAPP))) == {}
