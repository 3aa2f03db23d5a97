"""New heads reach whoever subscribed, within bounds, and nobody else."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from proxy.edge.http.feeds import MOST_OF_A_LINE, HeadFeed
from proxy.errors import InvalidParams, InvalidRequest, MethodNotFound


class FakeLine:
    def __init__(self) -> None:
        self.told: list[Any] = []
        self.then: list[Callable[[], object]] = []

    def tell(self, body: bytes) -> None:
        self.told.append(json.loads(body)["params"])

    def when_gone(self, then: Callable[[], object]) -> None:
        self.then.append(then)


def head(number: int) -> dict[str, str]:
    return {"hash": f"0x{number:064x}", "number": hex(number)}


def test_each_head_is_told_once_to_each_subscription() -> None:
    feed, one, two = HeadFeed(), FakeLine(), FakeLine()
    first, second = (feed.answer("eth_subscribe", ["newHeads"], one) for _ in range(2))
    other = feed.answer("eth_subscribe", ["newHeads"], two)
    for each in (head(1), head(1), None, {}, {"hash": 7}, {"hash": "0x1"}, head(2)):
        feed.tell(each)
    assert sorted(told["subscription"] for told in one.told) == sorted([first, second] * 2)
    assert two.told == [{"subscription": other, "result": head(number)} for number in (1, 2)]


def test_what_has_ended_hears_no_more_and_a_connection_that_is_gone_is_forgotten() -> None:
    feed, line, stranger = HeadFeed(), FakeLine(), FakeLine()
    name = feed.answer("eth_subscribe", ["newHeads"], line)
    assert feed.answer("eth_unsubscribe", [name], stranger) is False
    assert feed.answer("eth_unsubscribe", [name], line) is True
    assert feed.answer("eth_unsubscribe", [name], line) is False
    feed.tell(head(1))
    assert line.told == []
    for then in line.then:
        then()
    assert len(feed) == 0


def test_a_connection_has_only_so_many_and_nothing_else_can_be_subscribed_to() -> None:
    feed, line = HeadFeed(), FakeLine()
    for _ in range(MOST_OF_A_LINE):
        feed.answer("eth_subscribe", ["newHeads"], line)
    with pytest.raises(InvalidRequest):
        feed.answer("eth_subscribe", ["newHeads"], line)
    for kind in ("logs", "newPendingTransactions", None, {}, 7):
        with pytest.raises(InvalidParams):
            feed.answer("eth_subscribe", [kind], FakeLine())
    with pytest.raises(InvalidParams):
        feed.answer("eth_subscribe", ["newHeads", {}], FakeLine())
    with pytest.raises(MethodNotFound):
        feed.answer("eth_subscribe", ["newHeads"], None)


@pytest.mark.parametrize(
    ("kind", "why"), [("logs", "poll"), ("newPendingTransactions", "told to nobody"), ("syncing", "by itself")]
)
def test_what_else_nodes_tell_is_refused_with_the_reason(kind: str, why: str) -> None:
    with pytest.raises(InvalidParams, match=why):
        HeadFeed().answer("eth_subscribe", [kind, {"address": "0x" + "11" * 20}], FakeLine())


def test_a_head_too_long_goes_nowhere() -> None:
    feed, line = HeadFeed(), FakeLine()
    feed.answer("eth_subscribe", ["newHeads"], line)
    feed.tell({**head(1), "extraData": "0x" + "00" * 10_000})
    assert line.told == []
