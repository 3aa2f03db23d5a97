"""Any SDK's fee question is answered by any bundler, in the shape the SDK reads."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from proxy.edge.dialects.asking import Translated
from proxy.edge.dialects.fees import FEE_METHODS, FeeTranslator, NodeFees
from proxy.edge.http.exchange import UpstreamReply
from proxy.edge.http.upstream import HttpUpstream
from proxy.errors import StateUnavailable, UpstreamUnavailable
from proxy.methods import METHODS, MethodClass
from tests.edge.recording_bundler import Answer, RecordingBundler

RUNDLER, PIMLICO = "rundler_maxPriorityFeePerGas", "pimlico_getUserOperationGasPrice"
SKANDHA, VOLTAIRE = "skandha_getGasPrice", "voltaire_feesPerGas"
BICONOMY, ZERODEV = "biconomy_getGasFeeValues", "zd_getUserOperationGasPrice"
THIRDWEB, ALCHEMY = "thirdweb_getUserOperationGasPrice", "rundler_getUserOperationGasPrice"

# as a real alto answers
ALTO_PRICE = {
    tier: {"maxFeePerGas": "0x3ba39452", "maxPriorityFeePerGas": "0x3b9aca00"} for tier in ("slow", "standard", "fast")
}
UNEVEN_PRICE = {
    "slow": {"maxFeePerGas": "0x11", "maxPriorityFeePerGas": "0x1"},
    "standard": {"maxFeePerGas": "0x22", "maxPriorityFeePerGas": "0x2"},
    "fast": {"maxFeePerGas": "0x33", "maxPriorityFeePerGas": "0x3"},
}
PAIR = {"maxFeePerGas": "0x22", "maxPriorityFeePerGas": "0x2"}
ASKED = [
    (RUNDLER, "0x2"),
    (SKANDHA, PAIR),
    (VOLTAIRE, PAIR),
    (THIRDWEB, PAIR),
    (BICONOMY, UNEVEN_PRICE | PAIR),
    (ZERODEV, UNEVEN_PRICE | PAIR),
    (ALCHEMY, {"priorityFee": "0x2", "suggested": PAIR}),
]


@pytest.fixture
async def bundler() -> AsyncIterator[RecordingBundler]:
    async with RecordingBundler() as bundler:
        yield bundler


@pytest.fixture
async def upstream(bundler: RecordingBundler) -> AsyncIterator[HttpUpstream]:
    async with HttpUpstream("soneium", [bundler.url], chain_id=1946, entry_points=frozenset()) as upstream:
        yield upstream


async def node_fees() -> NodeFees:
    return NodeFees(base_fee=1001, max_priority_fee=7)


async def no_node() -> NodeFees:
    raise StateUnavailable("node")


async def translated(translator: FeeTranslator, method: str) -> object:
    answer = await translator.answer(method)
    assert isinstance(answer, Translated)
    return answer.result


@pytest.mark.parametrize("method", sorted(FEE_METHODS))
async def test_a_method_the_bundler_knows_is_relayed_unchanged(
    bundler: RecordingBundler, upstream: HttpUpstream, method: str
) -> None:
    bundler.answers[method] = Answer(result={"whatever": [1]})
    answer = await FeeTranslator(upstream, node_fees).answer(method)
    assert isinstance(answer, UpstreamReply)
    assert answer.reply.result == {"whatever": [1]}
    assert bundler.methods == [method]


async def test_a_startale_client_is_answered_by_alto(bundler: RecordingBundler, upstream: HttpUpstream) -> None:
    bundler.answers[PIMLICO] = Answer(result=ALTO_PRICE)
    assert await translated(FeeTranslator(upstream), RUNDLER) == "0x3b9aca00"


@pytest.mark.parametrize(("asked", "result"), ASKED)
async def test_alto_answers_with_its_standard_price(
    bundler: RecordingBundler, upstream: HttpUpstream, asked: str, result: object
) -> None:
    bundler.answers[PIMLICO] = Answer(result=UNEVEN_PRICE)
    assert await translated(FeeTranslator(upstream), asked) == result


@pytest.mark.parametrize(
    ("known", "answer"),
    [
        (SKANDHA, PAIR),
        (VOLTAIRE, PAIR),
        (ALCHEMY, {"priorityFee": "0x1", "baseFee": "0x1", "blockNumber": "0x9", "suggested": PAIR}),
        (THIRDWEB, PAIR),
        (BICONOMY, PAIR),  # as its older bundlers answer
    ],
)
async def test_one_price_serves_for_all_tiers(
    bundler: RecordingBundler, upstream: HttpUpstream, known: str, answer: object
) -> None:
    bundler.answers[known] = Answer(result=answer)
    assert await translated(FeeTranslator(upstream), PIMLICO) == dict.fromkeys(("slow", "standard", "fast"), PAIR)


@pytest.mark.parametrize("known", [BICONOMY, ZERODEV])
async def test_bundlers_with_tiers_of_their_own_serve_a_pimlico_client(
    bundler: RecordingBundler, upstream: HttpUpstream, known: str
) -> None:
    bundler.answers[known] = Answer(result=UNEVEN_PRICE)
    assert await translated(FeeTranslator(upstream), PIMLICO) == UNEVEN_PRICE


async def test_rundler_answers_a_pimlico_client_with_its_priority_fee_over_the_nodes_base_fee(
    bundler: RecordingBundler, upstream: HttpUpstream
) -> None:
    bundler.answers[RUNDLER] = Answer(result="0x64")
    assert await translated(FeeTranslator(upstream, node_fees), PIMLICO) == {
        "slow": {"maxFeePerGas": hex(1202 + 100), "maxPriorityFeePerGas": "0x64"},
        "standard": {"maxFeePerGas": hex(1502 + 100), "maxPriorityFeePerGas": "0x64"},
        "fast": {"maxFeePerGas": hex(2002 + 100), "maxPriorityFeePerGas": "0x64"},
    }


@pytest.mark.parametrize(
    ("asked", "result"),
    [
        (RUNDLER, "0x7"),
        (SKANDHA, {"maxFeePerGas": hex(1502 + 7), "maxPriorityFeePerGas": "0x7"}),
        (VOLTAIRE, {"maxFeePerGas": hex(1502 + 7), "maxPriorityFeePerGas": "0x7"}),
    ],
)
async def test_the_node_answers_for_a_bundler_without_fee_methods(
    upstream: HttpUpstream, asked: str, result: object
) -> None:
    assert await translated(FeeTranslator(upstream, node_fees), asked) == result


@pytest.mark.parametrize("node", [None, no_node])
async def test_the_bundlers_own_error_is_relayed_when_nothing_can_answer(
    bundler: RecordingBundler, upstream: HttpUpstream, node: Any
) -> None:
    bundler.answers[RUNDLER] = Answer(result="0x64")  # no base fee to go with it
    translator = FeeTranslator(upstream, node)
    for _ in range(2):
        answer = await translator.answer(PIMLICO)
        assert isinstance(answer, UpstreamReply)
        assert answer.reply.error_code == -32601
        assert bundler.requests[-1].method in (PIMLICO, RUNDLER)


async def test_what_a_bundler_does_not_know_is_asked_once(bundler: RecordingBundler, upstream: HttpUpstream) -> None:
    bundler.answers[PIMLICO] = Answer(result=ALTO_PRICE)
    translator = FeeTranslator(upstream)
    for _ in range(3):
        await translator.answer(RUNDLER)
    assert bundler.methods == [RUNDLER, PIMLICO, PIMLICO, PIMLICO]


async def test_another_bundler_is_asked_anew(bundler: RecordingBundler) -> None:
    bundler.answers[PIMLICO] = Answer(result=ALTO_PRICE)
    async with RecordingBundler(answers={RUNDLER: Answer(result="0x64")}) as standby:
        urls = [bundler.url, standby.url]
        async with HttpUpstream("soneium", urls, chain_id=1946, entry_points=frozenset()) as upstream:
            translator = FeeTranslator(upstream)
            await translator.answer(RUNDLER)
            await bundler.stop()
            await upstream.probe()
            answer = await translator.answer(RUNDLER)
    assert isinstance(answer, UpstreamReply)
    assert answer.reply.result == "0x64"


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (-32601, "whatever"),
        (-32004, "not supported"),
        (-32000, "the method rundler_maxPriorityFeePerGas does not exist/is not available"),
        (-32600, "Unsupported method: rundler_maxPriorityFeePerGas on ETH_MAINNET"),
        (None, "Validation error: Invalid discriminator value. Expected 'eth_chainId' at \"method\""),
    ],
)
async def test_knows_the_ways_bundlers_say_that_they_do_not_know_a_method(
    bundler: RecordingBundler, upstream: HttpUpstream, code: int | None, message: str
) -> None:
    bundler.answers[PIMLICO] = Answer(result=ALTO_PRICE)
    bundler.answers[RUNDLER] = Answer(error={"message": message} | ({"code": code} if code else {}))
    assert await translated(FeeTranslator(upstream), RUNDLER) == "0x3b9aca00"


async def test_any_other_error_is_the_answer(bundler: RecordingBundler, upstream: HttpUpstream) -> None:
    bundler.answers[PIMLICO] = Answer(result=ALTO_PRICE)
    bundler.answers[RUNDLER] = Answer(error={"code": -32005, "message": "rate limited"})
    answer = await FeeTranslator(upstream, node_fees).answer(RUNDLER)
    assert isinstance(answer, UpstreamReply)
    assert answer.reply.error_message == "rate limited"


@pytest.mark.parametrize(
    "price",
    [None, [], "0x1", {}, {"slow": {}}, ALTO_PRICE | {"fast": None}, ALTO_PRICE | {"slow": {"maxFeePerGas": 1}}],
)
async def test_an_answer_in_another_shape_is_passed_over(
    bundler: RecordingBundler, upstream: HttpUpstream, price: object
) -> None:
    bundler.answers[PIMLICO] = Answer(result=price)
    bundler.answers[VOLTAIRE] = Answer(result=PAIR)
    assert await translated(FeeTranslator(upstream), RUNDLER) == "0x2"


async def test_a_bundler_that_is_gone_is_reported_as_gone(bundler: RecordingBundler, upstream: HttpUpstream) -> None:
    await bundler.stop()
    with pytest.raises(UpstreamUnavailable):
        await FeeTranslator(upstream, node_fees).answer(RUNDLER)


@pytest.mark.parametrize("method", sorted(FEE_METHODS))
def test_fee_methods_are_relayed_reads_without_params(method: str) -> None:
    assert (METHODS[method].method_class, METHODS[method].max_params) == (MethodClass.PASS, 0)
