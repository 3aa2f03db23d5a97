"""A caller is one configured client, from a page and on a chain of its own, or is refused."""

from __future__ import annotations

import pytest

from proxy.edge.http.clients import ANONYMOUS, Client, Clients
from proxy.errors import InvalidRequest

DAPP = "https://dapp.example"
KEYED = Client(name="keyed", api_key="a-secret-key")


def test_anybody_may_call_when_no_client_is_configured() -> None:
    assert Clients().identify({}, "soneium") == ANONYMOUS
    assert Clients().identify({"X-Api-Key": "any", "Origin": DAPP}, "soneium") == ANONYMOUS


def test_nobody_without_a_key_may_call_once_a_client_is_configured() -> None:
    assert Clients([KEYED]).identify({"X-Api-Key": "a-secret-key"}, "soneium") == "keyed"
    with pytest.raises(InvalidRequest, match="API key missing"):
        Clients([KEYED]).identify({}, "soneium")


@pytest.mark.parametrize("key", ["a-secret-ke", "a-secret-keyy", "", "\udcff", "é" * 10_000])
def test_a_key_is_the_whole_key_and_is_never_repeated(key: str) -> None:
    with pytest.raises(InvalidRequest, match=r"unknown API key\Z"):
        Clients([KEYED]).identify({"X-Api-Key": key}, "soneium")


@pytest.mark.parametrize("value", ["Bearer a-secret-key", "bearer  a-secret-key "])
def test_a_key_may_come_as_a_bearer_token(value: str) -> None:
    assert Clients([KEYED]).identify({"Authorization": value}, "soneium") == "keyed"


def test_a_client_known_by_any_origin_still_needs_one() -> None:
    open_to_pages = Clients([Client(name="pages", origins=frozenset({"*"}))])
    assert open_to_pages.identify({"Origin": "https://any.example"}, "soneium") == "pages"
    with pytest.raises(InvalidRequest):
        open_to_pages.identify({}, "soneium")


def test_a_client_that_could_be_anybody_is_refused() -> None:
    with pytest.raises(ValueError, match="client nobody needs an api_key or origins"):
        Client(name="nobody")


def test_a_client_prints_without_its_key() -> None:
    assert repr(KEYED).startswith("Client(name='keyed'")
    assert "a-secret-key" not in repr(KEYED)


def test_only_a_configured_origin_may_read_answers() -> None:
    clients = Clients([Client(name="dapp", origins=frozenset({DAPP}))], origins={"https://wallet.example"})
    told = clients.cors({"Origin": DAPP})
    assert (told["Access-Control-Allow-Origin"], told["Vary"]) == (DAPP, "Origin")
    assert clients.cors({"Origin": "https://wallet.example"})["Access-Control-Allow-Origin"] == "https://wallet.example"
    assert clients.cors({"Origin": "https://evil.example"}) == {}
    assert clients.cors({}) == {}
    assert Clients().cors({"Origin": DAPP}) == {}
