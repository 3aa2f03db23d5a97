"""One chain's bundlers asked by method, and what each of them does not know remembered."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Protocol

from proxy.edge.http.exchange import UpstreamReply
from proxy.jsonrpc import Reply

_UNKNOWN_CODES: Final = frozenset({-32601, -32004})  # JSON-RPC 2.0; EIP-1474 "method not supported"
_UNKNOWN_WORDS: Final = re.compile(
    r"method .{0,80}(not found|not supported|not available|does not exist|unknown)|(unknown|unsupported) method"
    r"|invalid discriminator",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Translated:
    """An answer made here; `result` is the JSON-RPC result in the shape of the method asked for."""

    result: object


class DialectUpstream(Protocol):
    """The part of `Upstream` that is used here."""

    @property
    def preferred(self) -> str:
        """The name of the endpoint the next request goes to."""

    @property
    def generation(self) -> int:
        """Goes up when names may mean others than before."""

    async def post(self, method: str, params: bytes, submission: None) -> UpstreamReply:
        """Ask it. Raises `UpstreamUnavailable`."""

    async def find(self, method: str, params: bytes) -> UpstreamReply:
        """Ask one after the other for something other than null. Raises `UpstreamUnavailable`."""


class KnownMethods:
    """Asks for a method unless the endpoint is known not to know it. The methods are a closed set, so is the memory."""

    def __init__(self, upstream: DialectUpstream) -> None:
        self._upstream = upstream
        self._unknown: set[tuple[int, str, str]] = set()

    async def ask(self, method: str, params: bytes) -> UpstreamReply | None:
        """The bundler's answer; `None`, unasked, when it is known not to know the method.

        Raises `UpstreamUnavailable`.
        """
        generation = self._upstream.generation
        if (generation, self._upstream.preferred, method) in self._unknown:
            return None
        answer = await self._upstream.post(method, params, submission=None)
        if is_unknown_method(answer.reply):
            self._unknown = {each for each in self._unknown if each[0] == generation}
            self._unknown.add((generation, answer.endpoint, method))
        return answer

    async def insist(self, method: str, params: bytes) -> UpstreamReply:
        """The bundler's answer, whatever is known of it. Raises `UpstreamUnavailable`."""
        return await self._upstream.post(method, params, submission=None)

    async def find(self, method: str, params: bytes) -> object | None:
        """The result of whichever bundler has one; `None` where all say null or answer with an error.

        Raises `UpstreamUnavailable`.
        """
        answer = await self._upstream.find(method, params)
        return None if answer.reply.is_error else answer.reply.result


def is_unknown_method(reply: Reply) -> bool:
    """Whether the bundler says, in one of the ways there are, that it does not know the method."""
    return reply.is_error and (
        reply.error_code in _UNKNOWN_CODES or bool(_UNKNOWN_WORDS.search(reply.error_message or ""))
    )


def member(value: object, key: str) -> object:
    """A member of a JSON object; `None` where there is none."""
    return value.get(key) if isinstance(value, dict) else None
