"""One chain's node, asked over JSON-RPC: contract views, code, blocks, logs. Reads only.

Every failure is `StateUnavailable` that names what could not be had; a revert of the contract that was asked is an
answer (`Reverted`), not a failure.

Plain JSON-RPC, not web3.py: importing that raises the interpreter's recursion limit a hundredfold (py_ecc does), after
which deeply nested input ends the process instead of raising, and its HTTP provider logs the node's URL, key and all.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import orjson
from aiohttp import ClientError, ClientSession, ClientTimeout, TCPConnector

from proxy.chain.logs import Log, parse_log
from proxy.errors import InvalidParams, StateUnavailable
from proxy.userop.primitives import Address, Hash32, parse_bytes, parse_hash, parse_uint, print_bytes, print_uint

_DELEGATION_PREFIX: Final = bytes.fromhex("ef0100")  # EIP-7702 delegation designator
_REVERT_CODES: Final = frozenset({3, -32015})  # go-ethereum and most others; Nethermind
_MOST_ANSWER_BYTES: Final = 4 * 1024 * 1024
_HEADERS: Final = {"content-type": "application/json"}
_SHOWN: Final = 120


@dataclass(frozen=True, slots=True)
class Reverted:
    """The contract reverted with this data."""

    data: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """The newest block. `base_fee` is in wei per gas, `None` on a chain without EIP-1559."""

    number: int
    hash: Hash32
    timestamp: int  # unix seconds
    base_fee: int | None


class Node:
    """A client for one node. Calls may run at once; at most `concurrency` of them are sent at a time."""

    def __init__(self, url: str, *, timeout_seconds: float = 2.0, concurrency: int = 16) -> None:
        self._url = url
        self._timeout = timeout_seconds
        self._places = asyncio.Semaphore(concurrency)
        self._ids = itertools.count(1)
        self._session: ClientSession | None = None

    async def close(self) -> None:
        """Close the connections; the client may be used again afterwards."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def call(
        self, to: Address, data: bytes, *, block: int | None = None, sender: Address | None = None
    ) -> bytes | Reverted:
        """`eth_call` at a block number (default: the latest), as `sender` (default: the zero address).

        The answer of an address without code is empty bytes. Raises `StateUnavailable`.
        """
        transaction = {"to": print_bytes(to), "data": print_bytes(data)}
        if sender is not None:
            transaction["from"] = print_bytes(sender)
        what = f"eth_call of {print_bytes(data[:4])} at {print_bytes(to)}"
        answer = await self._request("eth_call", [transaction, _at(block)], what)
        error = answer.get("error")
        if isinstance(error, Mapping) and (reverted := _revert_of(error)) is not None:
            return reverted
        return _bytes(_result(answer, what), what)

    async def head(self) -> Head:
        """The newest block's number, time and base fee. Raises `StateUnavailable`."""
        what = "the newest block"
        block = _result(await self._request("eth_getBlockByNumber", ["latest", False], what), what)
        if not isinstance(block, Mapping):
            raise StateUnavailable(f"{what}: the node has none")
        base_fee = block.get("baseFeePerGas")
        return Head(
            number=_uint(block.get("number"), what),
            hash=_hash(block.get("hash"), what),
            timestamp=_uint(block.get("timestamp"), what),
            base_fee=None if base_fee is None else _uint(base_fee, what),
        )

    async def block_hash(self, number: int) -> Hash32 | None:
        """The hash of a block; `None` when the node has no such block. Raises `StateUnavailable`."""
        what = f"block {number}"
        block = _result(await self._request("eth_getBlockByNumber", [print_uint(number), False], what), what)
        if block is None:
            return None
        if not isinstance(block, Mapping) or _uint(block.get("number"), what) != number:
            raise StateUnavailable(f"{what}: the node answers with something else")
        return _hash(block.get("hash"), what)

    async def logs(
        self,
        addresses: Collection[Address],
        topics: Collection[Hash32],
        first: int,
        last: int,
        *,
        indexed: Sequence[Hash32] = (),
    ) -> tuple[Log, ...]:
        """The logs of `addresses` whose first topic is one of `topics`, of blocks `first` to `last`, both included.

        `indexed` are the topics that have to follow the first.

        Raises `StateUnavailable`, also when they are more than the node gives or this gate takes at once.
        """
        if not addresses or not topics:
            return ()  # to a node, an empty list means any
        what = f"the logs of blocks {first} to {last}"
        wanted = {
            "address": [print_bytes(address) for address in addresses],
            "topics": [[print_bytes(topic) for topic in topics], *(print_bytes(topic) for topic in indexed)],
            "fromBlock": print_uint(first),
            "toBlock": print_uint(last),
        }
        found = _result(await self._request("eth_getLogs", [wanted], what), what)
        if not isinstance(found, list):
            raise StateUnavailable(f"{what}: the node's answer is not an array")
        try:
            logs = tuple(parse_log(log, "log") for log in found)
        except InvalidParams as error:
            raise StateUnavailable(f"{what}: {error}") from None
        if not all(first <= log.block <= last for log in logs):
            raise StateUnavailable(f"{what}: the node answers with logs of another block")
        return logs

    async def code(self, address: Address, *, block: int | None = None) -> bytes:
        """The code at an address, empty when it has none. Raises `StateUnavailable`."""
        what = f"the code at {print_bytes(address)}"
        answer = await self._request("eth_getCode", [print_bytes(address), _at(block)], what)
        return _bytes(_result(answer, what), what)

    async def delegate(self, account: Address) -> Address | None:
        """Where an EIP-7702 account delegates to; `None` for any other code. Raises `StateUnavailable`."""
        code = await self.code(account)
        if len(code) == 23 and code.startswith(_DELEGATION_PREFIX):
            return Address(code[3:])
        return None

    async def chain_id(self) -> int:
        """`eth_chainId`. Raises `StateUnavailable`."""
        what = "the node's chain id"
        return _uint(_result(await self._request("eth_chainId", [], what), what), what)

    async def max_priority_fee(self) -> int:
        """`eth_maxPriorityFeePerGas`, in wei per gas. Raises `StateUnavailable`."""
        what = "the node's priority fee"
        return _uint(_result(await self._request("eth_maxPriorityFeePerGas", [], what), what), what)

    async def _request(self, method: str, params: list[object], what: str) -> Mapping[str, object]:
        request = {"jsonrpc": "2.0", "id": next(self._ids), "method": method, "params": params}
        try:
            async with self._places, asyncio.timeout(self._timeout):
                answer = orjson.loads(await self._post(orjson.dumps(request)))
        except TimeoutError:
            raise StateUnavailable(f"{what}: the node did not answer in {self._timeout:g} s") from None
        except (ClientError, OSError, ValueError) as error:
            # the type only: the text may hold the node's URL, and a URL may hold a key
            raise StateUnavailable(f"{what}: the node could not be asked ({type(error).__name__})") from None
        if not isinstance(answer, dict):
            raise StateUnavailable(f"{what}: the node's answer is not a JSON-RPC response")
        return answer

    async def _post(self, body: bytes) -> bytes:
        """The answer's body, whatever its HTTP status: some nodes send a JSON-RPC error with 4xx or 5xx."""
        if self._session is None:
            # no limits of its own: places and timeout bound what is sent
            self._session = ClientSession(connector=TCPConnector(limit=0), timeout=ClientTimeout(total=None))
        async with self._session.post(self._url, data=body, headers=_HEADERS) as response:
            answer = bytearray()
            async for chunk in response.content.iter_any():
                answer += chunk
                if len(answer) > _MOST_ANSWER_BYTES:
                    raise ValueError(f"an answer of more than {_MOST_ANSWER_BYTES} bytes")
            return bytes(answer)


def _at(block: int | None) -> str:
    return "latest" if block is None else print_uint(block)


def _result(answer: Mapping[str, object], what: str) -> object:
    error = answer.get("error")
    if error is not None or "result" not in answer:
        message = error.get("message") if isinstance(error, Mapping) else error
        raise StateUnavailable(f"{what}: the node answered an error: {str(message)[:_SHOWN]}")
    return answer["result"]


def _bytes(value: object, what: str) -> bytes:
    try:
        return parse_bytes(value, what)
    except InvalidParams as error:
        raise StateUnavailable(str(error)) from None


def _uint(value: object, what: str) -> int:
    try:
        return parse_uint(value, what)
    except InvalidParams as error:
        raise StateUnavailable(str(error)) from None


def _hash(value: object, what: str) -> Hash32:
    try:
        return parse_hash(value, what)
    except InvalidParams as error:
        raise StateUnavailable(str(error)) from None


def _revert_of(error: Mapping[str, object]) -> Reverted | None:
    """The revert that an error object tells of; nodes agree on neither the code nor the place of the data."""
    message = str(error.get("message", ""))
    if error.get("code") not in _REVERT_CODES and "revert" not in message.lower():
        return None
    data = error.get("data")
    if isinstance(data, Mapping):
        data = data.get("data")
    if not isinstance(data, str):
        return Reverted(b"")
    _, mark, digits = data.rpartition("0x")
    try:
        return Reverted(bytes.fromhex(digits) if mark else b"")
    except ValueError:
        return Reverted(b"")
