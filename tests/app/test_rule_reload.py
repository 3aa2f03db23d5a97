"""Rules change under load: no request is lost, none is judged by half of a set."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from proxy.errors import Code
from tests.admission.builders import TWICE, known
from tests.app.builders import GOOD, use_number
from tests.patience import patiently
from tests.running_gate import HonestBundler, RunningGate, hash_of, running_gate

RELOADS = 50
SENDERS = 8

RULE = """\
  - id: {id}
    description: Fires on every operation of a session.
    mode: {mode}
    match: {{session: true}}
"""


def write(path: Path, *ids: str, mode: str = "shadow") -> None:
    beside = path.with_suffix(".new")
    beside.write_text("rules:\n" + "".join(RULE.format(id=each, mode=mode) for each in ids))
    beside.rename(path)


async def all_audited(gate: RunningGate, count: int) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for _ in patiently():
        rows = (await gate.look("/audit?limit=1000"))["audit"]
        if len(rows) >= min(count, 1000):
            return rows
        await asyncio.sleep(0.01)
    raise AssertionError(len(rows))


async def test_under_load_every_request_is_answered_and_judged_by_one_whole_set(
    bundler: HonestBundler, tmp_path: Path
) -> None:
    first, second = tmp_path / "a.yaml", tmp_path / "b.yaml"
    write(first, "old-1")
    write(second, "old-2")
    answers: list[Any] = []
    done = asyncio.Event()
    # a disk that others keep busy is not what this is about
    lenient: dict[str, Any] = {"ledger": tmp_path / "gate.db", "ledger_synchronous": "normal"}
    async with running_gate(bundler=bundler, rules=[str(tmp_path / "*.yaml")], **lenient) as gate:
        gate.running.registry.put(known(TWICE))

        async def keep_sending() -> None:
            while not done.is_set():
                answers.append(await gate.send(GOOD))

        senders = [asyncio.create_task(keep_sending()) for _ in range(SENDERS)]
        reloaded = []
        for number in range(RELOADS):
            name = "old" if number % 2 else "new"
            # both files at once, as an atomic deployment does; the watch is slower than this loop
            write(first, f"{name}-1")
            write(second, f"{name}-2")
            reloaded.append(await gate.change("POST", "/rules/reload", {}))
        done.set()
        await asyncio.gather(*senders)
        rows = await all_audited(gate, len(answers))
        reloads = await gate.metric("rules_reload_total", reason="admin", result="success")
    assert all(each["ok"] for each in reloaded)
    assert reloads == RELOADS
    assert len(answers) >= RELOADS
    assert {answer.get("result") for answer in answers} == {hash_of(GOOD)}
    seen = {tuple(sorted(hit["rule"] for hit in row["rules"])) for row in rows}
    assert seen == {("old-1", "old-2"), ("new-1", "new-2")}


async def test_what_was_allowed_is_rejected_after_a_reload_and_a_faulty_file_does_not_let_it_pass_again(
    bundler: HonestBundler, tmp_path: Path
) -> None:
    path = tmp_path / "a.yaml"
    write(path, "no-sessions")
    async with running_gate(bundler=bundler, rules=[str(path)]) as gate:
        gate.running.registry.put(known(TWICE))
        assert "result" in await gate.send(GOOD)
        write(path, "no-sessions", mode="enforce")
        told = await gate.change("POST", "/rules/reload", {})
        assert told["difference"]["changed"][0]["rule"] == "no-sessions"
        answer = await gate.send(use_number(1))
        assert (answer["error"]["code"], answer["error"]["data"]["rule"]) == (Code.RULE_REJECTED, "no-sessions")
        path.write_text("rules: [")
        told = await gate.change("POST", "/rules/reload", {})
        assert (told["ok"], len(told["faults"])) == (False, 1)
        assert (await gate.send(use_number(1)))["error"]["code"] == Code.RULE_REJECTED
        listed = await gate.look("/rules")
        assert [(rule["id"], rule["mode"], rule["hits"]) for rule in listed["rules"]] == [("no-sessions", "enforce", 3)]
        assert await gate.metric("rule_hits_total", rule="no-sessions", mode="enforce", severity="medium") == 2
