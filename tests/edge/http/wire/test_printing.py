"""An answer is printed the same in one step and line by line."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from proxy.edge.http.messages import PrintedFields
from proxy.edge.http.wire.printing import print_answer

FIELDS = st.dictionaries(st.sampled_from(["Content-Type", "X-A", "Allow"]), st.sampled_from(["a", "b/c"]))


@given(st.sampled_from([200, 204, 400, 599]), FIELDS, st.sampled_from([None, b"", b"{}", b"%b"]), st.booleans())
def test_headers_that_are_printed_already_make_the_same_answer(
    status: int, fields: dict[str, str], body: bytes | None, last: bool
) -> None:
    printed = print_answer(status, PrintedFields(fields), body, date=b"now", last=last)
    assert printed == print_answer(status, fields, body, date=b"now", last=last)
    assert printed.startswith(b"HTTP/1.1 %d " % status)
