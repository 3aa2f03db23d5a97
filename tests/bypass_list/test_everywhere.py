"""The list of bypasses against a running gate by every way in: both transports, alone, in a batch, by WebSocket."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Callable
from typing import Any, Final

import pytest

from proxy.userop.execution import Call
from proxy.userop.user_operation import UserOperation, print_user_operation
from tests.admission.builders import known, lane
from tests.bypass_list.desk import (
    NEXUS_LANE,
    STRANGERS_KEY,
    V06,
    a_session,
    an_operation,
    batch,
    single,
    use,
)
from tests.bypass_list.hostile import bodies
from tests.running_gate import ENTRY_POINT, ESTIMATE, SEND, RunningGate, request, running_gate
from tests.session.builders import FRIEND, OTHER_TOKEN, TOKEN, TRANSFER, action, spending, transfer

GRANT: Final = a_session(action(TOKEN, TRANSFER, spending((TOKEN, 100))))
ELSEWHERE: Final = a_session(action(TOKEN, TRANSFER, spending((TOKEN, 1000))), salt=3)
ROOT: Final = int.from_bytes(NEXUS_LANE + b"\x00" + bytes(20) + bytes(8), "big")
ONE: Final = single(transfer(1))
GOOD: Final = print_user_operation(use(GRANT, ONE))


def written(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def sent(op: UserOperation, method: str = SEND) -> bytes:
    return written(request(method, print_user_operation(op), ENTRY_POINT))


def changed(**changes: object) -> bytes:
    return written(request(SEND, {**GOOD, **changes}, ENTRY_POINT))


def respelt(before: str, after: str) -> bytes:
    body = written(request(SEND, GOOD, ENTRY_POINT)).decode()
    assert before in body
    return body.replace(before, after, 1).encode()


METHODS: Final = (
    "eth_sendRawTransaction",
    "eth_sendTransaction",
    "ETH_SENDUSEROPERATION",
    "eth_sendUserOperation ",
    "eth_sendUserOperation\0",
    "eth_sendUserOperations",
    "eth_sendBundle",
    "debug_bundler_sendBundleNow",
    "debug_bundler_clearState",
    "admin_addPeer",
    "personal_sendTransaction",
    "engine_newPayloadV3",
)

LISTED: Final[dict[str, bytes]] = {
    **{f"(a) {method!r}": written(request(method, GOOD, ENTRY_POINT)) for method in METHODS},
    "(a) permissions beside": written(request(SEND, GOOD, ENTRY_POINT, {"permissionsContext": "0x01"})),
    "(d) parameters by name": written({**request(SEND), "params": {"userOp": GOOD, "entryPoint": ENTRY_POINT}}),
    "(d) parameters as text": written({**request(SEND), "params": json.dumps([GOOD, ENTRY_POINT])}),
    "(d) the operation in a list": written(request(SEND, [GOOD], ENTRY_POINT)),
    "(g) a method twice": respelt(f'"method":"{SEND}"', f'"method":"eth_chainId","method":"{SEND}"'),
    "(g) a method twice, escaped": respelt(f'"method":"{SEND}"', f'"method":"eth_chainId","m\\u0065thod":"{SEND}"'),
    "(g) a signature twice": respelt('"signature":', '"signature":"0x","signature":'),
    "(g) another size of letters": respelt('"callData":', '"calldata":"0x","callData":'),
    "(g) a quantity with zeros": changed(nonce="0x00" + GOOD["nonce"][2:]),
    "(g) a quantity in decimal": changed(callGasLimit="50000"),
    "(g) a quantity as a number": changed(callGasLimit=50_000),
    "(g) 0X": changed(callData="0X" + GOOD["callData"][2:]),
    "(g) half a byte": changed(callData=GOOD["callData"] + "0"),
    "(g) both shapes": changed(initCode="0x", paymasterAndData="0x"),
    "(g) an old protocol": written({**request(SEND, GOOD, ENTRY_POINT), "jsonrpc": "1.0"}),
    "(g) an id of objects": written({**request(SEND, GOOD, ENTRY_POINT), "id": {"a": 1}}),
    "(j) an entry point nobody serves": written(request(SEND, GOOD, "0x" + "66" * 20)),
    "(j) the old entry point": written(request(SEND, GOOD, "0x" + V06.address.hex())),
    "(k) the root validator": sent(use(GRANT, ONE, nonce=ROOT)),
    "(l) an envelope nobody can open": sent(
        an_operation(
            ONE,
            nonce=int.from_bytes(NEXUS_LANE + b"\x01" + lane(0).to_bytes(32, "big")[4:], "big"),
            signature=b"\xff" * 300,
        )
    ),
    "(m) a stream that does not decode": sent(an_operation(ONE, signature=b"\x01" + b"\xff" * 60)),
    "(m) an empty stream": sent(an_operation(ONE, signature=b"\x02")),
    "(m) a mode of no session": sent(an_operation(ONE, signature=b"\x07" + GRANT.permission_id + bytes(65))),
    "(n) a permission of nobody": sent(use(ELSEWHERE, ONE)),
    "(n) a stranger's key": sent(use(GRANT, ONE, key=STRANGERS_KEY)),
    "(o) an aggregator": changed(aggregator="0x" + "11" * 20),
    "(q) more than the limit": sent(use(GRANT, single(transfer(101)))),
    "(q) more than the limit in two": sent(use(GRANT, batch(transfer(60), transfer(60)))),
    "(q) an estimate of more": sent(use(GRANT, single(transfer(101))), ESTIMATE),
    "(q) an estimate with overrides": written(
        request(ESTIMATE, print_user_operation(use(GRANT, single(transfer(101)))), ENTRY_POINT, {"0x" + "11" * 20: {}})
    ),
    "another token": sent(use(GRANT, single(transfer(1, token=OTHER_TOKEN)))),
    "coin to a friend": sent(use(GRANT, single(Call(FRIEND, 1, b"")))),
    "a call into the account": sent(use(GRANT, b"\x12\x34\x56\x78" + bytes(32))),
}

Way = Callable[[RunningGate, list[bytes]], Any]


async def _posted(gate: RunningGate, asked: list[bytes]) -> list[Any]:
    return [json.loads((await gate.post(body))[1] or b"null") for body in asked]


async def _posted_together(gate: RunningGate, asked: list[bytes]) -> list[Any]:
    return await _in_a_batch_of_two(asked, gate.post)


async def _in_a_batch_of_two(asked: list[bytes], post: Callable[[bytes], Any]) -> list[Any]:
    """Each behind a request that is good, so that there is something to hide behind."""
    answers = []
    for body in asked:
        answer = json.loads((await post(b"[" + written(request("eth_chainId", request_id=99)) + b"," + body + b"]"))[1])
        (answered,) = [each for each in answer if each["id"] != 99] if isinstance(answer, list) else [answer]
        answers.append(answered)
    return answers


async def _over_a_websocket(gate: RunningGate, asked: list[bytes]) -> list[Any]:
    async with gate.http.ws_connect(gate.url.replace("http", "ws")) as socket:
        answers = []
        for body in asked:
            await socket.send_str(body.decode())
            answers.append(await socket.receive_json())
        return answers


async def _together_over_a_websocket(gate: RunningGate, asked: list[bytes]) -> list[Any]:
    async with gate.http.ws_connect(gate.url.replace("http", "ws")) as socket:

        async def post(body: bytes) -> tuple[int, bytes]:
            await socket.send_str(body.decode())
            return 200, (await socket.receive_str()).encode()

        return await _in_a_batch_of_two(asked, post)


WAYS: Final[dict[str, Way]] = {
    "alone": _posted,
    "in a batch": _posted_together,
    "over a WebSocket": _over_a_websocket,
    "in a batch over a WebSocket": _together_over_a_websocket,
}


@pytest.fixture(params=["lean", "aiohttp"])
async def gate(request: pytest.FixtureRequest) -> AsyncIterator[RunningGate]:
    async with running_gate(transport=request.param) as running:
        running.running.registry.put(known(GRANT))
        yield running


@pytest.mark.parametrize("way", WAYS)
async def test_nothing_of_the_list_reaches_the_bundler_by_any_way(gate: RunningGate, way: str) -> None:
    answers = await WAYS[way](gate, list(LISTED.values()))
    let_through = [name for name, answer in zip(LISTED, answers, strict=True) if "error" not in answer]
    assert let_through == []
    reached = {each.method for each in gate.bundler.requests}
    assert reached <= {"eth_chainId", "eth_supportedEntryPoints"}


@pytest.mark.parametrize("way", WAYS)
async def test_what_is_good_goes_by_every_way_and_is_printed_by_us(gate: RunningGate, way: str) -> None:
    spaced = json.dumps(request(SEND, GOOD, ENTRY_POINT), indent=1).encode()
    (answer,) = await WAYS[way](gate, [spaced])
    assert "result" in answer
    (arrived,) = gate.bundler.sent
    assert b"\n" not in arrived.body
    assert arrived.params[0] == GOOD


@pytest.mark.parametrize("way", WAYS)
async def test_a_submission_that_wants_no_answer_is_not_sent_by_any_way(gate: RunningGate, way: str) -> None:
    silent = {name: value for name, value in request(SEND, GOOD, ENTRY_POINT).items() if name != "id"}
    (answer,) = await WAYS[way](gate, [written(silent)])
    assert (answer["id"], "error" in answer) == (None, True)
    assert gate.bundler.sent == []


EVERY: Final = 60
_UNDER_AN_ID: Final = re.compile(rb'"id":[0-9]+,')
"""Of what is asked of a bundler: it counts on, also where a way into it turns out to be no way."""


async def test_hostile_bodies_are_answered_alike_and_reach_the_bundler_alike_by_every_way() -> None:
    asked = [body for number, body in enumerate(bodies()) if number % EVERY == 0 and _is_text(body)]
    told: list[tuple[list[str], list[bytes]]] = []
    for transport in ("lean", "aiohttp"):
        for way in ("alone", "over a WebSocket"):
            async with running_gate(transport=transport) as gate:
                answers = [_without_decision(each) for each in await WAYS[way](gate, asked)]
                told.append((answers, [_UNDER_AN_ID.sub(b"", each.body) for each in gate.bundler.requests]))
    assert len(asked) > 100
    assert all(each[0] == told[0][0] for each in told)
    assert all(each[1] == told[0][1] for each in told)


def _is_text(body: bytes) -> bool:
    try:
        return bool(body.decode())
    except UnicodeDecodeError:
        return False


def _without_decision(answer: Any) -> str:
    for each in answer if isinstance(answer, list) else [answer]:
        if isinstance(each, dict):
            data = (each.get("error") or {}).get("data")
            if isinstance(data, dict):
                data.pop("decisionId", None)
    return json.dumps(answer, sort_keys=True)
