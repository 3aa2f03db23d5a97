"""What the node client takes for an answer."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from aiohttp import web

from proxy.chain import lane
from proxy.chain.blocks.header import Header
from proxy.chain.blocks.source import LogFilter, Transaction
from proxy.chain.node import Node, Reverted
from proxy.chain.settlement.slices import BlockName
from proxy.errors import BlockUnknown, StateUnavailable
from proxy.userop.primitives import Address, Hash32, print_bytes
from tests.chain.builders import Answer, FakeNode, Reverts, hash_of_block

CONTRACT = Address(b"\xc0" * 20)
SENDER = Address(b"\x5e" * 20)
BLOCK = BlockName(16, hash_of_block(16))
BY_HASH = {"blockHash": print_bytes(BLOCK.hash), "requireCanonical": True}


async def test_a_call_returns_the_bytes_and_names_block_and_sender(node: Node, chain: FakeNode) -> None:
    chain.calls[CONTRACT, b"\x01\x02"] = b"\xaa\xbb"
    assert await node.call(CONTRACT, b"\x01\x02", block=BLOCK, sender=SENDER) == b"\xaa\xbb"
    assert await node.call(CONTRACT, b"\x01\x02") == b"\xaa\xbb"
    pinned, latest = chain.calls_asked()
    assert pinned == [{"to": "0x" + "c0" * 20, "data": "0x0102", "from": "0x" + "5e" * 20}, BY_HASH]
    assert latest == [{"to": "0x" + "c0" * 20, "data": "0x0102"}, "latest"]


async def test_a_node_that_takes_no_block_by_its_hash_is_asked_by_number_from_then_on(
    node: Node, chain: FakeNode
) -> None:
    def refuse(body: dict[str, Any]) -> web.StreamResponse | None:
        if isinstance(body["params"][1], str):
            return None
        error = {"code": -32602, "message": "invalid argument 1: json: cannot unmarshal object into Go value"}
        return web.json_response({"jsonrpc": "2.0", "id": body["id"], "error": error})

    chain.calls[CONTRACT, b"\x01"] = b"\xaa"
    chain.reply = refuse
    assert [await node.call(CONTRACT, b"\x01", block=BLOCK) for _ in range(2)] == [b"\xaa", b"\xaa"]
    assert [params[1] for params in chain.calls_asked()] == [BY_HASH, "0x10", "0x10"]


@pytest.mark.parametrize("code", [-32000, -32001])
async def test_a_node_that_has_not_got_the_block_is_told_from_one_that_does_not_answer(
    node: Node, chain: FakeNode, code: int
) -> None:
    chain.calls[CONTRACT, b"\x01"] = {"code": code, "message": "header not found"}
    with pytest.raises(BlockUnknown, match="eth_call of 0x01"):
        await node.call(CONTRACT, b"\x01", block=BLOCK)
    chain.calls[CONTRACT, b"\x01"] = {"code": -32005, "message": "limit exceeded"}
    with pytest.raises(StateUnavailable) as missing:
        await node.call(CONTRACT, b"\x01", block=BLOCK)
    assert type(missing.value) is StateUnavailable


async def test_an_address_without_code_answers_nothing(node: Node) -> None:
    assert await node.call(CONTRACT, b"\x01") == b""


@pytest.mark.parametrize(
    ("error", "data"),
    [
        ({"code": 3, "message": "execution reverted", "data": "0x0102"}, b"\x01\x02"),
        ({"code": 3, "message": "execution reverted"}, b""),
        ({"code": -32000, "message": "execution reverted"}, b""),
        ({"code": -32000, "message": "execution reverted", "data": {"data": "0x0102"}}, b"\x01\x02"),
        ({"code": -32015, "message": "VM execution error.", "data": "Reverted 0x0102"}, b"\x01\x02"),
        ({"code": 3, "message": "execution reverted", "data": "0x01zz"}, b""),
    ],
)
async def test_a_revert_is_an_answer_however_the_node_says_it(
    node: Node, chain: FakeNode, error: dict[str, object], data: bytes
) -> None:
    chain.calls[CONTRACT, b"\x01"] = error
    assert await node.call(CONTRACT, b"\x01") == Reverted(data)


@pytest.mark.parametrize(
    "answer",
    [{"code": -32000, "message": "missing trie node"}, {"code": -32601, "message": "method not found"}],
)
async def test_any_other_error_of_the_node_is_a_missing_fact(node: Node, chain: FakeNode, answer: Answer) -> None:
    chain.calls[CONTRACT, b"\x01"] = answer
    with pytest.raises(StateUnavailable, match="eth_call of 0x01 at 0xc0c0") as missing:
        await node.call(CONTRACT, b"\x01")
    assert isinstance(answer, dict)
    # the log says what the node said, callers do not hear it
    assert str(answer["message"]) in str(missing.value)
    assert str(answer["message"]) not in missing.value.what


def _reply(**response: Any) -> Any:
    return lambda _: web.Response(**response)


@pytest.mark.parametrize(
    "reply",
    [
        _reply(text="not json"),
        _reply(text="[]", content_type="application/json"),
        _reply(text='{"jsonrpc":"2.0","id":1}', content_type="application/json"),
        _reply(text='{"jsonrpc":"2.0","id":1,"result":5}', content_type="application/json"),
        _reply(text='{"jsonrpc":"2.0","id":1,"result":"0x123"}', content_type="application/json"),
        _reply(status=502, text="bad gateway"),
        _reply(body=b"[" * 100_000),
        _reply(body=b"\xff\xfe"),
        _reply(body=b" " * (5 * 1024 * 1024)),
    ],
    ids=["text", "array", "no result", "number", "odd hex", "gateway", "deep", "not utf-8", "huge"],
)
async def test_what_is_no_answer_is_a_missing_fact(node: Node, chain: FakeNode, reply: Any) -> None:
    chain.reply = reply
    with pytest.raises(StateUnavailable):
        await node.call(CONTRACT, b"\x01")


async def test_a_json_rpc_answer_counts_whatever_its_http_status(node: Node, chain: FakeNode) -> None:
    error = '{"jsonrpc":"2.0","id":1,"error":{"code":3,"message":"execution reverted","data":"0x01"}}'
    chain.reply = _reply(status=400, text=error, content_type="application/json")
    assert await node.call(CONTRACT, b"\x01") == Reverted(b"\x01")


async def test_a_silent_node_is_a_missing_fact_that_names_no_url() -> None:
    release = asyncio.Event()

    async def stall(_: web.Request) -> web.StreamResponse:
        await release.wait()
        return web.Response()

    silent = FakeNode()
    silent.handle = stall  # type: ignore[method-assign]  # never answers
    server = await silent.start()
    node = Node(str(server.make_url("/?key=secret")), timeout_seconds=0.05)
    with pytest.raises(StateUnavailable, match="did not answer") as quiet:
        await node.chain_id()
    assert "secret" not in str(quiet.value)
    release.set()
    await node.close()
    await server.close()


async def test_a_node_that_is_gone_is_a_missing_fact_that_names_no_url(chain: FakeNode) -> None:
    server = await chain.start()
    node = Node(str(server.make_url("/?key=secret")))
    await server.close()
    with pytest.raises(StateUnavailable, match="could not be asked") as refused:
        await node.chain_id()
    assert "secret" not in str(refused.value)
    await node.close()


async def test_the_newest_block_has_number_time_and_base_fee(node: Node, chain: FakeNode) -> None:
    assert await node.head() == Header(
        number=100, hash=hash_of_block(100), parent=hash_of_block(99), timestamp=1_700_000_000, base_fee=7
    )
    chain.base_fee = None
    assert (await node.head()).base_fee is None


async def test_a_delegate_is_read_from_a_delegation_and_from_nothing_else(node: Node, chain: FakeNode) -> None:
    chain.codes[SENDER] = bytes.fromhex("ef0100") + CONTRACT
    assert await node.delegate(SENDER) == CONTRACT
    for code in (b"", bytes.fromhex("ef0100"), bytes.fromhex("ef0100") + CONTRACT + b"\0", b"\x60\x80" + bytes(21)):
        chain.codes[SENDER] = code
        assert await node.delegate(SENDER) is None
        assert await node.code(SENDER) == code


async def test_the_chain_id_is_read(node: Node) -> None:
    assert await node.chain_id() == 1868


async def _most_at_once(chain: FakeNode, questions: int) -> int:
    under_way = most = 0

    async def count(request: web.Request) -> web.StreamResponse:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        await asyncio.sleep(0)
        response = await FakeNode.handle(chain, request)
        under_way -= 1
        return response

    chain.handle = count  # type: ignore[method-assign]  # counts on the way
    server = await chain.start()
    node = Node(str(server.make_url("/")), timeout_seconds=60, concurrency=3)
    assert await asyncio.gather(*(node.chain_id() for _ in range(questions))) == [1868] * questions
    await node.close()
    await server.close()
    return most


async def test_many_calls_at_once_go_together_a_few_exchanges_at_a_time(chain: FakeNode) -> None:
    assert 1 <= await _most_at_once(chain, 200) <= 3
    assert sum(chain.sizes) == 200
    assert len(chain.sizes) <= 10


async def test_a_node_that_takes_no_batches_is_asked_one_by_one(chain: FakeNode) -> None:
    chain.batches = False
    await _most_at_once(chain, 100)
    assert chain.sizes == [1] * 100


async def test_a_node_that_took_no_batches_for_a_while_is_asked_many_things_at_once_again_later(
    node: Node, chain: FakeNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lane, "_MANY", 64)
    chain.batches = False
    await asyncio.gather(*(node.chain_id() for _ in range(100)))
    assert set(chain.sizes) == {1}
    chain.batches = True
    for _ in range(8):
        chain.sizes.clear()
        await asyncio.gather(*(node.chain_id() for _ in range(100)))
    assert max(chain.sizes) == 32


async def test_a_node_that_never_takes_batches_is_hardly_bothered_with_them(node: Node, chain: FakeNode) -> None:
    chain.batches = False
    for _ in range(10):
        await asyncio.gather(*(node.chain_id() for _ in range(100)))
    assert set(chain.sizes) == {1}
    assert chain.refused < 50


async def test_each_question_of_a_batch_has_its_own_answer_or_failure(node: Node, chain: FakeNode) -> None:
    chain.calls[CONTRACT, b"\x01"] = b"\xaa"
    chain.calls[CONTRACT, b"\x02"] = Reverts(b"\xbb")
    chain.calls[CONTRACT, b"\x03"] = {"code": -32000, "message": "missing trie node"}
    calls = (node.call(CONTRACT, bytes([data])) for data in (1, 2, 3, 4))
    answers = await asyncio.gather(*calls, return_exceptions=True)
    assert answers[:2] == [b"\xaa", Reverted(b"\xbb")]
    assert isinstance(answers[2], StateUnavailable)
    assert answers[3] == b""
    assert chain.sizes == [4]


async def test_blocks_are_read_together_and_one_that_is_not_there_is_none(node: Node, chain: FakeNode) -> None:
    there, missing = await node.headers([100, 101])
    assert there is not None
    assert (there.number, there.hash) == (100, hash_of_block(100))
    assert missing is None


async def test_a_transaction_is_read_and_none_for_one_that_is_not_there(node: Node, chain: FakeNode) -> None:
    found = {"hash": "0x" + "0c" * 32, "to": "0x" + "c0" * 20, "input": "0x0102"}
    chain.reply = _result(found)
    assert await node.transactions([Hash32(b"\x0c" * 32)]) == (Transaction(to=CONTRACT, call_data=b"\x01\x02"),)
    with pytest.raises(StateUnavailable):
        await node.transactions([Hash32(b"\x0d" * 32)])
    chain.reply = _result(None)
    assert await node.transactions([Hash32(b"\x0c" * 32)]) == (None,)


async def test_a_client_that_was_closed_may_be_used_again(node: Node) -> None:
    await node.chain_id()
    await node.close()
    assert await node.chain_id() == 1868


async def test_the_revert_data_of_a_contract_comes_through_whole(node: Node, chain: FakeNode) -> None:
    chain.calls[CONTRACT, b"\x01"] = Reverts(b"\x52\x6d\x0d\xa5" + bytes(32))
    assert await node.call(CONTRACT, b"\x01") == Reverted(b"\x52\x6d\x0d\xa5" + bytes(32))


TOPIC, OTHER_TOPIC = Hash32(b"\x01" * 32), Hash32(b"\x02" * 32)


def _raw_log(block: int) -> dict[str, object]:
    return {
        "address": "0x" + "c0" * 20,
        "topics": ["0x" + "01" * 32],
        "data": "0x",
        "blockNumber": hex(block),
        "blockHash": "0x" + "0b" * 32,
        "transactionHash": "0x" + "0c" * 32,
        "logIndex": "0x3",
        "removed": False,
    }


def _result(result: object) -> Any:
    return lambda body: web.json_response({"jsonrpc": "2.0", "id": body["id"], "result": result})


async def test_logs_are_asked_for_by_address_first_topic_and_blocks(node: Node, chain: FakeNode) -> None:
    chain.reply = _result([_raw_log(16), _raw_log(32)])
    logs = await node.logs_between(16, 32, LogFilter(addresses=(CONTRACT,), topics=((TOPIC, OTHER_TOPIC),)))
    assert [(log.address, log.block, log.log_index) for log in logs] == [(CONTRACT, 16, 3), (CONTRACT, 32, 3)]
    assert chain.asked == [
        (
            "eth_getLogs",
            [
                {
                    "address": ["0x" + "c0" * 20],
                    "topics": [["0x" + "01" * 32, "0x" + "02" * 32]],
                    "fromBlock": "0x10",
                    "toBlock": "0x20",
                }
            ],
        )
    ]


@pytest.mark.parametrize(
    "result",
    [None, {}, [None], [{}], [_raw_log(16), {**_raw_log(17), "data": "0x1"}], [_raw_log(15)], [_raw_log(33)]],
    ids=["null", "object", "null log", "no parts", "bad data", "block before", "block after"],
)
async def test_logs_that_cannot_be_read_or_were_not_asked_for_are_a_missing_fact(
    node: Node, chain: FakeNode, result: object
) -> None:
    chain.reply = _result(result)
    with pytest.raises(StateUnavailable, match="the logs of blocks 16 to 32"):
        await node.logs_between(16, 32, LogFilter(addresses=(CONTRACT,), topics=((TOPIC,),)))


async def test_more_logs_than_are_taken_at_once_are_a_missing_fact(node: Node, chain: FakeNode) -> None:
    chain.reply = _result([{**_raw_log(16), "data": "0x" + "00" * (5 * 1024 * 1024)}])
    with pytest.raises(StateUnavailable, match="the logs of blocks 16 to 32"):
        await node.logs_between(16, 32, LogFilter(addresses=(CONTRACT,), topics=((TOPIC,),)))


async def test_the_hash_of_a_block_is_read_and_none_for_one_that_is_not_there(node: Node, chain: FakeNode) -> None:
    assert await node.block_hash(100) == hash_of_block(100)
    assert await node.block_hash(101) is None


@pytest.mark.parametrize("block", [5, {}, {"number": "0x11", "hash": "0x" + "0b" * 32}, {"number": "0x10"}])
async def test_another_block_than_was_asked_for_is_a_missing_fact(node: Node, chain: FakeNode, block: object) -> None:
    chain.reply = _result(block)
    with pytest.raises(StateUnavailable, match="block 16"):
        await node.block_hash(16)
