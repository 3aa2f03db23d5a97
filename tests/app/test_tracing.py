"""Traces of a running gate, as a collector gets them; and what nobody gets."""

from __future__ import annotations

import subprocess
import sys
from base64 import b64encode
from urllib.parse import quote

from proxy.userop.primitives import print_bytes
from tests.admission.builders import TWICE, known
from tests.app.builders import GOOD, OUTSIDE, SESSION_ID, use_number
from tests.app.otlp_receiver import OtlpReceiver, attributes
from tests.edge.recording_bundler import Answer
from tests.running_gate import BUNDLER_KEY, SEND, RunningGate, hash_of, request, running_gate, submission

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
SPAN = "00f067aa0ba902b7"
SAMPLED = f"00-{TRACE}-{SPAN}-01"
LEFT_OUT = f"00-{TRACE}-{SPAN}-00"
TOKEN = "hush-collector-token"


def settings_of(receiver: OtlpReceiver, **more: object) -> dict[str, object]:
    return {"otlp": receiver.url, **more}


async def arrived(gate: RunningGate, receiver: OtlpReceiver, count: int) -> None:
    await gate.until(lambda: len(receiver.spans) >= count, f"{count} spans arrive: {len(receiver.spans)} have")


async def test_a_submission_is_a_span_of_its_caller_and_has_its_judgement_and_its_sending_inside() -> None:
    async with OtlpReceiver() as receiver, running_gate(tracing=settings_of(receiver)) as gate:
        gate.running.registry.put(known(TWICE))
        await gate.ask(submission(GOOD), traceparent=SAMPLED)
        await arrived(gate, receiver, 3)
        (root,), (judge,), (sent,) = (receiver.named(name) for name in (SEND, "judge", "bundler"))
        assert (root.trace_id.hex(), root.parent_span_id.hex()) == (TRACE, SPAN)
        assert {each.trace_id.hex() for each in (judge, sent)} == {TRACE}
        assert {each.parent_span_id for each in (judge, sent)} == {root.span_id}
        assert root.start_time_unix_nano <= judge.start_time_unix_nano <= judge.end_time_unix_nano
        assert judge.end_time_unix_nano <= sent.start_time_unix_nano <= sent.end_time_unix_nano
        told = attributes(root)
        assert (told["sessiongate.chain"], told["sessiongate.outcome"]) == ("soneium", "answered")
        judged = attributes(judge)
        assert (judged["sessiongate.verdict"], judged["sessiongate.session"]) == ("allow", SESSION_ID)
        assert judged["sessiongate.user_op_hash"] == hash_of(GOOD)
        assert judged["sessiongate.decision_id"] == told["sessiongate.decision_id"]
        assert attributes(sent)["sessiongate.bundler"] == "soneium#0"
        assert await gate.metric("trace_spans_total", result="sent") == 3


async def test_a_refusal_names_its_code_and_a_bundler_that_is_away_is_an_error() -> None:
    async with OtlpReceiver() as receiver, running_gate(tracing=settings_of(receiver)) as gate:
        gate.running.registry.put(known(TWICE))
        await gate.send(OUTSIDE)
        gate.bundler.hang_up = True
        await gate.send(GOOD)
        await arrived(gate, receiver, 5)
        refused, failed = (attributes(span) for span in receiver.named("judge"))
        assert (refused["sessiongate.code"], failed["sessiongate.verdict"]) == ("session_scope", "allow")
        outcomes = {attributes(span)["sessiongate.outcome"]: span.status.code for span in receiver.named(SEND)}
        assert outcomes == {"rejected": 0, "unavailable": 2}
        assert [span.status.code for span in receiver.named("bundler")] == [2]


async def test_each_element_of_a_batch_is_a_span_and_methods_nobody_knows_have_no_name() -> None:
    async with OtlpReceiver() as receiver, running_gate(tracing=settings_of(receiver)) as gate:
        batch = [request("eth_chainId", request_id=1), request("hush_method", request_id=2)]
        await gate.ask(batch, traceparent=SAMPLED)
        await arrived(gate, receiver, 3)
        assert {span.trace_id.hex() for span in receiver.spans} == {TRACE}
        assert sorted(span.name for span in receiver.spans) == ["bundler", "eth_chainId", "other"]
        assert b"hush" not in receiver.raw


async def test_who_does_not_record_its_trace_is_not_traced_and_a_share_of_none_traces_nothing() -> None:
    async with OtlpReceiver() as receiver:
        async with running_gate(tracing=settings_of(receiver)) as gate:
            await gate.ask(request("eth_chainId"), traceparent=LEFT_OUT)
            await gate.ask(request("eth_supportedEntryPoints"))
        assert {span.name for span in receiver.spans} == {"eth_supportedEntryPoints", "bundler"}
        receiver.spans.clear()
        async with running_gate(tracing=settings_of(receiver, sample=0)) as gate:
            await gate.ask(request("eth_chainId"), traceparent=SAMPLED)
        assert receiver.spans == []


async def test_nothing_of_a_callers_trace_reaches_a_bundler_unless_it_is_to_be_told_and_then_no_baggage() -> None:
    words = {"traceparent": SAMPLED, "tracestate": "vendor=hush-state", "baggage": "user=hush-baggage"}
    for transport in ("lean", "aiohttp"):
        for to_bundlers in (False, True):
            async with (
                OtlpReceiver() as receiver,
                running_gate(tracing=settings_of(receiver, to_bundlers=to_bundlers), transport=transport) as gate,
            ):
                gate.running.registry.put(known(TWICE))
                await gate.ask(submission(GOOD), **words)
                (sent,) = gate.bundler.sent
                headers = {name.lower(): value for name, value in sent.headers.items()}
                assert "hush" not in str(headers)
                assert not {"tracestate", "baggage"} & headers.keys()
                await arrived(gate, receiver, 3)
                (span,) = receiver.named("bundler")
                told = f"00-{TRACE}-{span.span_id.hex()}-01" if to_bundlers else None
                assert headers.get("traceparent") == told
                assert b"hush" not in receiver.raw


async def test_without_traces_nothing_of_the_callers_goes_on_either() -> None:
    async with running_gate() as gate:
        gate.running.registry.put(known(TWICE))
        await gate.ask(submission(GOOD), traceparent=SAMPLED, tracestate="a=b", baggage="c=d")
        (sent,) = gate.bundler.sent
        assert not {"traceparent", "tracestate", "baggage"} & {name.lower() for name in sent.headers}


async def test_no_key_signature_or_call_data_is_in_a_span_in_any_form() -> None:
    clients = [{"name": "dapp", "api_key": "hush-client-key"}]
    async with (
        OtlpReceiver() as receiver,
        running_gate(
            tracing=settings_of(receiver, headers={"authorization": f"Bearer {TOKEN}"}),
            clients=clients,
            headers={"x-api-key": "hush-client-key"},
        ) as gate,
    ):
        gate.running.registry.put(known(TWICE))
        gate.bundler.answers["eth_chainId"] = Answer(
            error={"code": -32000, "message": "hush-message", "data": "0xdead"}
        )
        for op in (GOOD, OUTSIDE, use_number(1)):
            await gate.send(op)
        await gate.ask(request("eth_chainId"))
        await arrived(gate, receiver, 10)
    assert {each.get("authorization") for each in receiver.headers} == {f"Bearer {TOKEN}"}
    seen = receiver.raw.replace(TOKEN.encode(), b"")
    words = [b"hush", BUNDLER_KEY.encode(), GOOD.signature[33:], GOOD.call_data, OUTSIDE.call_data]
    for word in words:
        for form in (word, word.hex().encode(), b64encode(word)[:-4], quote(word).encode()):
            assert form not in seen, form
    assert print_bytes(GOOD.signature).encode() not in seen


async def test_a_collector_that_refuses_or_hangs_costs_its_spans_and_nothing_else() -> None:
    async with OtlpReceiver() as receiver:
        receiver.status = 400
        async with running_gate(tracing=settings_of(receiver)) as gate:
            await gate.ask(request("eth_chainId"))
            lost = 0.0
            while not lost:
                lost = await gate.metric("trace_spans_total", result="lost")
            assert lost == 2
            receiver.hangs = True
            assert "result" in await gate.ask(request("eth_chainId"))


def test_a_gate_that_traces_nothing_does_not_import_opentelemetry() -> None:
    script = (
        "import asyncio, sys\n"
        "from tests.running_gate import running_gate, request\n"
        "async def run():\n"
        "    async with running_gate() as gate:\n"
        "        await gate.ask(request('eth_chainId'))\n"
        "asyncio.run(run())\n"
        "print([name for name in sys.modules if name.startswith(('opentelemetry', 'google.protobuf'))])\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.strip() == "[]"
