"""Both clients send the same request and make the same of every answer; what a connection owes is never mixed up."""

from __future__ import annotations

import asyncio
import gzip
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace

import pytest
from yarl import URL

from proxy.edge.http.client import ClientSettings, HttpClient, HttpReply, NoReplyError, UnreachedError
from proxy.edge.http.lean.pool import Pool
from proxy.edge.http.reference_client import AiohttpClient
from tests.stopping import stop_accepting

SETTINGS = ClientSettings(connect_seconds=5, max_reply_bytes=4096)
CLIENTS: dict[str, Callable[[ClientSettings], HttpClient]] = {"lean": Pool, "aiohttp": AiohttpClient}
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"


@dataclass
class Bundler:
    """Answers the requests of each connection with the next bytes it was given; closes where there are no more."""

    replies: list[bytes]
    seen: list[bytes] = field(default_factory=list)
    connections: int = 0
    at_once: int = 0
    most_at_once: int = 0
    port: int = 0
    ends: bool = False  # close the connection after each answer
    held: asyncio.Event = field(default_factory=asyncio.Event)
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    async def until(self, ready: Callable[[], bool]) -> None:
        """Wait for something to have happened here."""
        while not ready():
            await self.changed.wait()

    def _tell(self) -> None:
        self.changed.set()
        self.changed = asyncio.Event()

    @property
    def url(self) -> URL:
        return URL(f"http://127.0.0.1:{self.port}/rpc?key=1")

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        self._tell()
        try:
            while self.replies:
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
                self.seen.append(head + await reader.readexactly(length))
                self._tell()
                await self.held.wait()
                writer.write(self.replies.pop(0))
                await writer.drain()
                if self.ends:
                    return
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        finally:
            self.at_once -= 1
            self._tell()
            writer.close()


@asynccontextmanager
async def bundler(*replies: bytes, ends: bool = False, held: bool = False) -> AsyncIterator[Bundler]:
    here = Bundler(list(replies), ends=ends)
    if not held:
        here.held.set()
    server = await asyncio.start_server(here.serve, "127.0.0.1", 0)
    here.port = server.sockets[0].getsockname()[1]
    try:
        yield here
    finally:
        here.held.set()
        await stop_accepting(server)
        server.close()
        await server.wait_closed()


@asynccontextmanager
async def client(kind: str = "lean", settings: ClientSettings = SETTINGS) -> AsyncIterator[HttpClient]:
    made = CLIENTS[kind](settings)
    try:
        yield made
    finally:
        await made.close()


async def _outcome(asked: Awaitable[HttpReply]) -> object:
    try:
        return await asked
    except NoReplyError as failure:
        return failure.problem, failure.status, failure.silent
    except UnreachedError:
        return "unreached"


REPLIES = {
    "a length": OK,
    "no reason": b"HTTP/1.1 200\r\nContent-Length: 2\r\n\r\n{}",
    "an error's status": b"HTTP/1.1 503 Busy\r\nContent-Length: 4\r\n\r\nbusy",
    "chunks": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{\r\n1\r\n}\r\n0\r\n\r\n",
    "chunks and a trailer": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;x=y\r\n{}\r\n0\r\nA: b\r\n\r\n",
    "up to its end": b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{}",
    "an old version": b"HTTP/1.0 200 OK\r\n\r\n{}",
    "a redirect": b"HTTP/1.1 307 Elsewhere\r\nLocation: http://127.0.0.1:9/\r\nContent-Length: 0\r\n\r\n",
    "no content": b"HTTP/1.1 204 No Content\r\n\r\n",
    "gzip": b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n%b"
    % (len(gzip.compress(b"{}")), gzip.compress(b"{}")),
    "deflate": b"HTTP/1.1 200 OK\r\nContent-Encoding: deflate\r\nContent-Length: %d\r\n\r\n%b"
    % (len(zlib.compress(b"{}")), zlib.compress(b"{}")),
    "gzip that is none": b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\n{}",
    "too long by its length": b"HTTP/1.1 200 OK\r\nContent-Length: 4097\r\n\r\n" + b" " * 4097,
    "too long in chunks": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    + b"400\r\n"
    + b" " * 1024
    + b"\r\n"
    + (b"c01\r\n" + b" " * 3073 + b"\r\n0\r\n\r\n"),
    "too long to its end": b"HTTP/1.0 200 OK\r\n\r\n" + b" " * 4097,
    "nothing": b"",
    "half a head": b"HTTP/1.1 200 OK\r\nContent-",
    "half a body": b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n{}",
    "half a chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{}",
    "no last chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n",
    "no HTTP": b"SSH-2.0-OpenSSH\r\n\r\n",
    "two lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{} ",
    "both lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n{}",
    "a length that is none": b"HTTP/1.1 200 OK\r\nContent-Length: -2\r\n\r\n{}",
    "a head without end": b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000,
}


@pytest.mark.parametrize("name", REPLIES)
async def test_the_lean_client_makes_of_an_answer_what_aiohttp_makes_of_it(name: str) -> None:
    made: list[object] = []
    for kind in CLIENTS:
        async with bundler(REPLIES[name], ends=True) as there, client(kind) as ours:
            made.append(await _outcome(ours.post(there.url, b"{}", 5)))
    lean, reference = made
    assert lean == reference


async def test_both_clients_send_the_same() -> None:
    sent = []
    for kind in CLIENTS:
        async with bundler(OK) as there, client(kind) as ours:
            await ours.post(there.url.with_user("me").with_password("a:b"), b'{"a":1}', 5)
            head, _, body = there.seen[0].replace(b"%d" % there.port, b"PORT").partition(b"\r\n\r\n")
        first, *fields = head.lower().split(b"\r\n")
        sent.append((first, sorted(fields), body))
    assert sent[0] == sent[1]


@pytest.mark.parametrize("kind", CLIENTS)
async def test_an_interim_answer_is_not_the_answer(kind: str) -> None:
    early = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n"
    async with bundler(early + OK) as there, client(kind) as ours:
        assert await ours.post(there.url, b"{}", 5) == HttpReply(200, b"{}")


async def test_another_protocol_is_no_answer() -> None:
    async with bundler(b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\n\r\n" + OK) as there, client() as ours:
        assert await _outcome(ours.post(there.url, b"{}", 5)) == ("broke off the connection", None, False)


@pytest.mark.parametrize("kind", CLIENTS)
async def test_one_connection_serves_one_question_after_the_other(kind: str) -> None:
    async with bundler(OK, OK, OK) as there, client(kind) as ours:
        for _ in range(3):
            await ours.post(there.url, b"{}", 5)
        assert there.connections == 1


SAYS_SO = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}"
SOON_WILL_BE = (
    b"HTTP/1.1 200 OK\r\nConnection: Keep-Alive\r\nKeep-Alive: timeout=1, max=5\r\nContent-Length: 2\r\n\r\n{}"
)
TOO_MUCH = OK + b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nmine"


@pytest.mark.parametrize(
    ("kind", "last"),
    [
        *((kind, last) for kind in CLIENTS for last in (SAYS_SO, TOO_MUCH)),
        ("lean", SOON_WILL_BE),  # aiohttp does not look at it
    ],
)
async def test_a_connection_that_cannot_be_trusted_is_not_used_again(kind: str, last: bytes) -> None:
    async with bundler(last, OK) as there, client(kind) as ours:
        assert (await ours.post(there.url, b"{}", 5)).body == b"{}"
        assert (await ours.post(there.url, b"{}", 5)).body == b"{}"
        assert there.connections == 2


@pytest.mark.parametrize("kind", CLIENTS)
async def test_what_comes_unasked_is_no_answer_to_the_next_question(kind: str) -> None:
    async with bundler(OK, OK) as there, client(kind) as ours:
        writers: list[asyncio.StreamWriter] = []
        serve = there.serve

        async def remember(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writers.append(writer)
            await serve(reader, writer)

        server = await asyncio.start_server(remember, "127.0.0.1", 0)
        async with server:
            url = there.url.with_port(server.sockets[0].getsockname()[1])
            await ours.post(url, b"{}", 5)
            writers[0].write(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil")
            await writers[0].drain()
            await there.until(lambda: not there.at_once)  # until its connection has been broken off
            assert (await ours.post(url, b"{}", 5)).body == b"{}"


@pytest.mark.parametrize("kind", CLIENTS)
async def test_an_answer_too_late_is_given_up_and_never_taken_for_the_next(kind: str) -> None:
    late = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nlate"
    async with bundler(late, OK, held=True) as there, client(kind) as ours:
        assert await _outcome(ours.post(there.url, b"{}", 0.5)) == ("did not answer within 0.5 s", None, True)
        there.held.set()
        assert await ours.post(there.url, b"{}", 5) == HttpReply(200, b"{}")


@pytest.mark.parametrize("kind", CLIENTS)
async def test_the_time_of_a_question_that_was_answered_does_not_run_for_the_next_on_its_connection(kind: str) -> None:
    async with bundler(OK, OK) as there, bundler(OK, held=True) as silent, client(kind) as ours:
        await ours.post(there.url, b"{}", 2)
        there.held.clear()
        asked = asyncio.create_task(ours.post(there.url, b"{}", 60))
        await there.until(lambda: len(there.seen) == 2)
        # asked later than the first, so that its time is over by then, too
        assert await _outcome(ours.post(silent.url, b"{}", 2)) == ("did not answer within 2 s", None, True)
        there.held.set()
        assert await asked == HttpReply(200, b"{}")
        assert there.connections == 1


@pytest.mark.parametrize("kind", CLIENTS)
async def test_an_answer_nobody_waits_for_any_more_is_never_taken_for_the_next(kind: str) -> None:
    async with bundler(OK, OK, held=True) as there, client(kind) as ours:
        asking = asyncio.create_task(ours.post(there.url, b"{}", 5))
        await there.until(lambda: bool(there.seen))
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        there.held.set()
        assert await ours.post(there.url, b"{}", 5) == HttpReply(200, b"{}")
        assert there.connections == 2


@pytest.mark.parametrize("kind", CLIENTS)
async def test_no_more_connections_are_opened_than_allowed_and_everybody_is_served(kind: str) -> None:
    async with bundler(*[OK] * 20, held=True) as there, client(kind, replace(SETTINGS, max_connections=3)) as ours:
        asking = [asyncio.create_task(ours.post(there.url, b"{}", 5)) for _ in range(20)]
        await there.until(lambda: there.at_once == 3)
        there.held.set()
        assert await asyncio.gather(*asking) == [HttpReply(200, b"{}")] * 20
        assert there.most_at_once == 3


@pytest.mark.parametrize("kind", CLIENTS)
async def test_who_finds_no_connection_in_time_has_sent_nothing(kind: str) -> None:
    settings = replace(SETTINGS, max_connections=1, connect_seconds=0.05)
    async with bundler(OK, OK, held=True) as there, client(kind, settings) as ours:
        asking = asyncio.create_task(ours.post(there.url, b"{}", 5))
        await there.until(lambda: bool(there.seen))
        assert await _outcome(ours.post(there.url, b"{}", 5)) == "unreached"
        there.held.set()
        await asking
        assert len(there.seen) == 1


async def test_a_connection_that_rests_makes_room_for_another_bundler() -> None:
    settings = replace(SETTINGS, max_connections=1)
    async with bundler(OK, OK) as one, bundler(OK) as other, client("lean", settings) as ours:
        await ours.post(one.url, b"{}", 5)
        await ours.post(other.url, b"{}", 5)
        await ours.post(one.url, b"{}", 5)
        assert (one.connections, other.connections) == (2, 1)


@pytest.mark.parametrize("kind", CLIENTS)
async def test_a_connection_rests_for_its_time_and_is_closed(kind: str) -> None:
    async with bundler(OK, OK) as there, client(kind, replace(SETTINGS, keepalive_seconds=0.01)) as ours:
        await ours.post(there.url, b"{}", 5)
        await there.until(lambda: not there.at_once)


@pytest.mark.parametrize("kind", CLIENTS)
async def test_closing_breaks_off_what_is_being_asked(kind: str) -> None:
    async with bundler(OK, held=True) as there:
        async with client(kind) as ours:
            asking = asyncio.create_task(ours.post(there.url, b"{}", 5))
            await there.until(lambda: bool(there.seen))
        assert await _outcome(asking) == ("broke off the connection", None, False)
