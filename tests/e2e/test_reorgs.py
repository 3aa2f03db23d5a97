"""A gate on a live chain that takes back blocks with a grant, a revocation and spends in them, and mines them again;
and one that was down for a quarter of an hour in which the chain went on."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from proxy.chain.settlement.patience import Patience
from proxy.errors import Code
from tests.clocks.shifted import ahead
from tests.e2e.gate import Gate
from tests.e2e.hand_mined import HandMined, Prepared
from tests.e2e.inside import gate_inside
from tests.patience import PATIENCE_SECONDS

SETTINGS = "session_queries: true\n"
LIMIT = 100
DOWN_SECONDS = 900
DARK_SECONDS = 3.0
SPENDS = ("a-1-40", "a-2-61", "a-3-60", "b-4-20", "c-5-5", "c-6-7")


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HandMined]:
    running = HandMined(tmp_path_factory.mktemp("hand-mined")).start()
    yield running
    running.stop()


@pytest.fixture(scope="module")
def gate(chain: HandMined, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gate]:
    running = Gate.in_folder(tmp_path_factory.mktemp("gate")).start(chain, bundler=chain.bundler, more=SETTINGS)
    yield running
    running.stop()


def until(prepared: Prepared, url: str, expected: dict[str, tuple[str, int | None, int, int]]) -> None:
    """Returns when the gate says this of each session: status, used, in flight, operations mined; and holds it against
    the chain. What was used is `None` where it is read no earlier than it is asked for."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        found = {name: prepared.at_gate(url, name) for name in expected}
        told = {
            name: (each["status"], None if expected[name][1] is None else each["used"], each["inFlight"], each["mined"])
            for name, each in found.items()
        }
        if told == expected or time.monotonic() > deadline:
            break
        time.sleep(0.05)
    assert told == expected
    for name, (status, used, _, _) in told.items():
        enabled, spent = prepared.on_chain(name)
        assert enabled == (status == "in_force"), name
        assert not enabled or used in (spent, None), name
        assert spent <= LIMIT, name


def refused(answer: Any) -> int | None:
    return answer["code"] if isinstance(answer, dict) else None


@pytest.mark.parametrize("depth", [1, 6, 64])
def test_what_a_reorganisation_takes_back_is_held_again_and_mined_anew_counts_once(
    chain: HandMined, gate: Gate, depth: int
) -> None:
    prepared = Prepared(chain, run=f"taken-back-{depth}", account_index=depth, spends=SPENDS)
    url = gate.url
    prepared.mine("install")
    prepared.mine("grant")
    assert refused(prepared.hand_in(url, "c-5-5")) is None
    prepared.mine("c-5-5")
    until(prepared, url, {"c": ("in_force", 5, 0, 1)})

    # a spend, a grant and a revocation are mined; where there is room, the granted session is used as well
    for name in ("a-1-40", "grant-b", "revoke-c"):
        assert refused(prepared.hand_in(url, name)) is None
    before = chain.number()
    prepared.mine("a-1-40", "grant-b", "revoke-c", blocks=max(depth // 2, 1))
    until(prepared, url, {"a": ("in_force", 40, 0, 1), "b": ("in_force", 0, 0, 0), "c": ("removed", 5, 0, 1)})
    later = ("b-4-20",) if depth > 1 else ()
    for name in later:
        assert refused(prepared.hand_in(url, name)) is None
        prepared.mine(name, blocks=depth - depth // 2)
        until(prepared, url, {"b": ("in_force", 20, 0, 1)})
    assert refused(prepared.hand_in(url, "c-6-7")) == Code.SESSION_REVOKED
    assert chain.number() == before + depth

    chain.ask("anvil_reorg", depth, [])
    chain.ask("anvil_mine", "0x1")
    until(prepared, url, {"a": ("in_force", 0, 40, 0), "c": ("in_force", None, 0, 1)})
    assert prepared.at_gate(url, "b")["status"] != "in_force"
    assert prepared.on_chain("b") == (False, 0)
    # what is in flight again leaves 60 of 100, and the session whose revocation is gone may be used
    assert refused(prepared.hand_in(url, "a-2-61")) == Code.LIMIT_EXCEEDED
    assert refused(prepared.hand_in(url, "a-3-60")) is None
    assert refused(prepared.hand_in(url, "c-6-7")) is None
    until(prepared, url, {"a": ("in_force", 0, 100, 0), "c": ("in_force", 5, 7, 1)})

    prepared.mine("c-6-7", "a-3-60", "grant-b", "a-1-40", *later, "revoke-c", blocks=2)
    of_b = ("in_force", 20, 0, 1) if later else ("in_force", 0, 0, 0)
    until(prepared, url, {"a": ("in_force", 100, 0, 2), "b": of_b})
    until(prepared, url, {"c": ("removed", None, 0, 2)})
    assert prepared.on_chain("c") == (False, 12)
    assert {prepared.at_gate(url, name)["operations"] for name in "abc"} == {0}
    handed = [
        prepared.operations[name]["hash"] for name in ("a-1-40", "grant-b", "revoke-c", "a-3-60", "c-6-7", *later)
    ]
    assert sorted(each for each in chain.kept if each in handed) == sorted(handed)  # each once


def test_a_nonce_that_its_account_burns_gives_back_what_an_operation_held_and_nothing_else_does(
    chain: HandMined, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By `incrementNonce` of the entry point, of which no event tells: nonces of what waits are looked at."""
    soon = partial(Patience, nonce_first=0.2, nonce_longest=0.2)
    monkeypatch.setattr("proxy.app.settling._patience_of", lambda _chain: soon())
    prepared = Prepared(chain, run="burnt", account_index=901, spends=("a-1-40", "a-2-61", "a-3-60"))
    prepared.mine("install")
    prepared.mine("grant")
    with gate_inside(chain, {"session_queries": True}) as url:
        for name in ("a-1-40", "a-3-60"):
            assert refused(prepared.hand_in(url, name)) is None
        assert refused(prepared.hand_in(url, "a-2-61")) == Code.LIMIT_EXCEEDED
        chain.ask("anvil_mine", "0x2")
        until(prepared, url, {"a": ("in_force", 0, 100, 0)})
        prepared.burn_nonce("a-1-40")
        chain.ask("evm_setIntervalMining", 1)  # a look and one at a later block are what proves it
        try:
            until(prepared, url, {"a": ("in_force", 0, 60, 0)})
        finally:
            chain.ask("evm_setIntervalMining", 0)
            chain.ask("evm_setAutomine", True)
        prepared.mine("a-3-60")
        until(prepared, url, {"a": ("in_force", 60, 0, 1)})
        assert refused(prepared.hand_in(url, "a-2-61")) == Code.LIMIT_EXCEEDED


@pytest.fixture
def killed_gate(tmp_path: Path) -> Iterator[Gate]:
    gate = Gate.in_folder(tmp_path / "gate")
    yield gate
    gate.stop()


def test_a_gate_that_was_down_for_a_quarter_of_an_hour_counts_what_was_mined_and_holds_the_rest(
    chain: HandMined, killed_gate: Gate, program: Callable[[str, str], str]
) -> None:
    """Node and bundler say nothing for the first three seconds in which it asks in its second life. Time on chain and
    the wall clock of the gate (libfaketime) are ahead by the quarter of an hour; its monotonic clock is not."""
    program("faketime", "faketime")
    gate, url = killed_gate, killed_gate.url
    spends = ("a-6-5", "a-1-30", "a-2-20", "a-3-26", "a-4-20", "a-5-19")
    prepared = Prepared(chain, run="long-down", account_index=900, spends=spends)
    prepared.mine("install")
    prepared.mine("grant")
    gate.start(chain, bundler=chain.bundler, more=SETTINGS)
    assert refused(prepared.hand_in(url, "a-6-5")) is None
    prepared.mine("a-6-5")
    until(prepared, url, {"a": ("in_force", 5, 0, 1)})
    for name in ("a-1-30", "a-2-20", "a-3-26"):
        assert refused(prepared.hand_in(url, name)) is None
    until(prepared, url, {"a": ("in_force", 5, 76, 1)})
    gate.kill()

    prepared.mine("a-1-30", blocks=DOWN_SECONDS // 2, seconds=2)
    assert prepared.on_chain("a") == (True, 35)
    chain.shut_for(DARK_SECONDS)
    gate.start(chain, bundler=chain.bundler, more=SETTINGS, env=ahead(DOWN_SECONDS))
    assert chain.knocks > 0
    assert "time of day is astray by +" in (gate.folder / "gate.log").read_text()  # the clock was moved
    assert refused(prepared.hand_in(url, "a-4-20")) is not None  # 19 are left, whoever knows that by now
    assert chain.opened.wait(PATIENCE_SECONDS)

    until(prepared, url, {"a": ("in_force", 35, 46, 2)})
    assert refused(prepared.hand_in(url, "a-4-20")) == Code.LIMIT_EXCEEDED
    assert refused(prepared.hand_in(url, "a-5-19")) is None
    assert ends_of(gate, prepared, *spends) == dict.fromkeys(("a-6-5", "a-1-30"), "mined")
    prepared.mine("a-3-26", "a-2-20", "a-5-19")
    until(prepared, url, {"a": ("in_force", LIMIT, 0, 5)})
    mined = ("a-6-5", "a-1-30", "a-2-20", "a-3-26", "a-5-19")
    assert ends_of(gate, prepared, *spends) == dict.fromkeys(mined, "mined")
    handed = Counter(chain.kept)
    assert [handed[prepared.operations[name]["hash"]] for name in (*mined, "a-4-20")] == [1, 1, 1, 1, 1, 0]


def ends_of(gate: Gate, prepared: Prepared, *names: str) -> dict[str, str]:
    """What the audit says became of operations, of those that have ended."""
    ends = {row["userOpHash"]: row["end"]["cause"] for row in gate.audit() if row.get("end") is not None}
    found = {name: ends.get(prepared.operations[name]["hash"]) for name in names}
    return {name: cause for name, cause in found.items() if cause is not None}
