"""Rules hold for every method that submits, alone and in batches, over HTTP and WebSocket, and for what only asks."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from proxy.errors import Code
from proxy.methods import METHODS, MethodClass
from proxy.userop.primitives import print_checksummed
from tests.admission.builders import TWICE, granting, known
from tests.app.builders import GOOD, audited, use_number
from tests.bypass_list.desk import CHAIN_ID, a_session, single, use
from tests.running_gate import RunningGate, running_gate, submission
from tests.session.builders import TOKEN, TRANSFER, action, spending, sudo, transfer

RULES = """
rules:
  - id: no-transfers
    description: Nobody transfers today.
    mode: enforce
    severity: high
    remedy: come back tomorrow
    match: {session: true, selector: "transfer(address,uint256)", preview: any}
  - id: hears-of-it
    description: A session transfers.
    mode: shadow
    match: {session: true, preview: any}
  - id: no-grants
    description: No session begins today.
    mode: enforce
    match: {grant: true}
"""
CARRYING = sorted(
    name for name, method in METHODS.items() if method.method_class in (MethodClass.SUBMIT, MethodClass.PREVIEW)
)


@pytest.fixture
async def ruled(tmp_path: Path) -> AsyncIterator[RunningGate]:
    path = tmp_path / "own.yaml"
    path.write_text(RULES)
    async with running_gate(rules=[str(path)]) as gate:
        gate.running.registry.put(known(TWICE))
        yield gate


async def test_a_folder_of_tokens_alone_tells_limits_in_their_units(tmp_path: Path) -> None:
    place = f"{CHAIN_ID}: {{address: {print_checksummed(TOKEN)}, decimals: 2}}"
    (tmp_path / "tokens.yaml").write_text(f"tokens: {{GOLD: {{on: {{{place}}}}}}}\n")
    grant = a_session(action(TOKEN, TRANSFER, spending((TOKEN, 250))))
    async with running_gate(rules=[str(tmp_path / "*.yaml")]) as gate:
        gate.running.registry.put(known(grant))
        said = (await gate.send(use(grant, single(transfer(1000)))))["error"]["message"]
        assert said.startswith("transfer of 10 GOLD, 2.5 left of 2.5 in this session")


def refused_by(answer: dict[str, dict[str, object]]) -> tuple[object, object]:
    error = answer["error"]
    data = error["data"]
    assert isinstance(data, dict)
    return error["code"], data["rule"]


@pytest.mark.parametrize("method", CARRYING)
async def test_whatever_carries_an_operation_is_judged_by_the_rules(ruled: RunningGate, method: str) -> None:
    answer = await ruled.send(GOOD, method)
    assert refused_by(answer) == (Code.RULE_REJECTED, "no-transfers")
    assert answer["error"]["data"]["remedy"] == "come back tomorrow"
    assert method not in ruled.bundler.methods


async def test_every_element_of_a_batch_is_judged_by_the_rules(ruled: RunningGate) -> None:
    batch = [submission(use_number(number), request_id=number) for number in range(3)]
    answers = await ruled.ask(batch)
    assert [refused_by(answer) for answer in answers] == [(Code.RULE_REJECTED, "no-transfers")] * 3
    assert ruled.bundler.sent == []


async def test_an_owners_operation_is_judged_by_the_rules_it_concerns(ruled: RunningGate) -> None:
    answer = await ruled.send(granting(a_session(action(TOKEN, TRANSFER, sudo), salt=9)))
    assert refused_by(answer) == (Code.RULE_REJECTED, "no-grants")
    assert ruled.bundler.sent == []


async def test_what_comes_over_a_websocket_is_judged_by_the_rules(ruled: RunningGate) -> None:
    async with ruled.http.ws_connect(ruled.url) as socket:
        for method in CARRYING:
            await socket.send_json(submission(GOOD, method))
            assert refused_by(await socket.receive_json()) == (Code.RULE_REJECTED, "no-transfers")
        await socket.send_json([submission(use_number(number), request_id=number) for number in range(3)])
        answers = await socket.receive_json()
    assert [refused_by(answer) for answer in answers] == [(Code.RULE_REJECTED, "no-transfers")] * 3
    assert ruled.bundler.sent == []


async def test_every_rule_that_fired_is_in_the_audit_those_in_shadow_too(ruled: RunningGate) -> None:
    await ruled.send(GOOD)
    (row,) = await audited(ruled, 1)
    assert [(hit["rule"], hit["mode"]) for hit in row["rules"]] == [
        ("no-transfers", "enforce"),
        ("hears-of-it", "shadow"),
    ]
