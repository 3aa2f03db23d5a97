"""Which host names are ours, and which addresses only this machine reaches."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.edge.admin.guard import is_host_ours, is_loopback

ADDRESSES = ["127.0.0.1", "127.0.0.1:9090", "[::1]:9090", "[::1]", "10.0.0.7:9090"]
DOTLESS = ["localhost:9090", "gate:9090", "gate.localhost"]


@pytest.mark.parametrize("host", [*ADDRESSES, *DOTLESS])
def test_an_address_or_a_name_without_a_dot_is_ours(host: str) -> None:
    assert is_host_ours(host)


FOREIGN = ["attacker.example", "attacker.example:9090", "attacker.example.", "127.0.0.1@attacker.example"]
DISGUISED = ["127.0.0.1.attacker.example", "localhost.attacker.example", "1.2.3", "localhost."]
BROKEN = ["", ":9090", "[::1"]


@pytest.mark.parametrize("host", [*FOREIGN, *DISGUISED, *BROKEN])
def test_a_name_that_somebody_else_may_own_is_not(host: str) -> None:
    assert not is_host_ours(host)


def test_a_name_in_the_configuration_is_ours_and_its_sibling_is_not() -> None:
    for host in ("gate.ops.example:9090", "gate.ops.example.:9090", "gate.ops.example."):
        assert is_host_ours(host, {"gate.ops.example"})
    assert not is_host_ours("gate.ops.example..", {"gate.ops.example"})
    assert not is_host_ours("gate2.ops.example:9090", {"gate.ops.example"})


@given(st.text())
def test_any_header_text_gets_a_yes_or_a_no(host: str) -> None:
    assert is_host_ours(host) in (True, False)


@given(st.from_regex(r"[a-z0-9-]{1,20}\.[a-z]{2,6}", fullmatch=True))
def test_no_public_name_is_ours(host: str) -> None:
    assert not is_host_ours(host)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.0.1", "::1", "localhost"])
def test_loopback_is_reachable_from_this_machine_only(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "gate", ""])
def test_anything_else_may_be_reached_from_elsewhere(host: str) -> None:
    assert not is_loopback(host)
