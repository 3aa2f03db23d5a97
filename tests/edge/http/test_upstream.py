"""A submission reaches one bundler once; nothing of the client's request and no secret travels with it."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, suppress
from dataclasses import replace

import pytest

from proxy.edge.http.asker import UpstreamSettings
from proxy.edge.http.endpoints import Health
from proxy.edge.http.listener import Transport
from proxy.edge.http.upstream import HttpUpstream
from proxy.errors import UpstreamUnavailable
from proxy.ledger.reservation import NonceSlot
from proxy.ports import Submission
from proxy.userop.entry_point import ENTRY_POINTS
from proxy.userop.primitives import Address
from tests.edge.recording_bundler import OPERATION_HASH, Answer, Recorded, RecordingBundler

CHAIN_ID = 1946
V07 = ENTRY_POINTS[1].address
SLOT = NonceSlot(1946, V07, Address(b"\xaa" * 20), 1)
OTHER_SLOT = NonceSlot(1946, V07, Address(b"\xbb" * 20), 1)
SETTINGS = UpstreamSettings(
    connect_seconds=5, total_seconds=0.3, inclusion_seconds=5, probe_seconds=5, max_reply_bytes=4096
)


def upstream_of(
    *urls: str, entry_points: tuple[Address, ...] = (V07,), settings: UpstreamSettings = SETTINGS
) -> HttpUpstream:
    return HttpUpstream("soneium", urls, chain_id=CHAIN_ID, entry_points=frozenset(entry_points), settings=settings)


@pytest.fixture
async def first() -> AsyncIterator[RecordingBundler]:
    async with RecordingBundler(CHAIN_ID) as bundler:
        yield bundler


@pytest.fixture
async def second() -> AsyncIterator[RecordingBundler]:
    async with RecordingBundler(CHAIN_ID) as bundler:
        yield bundler


async def test_forwards_exactly_what_was_printed_under_a_number_of_ours(first: RecordingBundler) -> None:
    async with upstream_of(first.url) as upstream:
        answer = await upstream.post("eth_sendUserOperation", b'[{"a":1},"0x"]', Submission())
        again = await upstream.post("eth_sendUserOperation", b'[{"a":1},"0x"]', Submission())
    assert answer.reply.result == OPERATION_HASH
    assert (answer.status, answer.endpoint) == (200, "soneium#0")
    assert again.our_id != answer.our_id
    assert first.requests[0].body == (
        b'{"jsonrpc":"2.0","id":%d,"method":"eth_sendUserOperation","params":[{"a":1},"0x"]}' % answer.our_id
    )


async def test_sends_the_bare_media_type_and_no_header_beyond_its_own(first: RecordingBundler) -> None:
    async with upstream_of(first.url) as upstream:
        await upstream.post("eth_chainId", b"[]", submission=None)
    headers = first.requests[0].headers
    assert headers["content-type"] == "application/json"
    assert headers.keys() == {"host", "content-type", "content-length", "accept", "accept-encoding", "user-agent"}


async def test_keeps_the_connection_between_requests(first: RecordingBundler) -> None:
    async with upstream_of(first.url) as upstream:
        for _ in range(3):
            await upstream.post("eth_chainId", b"[]", submission=None)
        assert first._runner is not None
        assert first._runner.server is not None
        assert len(first._runner.server.connections) == 1


async def test_relays_an_error_and_its_http_status(first: RecordingBundler) -> None:
    first.answers["eth_sendUserOperation"] = Answer(
        raw=b'{"jsonrpc":"2.0","id":{id},"error":{"message":"boom"}}', status=500
    )
    async with upstream_of(first.url) as upstream:
        answer = await upstream.post("eth_sendUserOperation", b"[]", Submission())
    assert (answer.status, answer.reply.is_error, answer.reply.error_message) == (500, True, "boom")


@pytest.mark.parametrize("submission", [Submission(), Submission(SLOT), None])
async def test_the_next_endpoint_takes_over_when_no_byte_can_have_been_sent(
    first: RecordingBundler, second: RecordingBundler, submission: Submission | None
) -> None:
    await first.stop()
    async with upstream_of(first.url, second.url) as upstream:
        answer = await upstream.post("eth_sendUserOperation", b"[]", submission)
        assert answer.endpoint == "soneium#1"
        assert upstream.endpoints[0].health is Health.UNREACHABLE
        assert upstream.preferred == "soneium#1"
    assert len(second.requests) == 1


async def test_a_bundler_that_goes_and_one_that_comes_back_are_logged_once_each_with_the_reason(
    first: RecordingBundler, caplog: pytest.LogCaptureFixture
) -> None:
    async with upstream_of(first.url) as upstream:
        await upstream.probe()
        assert caplog.messages == [], "that all is well is no news"
        well = first.answers["eth_chainId"]
        first.answers["eth_chainId"] = Answer(status=502, raw=b"bad gateway")
        for _ in range(3):
            await upstream.probe()
        first.answers["eth_chainId"] = well
        for _ in range(3):
            await upstream.probe()
    went, came = caplog.messages
    assert went.startswith("soneium#0 ")
    assert "502" in went
    assert came == "soneium#0 is well again"


async def test_an_unreachable_bundler_is_reported_as_nothing_sent(first: RecordingBundler) -> None:
    await first.stop()
    async with upstream_of(first.url) as upstream:
        with pytest.raises(UpstreamUnavailable, match="soneium#0 cannot be reached") as failure:
            await upstream.post("eth_sendUserOperation", b"[]", Submission())
    assert failure.value.may_have_been_sent is False


FAILURES = {
    "hang up": Answer(),
    "html": Answer(raw=b"<html>502 Bad Gateway</html>", status=502, content_type="text/html"),
    "empty": Answer(raw=b"", status=204),
    "redirect": Answer(raw=b"", status=307, headers={"Location": "http://127.0.0.1:9/"}),
    "another id": Answer(raw=b'{"jsonrpc":"2.0","id":999999,"result":"0x"}'),
    "too long": Answer(result="0x" + "00" * 4096),
}


@pytest.mark.parametrize("failure", FAILURES)
async def test_a_submission_is_never_repeated_once_it_may_have_arrived(
    first: RecordingBundler, second: RecordingBundler, failure: str
) -> None:
    first.answers["eth_sendUserOperation"] = FAILURES[failure]
    first.hang_up = failure == "hang up"
    async with upstream_of(first.url, second.url) as upstream:
        with pytest.raises(UpstreamUnavailable, match=r"soneium#0 (answered|broke off)") as raised:
            await upstream.post("eth_sendUserOperation", b"[]", Submission())
    assert raised.value.may_have_been_sent is True
    assert len(first.requests) == 1
    assert second.requests == []


@pytest.mark.parametrize("failure", FAILURES)
async def test_a_read_goes_to_the_next_endpoint_on_any_failure(
    first: RecordingBundler, second: RecordingBundler, failure: str
) -> None:
    first.answers["eth_sendUserOperation"] = FAILURES[failure]
    first.hang_up = failure == "hang up"
    async with upstream_of(first.url, second.url) as upstream:
        answer = await upstream.post("eth_sendUserOperation", b"[]", submission=None)
    assert answer.endpoint == "soneium#1"


async def test_a_silent_bundler_is_given_up_and_the_submission_may_have_arrived(first: RecordingBundler) -> None:
    first.hold()
    async with upstream_of(first.url) as upstream:
        with pytest.raises(UpstreamUnavailable, match=r"did not answer within 0\.3 s") as failure:
            await upstream.post("eth_sendUserOperation", b"[]", Submission())
    assert failure.value.may_have_been_sent is True


async def test_a_method_that_waits_for_inclusion_is_given_longer(first: RecordingBundler) -> None:
    first.answers["pimlico_sendUserOperationNow"] = Answer(result={})
    first.hold()
    async with upstream_of(first.url, settings=replace(SETTINGS, total_seconds=0.01)) as upstream:
        waiting = asyncio.create_task(upstream.post("pimlico_sendUserOperationNow", b"[]", Submission()))
        with pytest.raises(UpstreamUnavailable):
            await upstream.post("eth_sendUserOperation", b"[]", Submission())
        first.release()
        assert (await waiting).reply.result == {}


async def test_reads_a_reply_that_comes_compressed_although_nobody_asked(first: RecordingBundler) -> None:
    first.answers["eth_call"] = Answer(
        raw=gzip.compress(b'{"jsonrpc":"2.0","id":1,"result":"0x2a"}'), headers={"Content-Encoding": "gzip"}
    )
    async with upstream_of(first.url) as upstream:
        assert (await upstream.post("eth_call", b"[]", submission=None)).reply.result == "0x2a"


async def test_a_compressed_reply_cannot_grow_beyond_the_bound(first: RecordingBundler) -> None:
    first.answers["eth_call"] = Answer(raw=gzip.compress(b"0" * 1_000_000), headers={"Content-Encoding": "gzip"})
    async with upstream_of(first.url) as upstream:
        with pytest.raises(UpstreamUnavailable, match="more than 4096 bytes"):
            await upstream.post("eth_call", b"[]", submission=None)


async def test_no_message_tells_a_secret_of_the_url(first: RecordingBundler) -> None:
    port = first.url.rsplit(":", 1)[1].partition("/")[0]
    url = f"http://user:passw0rd@127.0.0.1:{port}/k3y/rpc?apikey=s3cret"
    first.answers["eth_chainId"] = FAILURES["html"]
    async with upstream_of(url) as upstream:
        said = [repr(upstream.endpoints[0])]
        with pytest.raises(UpstreamUnavailable) as failure:
            await upstream.post("eth_chainId", b"[]", submission=None)
        said += [str(failure.value), repr(failure.value.__cause__), repr(upstream.endpoints[0])]
        await first.stop()
        with pytest.raises(UpstreamUnavailable) as failure:
            await upstream.post("eth_chainId", b"[]", submission=None)
        said += [str(failure.value), repr(failure.value.__cause__), repr(upstream.endpoints[0])]
    for secret in ("user", "passw0rd", "k3y", "s3cret", "127.0.0.1"):
        assert secret not in " ".join(said)


@pytest.mark.parametrize("url", ["", "bundler", "ftp://bundler/rpc", "http://", "https://[s3cret", "//s3cret/rpc"])
def test_refuses_what_is_no_http_url_without_quoting_it(url: str) -> None:
    with pytest.raises(ValueError, match="soneium#0: not a") as refusal:
        upstream_of(url)
    assert "s3cret" not in str(refusal.value)


def test_refuses_a_chain_without_a_bundler() -> None:
    with pytest.raises(ValueError, match="soneium: no bundler"):
        upstream_of()


# --- probing --------------------------------------------------------------------------------------------------


async def test_a_bundler_for_this_chain_and_entry_point_is_healthy(first: RecordingBundler) -> None:
    seen: list[tuple[str, Health]] = []
    upstream = HttpUpstream(
        "soneium",
        [first.url],
        chain_id=CHAIN_ID,
        entry_points=frozenset({V07}),
        on_health=lambda name, health: seen.append((name, health)),
    )
    async with upstream:
        assert not upstream.healthy
        assert await upstream.probe()
    assert seen == [("soneium#0", Health.HEALTHY)]


@pytest.mark.parametrize(
    ("method", "answer", "problem"),
    [
        ("eth_chainId", Answer(result="0x1"), "serves chain 1, configured is 1946"),
        ("eth_chainId", Answer(result=1946), "gives no usable answer to eth_chainId"),
        ("eth_supportedEntryPoints", Answer(result=[]), "does not serve entry point 0x0000000071727De2"),
        ("eth_supportedEntryPoints", Answer(result=["0x12"]), "no usable answer to eth_supportedEntryPoints"),
        ("eth_supportedEntryPoints", Answer(result="0x12"), "with no list"),
    ],
)
async def test_a_bundler_for_something_else_is_never_used(
    first: RecordingBundler, method: str, answer: Answer, problem: str
) -> None:
    first.answers[method] = answer
    async with upstream_of(first.url) as upstream:
        assert not await upstream.probe()
        assert upstream.endpoints[0].health is Health.MISCONFIGURED
        with pytest.raises(UpstreamUnavailable, match=problem) as failure:
            await upstream.post("eth_sendUserOperation", b"[]", Submission())
    assert failure.value.may_have_been_sent is False
    assert "eth_sendUserOperation" not in first.methods


async def test_a_bundler_that_refuses_its_probe_is_still_the_last_resort(first: RecordingBundler) -> None:
    first.answers["eth_chainId"] = Answer(error={"code": -32005, "message": "rate limited"})
    async with upstream_of(first.url) as upstream:
        assert not await upstream.probe()
        assert upstream.endpoints[0].problem == "answers its probe with an error"
        assert (await upstream.post("eth_sendUserOperation", b"[]", Submission())).status == 200


async def test_the_first_endpoint_is_used_again_once_it_is_back(
    first: RecordingBundler, second: RecordingBundler
) -> None:
    await first.stop()
    async with upstream_of(first.url, second.url) as upstream:
        assert await upstream.probe()
        assert upstream.preferred == "soneium#1"
        await first.start()
        await upstream.probe()
        assert upstream.preferred == "soneium#0"


async def test_a_last_resort_that_answers_is_no_longer_called_unreachable(first: RecordingBundler) -> None:
    await first.stop()
    async with upstream_of(first.url) as upstream:
        await upstream.probe()
        await first.start()
        await upstream.post("eth_chainId", b"[]", submission=None)
        assert upstream.endpoints[0].health is Health.UNKNOWN


async def test_watching_probes_again_and_again(first: RecordingBundler) -> None:
    probed_again = asyncio.Event()

    async def count_probes(_request: Recorded) -> Answer:
        if first.methods.count("eth_chainId") == 3:
            probed_again.set()
        return Answer(result=hex(CHAIN_ID))

    first.answers["eth_chainId"] = count_probes
    async with upstream_of(first.url) as upstream:
        watching = asyncio.create_task(upstream.watch(0))
        await probed_again.wait()
        watching.cancel()
        with pytest.raises(asyncio.CancelledError):
            await watching
        assert upstream.healthy


@pytest.mark.parametrize(
    "reply",
    [
        b"",
        b"nonsense\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000 + b"\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.6\r\n",
    ],
)
async def test_what_is_not_http_may_have_been_a_bundler_all_the_same(reply: bytes) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(reply)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server, upstream_of(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/") as upstream:
        with pytest.raises(UpstreamUnavailable) as failure:
            await upstream.post("eth_sendUserOperation", b"[]", Submission())
    assert failure.value.may_have_been_sent is True


async def test_a_failed_handshake_is_reported_as_nothing_sent(first: RecordingBundler) -> None:
    async with upstream_of(first.url.replace("http:", "https:")) as upstream:
        with pytest.raises(UpstreamUnavailable) as failure:
            await upstream.post("eth_sendUserOperation", b"[]", Submission())
    assert failure.value.may_have_been_sent is False
    assert first.requests == []


@pytest.mark.parametrize("transport", Transport)
@pytest.mark.parametrize("failure", ["hangs up", "says what means nothing"])
@pytest.mark.parametrize("submit", [True, False], ids=["sends", "reads"])
async def test_a_bundler_is_not_ill_because_one_request_makes_it_so(
    first: RecordingBundler, second: RecordingBundler, transport: Transport, failure: str, submit: bool
) -> None:
    """Sent again and again, it is the first bundler's still to answer what others ask."""
    method = "eth_sendUserOperation" if submit else "eth_estimateUserOperationGas"
    settings = replace(SETTINGS, transport=transport, total_seconds=30)
    async with upstream_of(first.url, second.url, settings=settings) as upstream:
        first.hang_up, first.answers[method] = failure == "hangs up", Answer(raw=b"what")
        for _ in range(6):
            with suppress(UpstreamUnavailable):
                await upstream.post(method, b'["bad"]', Submission(SLOT) if submit else None)
        first.hang_up, first.answers[method] = False, Answer(result=OPERATION_HASH)
        good = await upstream.post(method, b'["good"]', Submission(OTHER_SLOT) if submit else None)
        assert good.endpoint == "soneium#0"


async def test_a_bundler_that_is_silent_to_one_send_and_answers_what_came_after_it_is_not_ill(
    first: RecordingBundler, second: RecordingBundler
) -> None:
    never = asyncio.Event()

    async def answer(recorded: Recorded) -> Answer:
        if recorded.params == ["bad"]:
            await never.wait()
        return Answer(result=OPERATION_HASH)

    first.answers["eth_sendUserOperation"] = answer
    async with AsyncExitStack() as stack:
        stack.callback(never.set)
        settings = replace(SETTINGS, total_seconds=3)
        upstream = await stack.enter_async_context(upstream_of(first.url, second.url, settings=settings))
        bad = asyncio.create_task(upstream.post("eth_sendUserOperation", b'["bad"]', Submission(SLOT)))
        for _ in range(2):
            good = await upstream.post("eth_sendUserOperation", b'["good"]', Submission(OTHER_SLOT))
            assert good.endpoint == "soneium#0"
            await asyncio.wait([bad])
        assert isinstance(bad.exception(), UpstreamUnavailable)
