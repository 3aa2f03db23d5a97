"""A node asked through web3: the one place that imports it.

An import of web3 imports what reads key files, unless that is kept from it: py_ecc, which raises the interpreter's
recursion limit a hundredfold. Deeply nested input would then end the process instead of raising. Should anything raise
the limit all the same, it is put back before anything else happens. The loggers of web3 and
of what it stands on print URLs, and a node's URL may hold its key: they are silent here, and failures are told by
their type. The HTTP session is ours, so that answers are bounded while they arrive, and read by a parser that does
not recurse.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import warnings
from collections.abc import Callable, Sequence
from typing import Any, Final, cast

import orjson
from aiohttp import ClientError, ClientSession, ClientTimeout, ClientWebSocketResponse, TCPConnector, WSMsgType

from proxy.chain.asking import Declined, NotAsked, Question, Response
from proxy.chain.no_key_files import no_key_files

_RECURSION_LIMIT: Final = sys.getrecursionlimit()
with warnings.catch_warnings(), no_key_files():
    warnings.simplefilter("ignore")  # web3 imports what websockets calls its legacy
    from web3 import AsyncWeb3
    from web3.exceptions import Web3Exception, Web3RPCError
    from web3.providers.async_base import AsyncJSONBaseProvider
    from web3.types import RPCEndpoint, RPCRequest, RPCResponse

sys.setrecursionlimit(_RECURSION_LIMIT)
for _name in ("web3", "websockets"):
    logging.getLogger(_name).setLevel(logging.CRITICAL + 1)

MOST_ANSWER_BYTES: Final = 4 * 1024 * 1024
_HEADERS: Final = {"content-type": "application/json"}


class _TooLong(ValueError):
    """The answer is longer than anybody here takes."""


class BoundedHttpProvider(AsyncJSONBaseProvider):
    """web3's way to a node over HTTP, with a session of our own. Never tries twice, keeps no answers, logs nothing."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self._url = url
        self._session: ClientSession | None = None

    async def make_request(self, method: RPCEndpoint, params: Any) -> RPCResponse:  # Any: web3's own signature
        """The answer to one request. Raises `ClientError`, `OSError` or `ValueError`."""
        return cast(RPCResponse, await self._exchange(self.form_request(method, params)))

    async def make_batch_request(
        self, requests: list[tuple[RPCEndpoint, Any]]
    ) -> list[RPCResponse] | RPCResponse:  # Any: as above
        """The answers to several, in order; what the node sent instead where it takes no batches. Raises as above."""
        formed = [self.form_request(method, params) for method, params in requests]
        answer = await self._exchange(formed)
        if not isinstance(answer, list):
            return cast(RPCResponse, answer)
        by_id = {each["id"]: each for each in answer if isinstance(each, dict) and isinstance(each.get("id"), int)}
        if len(answer) != len(formed) or any(each["id"] not in by_id for each in formed):
            raise ValueError("the answers to a batch are not those to its requests")
        return [cast(RPCResponse, by_id[each["id"]]) for each in formed]

    async def disconnect(self) -> None:
        """Close the connections; the next request opens new ones."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def _exchange(self, body: RPCRequest | list[RPCRequest]) -> object:
        """The body of the answer, whatever its HTTP status: some nodes send a JSON-RPC error with 4xx or 5xx."""
        if self._session is None:
            # no limits of its own: whoever asks bounds how much and for how long
            self._session = ClientSession(connector=TCPConnector(limit=0), timeout=ClientTimeout(total=None))
        async with self._session.post(self._url, data=orjson.dumps(body), headers=_HEADERS) as response:
            answer = bytearray()
            async for chunk in response.content.iter_any():
                answer += chunk
                if len(answer) > MOST_ANSWER_BYTES:
                    raise _TooLong(f"an answer of more than {MOST_ANSWER_BYTES} bytes")
        return cast(object, orjson.loads(answer))


class BoundedSocketProvider(AsyncJSONBaseProvider):
    """web3's way to a node over a WebSocket of our own: its own provider keeps the loop busy while it waits.

    One connection for all questions, opened when there is one; each connection subscribes to new heads.
    """

    def __init__(self, url: str) -> None:
        super().__init__()
        self._url = url
        self._connecting = asyncio.Lock()
        self._session: ClientSession | None = None
        self._socket: ClientWebSocketResponse | None = None
        self._reading: asyncio.Task[None] | None = None
        self._waiting: dict[object, asyncio.Future[RPCResponse]] = {}
        self.heard: Callable[[object], None] | None = None

    async def make_request(self, method: RPCEndpoint, params: Any) -> RPCResponse:  # Any: web3's own signature
        """The answer to one request. Raises `ClientError`, `OSError` or `ValueError`."""
        request = self.form_request(method, params)
        return (await self._exchange(request, [request]))[0]

    async def make_batch_request(
        self, requests: list[tuple[RPCEndpoint, Any]]
    ) -> list[RPCResponse] | RPCResponse:  # Any: as above
        """The answers to several, in order. Raises as above."""
        formed = [self.form_request(method, params) for method, params in requests]
        return await self._exchange(formed, formed)

    async def disconnect(self) -> None:
        """Close the connection; the next request opens another."""
        reading, self._reading = self._reading, None
        session, self._session, self._socket = self._session, None, None
        if reading is not None:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)
        if session is not None:
            await session.close()

    async def _exchange(self, body: object, requests: Sequence[RPCRequest]) -> list[RPCResponse]:
        socket = await self._connected()
        loop = asyncio.get_running_loop()
        answers: dict[object, asyncio.Future[RPCResponse]] = {each["id"]: loop.create_future() for each in requests}
        self._waiting |= answers
        try:
            await socket.send_str(orjson.dumps(body).decode())
            return list(await asyncio.gather(*answers.values()))
        finally:
            for name in answers:
                self._waiting.pop(name, None)

    async def _connected(self) -> ClientWebSocketResponse:
        async with self._connecting:
            if self._socket is not None and not self._socket.closed:
                return self._socket
            await self.disconnect()
            self._session = ClientSession(timeout=ClientTimeout(total=None))
            self._socket = await self._session.ws_connect(self._url, max_msg_size=MOST_ANSWER_BYTES, heartbeat=30.0)
            self._reading = asyncio.create_task(self._read(self._socket))
            if self.heard is not None:
                wanted = self.form_request(RPCEndpoint("eth_subscribe"), ["newHeads"])
                await self._socket.send_str(orjson.dumps(wanted).decode())
            return self._socket

    async def _read(self, socket: ClientWebSocketResponse) -> None:
        try:
            async for message in socket:
                if message.type is not WSMsgType.TEXT:
                    continue
                try:
                    answer = orjson.loads(message.data)
                except ValueError:
                    break  # whose answer it was cannot be told
                for each in answer if isinstance(answer, list) else [answer]:
                    self._take(each)
        finally:
            await socket.close()
            for waiting in self._waiting.values():
                if not waiting.done():
                    waiting.set_exception(ClientError("the connection has ended"))

    def _take(self, answer: object) -> None:
        if not isinstance(answer, dict):
            return
        name = answer.get("id")
        waiting = self._waiting.get(name) if isinstance(name, int) else None
        if waiting is not None and not waiting.done():
            waiting.set_result(cast(RPCResponse, answer))
        elif answer.get("method") == "eth_subscription" and self.heard is not None:
            params = answer.get("params")
            self.heard(params.get("result") if isinstance(params, dict) else None)


class Web3Asking:
    """See `proxy.chain.asking.Asking`. Over HTTP, or a WebSocket where the URL says so."""

    def __init__(self, url: str, asked: Callable[[int], None] = lambda _: None) -> None:
        """`asked` is told how many questions go out, each time that some do."""
        self._asked = asked
        self._socket = BoundedSocketProvider(url) if url.startswith(("ws://", "wss://")) else None
        self._provider: BoundedSocketProvider | BoundedHttpProvider = self._socket or BoundedHttpProvider(url)
        # no middleware: it would ask on its own, format, and guess
        self._web3: AsyncWeb3[Any] = AsyncWeb3(self._provider, middleware=[])  # Any: either provider

    async def one(self, question: Question) -> Response:
        self._asked(1)
        try:
            result = await self._web3.manager.coro_request(RPCEndpoint(question.method), question.params)
        except Web3RPCError as error:
            return {"error": (error.rpc_response or {}).get("error", str(error))}
        except _TooLong as error:
            raise Declined(str(error)) from None
        except (Web3Exception, ClientError, OSError, ValueError, TypeError, AttributeError) as error:
            # the type only: the text may hold the node's URL; web3 stumbles over answers that are no objects
            raise NotAsked(type(error).__name__) from None
        return {"result": result}

    async def many(self, questions: Sequence[Question]) -> Sequence[Response]:
        self._asked(len(questions))
        requests = [(RPCEndpoint(each.method), cast(Any, each.params)) for each in questions]  # Any: web3's own
        try:
            answers = await self._provider.make_batch_request(requests)
        except _TooLong as error:
            raise Declined(str(error)) from None
        except (ClientError, OSError, ValueError) as error:
            raise NotAsked(type(error).__name__) from None
        if not isinstance(answers, list):
            raise Declined("no batches")
        return [cast(Response, each) for each in answers]

    def tell_heads(self, heard: Callable[[object], None]) -> None:
        if self._socket is not None:
            self._socket.heard = heard

    async def close(self) -> None:
        await self._provider.disconnect()
