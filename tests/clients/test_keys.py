"""A key is read from a URL as it was put there, and settings may hold its digest in its place."""

from __future__ import annotations

from hashlib import sha256
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.clients.keys import digest_of, digest_written, is_hash, key_in_segment, keys_in_query


@given(st.text(min_size=1))
def test_any_key_survives_its_way_through_a_url(key: str) -> None:
    quoted = quote(key, safe="", errors="surrogatepass") if key.isprintable() else quote(key.encode("utf-8", "replace"))
    expected = key if key.isprintable() else key.encode("utf-8", "replace").decode()
    assert key_in_segment(quoted) == expected
    assert keys_in_query(f"a=1&apikey={quoted}&b") == [expected]


@pytest.mark.parametrize(
    ("query", "keys"),
    [
        ("", []),
        ("apikey=one", ["one"]),
        ("apikey=a+b/c==", ["a+b/c=="]),
        ("%61pikey=one&apikey=two", ["one", "two"]),
        ("apikey", [""]),
        ("key=one&api_key=two&APIKEY=three", []),
        ("x=apikey=one", []),
    ],
)
def test_every_apikey_in_a_query_counts_and_nothing_else(query: str, keys: list[str]) -> None:
    assert keys_in_query(query) == keys


@given(st.binary().map(lambda raw: raw.decode("latin-1")))
def test_whatever_stands_in_a_url_is_read_without_a_fault(text: str) -> None:
    digest_of(key_in_segment(text))
    for key in keys_in_query(text):
        digest_of(key)


def test_settings_may_hold_the_digest_of_a_key() -> None:
    key = "a-long-and-random-key"
    written = f"sha256:{sha256(key.encode()).hexdigest()}"
    assert is_hash(written)
    assert digest_written(written) == digest_written(written.upper().replace("SHA256", "sha256")) == digest_of(key)
    assert digest_written(key) == digest_of(key)
    # the digest does not open the door itself
    assert digest_of(written) != digest_of(key)
    assert not is_hash("sha256:abcd")
