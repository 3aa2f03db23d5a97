"""Clients that repeat a send by themselves: which answers make which SDK do so, and that the bundler hears of one
operation once whatever they do."""

from __future__ import annotations

import itertools
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest
from aiohttp import web

from proxy.bundler_answers import TOOK_NOTHING
from proxy.edge.http.once import OnceSent
from proxy.errors import Code
from proxy.refused_before import REMEMBERED_SECONDS, RefusedBefore
from proxy.userop.user_operation import print_user_operation
from tests.admission.builders import known, lane
from tests.bypass_list.desk import a_session, an_operation, single, use
from tests.e2e.handing_in import SDKS, hand_in, task, wire_to
from tests.e2e.rig import install
from tests.edge.recording_bundler import OPERATION_HASH, Answer, Recorded
from tests.running_gate import SEND, RunningGate, running_gate
from tests.session.builders import OTHER_TOKEN, TOKEN, TRANSFER, action, transfer, usage
from tests.stopping import AppRunner

ONE_OP = an_operation(single(transfer(1)), signature=b"\1" * 65)

OURS = sorted(set(Code) - {Code.INTERNAL_ERROR})
"""What a submission may be answered with; the gate's own faults are told by two of these."""
LISTED = {Code.PARSE_ERROR, Code.INVALID_REQUEST, Code.METHOD_NOT_FOUND, Code.INVALID_PARAMS}
"""Codes of ours that viem lists. On a `custom` transport it takes every other one for an unknown error."""


STATUSES = (400, 401, 403, 404, 405, 408, 411, 413, 414, 415, 429, 431, 500, 502, 503, 504)
AGAIN = 4
"""A first time, and viem's three repeats."""
GIVES_IN = 4
"""So often is HTTP 429 answered, and then no more: some SDKs try for minutes."""


def times(client: str, status: int, code: int | None) -> int:
    """How often this SDK hands the same in when it is answered so, with that error or none in the body.

    What it does by its defaults, measured; if a test that uses it fails, the SDK has changed.
    """
    match client:
        case "viem custom":
            return AGAIN
        case "viem http" | "permissionless":
            return AGAIN if code == -32603 or status in (403, 408, 413, 429, 500, 502, 503, 504) else 1
        case "ethers" | "userop.js":
            return GIVES_IN + 1 if status == 429 else 1
    return 1


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
        if int(status) == 429 and self.sends[request.path] > GIVES_IN:
            return web.json_response({"jsonrpc": "2.0", "id": asked["id"], "result": OPERATION_HASH})
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
    runner = AppRunner(app)
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
async def test_what_bundlers_and_gateways_answer_makes_some_sdks_send_again(stub: Stub) -> None:
    """Why the gate remembers: if this fails, the SDKs have changed, and the table in README with them."""
    answers = [(200, "-32603"), *((status, "html") for status in STATUSES)]
    asked = [(client, *answer) for client in SDKS for answer in answers]
    path = {each: f"/{SDKS.index(each[0])}/{each[1]}/{each[2]}" for each in asked}
    await hand_in([task(each[0], stub.url + path[each], ONE_OP) for each in asked])
    expected = {
        (client, status, code): times(client, status, None if code == "html" else int(code))
        for client, status, code in asked
    }
    assert {each: stub.sends[path[each]] for each in asked} == expected


@pytest.mark.usefixtures("packages")
@pytest.mark.parametrize("code", [-32500, -32603])
async def test_under_whatever_status_a_bundlers_error_comes_it_hears_of_an_operation_once(
    code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """But for 401, 403 and 429, by which a gateway turns a request away before any bundler has heard of it."""
    # what is remembered stays so for as long as the SDKs take, on the slowest machine
    monkeypatch.setattr("proxy.app.chain.RefusedBefore", lambda _: RefusedBefore(lambda: 0.0))
    monkeypatch.setattr("proxy.app.chain.OnceSent", lambda upstream, _: OnceSent(upstream, lambda: 0.0))
    asked = list(itertools.product(SDKS, STATUSES))
    ops = [use(SESSION, single(transfer(1)), nonce=lane(number)) for number in range(len(asked))]
    named = [print_user_operation(op)["nonce"] for op in ops]
    heard: Counter[str] = Counter()

    async def refuse(recorded: Recorded) -> Answer:
        nonce = recorded.params[0]["nonce"]
        heard[nonce] += 1
        status = asked[named.index(nonce)][1]
        if status == 429 and heard[nonce] > GIVES_IN:
            return Answer(error={"code": -32602, "message": "no"})  # which ends it for every SDK
        return Answer(error={"code": code, "message": "no"}, status=status)

    async with running_gate() as gate, AsyncExitStack() as stack:
        gate.running.registry.put(known(SESSION))
        gate.bundler.answers[SEND] = refuse
        wires = [await stack.enter_async_context(wire_to(gate.url)) for _ in asked]
        told = await hand_in(
            [task(client, wire.url, op) for (client, _), wire, op in zip(asked, wires, ops, strict=True)]
        )
    assert all("failed" in each for each in told)
    assert {each: wire.sends for each, wire in zip(asked, wires, strict=True)} == {
        (client, status): times(client, status, code) for client, status in asked
    }
    assert {each: heard[nonce] for each, nonce in zip(asked, named, strict=True)} == {
        (client, status): times(client, status, code) if status in TOOK_NOTHING else 1 for client, status in asked
    }


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
