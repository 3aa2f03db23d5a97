"""What a node says of itself is written down, and no stranger decides how often."""

from __future__ import annotations

import pytest

from proxy.chain.complaints import NodeComplaints
from proxy.edge.http.url_secrets import hiding


def test_however_often_a_node_complains_there_is_a_line_a_minute_that_counts_the_others(
    caplog: pytest.LogCaptureFixture,
) -> None:
    now = 7.0
    complained = NodeComplaints(1868, lambda: now)
    for second in range(180):
        now = 7.0 + second
        for _ in range(10):
            complained(f"quota used up in second {second}\nof all")
    first, *others = caplog.messages
    assert first == "the node of chain 1868 answers with an error: quota used up in second 0\\nof all"
    assert [each.partition("(")[2] for each in others] == ["and 599 more errors since the last line)"] * 2


def test_a_key_of_ours_that_a_node_quotes_is_not_in_the_line(caplog: pytest.LogCaptureFixture) -> None:
    hide = hiding(
        ["https://node.example/v3/hush-hush-hush-hush", "https://somebody:hush-password@node.example/?k=hush-key"]
    )
    NodeComplaints(1868, lambda: 0.0, hide)("hush-hush-hush-hush, hush-password and hush-key are refused")
    assert caplog.messages == ["the node of chain 1868 answers with an error: ***, *** and *** are refused"]
