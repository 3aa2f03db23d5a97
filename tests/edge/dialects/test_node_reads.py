"""SDKs with one URL for everything read the chain through the gate: a closed list, bounded by client."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any, Final

import pytest

from proxy.edge.dialects.node_reads import (
    MOST_OF_CLIENT,
    NODE_READS,
    READS_AT_ONCE,
    READS_OF_CLIENT,
    READS_PER_SECOND,
    NodeReads,
)
from proxy.edge.http.households import HouseholdTurns
from proxy.edge.http.upstream import HttpUpstream
from proxy.errors import Code, ReadsSpent
from proxy.methods import METHODS, refusal_of_allow
from tests.edge.recording_bundler import Answer, RecordingBundler
from tests.running_gate import request, running_gate


class Watch:
    """A clock that a test winds."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
async def node() -> AsyncIterator[RecordingBundler]:
    async with RecordingBundler(answers={"eth_gasPrice": Answer(result="0x7")}) as node:
        yield node


@pytest.fixture
async def upstream(node: RecordingBundler) -> AsyncIterator[HttpUpstream]:
    async with HttpUpstream("soneium/node", [node.url], chain_id=1946, entry_points=frozenset()) as upstream:
        yield upstream


async def test_a_client_that_asks_too_much_is_told_so_and_others_are_served(
    node: RecordingBundler, upstream: HttpUpstream
) -> None:
    watch = Watch()
    reads = NodeReads(upstream, watch)
    for _ in range(int(READS_AT_ONCE)):
        await reads.answer("eth_gasPrice", [], "greedy")
    with pytest.raises(ReadsSpent):
        await reads.answer("eth_gasPrice", [], "greedy")
    assert (await reads.answer("eth_gasPrice", [], "modest")).reply.result == "0x7"
    assert len(node.requests) == READS_AT_ONCE + 1
    watch.now += 2 / READS_PER_SECOND
    await reads.answer("eth_gasPrice", [], "greedy")


async def of(household: str, reads: NodeReads, client: str = "anonymous") -> bool:
    """Whether it was answered."""
    try:
        await HouseholdTurns(8).work(household, reads.answer("eth_gasPrice", [], client))
    except ReadsSpent:
        return False
    return True


async def test_where_nobody_needs_a_key_one_stranger_uses_up_nobody_elses_reads(upstream: HttpUpstream) -> None:
    reads = NodeReads(upstream, Watch())
    assert [await of("greedy", reads) for _ in range(80)].count(True) == READS_AT_ONCE
    assert await of("modest", reads)


async def test_however_many_callers_ask_the_node_is_asked_so_often_and_a_newcomer_is_answered(
    upstream: HttpUpstream, node: RecordingBundler
) -> None:
    watch = Watch()
    reads = NodeReads(upstream, watch)
    for number in range(20):
        for _ in range(20):
            await of(f"greedy {number}", reads)
    assert READS_OF_CLIENT <= len(node.requests) <= 2 * READS_OF_CLIENT
    before = len(node.requests)
    assert await of("modest", reads)
    assert not await of("greedy 0", reads)
    watch.now += 1
    assert await of("greedy 0", reads)
    assert len(node.requests) == before + 2


async def test_no_number_of_households_has_the_node_asked_more_often_than_that(
    upstream: HttpUpstream, node: RecordingBundler
) -> None:
    watch = Watch()
    reads = NodeReads(upstream, watch)
    answered = [await of(f"household {number}", reads) for number in range(MOST_OF_CLIENT + 50)]
    assert answered == [True] * MOST_OF_CLIENT + [False] * 50
    assert len(node.requests) == MOST_OF_CLIENT
    assert await of("household 0", reads, client="another"), "another client has reads of its own"
    watch.now += 1
    assert await of("newcomer", reads)


async def test_of_the_households_that_asked_no_more_are_remembered_than_may_be(
    upstream: HttpUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("proxy.edge.dialects.node_reads._MOST_BUDGETS", 8)
    watch = Watch()
    reads = NodeReads(upstream, watch)
    for number in range(60):
        watch.now += 0.001
        await of(f"household {number}", reads)
    assert len(reads._budgets) <= 2 * 8 + 1


def test_nothing_in_the_list_could_submit_or_administer_and_nothing_in_it_is_the_bundlers() -> None:
    assert all(refusal_of_allow(method) is None for method in NODE_READS)
    assert not NODE_READS & METHODS.keys()


async def test_what_the_list_has_goes_to_the_node_and_the_rest_is_denied_as_ever(node: RecordingBundler) -> None:
    async with running_gate(node_url=node.url, chain={"node_reads": "true"}) as gate:
        assert (await gate.ask(request("eth_gasPrice")))["result"] == "0x7"
        assert "eth_gasPrice" not in gate.bundler.methods
        for denied in ("eth_sendRawTransaction", "eth_getLogs", "debug_traceCall", "eth_gasprice"):
            assert (await gate.ask(request(denied)))["error"]["code"] == -32601
            assert denied not in node.methods + gate.bundler.methods


SERVED: Final[dict[str, list[Any]]] = {
    "eth_blockNumber": [],
    "eth_call": [{"to": "0x" + "11" * 20, "data": "0x"}, "latest"],
    "eth_feeHistory": ["0x1", "latest", []],
    "eth_gasPrice": [],
    "eth_getBalance": ["0x" + "11" * 20, "latest"],
    "eth_getBlockByNumber": ["latest", False],
    "eth_getCode": ["0x" + "11" * 20, "latest"],
    "eth_getTransactionCount": ["0x" + "11" * 20, "latest"],
    "eth_getTransactionReceipt": ["0x" + "22" * 32],
    "eth_maxPriorityFeePerGas": [],
}
"""Written out, so that the list grows by nobody's oversight."""
SERVED_BY_NODES = """
    eth_accounts eth_blobBaseFee eth_coinbase eth_createAccessList eth_estimateGas eth_fillTransaction
    eth_getAccount eth_getBlockByHash eth_getBlockReceipts eth_getBlockTransactionCountByHash
    eth_getBlockTransactionCountByNumber eth_getFilterChanges eth_getFilterLogs eth_getHeaderByNumber
    eth_getLogs eth_getProof eth_getRawTransactionByHash eth_getStorageAt eth_getTransactionByBlockHashAndIndex
    eth_getTransactionByBlockNumberAndIndex eth_getTransactionByHash eth_getUncleCountByBlockNumber eth_getWork
    eth_hashrate eth_mining eth_newBlockFilter eth_newFilter eth_newPendingTransactionFilter
    eth_pendingTransactions eth_protocolVersion eth_sendBundle eth_sendPrivateTransaction eth_sendRawTransaction
    eth_sendRawTransactionConditional eth_sendTransaction eth_sign eth_signTransaction eth_signTypedData_v4
    eth_simulateV1 eth_submitHashrate eth_submitWork eth_syncing eth_uninstallFilter eth_callMany eth_callBundle
    eth_getvCode eth_GetCode ETH_CALL trace_call trace_block trace_filter debug_traceCall debug_traceTransaction
    debug_setHead admin_addPeer admin_nodeInfo personal_sign personal_unlockAccount personal_sendTransaction
    miner_start miner_setEtherbase txpool_content txpool_inspect net_listening net_peerCount web3_sha3
    engine_newPayloadV3 engine_forkchoiceUpdatedV3 rpc_modules anvil_setBalance anvil_impersonateAccount
    hardhat_setCode evm_mine evm_revert ots_getApiLevel erigon_getLogs wallet_sendCalls
    wallet_switchEthereumChain les_serverInfo clique_propose parity_pendingTransactions
"""
"""What nodes serve besides, near misses of what is served among them."""


async def test_of_what_nodes_serve_ten_reads_are_relayed_each_as_it_was_asked_and_nothing_else(
    node: RecordingBundler,
) -> None:
    others = SERVED_BY_NODES.split()
    node.answers |= {method: Answer(result=f"of {method}") for method in (*SERVED, *others)}
    async with running_gate(node_url=node.url, chain={"node_reads": "true"}) as gate:
        for method, params in SERVED.items():
            node.requests.clear()
            assert (await gate.ask(request(method, *params)))["result"] == f"of {method}"
            assert params in [each.params for each in node.requests if each.method == method]
        node.requests.clear()
        for method in others:
            assert (await gate.ask(request(method)))["error"]["code"] == -32601, method
        asked = {each.method for each in node.requests}
        assert not asked & set(others)
        assert not set(gate.bundler.methods) & {*others, *SERVED}
    assert set(SERVED) == NODE_READS


_SAID: Final = "quota of project-4711 at 10.1.2.3 is used up"


@pytest.mark.parametrize(
    "said",
    [
        Answer(error={"code": -32005, "message": _SAID}),
        Answer(error={"code": -32603, "message": _SAID}),
        Answer(error={"code": 429, "message": _SAID, "data": {"see": "10.1.2.3"}}),
        Answer(error={"message": _SAID}),
        *(Answer(error={"code": -32000, "message": _SAID}, status=status) for status in (401, 403, 429, 500, 503)),
        Answer(raw=_SAID.encode(), content_type="text/plain", status=403),
    ],
    ids=["a limit", "a fault", "a status for a code", "no code", *("401", "403", "429", "500", "503"), "no JSON"],
)
async def test_what_a_node_says_of_itself_is_told_to_nobody_who_reads_through_the_gate(
    node: RecordingBundler, said: Answer, caplog: pytest.LogCaptureFixture
) -> None:
    node.answers["eth_gasPrice"] = said
    async with running_gate(node_url=node.url, chain={"node_reads": "true"}) as gate:
        status, told = await gate.post(request("eth_gasPrice"))
    assert (status, json.loads(told)["error"]["code"]) == (200, Code.UPSTREAM_UNAVAILABLE)
    assert b"4711" not in told
    assert b"10.1.2.3" not in told
    assert ("quota of project-4711" in caplog.text) is (said.raw is None), "operators read what is wrong with it"


@pytest.mark.parametrize(
    "error",
    [
        {"code": 3, "message": "execution reverted: no", "data": "0x08c379a0"},
        {"code": -32603, "message": "VM Exception while processing transaction", "data": "0x08c379a0"},
        {"code": -32015, "message": "VM execution error."},
        {"code": -32000, "message": "insufficient funds for gas * price + value"},
        {"code": -32001, "message": "block not found"},
        {"code": -32602, "message": "invalid argument 0"},
    ],
)
async def test_what_a_node_says_of_the_call_is_told_as_it_said_it(
    node: RecordingBundler, error: dict[str, object]
) -> None:
    node.answers["eth_call"] = Answer(error=error)
    async with running_gate(node_url=node.url, chain={"node_reads": "true"}) as gate:
        assert (await gate.ask(request("eth_call", *SERVED["eth_call"])))["error"] == error


async def test_without_the_setting_nobody_is_asked(node: RecordingBundler) -> None:
    async with running_gate(node_url=node.url) as gate:
        assert (await gate.ask(request("eth_gasPrice")))["error"]["code"] == -32601
        assert "eth_gasPrice" not in node.methods + gate.bundler.methods


async def test_each_client_of_a_gate_has_reads_of_its_own(
    node: RecordingBundler, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("proxy.edge.dialects.node_reads.READS_AT_ONCE", 2.0)
    monkeypatch.setattr("proxy.edge.dialects.node_reads.READS_PER_SECOND", 1e-6)
    clients = [{"name": name, "api_key": f"hush-{name}-key"} for name in ("greedy", "modest")]
    async with running_gate(node_url=node.url, chain={"node_reads": "true"}, clients=clients) as gate:

        async def read(name: str) -> object:
            answer = await gate.ask(request("eth_gasPrice"), **{"x-api-key": f"hush-{name}-key"})
            return answer.get("result") or (answer["error"]["code"], answer["error"]["data"]["retryable"])

        assert [await read("greedy") for _ in range(3)] == ["0x7", "0x7", (Code.RATE_LIMITED, True)]
        assert await read("modest") == "0x7"
