"""`traceparent` is read as W3C Trace Context §3.2 has it, and not otherwise."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.edge.tracing.traceparent import TraceParent, print_traceparent, read_traceparent

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
SPAN = "00f067aa0ba902b7"
GOOD = f"00-{TRACE}-{SPAN}-01"


@pytest.mark.parametrize(
    ("text", "sampled"),
    [
        (GOOD, True),
        (f"00-{TRACE}-{SPAN}-00", False),
        (f"00-{TRACE}-{SPAN}-03", True),  # a flag that is not known yet
        (f"01-{TRACE}-{SPAN}-01", True),  # a later version
        (f"cc-{TRACE}-{SPAN}-01-what-the-future-will-be-like", True),
    ],
)
def test_what_the_standard_allows_is_read(text: str, sampled: bool) -> None:
    assert read_traceparent(text) == TraceParent(int(TRACE, 16), int(SPAN, 16), sampled)


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        GOOD.upper(),
        f" {GOOD}",
        f"{GOOD}\n",
        f"{GOOD}-more",  # version 00 ends there
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE[:-1]}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-1",
        f"{GOOD}, {GOOD}",
        f"cc-{TRACE}-{SPAN}-01-{'x' * 100}",
        f"00-{TRACE.replace('4', '٤')}-{SPAN}-01",
    ],
)
def test_anything_else_is_no_parent(text: str | None) -> None:
    assert read_traceparent(text) is None


@given(st.text(alphabet="0123456789abcdefABCDEF-xg \n", max_size=70) | st.text(max_size=70))
def test_whatever_is_read_is_printed_back_as_the_same_place(text: str) -> None:
    found = read_traceparent(text)
    if found is None:
        assert re.fullmatch(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}", text) is None
    else:
        assert read_traceparent(print_traceparent(found)) == found


@given(st.integers(1, 2**128 - 1), st.integers(1, 2**64 - 1), st.booleans())
def test_what_is_printed_is_read(trace_id: int, span_id: int, sampled: bool) -> None:
    place = TraceParent(trace_id, span_id, sampled)
    assert read_traceparent(print_traceparent(place)) == place
