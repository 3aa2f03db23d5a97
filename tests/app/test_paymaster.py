"""A chain's paymaster is asked through the gate: of an operation that a session could never do it does not hear."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from proxy.errors import Code
from proxy.methods import METHODS, MethodClass
from proxy.userop.primitives import print_bytes
from proxy.userop.user_operation import UserOperation, print_user_operation
from tests.admission.builders import TWICE, known, lane
from tests.app.builders import ONCE, audited
from tests.app.test_decision_ids import HEADER, asked
from tests.bypass_list.desk import CHAIN_ID, OWNER_NONCE, a_session, an_operation, single, use
from tests.edge.recording_bundler import Answer, Recorded, RecordingBundler
from tests.running_gate import ENTRY_POINT, ESTIMATE, SEND, RunningGate, request, running_gate, submission
from tests.session.builders import STRANGER, TOKEN, TRANSFER, action, call, transfer, usage

STUB_DATA = "pm_getPaymasterStubData"
DATA = "pm_getPaymasterData"
PAID = {"paymaster": "0x" + "9a" * 20, "paymasterData": "0x", "paymasterVerificationGasLimit": "0x5208"}
KEY = "hush-paymaster-key"

PAYABLE = a_session(action(TOKEN, TRANSFER, usage(2)), user_op=[usage(1000)], paymaster=True, salt=7)
"""May transfer twice, and be paid for."""


def stub(grant: Any = PAYABLE, call_data: bytes = ONCE) -> UserOperation:
    """As SDKs ask before anybody has signed."""
    return an_operation(call_data, signature=b"\0" + grant.permission_id + b"\xff" * 65)


def asking(op: UserOperation, method: str = STUB_DATA, request_id: object = 1, **changes: object) -> dict[str, Any]:
    """What viem asks; fields that are changed to `None` are left out."""
    written = {**print_user_operation(op), **changes}
    present = {key: item for key, item in written.items() if item is not None}
    return request(method, present, ENTRY_POINT, hex(CHAIN_ID), {"policy": "p"}, request_id=request_id)


def zerodevs(op: UserOperation) -> dict[str, Any]:
    carried = {"userOp": print_user_operation(op), "entryPointAddress": ENTRY_POINT, "chainId": CHAIN_ID}
    return request("zd_sponsorUserOperation", carried)


@dataclass
class Paid:
    gate: RunningGate
    paymaster: RecordingBundler

    @property
    def heard(self) -> list[Recorded]:
        """What the paymaster was asked, its probes left out."""
        return [each for each in self.paymaster.requests if each.method != "eth_chainId"]


@asynccontextmanager
async def before(paymaster: RecordingBundler, chain: dict[str, Any] | None = None, **top: Any) -> AsyncIterator[Paid]:
    settings = {"paymaster": f"{paymaster.url}?apikey={KEY}", **(chain or {})}
    async with running_gate(chain=settings, **top) as gate:
        gate.running.registry.put(known(TWICE))
        gate.running.registry.put(known(PAYABLE))
        yield Paid(gate, paymaster)


@pytest.fixture
async def paymaster() -> AsyncIterator[RecordingBundler]:
    answers = dict.fromkeys((STUB_DATA, DATA, "zd_sponsorUserOperation", "pm_getFeeQuoteOrData"), Answer(result=PAID))
    async with RecordingBundler(chain_id=CHAIN_ID, answers=answers) as running:
        yield running


@pytest.fixture
async def paid(paymaster: RecordingBundler) -> AsyncIterator[Paid]:
    async with before(paymaster) as running:
        yield running


async def test_the_paymaster_is_asked_in_the_bundlers_place_and_answers_unchanged(paid: Paid) -> None:
    assert (await paid.gate.ask(asking(stub())))["result"] == PAID
    (heard,) = paid.heard
    assert heard.params == [print_user_operation(stub()), ENTRY_POINT.lower(), hex(CHAIN_ID), {"policy": "p"}]
    assert STUB_DATA not in paid.gate.bundler.methods


@pytest.mark.parametrize("method", [STUB_DATA, DATA])
async def test_gas_may_be_absent_and_so_may_the_signature(paid: Paid, method: str) -> None:
    limits = dict.fromkeys(("callGasLimit", "verificationGasLimit", "preVerificationGas", "maxFeePerGas"))
    for changes in ({}, limits, {**limits, "signature": None}, {"signature": "0x"}):
        assert (await paid.gate.ask(asking(stub(), method, **changes)))["result"] == PAID
    notes = [note for row in await audited(paid.gate, 4) for note in row["notes"]]
    assert notes == ["not signed yet: nobody knows by which session it will be"] * 2


@pytest.mark.parametrize("form", [asking, zerodevs], ids=["erc7677", "zerodev"])
async def test_what_the_session_could_never_do_is_refused_with_its_reason_and_the_paymaster_hears_nothing(
    paid: Paid, form: Any
) -> None:
    outside = (await paid.gate.ask(form(stub(call_data=single(call(STRANGER, data=TRANSFER))))))["error"]
    assert outside["code"] == Code.SESSION_SCOPE
    assert outside["data"].keys() >= {"decisionId", "reason", "remedy", "retryable", "permissionId"}
    unpaid = (await paid.gate.ask(form(stub(TWICE))))["error"]
    assert (unpaid["code"], "does not permit" in unpaid["message"]) == (Code.SESSION_SCOPE, True)
    assert paid.heard == []


SPONSORED = sorted(name for name, method in METHODS.items() if method.method_class is MethodClass.SPONSOR)


def in_its_shape(method: str, op: UserOperation) -> dict[str, Any]:
    """The question with all that it has to have, in the shape of its vendor."""
    written = print_user_operation(op)
    of_alchemy = {"policyId": "p", "entryPoint": ENTRY_POINT, "userOperation": written, "dummySignature": "0x"}
    of_zerodev = {"userOp": written, "entryPointAddress": ENTRY_POINT, "chainId": CHAIN_ID}
    values = {
        "userOperation": written,
        "entryPoint": ENTRY_POINT,
        "chainId": hex(CHAIN_ID),
        "policyIds": ["sp_of_the_dapp"],
        "context": {"mode": "SPONSORED"},
        "sponsorship": {**of_alchemy, "dummySignature": written["signature"]} if "alchemy" in method else of_zerodev,
    }
    table = METHODS[method]
    return request(method, *(values[name] for name in table.names[: table.min_params]))


async def test_every_vendors_question_is_judged_charges_nothing_and_reaches_the_paymaster_where_it_may(
    paid: Paid,
) -> None:
    for method in SPONSORED:
        paid.paymaster.answers[method] = Answer(result=PAID)
        outside = stub(call_data=single(call(STRANGER, data=TRANSFER)))
        for op, said in ((outside, "is not among"), (stub(TWICE), "does not permit")):
            refused = (await paid.gate.ask(in_its_shape(method, op)))["error"]
            assert (refused["code"], said in refused["message"]) == (Code.SESSION_SCOPE, True), (method, refused)
    assert paid.heard == []
    for method in SPONSORED:
        assert (await paid.gate.ask(in_its_shape(method, stub())))["result"] == PAID, method
    assert [each.method for each in paid.heard] == SPONSORED
    assert not set(SPONSORED) & set(paid.gate.bundler.methods)
    for number in range(2):
        assert "result" in await paid.gate.send(use(PAYABLE, ONCE, nonce=lane(number + 1)))


async def test_a_session_without_paymasters_may_still_be_estimated_and_sent(paid: Paid) -> None:
    assert "result" in await paid.gate.ask(submission(stub(TWICE), ESTIMATE))
    assert "result" in await paid.gate.send(use(TWICE, ONCE))


async def test_an_owners_operation_is_paid_for(paid: Paid) -> None:
    owners = an_operation(single(transfer(1)), nonce=OWNER_NONCE, signature=b"\x5e" * 65)
    assert (await paid.gate.ask(asking(owners)))["result"] == PAID


async def test_nothing_is_charged_however_often_it_is_asked(paid: Paid) -> None:
    for _ in range(5):
        assert (await paid.gate.ask(asking(stub())))["result"] == PAID
    for number in range(2):
        assert "result" in await paid.gate.send(use(PAYABLE, ONCE, nonce=lane(number + 1)))
    assert len(paid.heard) == 5


async def test_what_is_in_flight_is_nothing_that_a_stub_could_find_out(paid: Paid) -> None:
    for number in range(2):
        assert "result" in await paid.gate.send(use(PAYABLE, ONCE, nonce=lane(number + 1)))
    assert (await paid.gate.ask(asking(stub())))["result"] == PAID
    assert (await paid.gate.send(use(PAYABLE, ONCE, nonce=lane(3))))["error"]["code"] == Code.LIMIT_EXCEEDED


async def test_a_frozen_session_is_not_paid_for(paid: Paid) -> None:
    await paid.gate.change("POST", "/freezes", {"permissionId": print_bytes(PAYABLE.permission_id)})
    assert (await paid.gate.ask(asking(stub())))["error"]["code"] == Code.SESSION_REVOKED
    assert paid.heard == []


async def test_what_is_asked_for_another_chain_is_refused(paid: Paid) -> None:
    asked_for = request(DATA, print_user_operation(stub()), ENTRY_POINT, hex(CHAIN_ID + 1), {})
    refused = (await paid.gate.ask(asked_for))["error"]
    assert (refused["code"], "params[2]" in refused["message"]) == (Code.INVALID_PARAMS, True)
    assert paid.heard == []


async def test_each_element_of_a_batch_is_judged_and_names_its_decision(paid: Paid) -> None:
    batch = [asking(stub()), request("eth_chainId", request_id=2), asking(stub(TWICE), DATA, 3)]
    headers, answers = await asked(paid.gate, batch)
    assert [sorted({"result", "error"} & each.keys()) for each in answers] == [["result"], ["result"], ["error"]]
    first, none, refused = headers[HEADER].split(", ")
    assert (none, refused) == ("-", answers[2]["error"]["data"]["decisionId"])
    rows = {row["decisionId"]: row for row in await audited(paid.gate, 2)}
    assert (rows[first]["verdict"], rows[refused]["verdict"]) == ("allow", "reject")
    headers, answer = await asked(paid.gate, zerodevs(stub()))
    assert (answer["result"], len(headers[HEADER])) == (PAID, len(first))


async def test_what_paymasters_tell_of_themselves_is_asked_of_it_too(paid: Paid) -> None:
    paid.paymaster.answers["pm_supportedEntryPoints"] = Answer(result=[ENTRY_POINT])
    paid.paymaster.answers["zd_pm_accounts"] = Answer(result=["0x" + "9a" * 20])
    assert (await paid.gate.ask(request("pm_supportedEntryPoints")))["result"] == [ENTRY_POINT]
    assert (await paid.gate.ask(request("zd_pm_accounts", {"chainId": CHAIN_ID})))["result"] == ["0x" + "9a" * 20]
    assert "pm_supportedEntryPoints" not in paid.gate.bundler.methods


async def test_without_a_paymaster_of_its_own_the_chains_bundler_is_asked_and_it_is_judged_all_the_same(
    gate: RunningGate,
) -> None:
    gate.running.registry.put(known(PAYABLE))
    gate.bundler.answers[STUB_DATA] = Answer(result=PAID)
    assert (await gate.ask(asking(stub())))["result"] == PAID
    assert (await gate.ask(asking(stub(TWICE))))["error"]["code"] == Code.SESSION_SCOPE
    assert gate.bundler.methods.count(STUB_DATA) == 1


@pytest.mark.parametrize("top", [{"mode": "shadow"}, {"mode": "off"}, {"previews": "pass"}], ids=str)
async def test_where_estimates_are_let_pass_so_is_this(paymaster: RecordingBundler, top: dict[str, str]) -> None:
    async with before(paymaster, **top) as paid:
        assert (await paid.gate.ask(asking(stub(TWICE))))["result"] == PAID


# its health


async def test_a_paymaster_that_is_down_stops_nothing_else_and_is_told_by_name(
    paid: Paid, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    await paid.paymaster.stop()
    error = (await paid.gate.ask(asking(stub())))["error"]
    assert (error["code"], error["data"]["retryable"]) == (Code.UPSTREAM_UNAVAILABLE, True)
    assert "no paymaster answered: soneium/paymaster#0 cannot be reached" in error["message"]
    assert "its paymaster" in error["data"]["remedy"]
    assert "mayHaveBeenSent" not in error["data"]
    assert await paid.gate.metric("upstream_up", upstream="soneium/paymaster#0") == 0
    assert "result" in await paid.gate.send(use(TWICE, ONCE))
    assert await paid.gate.look("/readyz")
    assert KEY not in str(error) + caplog.text + await paid.gate.look("/metrics")
    await paid.paymaster.start()
    assert (await paid.gate.ask(asking(stub())))["result"] == PAID


async def test_it_has_its_own_time_to_answer_and_is_asked_once(paymaster: RecordingBundler) -> None:
    async def never(_request: Recorded) -> Answer:
        await asyncio.Event().wait()
        raise AssertionError

    paymaster.answers[DATA] = never
    async with before(paymaster, limits={"paymaster_seconds": "0.2", "request_seconds": "600"}) as paid:
        error = (await paid.gate.ask(asking(stub(), DATA)))["error"]
        assert error["code"] == Code.UPSTREAM_UNAVAILABLE
        assert len(paid.heard) == 1
        assert await paid.gate.metric("requests_total", chain="soneium", method_class="sponsor", outcome="unavailable")


# who may ask, and what is counted


async def test_a_clients_methods_and_its_rate_of_estimates_hold_for_it(paymaster: RecordingBundler) -> None:
    clients = [
        {"name": "poor", "api_key": "hush-poor-key", "methods": [SEND, ESTIMATE]},
        {"name": "rich", "api_key": "hush-rich-key", "rates": {"estimates": "0.1"}},
        {"name": "bound", "api_key": "hush-bound-key", "accounts": ["0x" + "11" * 20]},
    ]
    async with before(paymaster, clients=clients) as paid:
        denied = await paid.gate.ask(asking(stub()), **{"x-api-key": "hush-poor-key"})
        assert denied["error"]["code"] == Code.METHOD_NOT_FOUND
        foreign = await paid.gate.ask(zerodevs(stub()), **{"x-api-key": "hush-bound-key"})
        assert "may not act for account" in foreign["error"]["message"]
        answers = [await paid.gate.ask(asking(stub()), **{"x-api-key": "hush-rich-key"}) for _ in range(2)]
        assert (answers[0].get("result"), answers[1]["error"]["code"]) == (PAID, Code.RATE_LIMITED)
        assert len(paid.heard) == 1


async def test_what_is_asked_of_it_has_a_class_of_its_own_in_the_metrics(paid: Paid) -> None:
    paid.paymaster.answers[DATA] = Answer(error={"code": -32000, "message": "policy p has no money left"})
    assert (await paid.gate.ask(asking(stub(), DATA)))["error"]["message"] == "policy p has no money left"
    await paid.gate.ask(asking(stub()))
    await paid.gate.ask(asking(stub(TWICE)))
    counted = {
        outcome: await paid.gate.metric("requests_total", chain="soneium", method_class="sponsor", outcome=outcome)
        for outcome in ("answered", "upstream_error", "rejected")
    }
    assert counted == {"answered": 1, "upstream_error": 1, "rejected": 1}
    assert await paid.gate.metric("upstream_seconds_count", upstream="soneium/paymaster#0") == 2
