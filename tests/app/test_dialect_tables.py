"""README's tables of dialects, row by row, asked of a whole gate with default settings."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, Final

import pytest
from aiohttp import web

from proxy.edge.dialects.fees import FEE_METHODS
from proxy.edge.dialects.statuses import STATUS_METHODS
from tests.chain.builders import FakeNode
from tests.edge.recording_bundler import Answer
from tests.running_gate import BY_HASH, HonestBundler, RunningGate, request, running_gate

README: Final = (Path(__file__).parents[2] / "README.md").read_text()
HASH, TRANSACTION = "0x" + "ab" * 32, "0x" + "cd" * 32
PAIR: Final = {"maxFeePerGas": "0x10", "maxPriorityFeePerGas": "0x1"}
TIERS: Final = ("slow", "standard", "fast")
HAS: Final = {"pimlico": "status", "biconomy": "state", "rundler": "status", "skandha": "status"}
"""The member of an answer that has the word."""


def rows_under(heading: str) -> list[list[str]]:
    """The cells of a table of README, its heading left out."""
    lines = README[README.index(heading) :].split("\n\n", 1)[0].splitlines()
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def reads(cell: str, answer: Any) -> bool:
    """Whether an answer has what the table says that the SDK reads of it."""
    if cell == "one quantity":
        return isinstance(answer, str) and int(answer, 16) > 0
    named = re.findall("`([a-z]+)`", cell) or (TIERS if "tiers" in cell else [])
    if not set(named) <= answer.keys():
        return False
    return "pair" not in cell or answer.keys() >= PAIR.keys()


FEES: Final = [
    (method, read)
    for _, asked, read in rows_under("| SDK | asks for fees by")
    for method in re.findall("`([a-z]+_[A-Za-z]+)`", asked)
]
OF_BUNDLERS: Final[list[dict[str, Answer]]] = [
    {"pimlico_getUserOperationGasPrice": Answer(result=dict.fromkeys(TIERS, PAIR))},
    {"rundler_getUserOperationGasPrice": Answer(result={"suggested": PAIR, "priorityFee": "0x1", "baseFee": "0x1"})},
    {"skandha_getGasPrice": Answer(result=PAIR)},
    {"voltaire_feesPerGas": Answer(result=PAIR)},
]


def test_the_table_of_fees_has_every_method_that_is_translated() -> None:
    assert {method for method, _ in FEES} == FEE_METHODS


@pytest.mark.parametrize("known", OF_BUNDLERS, ids=lambda known: next(iter(known)))
async def test_whatever_fee_method_an_sdk_asks_for_it_reads_the_answer(known: dict[str, Answer]) -> None:
    async with HonestBundler() as bundler:
        bundler.answers |= known
        async with running_gate(bundler=bundler) as gate:
            for method, read in FEES:
                answer = await gate.ask(request(method))
                if method not in known:
                    assert reads(read, answer["result"]), (method, answer)


async def test_where_the_bundler_knows_no_fee_method_the_chains_node_says(chain: FakeNode, node_url: str) -> None:
    def priority(body: dict[str, Any]) -> web.Response | None:
        told = {"jsonrpc": "2.0", "id": body["id"], "result": "0x3"}
        return web.json_response(told) if body["method"] == "eth_maxPriorityFeePerGas" else None

    chain.reply, chain.base_fee = priority, 1000
    async with running_gate(node_url=node_url) as gate:
        for method, read in FEES:
            answer = await gate.ask(request(method))
            assert reads(read, answer["result"]), (method, answer)
            assert '"0x3"' in json.dumps(answer["result"]), (method, answer)
    async with running_gate(node_url=node_url, chain={"fee_methods": "pass"}) as gate:
        assert {(await gate.ask(request(method)))["error"]["code"] for method, _ in FEES} == {-32601}


STATUSES: Final = rows_under("| the operation is |")
WORDS: Final = [
    dict(zip(HAS, ((re.findall("`([A-Za-z_]+)`", cell) or [None])[0] for cell in cells), strict=True))
    for _, *cells in STATUSES
]
"""By dialect, a row for each stage."""


def test_the_table_of_statuses_has_every_method_that_is_translated() -> None:
    assert sorted(STATUS_METHODS) == sorted(map(method_of, HAS))


def method_of(dialect: str) -> str:
    return next(method for method in STATUS_METHODS if method.startswith(dialect))


async def word_of(gate: RunningGate, dialect: str) -> object:
    result = (await gate.ask(request(method_of(dialect), HASH)))["result"]
    return None if result is None else result[HAS[dialect]]


@pytest.mark.parametrize("spoken", HAS)
async def test_what_a_bundler_says_of_an_operation_is_heard_in_the_word_of_every_other_dialect(spoken: str) -> None:
    mined = WORDS.index(next(row for row in WORDS if row["rundler"] == "mined"))
    async with HonestBundler() as bundler:
        bundler.answers[BY_HASH] = Answer(result=None)
        async with running_gate(bundler=bundler) as gate:
            for stage, row in enumerate(WORDS):
                bundler.receipts.clear()
                if stage == mined:
                    bundler.receipts[HASH] = {"userOpHash": HASH, "success": True, "receipt": {"blockNumber": "0x1"}}
                said = row[spoken]
                told = None if said is None else {HAS[spoken]: said, "transactionHash": TRANSACTION}
                bundler.answers[method_of(spoken)] = Answer(result=told)
                # one word may stand for several stages
                alike = [other for other in WORDS if other[spoken] == said]
                for dialect in HAS:
                    heard = await word_of(gate, dialect)
                    assert heard in [other[dialect] for other in alike], (json.dumps(told), dialect, heard)
