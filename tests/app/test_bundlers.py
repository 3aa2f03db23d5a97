"""Two bundlers behind one gate: one that hangs in sends only is left, and no operation ever reaches both."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from proxy.edge.http.endpoints import endpoint_at
from proxy.edge.storage.store import Store
from proxy.userop.user_operation import UserOperation
from tests.admission.builders import TWICE, key_of, known
from tests.app.builders import GOOD, ONCE, use_number
from tests.bypass_list.desk import a_session, use
from tests.edge.recording_bundler import Answer, Recorded
from tests.patience import patiently
from tests.running_gate import RECEIPT, SEND, HonestBundler, RunningGate, hash_of, running_gate
from tests.session.builders import TOKEN, TRANSFER, action, usage

MANY = a_session(action(TOKEN, TRANSFER, usage(1000)), salt=9)


@dataclass
class Pair:
    gate: RunningGate
    first: HonestBundler
    second: HonestBundler

    def hang(self) -> None:
        """The first bundler answers everything but sends."""

        async def never(_request: Recorded) -> Answer:
            await asyncio.Event().wait()
            raise AssertionError

        self.first.answers[SEND] = never


@pytest.fixture
async def pair() -> AsyncIterator[Pair]:
    async with HonestBundler() as first, HonestBundler() as second:
        urls = [first.url, second.url]
        async with running_gate(bundler=first, chain={"bundlers": urls}, limits={"request_seconds": "0.3"}) as gate:
            gate.running.registry.put(known(TWICE))
            gate.running.registry.put(known(MANY))
            yield Pair(gate, first, second)


def many(lane: int, sequence: int = 0, **changes: int) -> UserOperation:
    return use(MANY, ONCE, nonce=use_number(lane).nonce + sequence, **changes)


def uses_of(pair: Pair) -> int:
    session = pair.gate.running.registry.get(key_of(MANY))
    assert session is not None
    assert session.state is not None
    return sum(session.state.used.values())


async def in_doubt(pair: Pair, op: UserOperation) -> None:
    error = (await pair.gate.send(op))["error"]
    assert error["data"]["mayHaveBeenSent"] is True


async def test_after_one_send_timed_out_the_next_one_goes_to_the_second(pair: Pair) -> None:
    pair.hang()
    await in_doubt(pair, many(1))
    assert (await pair.gate.send(many(2)))["result"] == hash_of(many(2))
    assert len(pair.first.sent) == len(pair.second.sent) == 1
    assert await pair.gate.metric("upstream_resting", kind="send", upstream="soneium#0") == 1
    assert await pair.gate.metric("upstream_resting", kind="read", upstream="soneium#0") == 0


async def test_a_bundler_that_hangs_in_sends_is_still_read_from(pair: Pair) -> None:
    pair.hang()
    await in_doubt(pair, many(1))
    await pair.gate.ask({"jsonrpc": "2.0", "id": 1, "method": "eth_chainId", "params": []})
    assert pair.first.methods[-1] in ("eth_chainId", RECEIPT)
    assert "eth_chainId" not in pair.second.methods[2:]


async def test_the_same_operation_never_goes_to_two_not_even_when_the_client_asks_again(pair: Pair) -> None:
    pair.hang()
    for _ in range(2):
        await in_doubt(pair, GOOD)
    await in_doubt(pair, use(TWICE, ONCE, max_fee_per_gas=3 * 10**9))  # nor what replaces it
    assert pair.second.sent == []


async def test_what_follows_on_the_same_nonce_key_stays_where_the_first_may_be(pair: Pair) -> None:
    pair.hang()
    await in_doubt(pair, many(1))
    await in_doubt(pair, many(1, sequence=1))
    assert pair.second.sent == []


async def test_once_it_is_mined_its_nonce_key_is_free_to_go_elsewhere(pair: Pair) -> None:
    pair.hang()
    await in_doubt(pair, many(1))
    pair.second.mine(many(1))
    await pair.gate.until(lambda: uses_of(pair) == 1, "it is settled")
    assert (await pair.gate.send(many(1, sequence=1)))["result"] == hash_of(many(1, sequence=1))
    assert len(pair.second.sent) == 1


async def test_a_refused_operation_leaves_its_nonce_key_free(pair: Pair) -> None:
    take = pair.first.answers[SEND]
    pair.first.answers[SEND] = Answer(error={"code": -32500, "message": "AA23 reverted"})
    assert (await pair.gate.send(many(1)))["error"]["code"] == -32500
    pair.first.answers[SEND] = take
    pair.hang()
    await in_doubt(pair, many(2))
    another = many(1, max_fee_per_gas=3 * 10**9)
    assert (await pair.gate.send(another))["result"] == hash_of(another)
    assert len(pair.second.sent) == 1


async def test_what_an_operator_let_go_of_is_still_where_it_was_sent(pair: Pair) -> None:
    pair.hang()
    await in_doubt(pair, many(1))
    await pair.gate.change("POST", f"/operations/{hash_of(many(1))}/release", {"note": "its bundler hangs"})
    await in_doubt(pair, many(1))
    await in_doubt(pair, many(1, max_fee_per_gas=3 * 10**9))  # nor what replaces it
    await in_doubt(pair, many(1, sequence=1))
    assert pair.second.sent == []


async def test_a_receipt_is_looked_for_at_every_bundler(pair: Pair) -> None:
    pair.hang()
    await in_doubt(pair, many(1))
    await pair.gate.until(lambda: RECEIPT in pair.first.methods and RECEIPT in pair.second.methods, "both are asked")


async def test_a_gateway_that_turns_sends_away_three_times_is_left(pair: Pair) -> None:
    pair.first.answers[SEND] = Answer(raw=b"slow down", status=429, content_type="text/plain")
    for number in range(3):
        error = (await pair.gate.send(many(number)))["error"]
        assert error["data"]["mayHaveBeenSent"] is False
    assert (await pair.gate.send(many(0)))["result"] == hash_of(many(0))
    assert (len(pair.first.sent), len(pair.second.sent)) == (3, 1)


async def test_after_a_restart_operations_are_still_where_they_were_sent(tmp_path: Path) -> None:
    async with HonestBundler() as first, HonestBundler() as second:
        setup = {"chain": {"bundlers": [first.url, second.url]}, "ledger": tmp_path / "gate.db"}
        async with running_gate(bundler=first, **setup, limits={"request_seconds": "0.3"}) as gate:
            gate.running.registry.put(known(MANY))
            at, honest = Pair(gate, first, second), first.answers[SEND]
            at.hang()
            await in_doubt(at, many(1))
            assert "result" in await gate.send(many(2))
        assert (first.methods.count(SEND), second.methods.count(SEND)) == (1, 1)
        first.answers[SEND] = honest
        async with running_gate(bundler=first, **setup) as gate:
            gate.running.registry.put(known(MANY))
            assert "result" in await gate.send(many(2))  # the same once more
            assert "result" in await gate.send(many(2, 1))
            assert "result" in await gate.send(many(3))
        assert [second.methods.count(SEND), first.methods.count(SEND)] == [3, 2]


def where_flights_are(folder: Path) -> list[str]:
    """By marks of bundlers, as a gate would find it that starts after this moment."""
    copied = folder / "copied"
    copied.mkdir()
    for each in folder.glob("gate.db*"):
        if not each.name.endswith("-shm"):
            shutil.copy(each, copied)
    with closing(Store(copied / "gate.db")) as store:
        return [each.operation.bundler for each in store.flights()]


async def test_that_the_second_has_it_is_on_disk_before_it_is_sent_there(tmp_path: Path) -> None:
    """A gate that is killed while the second bundler has it, and the first is back, sends it to no other."""
    marks: list[str] = []
    async with HonestBundler() as first, HonestBundler() as second:
        take = second.answers[SEND]
        assert not isinstance(take, Answer)

        async def look(recorded: Recorded) -> Answer:
            marks.extend(where_flights_are(tmp_path))
            return await take(recorded)

        second.answers[SEND] = look
        setup = {"chain": {"bundlers": [first.url, second.url]}, "ledger": tmp_path / "gate.db"}
        async with running_gate(bundler=second, **setup) as gate:
            gate.running.registry.put(known(MANY))
            for _ in patiently():
                if await gate.metric("upstream_up", upstream="soneium#0"):
                    break
                await asyncio.sleep(0.01)
            await first.stop()  # and the gate has yet to find out
            assert "result" in await gate.send(many(1))
    assert marks == [endpoint_at("", second.url).mark]


async def test_what_went_to_the_second_because_the_first_is_not_there_is_there_after_a_restart(tmp_path: Path) -> None:
    async with HonestBundler() as second:
        async with HonestBundler() as first:
            url = first.url
        setup = {"chain": {"bundlers": [url, second.url]}, "ledger": tmp_path / "gate.db"}
        async with running_gate(bundler=second, **setup) as gate:
            gate.running.registry.put(known(MANY))
            assert "result" in await gate.send(many(1))
            assert "result" in await gate.send(many(1))
        with closing(Store(tmp_path / "gate.db")) as store:
            (flight,) = store.flights()
        assert flight.operation.bundler == endpoint_at("", second.url).mark
