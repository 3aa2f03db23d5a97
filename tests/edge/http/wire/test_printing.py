"""An answer is printed the same in one step and line by line."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from proxy.edge.http.messages import HttpAnswer, PrintedFields
from proxy.edge.http.wire.printing import print_answer

FIELDS = st.dictionaries(st.sampled_from(["Content-Type", "X-A", "Allow"]), st.sampled_from(["a", "b/c"]))


@given(
    st.sampled_from([200, 204, 400, 599]),
    FIELDS,
    st.sampled_from([b"", b"{}", b"%b"]),
    st.none() | st.just("d-1"),
    st.booleans(),
)
def test_headers_that_are_printed_already_make_the_same_answer(
    status: int, fields: dict[str, str], body: bytes, decision_id: str | None, last: bool
) -> None:
    printed = print_answer(HttpAnswer(status, body, PrintedFields(fields), decision_id), b"now", last=last)
    assert printed == print_answer(HttpAnswer(status, body, fields, decision_id), b"now", last=last)
    assert printed.count(b"X-Sessiongate-Decision-Id: d-1\r\n") == (decision_id is not None)
    assert printed.endswith(body)
    headless = print_answer(HttpAnswer(status, body, fields, decision_id), b"now", last=last, bodiless=True)
    assert b"Content-Length" not in headless
    assert headless.endswith(b"\r\n\r\n")
    assert printed.startswith(b"HTTP/1.1 %d " % status)
