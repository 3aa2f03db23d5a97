"""Clients that repeat a send by themselves: which answers make which SDK do so, and that the bundler hears of one
operation once whatever they do."""

from __future__ import annotations

import asyncio
import itertools
import json
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web

from proxy.errors import Code
from proxy.refused_before import REMEMBERED_SECONDS
from proxy.userop.user_operation import UserOperation, print_user_operation
from tests.admission.builders import known, lane
from tests.bypass_list.desk import a_session, an_operation, single, use
from tests.e2e.rig import HERE, install, node_binary
from tests.edge.recording_bundler import Answer, Recorded
from tests.running_gate import ENTRY_POINT, SEND, RunningGate, running_gate
from tests.session.builders import OTHER_TOKEN, TOKEN, TRANSFER, action, transfer, usage

SDKS = ("viem http", "viem custom", "permissionless", "aa-sdk", "ethers", "abstractionkit", "userop.js", "web3.py")
ONE_OP = an_operation(single(transfer(1)), signature=b"\1" * 65)

OURS = sorted(set(Code) - {Code.INTERNAL_ERROR})
"""What a submission may be answered with; the gate's own faults are told by two of these."""
LISTED = {Code.PARSE_ERROR, Code.INVALID_REQUEST, Code.METHOD_NOT_FOUND, Code.INVALID_PARAMS}
"""Codes of ours that viem lists. On a `custom` transport it takes every other one for an unknown error."""


async def hand_in(tasks: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Each task's outcome, in order."""
    by_node = [task for task in tasks if task["client"] != "web3.py"]
    by_web3 = [task for task in tasks if task["client"] == "web3.py"]
    told, of_web3 = await asyncio.gather(_run((node_binary(), "clients/send.mjs"), by_node), _by_web3(by_web3))
    outcomes = {id(each): outcome for each, outcome in zip([*by_node, *by_web3], [*told, *of_web3], strict=True)}
    return [outcomes[id(each)] for each in tasks]


async def _by_web3(tasks: list[dict[str, Any]]) -> list[Any]:
    # a process of its own: it changes the interpreter it is imported into
    outcomes: list[Any] = await _run((sys.executable, "-W", "ignore", "clients/send_web3.py"), tasks) if tasks else []
    return outcomes


async def _run(command: tuple[str, ...], told: object) -> Any:
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*command, cwd=HERE, stdin=pipe, stdout=pipe, stderr=pipe)
    out, err = await asyncio.wait_for(process.communicate(json.dumps(told).encode()), 120)
    assert process.returncode == 0, err.decode()
    return json.loads(out)


def task(client: str, url: str, op: UserOperation) -> dict[str, Any]:
    return {"client": client, "url": url, "op": print_user_operation(op), "entryPoint": ENTRY_POINT}


class Stub:
    """Answers sends as its path says, `/client/status/code`, and counts them by path."""

    def __init__(self) -> None:
        self.sends: Counter[str] = Counter()
        self.url = ""

    async def handle(self, request: web.Request) -> web.Response:
        asked = await request.json()
        if asked["method"] != SEND:  # userop.js asks which chain it is
            return web.json_response({"jsonrpc": "2.0", "id": asked["id"], "result": "0x79a"})
        self.sends[request.path] += 1
        _, _, status, code = request.path.split("/")
        if code == "html":
            return web.Response(text="<html>", content_type="text/html", status=int(status))
        error = {"code": int(code), "message": "no"}
        return web.json_response({"jsonrpc": "2.0", "id": asked["id"], "error": error}, status=int(status))


@pytest.fixture(scope="module")
def packages() -> None:
    install()


@pytest.fixture
async def stub() -> AsyncIterator[Stub]:
    made = Stub()
    app = web.Application()
    app.router.add_post("/{client}/{status}/{code}", made.handle)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    made.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield made
    await runner.cleanup()


@pytest.mark.usefixtures("packages")
async def test_no_code_of_ours_makes_an_sdk_send_again_but_for_viem_on_a_custom_transport(stub: Stub) -> None:
    asked = [(client, int(code)) for client in SDKS for code in OURS]
    path = {pair: f"/{SDKS.index(pair[0])}/200/{pair[1]}" for pair in asked}
    told = await hand_in([task(client, stub.url + path[client, code], ONE_OP) for client, code in asked])
    assert all("failed" in each for each in told)
    for client, code in asked:
        expected = 4 if client == "viem custom" and code not in LISTED else 1
        assert stub.sends[path[client, code]] == expected, (client, code, told[asked.index((client, code))])


@pytest.mark.usefixtures("packages")
async def test_what_bundlers_and_gateways_answer_makes_viem_and_what_builds_on_it_send_again(stub: Stub) -> None:
    """Why the gate remembers: if this fails, the SDKs have changed, and the table in README with them."""
    answers = [(200, "-32603"), *((status, "html") for status in (408, 413, 429, 500, 502, 503, 504))]
    asked = [(client, *answer) for client in ("viem http", "permissionless") for answer in answers]
    path = {each: f"/{SDKS.index(each[0])}/{each[1]}/{each[2]}" for each in asked}
    await hand_in([task(each[0], stub.url + path[each], ONE_OP) for each in asked])
    assert {each: stub.sends[path[each]] for each in asked} == dict.fromkeys(asked, 4)


LEAVE_OPEN = {
    "an internal error": Answer(error={"code": -32603, "message": "Internal error"}),
    "an internal error under HTTP 500": Answer(error={"code": -32603, "message": "Internal error"}, status=500),
    "no code under HTTP 500": Answer(error={"message": "timed out"}, status=500),
    "HTML under HTTP 502": Answer(raw=b"<html>", status=502, content_type="text/html"),
}


@pytest.fixture
async def gate() -> AsyncIterator[RunningGate]:
    async with running_gate() as gate:
        gate.running.registry.put(known(SESSION))
        yield gate


SESSION = a_session(action(TOKEN, TRANSFER, usage(1000)))


@pytest.mark.usefixtures("packages")
@pytest.mark.parametrize("answer", LEAVE_OPEN)
async def test_one_operation_reaches_the_bundler_once_whatever_sdk_hands_it_in(gate: RunningGate, answer: str) -> None:
    gate.bundler.answers[SEND] = LEAVE_OPEN[answer]
    ops = {client: use(SESSION, single(transfer(1)), nonce=lane(number)) for number, client in enumerate(SDKS)}
    told = await hand_in([task(client, gate.url, op) for client, op in ops.items()])
    assert all("failed" in each for each in told)
    reached = Counter(request.params[0]["nonce"] for request in gate.bundler.sent)
    assert reached == {print_user_operation(op)["nonce"]: 1 for op in ops.values()}


REFUSALS = {
    **{
        f"the entry point's {code}": Answer(error={"code": code, "message": "AA21"})
        for code in (-32500, -32507, -32521)
    },
    "a refusal under HTTP 500": Answer(error={"code": -32500, "message": "AA21"}, status=500),
    "a precheck": Answer(
        error={"code": -32000, "message": "precheck failed: callGasLimit is 1 but must be at least 2"}
    ),
}


@pytest.mark.usefixtures("packages")
async def test_what_the_bundler_refuses_it_hears_of_once_in_two_seconds_whatever_sdk_repeats_it(
    gate: RunningGate,
) -> None:
    """The SDKs are through with their repeats after 1.1 s; on a slower machine a later one may come behind its time."""
    asked = list(itertools.product(SDKS, REFUSALS))
    ops = [use(SESSION, single(transfer(1)), nonce=lane(number)) for number in range(len(asked))]
    of_nonce = {print_user_operation(op)["nonce"]: each for op, each in zip(ops, asked, strict=True)}
    heard: dict[tuple[str, str], list[float]] = {each: [] for each in asked}

    async def refuse(recorded: Recorded) -> Answer:
        client, answer = of_nonce[recorded.params[0]["nonce"]]
        heard[client, answer].append(time.monotonic())
        return REFUSALS[answer]

    gate.bundler.answers[SEND] = refuse
    began = time.monotonic()
    told = await hand_in([task(client, gate.url, op) for (client, _), op in zip(asked, ops, strict=True)])
    took = time.monotonic() - began
    assert all("failed" in each for each in told)
    for each, times in heard.items():
        apart = [later - sooner for sooner, later in itertools.pairwise(times)]
        assert all(pause >= REMEMBERED_SECONDS for pause in apart), (each, apart)
        assert 1 <= len(times) <= 1 + took // REMEMBERED_SECONDS, each


@pytest.mark.usefixtures("packages")
async def test_what_the_gate_rejects_reaches_the_bundler_never_however_often_an_sdk_repeats_it(
    gate: RunningGate,
) -> None:
    told = await hand_in(
        [task(client, gate.url, use(SESSION, single(transfer(1, token=OTHER_TOKEN)))) for client in SDKS]
    )
    assert all("failed" in each for each in told)
    assert gate.bundler.sent == []
