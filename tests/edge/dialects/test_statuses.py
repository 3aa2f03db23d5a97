"""Whatever SDK asks what became of an operation, it hears it in its own words, from any bundler."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.chain.settlement.receipts import MINED_WORDS
from proxy.edge.dialects import statuses
from proxy.edge.dialects.asking import Translated
from proxy.edge.dialects.statuses import STATUS_METHODS, STATUS_WORDS, StatusStage, StatusTranslator
from proxy.edge.http.exchange import UpstreamReply
from proxy.edge.http.upstream import HttpUpstream
from proxy.errors import InvalidParams, UpstreamUnavailable
from proxy.methods import METHODS, MethodClass
from tests.edge.recording_bundler import Answer, RecordingBundler

PIMLICO, BICONOMY = "pimlico_getUserOperationStatus", "biconomy_getUserOperationStatus"
RUNDLER, SKANDHA = "rundler_getUserOperationStatus", "skandha_userOperationStatus"
RECEIPT, BY_HASH = "eth_getUserOperationReceipt", "eth_getUserOperationByHash"
HASH, TRANSACTION = "0x" + "ab" * 32, "0x" + "cd" * 32
MINED = {"userOpHash": HASH, "success": False, "receipt": {"transactionHash": TRANSACTION}}


@pytest.fixture
async def bundler() -> AsyncIterator[RecordingBundler]:
    async with RecordingBundler(answers={BY_HASH: Answer(result=None)}) as bundler:
        yield bundler


@pytest.fixture
async def upstream(bundler: RecordingBundler) -> AsyncIterator[HttpUpstream]:
    async with HttpUpstream("soneium", [bundler.url], chain_id=1946, entry_points=frozenset()) as upstream:
        yield upstream


async def translated(upstream: HttpUpstream, method: str) -> object:
    answer = await StatusTranslator(upstream).answer(method, [HASH])
    assert isinstance(answer, Translated)
    return answer.result


def test_every_word_for_mined_is_heard_as_such_by_who_follows_operations() -> None:
    read = {word for words in statuses._READ.values() for word, stage in words.items() if stage is StatusStage.MINED}
    written = {word.lower() for word in STATUS_WORDS[StatusStage.MINED].values() if word is not None}
    assert read | written == MINED_WORDS


@pytest.mark.parametrize("method", sorted(STATUS_METHODS))
async def test_a_method_the_bundler_knows_is_relayed_unchanged(
    bundler: RecordingBundler, upstream: HttpUpstream, method: str
) -> None:
    bundler.answers[method] = Answer(result={"whatever": [1]})
    answer = await StatusTranslator(upstream).answer(method, [HASH])
    assert isinstance(answer, UpstreamReply)
    assert answer.reply.result == {"whatever": [1]}
    assert bundler.methods == [method]


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        (PIMLICO, {"status": "included", "transactionHash": TRANSACTION}),
        (
            BICONOMY,
            {
                "state": "CONFIRMED",
                "message": "the operation is mined",
                "transactionHash": TRANSACTION,
                "userOperationReceipt": MINED,
            },
        ),
        (RUNDLER, {"status": "mined", "receipt": MINED}),
        (SKANDHA, {"status": "OnChain", "transaction": TRANSACTION}),
    ],
)
async def test_what_is_mined_is_told_by_its_receipt_in_every_dialect(
    bundler: RecordingBundler, upstream: HttpUpstream, asked: str, told: object
) -> None:
    bundler.answers[RECEIPT] = Answer(result=MINED)
    assert await translated(upstream, asked) == told


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        (PIMLICO, {"status": "not_submitted", "transactionHash": None}),
        (BICONOMY, {"state": "PENDING", "message": "the operation is waiting"}),
        (RUNDLER, {"status": "pending", "receipt": None}),
        (SKANDHA, {"status": "Pending", "transaction": None}),
    ],
)
async def test_what_the_bundler_knows_by_hash_is_waiting(
    bundler: RecordingBundler, upstream: HttpUpstream, asked: str, told: object
) -> None:
    bundler.answers[BY_HASH] = Answer(result={"userOperation": {}, "entryPoint": "0x", "transactionHash": None})
    assert await translated(upstream, asked) == told


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        (PIMLICO, {"status": "not_found", "transactionHash": None}),
        (BICONOMY, {"state": "NOT_FOUND", "message": "the operation is unknown"}),
        (RUNDLER, {"status": "unknown", "receipt": None}),
        (SKANDHA, None),
    ],
)
async def test_what_nobody_knows_is_not_found(upstream: HttpUpstream, asked: str, told: object) -> None:
    assert await translated(upstream, asked) == told


@pytest.mark.parametrize(
    ("word", "asked", "told"),
    [
        ("rejected", BICONOMY, "REJECTED"),
        ("failed", BICONOMY, "REJECTED"),
        ("submitted", BICONOMY, "PENDING"),
        ("rejected", SKANDHA, "Cancelled"),
        ("failed", SKANDHA, "Reverted"),
        ("submitted", RUNDLER, "pendingBundle"),
    ],
)
async def test_altos_own_word_is_translated_where_there_is_no_receipt(
    bundler: RecordingBundler, upstream: HttpUpstream, word: str, asked: str, told: str
) -> None:
    bundler.answers[PIMLICO] = Answer(result={"status": word, "transactionHash": TRANSACTION})
    answer = await translated(upstream, asked)
    assert isinstance(answer, dict)
    assert answer["state" if asked == BICONOMY else "status"] == told
    assert BY_HASH not in bundler.methods


@pytest.mark.parametrize(
    ("known", "answer", "told"),
    [
        (SKANDHA, {"status": "Submitted", "transaction": TRANSACTION}, "submitted"),
        (SKANDHA, {"status": "pending"}, "not_submitted"),
        (RUNDLER, {"status": "pendingBundle", "txHash": TRANSACTION}, "submitted"),
        (BICONOMY, {"state": "DROPPED_FROM_BUNDLER_MEMPOOL"}, "rejected"),
        (SKANDHA, {"status": "a word of tomorrow"}, "not_found"),
    ],
)
async def test_other_bundlers_words_serve_a_permissionless_client(
    bundler: RecordingBundler, upstream: HttpUpstream, known: str, answer: object, told: str
) -> None:
    bundler.answers[known] = Answer(result=answer)
    result = await translated(upstream, PIMLICO)
    assert isinstance(result, dict)
    assert result["status"] == told


async def test_mined_without_a_receipt_to_show_is_not_confirmed_yet(
    bundler: RecordingBundler, upstream: HttpUpstream
) -> None:
    bundler.answers[PIMLICO] = Answer(result={"status": "included", "transactionHash": TRANSACTION})
    answer = await translated(upstream, BICONOMY)
    assert answer == {"state": "PENDING", "message": "the operation is sent", "transactionHash": TRANSACTION}


async def test_what_is_no_hash_is_refused_unasked(bundler: RecordingBundler, upstream: HttpUpstream) -> None:
    with pytest.raises(InvalidParams):
        await StatusTranslator(upstream).answer(BICONOMY, ["0x12"])
    assert bundler.methods == []


async def test_a_bundler_that_is_gone_is_reported_as_gone(bundler: RecordingBundler, upstream: HttpUpstream) -> None:
    await bundler.stop()
    with pytest.raises(UpstreamUnavailable):
        await StatusTranslator(upstream).answer(BICONOMY, [HASH])


async def test_a_method_the_bundler_does_not_know_is_asked_for_once(
    bundler: RecordingBundler, upstream: HttpUpstream
) -> None:
    translator = StatusTranslator(upstream)
    for _ in range(3):
        await translator.answer(BICONOMY, [HASH])
    assert bundler.methods.count(BICONOMY) == bundler.methods.count(PIMLICO) == 1


def test_every_stage_has_a_word_in_every_dialect() -> None:
    assert set(STATUS_WORDS) == set(StatusStage)
    assert all(set(words) == STATUS_METHODS for words in STATUS_WORDS.values())


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8), lambda inner: st.lists(inner, max_size=3)
)


@given(
    method=st.sampled_from(sorted(STATUS_METHODS)),
    answer=st.dictionaries(st.sampled_from(["status", "state", "transactionHash", "txHash"]), JSON) | JSON,
)
def test_whatever_a_bundler_says_of_a_status_is_a_stage_or_nothing(method: str, answer: object) -> None:
    standing = statuses._read(method, answer)
    assert standing is None or (standing.stage is not StatusStage.MINED and standing.receipt is None)


@pytest.mark.parametrize("method", sorted(STATUS_METHODS))
def test_status_methods_are_relayed_reads_of_a_hash(method: str) -> None:
    assert (METHODS[method].method_class, METHODS[method].min_params) == (MethodClass.PASS, 1)
