"""One chain's node, asked over JSON-RPC: contract views, code, blocks, logs, transactions. Reads only.

Every failure is `StateUnavailable` that names what could not be had; a revert of the contract that was asked is an
answer (`Reverted`), not a failure. How the node is reached, `proxy.chain.web3_asking` says.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from proxy.chain.asking import Asking, Question, Response
from proxy.chain.blocks.header import Header, parse_header
from proxy.chain.blocks.source import LogFilter, Transaction
from proxy.chain.lane import Lane
from proxy.chain.logs import Log, LogReader
from proxy.chain.settlement.slices import BlockName
from proxy.chain.several import NodeChoice, SeveralAsking
from proxy.chain.together import together
from proxy.errors import BlockUnknown, InvalidParams, NotGiven, StateUnavailable
from proxy.userop.primitives import (
    Address,
    Hash32,
    parse_address,
    parse_bytes,
    parse_hash,
    parse_uint,
    print_bytes,
    print_uint,
)

_DELEGATION_PREFIX: Final = bytes.fromhex("ef0100")  # EIP-7702 delegation designator
_REVERT_CODES: Final = frozenset({3, -32015})  # go-ethereum and most others; Nethermind
_UNREADABLE: Final = -32602  # of a node that does not take a block by its hash
_UNKNOWN_CODES: Final = frozenset({-32000, -32001})
"""Of one that has not got it, or whose chain has left it (EIP-1898)."""
_SHOWN: Final = 120
_LOGS_A_STEP: Final = 128


@dataclass(frozen=True, slots=True)
class Reverted:
    """The contract reverted with this data."""

    data: bytes


class Node:
    """A client for one node, a lane of its own: calls may run at once; `concurrency` exchanges at most at a time."""

    def __init__(
        self,
        url: str | Sequence[str] | Asking,
        *,
        timeout_seconds: float = 2.0,
        concurrency: int = 16,
        asked: Callable[[int], None] = lambda _: None,
        choice: NodeChoice | None = None,
        complained: Callable[[str], None] = lambda _: None,
    ) -> None:
        """`url` may be those of several nodes of the chain, in the order in which they are preferred; by a `choice`
        clients ask the same one. `asked` is told how many questions go out, each time that some do; `complained` hears
        the node's words where it answers with an error of its own."""
        self._asking = _reach(url, asked, choice) if isinstance(url, str | Sequence) else url
        self._timeout = timeout_seconds
        self._takes_hashes = True  # of blocks that are asked about
        self._complained = complained
        self._lane = Lane(self._asking, timeout_seconds=timeout_seconds, places=concurrency)

    def tell_heads(self, heard: Callable[[object], None]) -> None:
        """Call this when the node tells of a new block by itself, which one reached by WebSocket does."""
        self._asking.tell_heads(heard)

    @property
    def at(self) -> int:
        """Which of several nodes is asked now."""
        return self._asking.at if isinstance(self._asking, SeveralAsking) else 0

    @property
    def at_once(self) -> int:
        """How many questions it is asked at a time at most: fewer where it does not take several together."""
        return self._lane.at_once

    def elsewhere(self) -> Node | None:
        """A client for another node of the chain than the one that is asked now, where there is one."""
        if not isinstance(self._asking, SeveralAsking):
            return None
        return Node(self._asking.another(), timeout_seconds=self._timeout)

    async def leave(self, chain_id: int, why: str, least: int, anchor: BlockName | None) -> bool:
        """What the node says is not what the chain has: ask another one from now on, that is of this chain, has the
        block `anchor` if that one has it, and shows blocks as a chain has them, up to `least` and beyond. Whether there
        is one."""
        if not isinstance(self._asking, SeveralAsking):
            return False

        now = Node(self._asking.one_asked(), timeout_seconds=self._timeout)
        if anchor is not None and not await now._has(anchor):
            anchor = None  # no argument for the one that is asked now

        async def is_better(asking: Asking) -> bool:
            other = Node(asking, timeout_seconds=self._timeout)
            try:
                return await other._shows(chain_id, least, anchor)
            except StateUnavailable:
                return False

        return await self._asking.leave(why, is_better)

    async def _has(self, block: BlockName) -> bool:
        try:
            return await self.block_hash(block.number) == block.hash
        except StateUnavailable:
            return False

    async def _shows(self, chain_id: int, least: int, anchor: BlockName | None) -> bool:
        if await self.chain_id() != chain_id:
            return False
        if anchor is not None and await self.block_hash(anchor.number) != anchor.hash:
            return False
        head = await self.head()
        if head.number < least:
            return False
        before = await self.header(head.number - 1) if head.number else None
        return head.number == 0 or (before is not None and before.hash == head.parent)

    async def close(self) -> None:
        """Close the connections; the client may be used again afterwards."""
        await self._lane.close()
        await self._asking.close()

    async def call(
        self, to: Address, data: bytes, *, block: BlockName | None = None, sender: Address | None = None
    ) -> bytes | Reverted:
        """`eth_call` at a block (default: the latest), as `sender` (default: the zero address).

        The block is named by its hash (EIP-1898): of a number one of several nodes may have another block, or none yet.
        The answer of an address without code is empty bytes. Raises `StateUnavailable`, `BlockUnknown` where the node
        says that it has not got this block.
        """
        transaction = {"to": print_bytes(to), "data": print_bytes(data)}
        if sender is not None:
            transaction["from"] = print_bytes(sender)
        what = f"eth_call of {print_bytes(data[:4])} at {print_bytes(to)}"
        answer = await self._call_at(transaction, block, what)
        error = answer.get("error")
        if isinstance(error, Mapping) and (reverted := _revert_of(error)) is not None:
            return reverted
        failure = BlockUnknown if block is not None and _code_of(error) in _UNKNOWN_CODES else StateUnavailable
        return _bytes(_result(answer, what, failure), what)

    async def _call_at(self, transaction: Mapping[str, str], block: BlockName | None, what: str) -> Response:
        """By the block's hash, as long as the node takes that; one that does not is asked by its number."""
        if block is not None and self._takes_hashes:
            answer = await self._request("eth_call", [transaction, _by_hash(block)], what)
            if _code_of(answer.get("error")) != _UNREADABLE:
                return answer
        answer = await self._request("eth_call", [transaction, _at(block)], what)
        if block is not None and "result" in answer:
            self._takes_hashes = False
        return answer

    async def head(self) -> Header:
        """The newest block. Raises `StateUnavailable`."""
        what = "the newest block"
        header = _header(_result(await self._request("eth_getBlockByNumber", ["latest", False], what), what), what)
        if header is None:
            raise StateUnavailable(f"{what}: the node has none")
        return header

    async def headers(self, numbers: Sequence[int]) -> tuple[Header | None, ...]:
        """The blocks of these numbers, in order; `None` for one that the node has not got."""
        return tuple(await together(*(self.header(number) for number in numbers)))

    async def header(self, number: int) -> Header | None:
        """One block; `None` when the node has no such block. Raises `StateUnavailable`."""
        what = f"block {number}"
        answer = _result(await self._request("eth_getBlockByNumber", [print_uint(number), False], what), what)
        header = _header(answer, what)
        if header is not None and header.number != number:
            raise StateUnavailable(f"{what}: the node answers with something else")
        return header

    async def block_hash(self, number: int) -> Hash32 | None:
        """The hash of a block; `None` when the node has no such block. Raises `StateUnavailable`."""
        header = await self.header(number)
        return None if header is None else header.hash

    async def logs_between(self, first: int, last: int, wanted: LogFilter) -> tuple[Log, ...]:
        """The logs of blocks `first` to `last`, both included.

        Raises `StateUnavailable`, also when they are more than the node gives or this gate takes at once.
        """
        what = f"the logs of blocks {first} to {last}"
        logs = await self._logs({"fromBlock": print_uint(first), "toBlock": print_uint(last)}, wanted, what)
        if not all(first <= log.block <= last for log in logs):
            raise StateUnavailable(f"{what}: the node answers with logs of another block")
        return logs

    async def logs_of(self, block: Hash32, wanted: LogFilter) -> tuple[Log, ...]:
        """The logs of one block, by its hash. Raises `StateUnavailable` as above."""
        return await self._logs({"blockHash": print_bytes(block)}, wanted, f"the logs of block {print_bytes(block)}")

    async def _logs(self, where: Mapping[str, object], wanted: LogFilter, what: str) -> tuple[Log, ...]:
        question: dict[str, object] = dict(where)
        if wanted.addresses:
            question["address"] = [print_bytes(address) for address in wanted.addresses]
        if wanted.topics:
            question["topics"] = [[print_bytes(each) for each in some] or None for some in wanted.topics]
        found = _result(await self._request("eth_getLogs", [question], what), what, NotGiven)
        if not isinstance(found, list):
            raise StateUnavailable(f"{what}: the node's answer is not an array")
        logs: list[Log] = []
        reader = LogReader("log")
        try:
            for count, log in enumerate(found):
                logs.append(reader.read(log))
                if count % _LOGS_A_STEP == _LOGS_A_STEP - 1:
                    await asyncio.sleep(0)  # nothing holds the loop for long
        except InvalidParams as error:
            raise StateUnavailable(f"{what}: the node answers with something else", words=str(error)) from None
        return tuple(logs)

    async def transactions(self, hashes: Sequence[Hash32]) -> tuple[Transaction | None, ...]:
        """The transactions of these hashes, in order; `None` for one that the node has not got."""
        return tuple(await together(*(self._transaction(each) for each in hashes)))

    async def _transaction(self, name: Hash32) -> Transaction | None:
        what = f"transaction {print_bytes(name)}"
        found = _result(await self._request("eth_getTransactionByHash", [print_bytes(name)], what), what)
        if found is None:
            return None
        if not isinstance(found, Mapping) or _hash(found.get("hash"), what) != name:
            raise StateUnavailable(f"{what}: the node answers with something else")
        to = found.get("to")
        try:
            return Transaction(
                to=None if to is None else parse_address(to, "to"), call_data=parse_bytes(found.get("input"), "input")
            )
        except InvalidParams as error:
            raise StateUnavailable(f"{what}: the node answers with something else", words=str(error)) from None

    async def code(self, address: Address, *, block: BlockName | None = None) -> bytes:
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

    async def _request(self, method: str, params: list[object], what: str) -> Response:
        answer = await self._lane.ask(Question(method, params), what)
        error = answer.get("error")
        if isinstance(error, Mapping) and _revert_of(error) is None:
            self._complained(str(error.get("message")))
        return answer


def _reach(url: str | Sequence[str], asked: Callable[[int], None], choice: NodeChoice | None) -> Asking:
    # a second of start and some megabytes, which only a chain with a node is to pay for
    from proxy.chain.web3_asking import Web3Asking  # noqa: PLC0415  # a second of start that only a chain with a node pays

    urls = [url] if isinstance(url, str) else url
    nodes = [Web3Asking(each, asked) for each in urls]
    return nodes[0] if len(nodes) == 1 else SeveralAsking(nodes, choice)


def _header(value: object, what: str) -> Header | None:
    try:
        return None if value is None else parse_header(value, "block")
    except InvalidParams as error:
        raise StateUnavailable(f"{what}: the node answers with something else", words=str(error)) from None


def _at(block: BlockName | None) -> str:
    return "latest" if block is None else print_uint(block.number)


def _by_hash(block: BlockName) -> dict[str, object]:
    return {"blockHash": print_bytes(block.hash), "requireCanonical": True}


def _code_of(error: object) -> object:
    return error.get("code") if isinstance(error, Mapping) else None


def _result(answer: Mapping[str, object], what: str, failure: type[StateUnavailable] = StateUnavailable) -> object:
    error = answer.get("error")
    if error is not None or "result" not in answer:
        message = error.get("message") if isinstance(error, Mapping) else error
        raise failure(f"{what}: the node answered an error", words=str(message)[:_SHOWN])
    return answer["result"]


def _bytes(value: object, what: str) -> bytes:
    try:
        return parse_bytes(value, what)
    except InvalidParams as error:
        raise StateUnavailable(f"{what}: the node answers with something else", words=error.problem) from None


def _uint(value: object, what: str) -> int:
    try:
        return parse_uint(value, what)
    except InvalidParams as error:
        raise StateUnavailable(f"{what}: the node answers with something else", words=error.problem) from None


def _hash(value: object, what: str) -> Hash32:
    try:
        return parse_hash(value, what)
    except InvalidParams as error:
        raise StateUnavailable(f"{what}: the node answers with something else", words=error.problem) from None


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
