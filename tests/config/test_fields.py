"""What settings are written in, each with the nearest thing that is refused, and the cure it is told."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic_core import PydanticCustomError

from proxy.config.endpoints import (
    Listen,
    read_endpoint,
    read_ledger,
    read_listen,
    read_network,
    read_nodes,
    read_origin,
)
from proxy.config.fields import (
    read_address,
    read_amount,
    read_entry_point,
    read_hash,
    read_selector,
    read_time,
)
from proxy.userop.entry_point import ENTRY_POINTS
from proxy.userop.primitives import UINT256_MAX, keccak256, print_checksummed

ADDRESS = "0x00000000008bDABA73cD9815d79069c247Eb4bDA"


def cure(read: Callable[[object], object], value: object) -> str:
    """The fault and its cure, as the operator reads them."""
    with pytest.raises(PydanticCustomError) as caught:
        read(value)
    context = caught.value.context
    assert context is not None
    return f"{context['problem']}; {context['suggestion']}"


@given(st.binary(min_size=20, max_size=20))
def test_reads_an_address_in_either_case_and_with_its_checksum(address: bytes) -> None:
    for text in ("0x" + address.hex(), "0x" + address.hex().upper(), print_checksummed(address)):
        assert read_address(text) == address


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (ADDRESS.replace("0x", "0X"), f"write 0x in lower case: {ADDRESS}"),
        (ADDRESS[2:], f"write 0x in front: {ADDRESS}"),
        (ADDRESS[:-1], "it has 39 digits after 0x, wanted 40"),
        (ADDRESS + "0", "it has 41 digits after 0x, wanted 40"),
        (ADDRESS[:-1] + "g", "'g' is no hex digit"),
        (ADDRESS[:-1] + "\n", "'\\n' is no hex digit"),
        (ADDRESS.replace("8bD", "8bd"), "copy it again, or write it in lower case if you are sure"),
        ("57005", "a tool may have turned an unquoted 0x… into this number"),
        ("vitalik.eth", "an address is 0x and 40 hex digits"),
    ],
)
def test_an_address_that_is_none_is_told_what_is_wrong_with_it(text: str, told: str) -> None:
    assert cure(read_address, text).endswith(told)


def test_an_id_has_32_bytes_and_not_one_fewer() -> None:
    assert read_hash("0x" + "ab" * 32) == b"\xab" * 32
    assert cure(read_hash, "0x" + "ab" * 31).endswith("it has 62 digits after 0x, wanted 64")


@pytest.mark.parametrize(
    "function",
    [
        "f()",
        "transfer(address,uint256)",
        "swap((address,uint256[2])[],bytes,bool)",
        "_f$(bytes1,bytes32,int8,function,string)",
    ],
)
def test_a_selector_may_be_written_as_its_function(function: str) -> None:
    assert read_selector(function) == keccak256(function.encode())[:4]


def test_a_selector_may_be_written_in_hex_or_with_spaces_after_commas() -> None:
    assert read_selector("0xa9059cbb") == read_selector("transfer(address, uint256)") == bytes.fromhex("a9059cbb")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("transfer(address,uint)", "write transfer(address,uint256)"),
        ("f((uint,int)[2])", "write f((uint256,int256)[2])"),
        ("transfer(address to)", "write the types alone, without names: transfer(address,uint256)"),
        ("f(token)", "write the types alone, without names: transfer(address,uint256)"),
        ("f(uint7)", "write the types alone, without names: transfer(address,uint256)"),
        ("f(uint264)", "write the types alone, without names: transfer(address,uint256)"),
        ("f(bytes33)", "write the types alone, without names: transfer(address,uint256)"),
        ("f(address,)", "write the types alone, without names: transfer(address,uint256)"),
        ("f((address)", "write the types alone, without names: transfer(address,uint256)"),
        ("f(())", "write the types alone, without names: transfer(address,uint256)"),
        ("function f()", "write it as transfer(address,uint256)"),
        ("f() view", "write it as transfer(address,uint256)"),
        ("f" + "(" * 5000 + ")", "write it as transfer(address,uint256)"),
        ("0xa9059cb", "it has 7 digits after 0x, wanted 8"),
        ("transfer", "a selector is 0x and 8 hex digits"),
    ],
)
def test_a_function_that_would_give_another_selector_is_refused(text: str, told: str) -> None:
    assert cure(read_selector, text).endswith(told)


@given(st.text(alphabet="f(),[]uint256 bytes$", max_size=40))
def test_a_selector_of_any_text_is_four_bytes_or_a_fault(text: str) -> None:
    try:
        selector = read_selector(text)
    except PydanticCustomError:
        return
    assert len(selector) == 4


def test_an_amount_is_whole_base_units_up_to_the_largest_the_chain_knows() -> None:
    assert read_amount("1000000000000000000") == 10**18
    assert read_amount("1_000") == 1000
    assert read_amount("0xff") == 255
    assert read_amount(str(UINT256_MAX)) == UINT256_MAX
    assert cure(read_amount, str(UINT256_MAX + 1)) == "the amount is above 2^256-1; no contract can count that far"
    assert cure(read_amount, "9" * 5000).startswith("the amount is above")


@pytest.mark.parametrize("text", ["1e18", "1.5", "-1", "1 ether", "", "٣", "0x"])
def test_an_amount_in_another_notation_is_refused(text: str) -> None:
    assert cure(read_amount, text).endswith("write whole base units (wei) in digits, without a unit")


def test_a_time_is_unix_seconds_or_a_date_with_its_offset() -> None:
    assert read_time("1798761600") == read_time("2027-01-01T00:00:00Z") == read_time("2027-01-01T09:00:00+09:00")
    assert read_time("0") == 0


def test_a_time_in_milliseconds_or_without_a_zone_is_refused() -> None:
    assert cure(read_time, "1798761600000") == "'1798761600000' looks like milliseconds; write seconds: 1798761600"
    assert cure(read_time, "2027-01-01T00:00:00").endswith("write 2027-01-01T00:00:00Z for UTC")
    assert cure(read_time, "tomorrow").endswith("write unix seconds, or 2027-01-31T00:00:00Z")
    assert cure(read_time, "1960-01-01T00:00:00Z").endswith("the chain counts from 1970")


@pytest.mark.parametrize("entry_point", ENTRY_POINTS)
def test_an_entry_point_is_named_by_version_or_address(entry_point: object) -> None:
    version, address = entry_point.version, print_checksummed(entry_point.address)  # type: ignore[attr-defined]  # parametrize gives object
    assert read_entry_point(version) == read_entry_point(version[1:]) == read_entry_point(address) == entry_point


def test_an_entry_point_that_cannot_be_read_is_refused() -> None:
    assert cure(read_entry_point, "v1.0").endswith("known are v0.6, v0.7, v0.8, v0.9")
    assert cure(read_entry_point, ADDRESS).startswith(f"{ADDRESS} is no entry point")


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://bundler.example", "https://bundler.example"),
        ("http://127.0.0.1:4337/rpc", "http://127.0.0.1:4337/rpc"),
        ("https://user:pass@host.example/rpc?apikey=secret", "https://host.example/rpc"),
        ("https://host.example/v2/AbCdEfGhIjKlMnOp", "https://host.example/v2/…"),
        ("https://host.example/v2/%73ecret", "https://host.example/v2/…"),
        ("http://[::1]:8545/", "http://[::1]:8545/"),
    ],
)
def test_a_url_is_kept_whole_and_shown_without_what_may_be_a_key(url: str, shown: str) -> None:
    endpoint = read_endpoint(url)
    assert endpoint.url == url
    assert str(endpoint) == endpoint.shown == shown
    assert url == shown or url not in repr(endpoint)


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("htps://host", 'did you mean "https"?'),
        ("ws://host", "write it as https://host/path"),
        ("host.example/rpc", "write https:// in front"),
        ("https://", "write it as https://host/path"),
        ("https://host:port/", "write it as https://host:8545/path"),
        ("https://host:99999/", "write it as https://host:8545/path"),
        ("https://[::1/", "write it as https://host:8545/path"),
        ("https://host/a b", "remove it, or write %20"),
        ("https://host/#key", "remove it, or write # as %23"),
    ],
)
def test_a_url_that_cannot_be_talked_to_is_refused(url: str, told: str) -> None:
    assert cure(read_endpoint, url).endswith(told)


def test_an_origin_is_what_a_browser_sends() -> None:
    assert read_origin("https://dapp.example:8443") == "https://dapp.example:8443"
    assert read_origin("*") == "*"
    assert cure(read_origin, "https://dapp.example/").endswith("write https://dapp.example")
    assert cure(read_origin, "https://Dapp.example").endswith("write https://dapp.example")
    assert cure(read_origin, "dapp.example").endswith("write https:// in front")


def test_an_origin_that_no_browser_sends_is_no_setting() -> None:
    """It would match no page, and its dapp were refused without a reason that anybody finds."""
    assert cure(read_origin, "https://dapp.example:443").endswith("write https://dapp.example")
    assert cure(read_origin, "http://[::1]:80").endswith("write http://[::1]")
    assert cure(read_origin, "https://somebody@dapp.example").endswith("write https://dapp.example")
    assert cure(read_origin, "https://däpp.example").endswith("write https://xn--dpp-qla.example")
    assert cure(read_origin, "https://" + "ä" * 80).endswith("write it as https://dapp.example")
    assert read_origin("http://dapp.example:443") == "http://dapp.example:443"
    assert read_origin("http://[::1]:8080") == "http://[::1]:8080"
    assert read_origin("chrome-extension://abcdefghijklmnop") == "chrome-extension://abcdefghijklmnop"


def test_a_network_is_written_as_its_callers_are_known() -> None:
    """Whoever calls from an IPv4 address is known by it, also where a socket for both families names it."""
    assert read_network("10.0.0.0/8") == ip_network("10.0.0.0/8")
    assert read_network("fd00::/8") == ip_network("fd00::/8")
    assert cure(read_network, "::ffff:10.0.0.0/104").endswith("write 10.0.0.0/8")
    assert cure(read_network, "::ffff:10.1.2.3").endswith("write 10.1.2.3/32")
    assert cure(read_network, "10.0.0.1/8").endswith("write 10.0.0.0/8, or the address alone")


def test_a_listener_names_its_interface() -> None:
    assert read_listen("127.0.0.1:0") == Listen("127.0.0.1", 0)
    assert read_listen("[::1]:8080") == Listen("::1", 8080)
    assert str(read_listen("[::1]:8080")) == "[::1]:8080"
    assert "127.0.0.1:8080 for this machine only" in cure(read_listen, ":8080")
    assert cure(read_listen, "::1:8080").endswith("write an IPv6 address in brackets: [::1]:8080")
    assert cure(read_listen, "127.0.0.1:65536").endswith("write it as 127.0.0.1:8080")
    assert cure(read_listen, "8080").endswith("write it as 127.0.0.1:8080")


@pytest.mark.parametrize(("host", "local"), [("127.0.0.1", True), ("::1", True), ("0.0.0.0", False), ("::", False)])
def test_a_listener_knows_whether_other_machines_reach_it(host: str, local: bool) -> None:
    assert Listen(host, 9090).is_local is local


@pytest.mark.parametrize("text", ["redis://host", "sqlite:", "sqlite:///", "sqlite://host/path", "ledger.db", ""])
def test_a_ledger_that_cannot_be_kept_is_refused(text: str) -> None:
    assert "write" in cure(read_ledger, text)


def test_a_ledger_prints_as_it_is_written() -> None:
    for text in ("memory", "sqlite:///var/lib/ledger.db"):
        assert str(read_ledger(text)) == text


def test_a_node_is_one_url_or_a_list_of_them_and_shows_no_key() -> None:
    one, several = (
        read_nodes("https://a.example/rpc"),
        read_nodes(["https://a.example/", "https://b.example/?key=hush"]),
    )
    assert one.urls == ("https://a.example/rpc",)
    assert several.urls == ("https://a.example/", "https://b.example/?key=hush")
    assert "hush" not in str(several) + repr(several)


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ([], "names no node"),
        (["https://a.example/", "https://a.example/"], "one node twice"),
        (["https://a.example/", "ftp://b.example/"], "not http, https, ws or wss"),
        (7, "wanted a URL"),
    ],
    ids=["none", "twice", "scheme", "number"],
)
def test_what_is_no_list_of_nodes_says_why(value: object, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        read_nodes(value)
