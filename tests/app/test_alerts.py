"""A running gate tells what happens: to Alertmanager, to webhooks and to PagerDuty, also after a restart."""

from __future__ import annotations

import asyncio
import sqlite3
import sys
import time
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager, closing
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from proxy.edge.alerts.board import ActiveAlert
from proxy.edge.alerts.sink import Sink
from proxy.happening import HappeningKind
from proxy.judge.verdict import Mode
from proxy.session.known import Status
from proxy.session.transitions import emptied
from tests.admission.builders import TWICE, known
from tests.app.builders import GOOD, OUTSIDE, SESSION_ID, audited, use_number
from tests.edge.alerts.builders import RecordingSink, happening, recording_sink
from tests.flat.pieces import Pieces
from tests.running_gate import HonestBundler, RunningGate, running_gate

HOOK_SECRET = "hush-hook-secret-of-ours"
ROUTING_KEY = "hush-routing-key"
RULES = """\
rules:
  - id: small
    description: Fires on every operation of a session.
    mode: alert
    severity: {severity}
    tags: [{tag}]
    match: {{session: true}}
"""


@pytest.fixture
async def sink() -> AsyncIterator[RecordingSink]:
    async with recording_sink() as running:
        yield running


def write_rules(folder: Path, *, severity: str = "high", tag: str = "money", extra: str = "") -> Path:
    path = folder / "rules.yaml"
    beside = path.with_suffix(".new")
    beside.write_text(RULES.format(severity=severity, tag=tag) + extra)
    beside.rename(path)
    return path


@asynccontextmanager
async def alerting(alerts: dict[str, Any], folder: Path, **top: Any) -> AsyncIterator[RunningGate]:
    rules = [str(write_rules(folder))] if not (folder / "rules.yaml").exists() else [str(folder / "rules.yaml")]
    async with running_gate(rules=rules, alerts={"instance": "gate-1", **alerts}, **top) as gate:
        gate.running.registry.put(known(TWICE))
        yield gate


def hook(sink: RecordingSink, **more: Any) -> dict[str, Any]:
    return {"name": "soc", "url": sink.url, "secret": HOOK_SECRET, **more}


async def test_a_rule_that_fires_reaches_alertmanager_webhook_and_pagerduty(
    sink: RecordingSink, tmp_path: Path
) -> None:
    alerts = {
        "alertmanager": sink.url,
        "webhooks": [{**hook(sink), "url": f"{sink.url}/hook"}],
        "pagerduty": [{"name": "oncall", "url": f"{sink.url}/pd", "routing_key": ROUTING_KEY}],
    }
    async with alerting(alerts, tmp_path) as gate:
        assert "result" in await gate.send(GOOD)
        await sink.until(lambda: len(sink.received) == 3, "each sink was told")
        bodies = [each.body for each in sink.received]
        (posted,) = next(body for body in bodies if isinstance(body, list))
        webhook = next(body for body in bodies if "dedupeKey" in body)
        incident = next(body for body in bodies if "routing_key" in body)
        assert posted["labels"] == webhook["labels"]
        assert webhook["labels"]["session"] == SESSION_ID
        assert (webhook["labels"]["rule"], webhook["labels"]["severity"]) == ("small", "high")
        assert incident["dedup_key"] == webhook["dedupeKey"]
        ids = [row["decisionId"] for row in await audited(gate, 1)]
        assert webhook["decisions"] == ids
        assert await gate.metric("alerts_sent_total", sink="soc", result="taken") == 1
        assert await gate.metric("happenings_total", kind="rule_fired") == 1


async def test_an_active_alert_is_sent_again_and_again_with_an_end_that_is_its_last_hit_and_the_wait(
    sink: RecordingSink, tmp_path: Path
) -> None:
    alerts = {"alertmanager": sink.url, "resend_seconds": 0.05, "resolve_after_seconds": 600}
    async with alerting(alerts, tmp_path) as gate:
        await gate.send(GOOD)
        await sink.until(lambda: len(sink.received) >= 3, "it was sent three times")
    ends = {each.body[0]["endsAt"] for each in sink.received}
    assert len(ends) == 1


async def test_after_a_restart_alertmanager_hears_of_it_again_and_the_webhook_does_not(tmp_path: Path) -> None:
    async with recording_sink() as manager, recording_sink() as soc, HonestBundler() as bundler:
        alerts = {"alertmanager": manager.url, "webhooks": [hook(soc)]}
        ledger = tmp_path / "gate.db"
        async with alerting(alerts, tmp_path, ledger=ledger, bundler=bundler) as gate:
            await gate.send(GOOD)
            await soc.until(lambda: len(soc.received) == len(manager.received) == 1, "both were told")
        before = manager.received.copy()
        manager.received.clear()
        async with alerting(alerts, tmp_path, ledger=ledger, bundler=bundler) as gate:
            await manager.until(lambda: bool(manager.received), "Alertmanager was told again")
            assert [alert.count for alert in gate.running.alerts.active] == [1]
        assert manager.received[0].body == before[0].body
        assert len(soc.received) == 1


async def test_what_no_sink_could_be_told_before_a_restart_is_told_after_it(tmp_path: Path) -> None:
    async with recording_sink(answers=[503] * 3) as soc, HonestBundler() as bundler:
        alerts = {"webhooks": [hook(soc)]}
        ledger = tmp_path / "gate.db"
        async with alerting(alerts, tmp_path, ledger=ledger, bundler=bundler) as gate:
            await gate.send(GOOD)
            await soc.arrived.wait()
            soc.answers[:] = [503] * 100
        soc.answers.clear()
        already = len(soc.received)
        async with alerting(alerts, tmp_path, ledger=ledger, bundler=bundler):
            await soc.until(lambda: len(soc.received) == already + 1, "it was told after the restart")


async def test_one_that_is_over_is_told_to_be_over(sink: RecordingSink, tmp_path: Path) -> None:
    async with alerting({"webhooks": [hook(sink)], "resolve_after_seconds": 1}, tmp_path) as gate:
        await gate.send(GOOD)
        await sink.until(lambda: len(sink.received) == 2, "its end was told")
        assert [each.body["status"] for each in sink.received] == ["firing", "resolved"]
        await gate.until(lambda: not gate.running.alerts.active, "the board is clear")


async def test_severity_and_tags_choose_the_sink_notify_overrules_them_and_nothing_is_unheard(tmp_path: Path) -> None:
    extra = (
        "  - {id: named, description: d, mode: alert, severity: info, notify: [money], match: {session: true}}\n"
        "  - {id: nobodys, description: d, mode: alert, severity: info, match: {session: true}}\n"
    )
    write_rules(tmp_path, extra=extra)
    async with recording_sink() as first, recording_sink() as second:
        alerts = {
            "webhooks": [
                hook(first, min_severity="critical"),
                hook(second, name="money", tags=["money"], min_severity="medium"),
            ]
        }
        async with alerting(alerts, tmp_path) as gate:
            await gate.send(GOOD)
            await first.until(lambda: len(first.received) + len(second.received) == 3, "all three were told")
    assert [each.body["labels"]["rule"] for each in first.received] == ["nobodys"]
    assert {each.body["labels"]["rule"] for each in second.received} == {"small", "named"}


async def test_whoever_was_told_of_an_alert_hears_that_it_is_over_although_others_are_told_of_it_by_then(
    tmp_path: Path,
) -> None:
    rule = "rules:\n  - {{id: moves, description: d, mode: alert, notify: [{0}], match: {{session: true}}}}\n"
    path = tmp_path / "rules.yaml"
    path.write_text(rule.format("first"))
    async with recording_sink() as first, recording_sink() as second:
        alerts = {"webhooks": [hook(first, name="first"), hook(second, name="second")], "resolve_after_seconds": 2}
        async with alerting(alerts, tmp_path) as gate:
            await gate.send(GOOD)
            await first.until(lambda: bool(first.received), "the first was told")
            path.write_text(rule.format("second"))
            assert (await gate.change("POST", "/rules/reload", {}))["ok"]
            await gate.send(use_number(1))
            for each in (first, second):
                await each.until(lambda told=each: len(told.received) == 2, "both heard of it, and that it is over")
                assert [message.body["status"] for message in each.received] == ["firing", "resolved"]


async def test_how_often_a_sink_is_told_is_as_its_settings_say(tmp_path: Path) -> None:
    async with recording_sink() as often, recording_sink() as seldom:
        sinks = [
            hook(often, name="often", repeat_seconds=1),
            hook(seldom, name="seldom", per_minute=1),
        ]
        async with alerting({"webhooks": sinks}, tmp_path) as gate:
            desk = gate.running.alerts
            desk.raise_(happening(1, unix_time=time.time()))
            desk.raise_(happening(2, unix_time=time.time()))
            await often.until(lambda: len(often.received) == 2, "both were told")

            def told_again() -> bool:
                desk.raise_(happening(1, unix_time=time.time()))
                return len(often.received) >= 4

            await often.until(told_again, "what goes on was told again and again")
            # one a minute: the second waits
            assert len(seldom.received) == 1
            assert await gate.metric("alerts_waiting_seconds", sink="seldom") > 0


async def test_a_hit_right_after_a_reload_is_told(sink: RecordingSink, tmp_path: Path) -> None:
    async with alerting({"webhooks": [hook(sink)]}, tmp_path) as gate:
        for number in range(5):
            new = f"  - {{id: new-{number}, description: d, mode: enforce, match: {{session: true}}}}\n"
            write_rules(tmp_path, extra=new)
            assert (await gate.change("POST", "/rules/reload", {}))["ok"]
            assert (await gate.send(use_number(number)))["error"]["data"]["rule"] == f"new-{number}"

        def heard() -> set[str]:
            return {each.body["labels"]["rule"] for each in sink.received}

        wanted = {f"new-{number}" for number in range(5)}
        await sink.until(lambda: wanted <= heard(), "each new rule was heard")


async def test_a_sink_that_hangs_with_ten_thousand_hits_queued_leaves_the_loop_to_the_verdicts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked_at = 0
    offer = Sink.offer

    def counting(sink: Sink, alert: ActiveAlert) -> None:
        nonlocal looked_at
        looked_at += 1
        offer(sink, alert)

    monkeypatch.setattr(Sink, "offer", counting)
    async with (
        recording_sink(hang=True) as sink,
        alerting({"webhooks": [hook(sink)], "alertmanager": sink.url, "max_active": 500}, tmp_path) as gate,
    ):
        desk = gate.running.alerts
        for number in range(10_000):
            desk.raise_(happening(number, unix_time=time.time()))
        await sink.arrived.wait()
        # two sinks, 500 alerts and one for all the other sessions: the hits beyond cost no work at all
        await gate.until(lambda: looked_at >= 2 * 501, "all were looked at")
        before = looked_at
        for _ in range(20):
            assert "result" in await gate.send(GOOD)
        assert looked_at - before <= 2 * 20
        assert sum(alert.count for alert in desk.active) == 10_000 + 20
        sink.released.set()


async def test_what_is_over_as_it_arrives_is_told_although_others_are_being_looked_at(
    sink: RecordingSink, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The end of an operation may be learned long after it was: a gate was down, or its node."""
    offer = Sink.offer
    async with alerting({"webhooks": [hook(sink)]}, tmp_path) as gate:
        desk = gate.running.alerts

        def meanwhile(one: Sink, alert: ActiveAlert) -> None:
            offer(one, alert)
            if alert.latest.rule == "burst":
                desk.raise_(happening(2, unix_time=time.time() - 10_000, rule="old"))

        monkeypatch.setattr(Sink, "offer", meanwhile)
        desk.raise_(happening(1, unix_time=time.time()))

        def told() -> list[tuple[str, str]]:
            return [(each.body["labels"]["rule"], each.body["status"]) for each in sink.received]

        await sink.until(lambda: ("old", "resolved") in told(), "the old one was told, and that it is over")
        assert [status for rule, status in told() if rule == "old"] == ["firing", "resolved"]


async def test_alertmanager_hears_of_what_is_over_already_as_active_until_it_was_looked_at_a_few_times(
    sink: RecordingSink, tmp_path: Path
) -> None:
    async with alerting({"alertmanager": sink.url, "resend_seconds": 60}, tmp_path) as gate:
        gate.running.alerts.raise_(happening(1, unix_time=time.time() - 10_000))
        await sink.until(lambda: bool(sink.received), "it was told")
        ends = datetime.fromisoformat(sink.received[0].body[0]["endsAt"]).timestamp()
        assert ends - time.time() > 2 * 60


MOST_CALLS = 10_000  # some milliseconds of them


def alerts_in(ledger: Path) -> list[object]:
    """The names of those that a restart would find."""
    with closing(sqlite3.connect(ledger)) as reader:
        return reader.execute("SELECT digest FROM alerts").fetchall()


async def calls_of(work: Awaitable[object]) -> int:
    """How many functions are called in this thread until it is done, whoever's turn it is meanwhile."""
    calls = 0

    def called(_frame: object, event: str, _argument: object) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    sys.setprofile(called)
    try:
        await work
    finally:
        sys.setprofile(None)
    return calls


async def test_the_dearest_verdict_in_a_hundred_is_no_dearer_beside_ten_thousand_hits_that_wait_for_sinks_that_hang(
    tmp_path: Path,
) -> None:
    async with recording_sink(hang=True) as sink:
        alerts = {
            "alertmanager": sink.url,
            "webhooks": [hook(sink)],
            "pagerduty": [{"name": "oncall", "url": f"{sink.url}/pd", "routing_key": ROUTING_KEY}],
            "max_active": 20_000,
            "queue_limit": 20_000,
        }
        async with alerting(alerts, tmp_path, ledger=tmp_path / "gate.db") as gate:

            async def dearest(first: int) -> int:
                """Of a hundred sends the one that is dearer than all but one."""
                dear = []
                for number in range(first, first + 100):
                    gate.running.registry.put(known(TWICE))
                    dear.append(await calls_of(gate.send(use_number(number))))
                return sorted(dear)[-2]

            async def at_best(first: int) -> int:
                """The least of three: on a busy machine more of what goes by time falls into some of the sends."""
                return min([await dearest(first + 100 * number) for number in range(3)])

            await dearest(1)  # what is done once only
            calm = await at_best(1_000)
            for number in range(10_000):
                gate.running.alerts.raise_(happening(number, unix_time=time.time()))
            with Pieces() as pieces:
                await gate.until(lambda: len(alerts_in(tmp_path / "gate.db")) > 10_000, "all of them are kept")
            assert pieces.too_long(MOST_CALLS) == {}
            assert await gate.metric("queue_depth", queue="alerts") >= 3 * 10_000
            beside = await at_best(2_000)
            assert beside <= calm * 1.25
            sink.released.set()


@pytest.mark.parametrize("turns", [1, 30, 60, 90])
async def test_all_that_was_told_is_there_after_a_restart_wherever_the_gate_was_in_writing_it_down(
    tmp_path: Path, turns: int
) -> None:
    async with (
        recording_sink(hang=True) as sink,
        alerting({"webhooks": [hook(sink)], "max_active": 5_000}, tmp_path, ledger=tmp_path / "gate.db") as gate,
    ):
        for number in range(3_000):
            gate.running.alerts.raise_(happening(number, unix_time=time.time()))
        for _ in range(turns):
            await asyncio.sleep(0)
        sink.released.set()
    assert len(alerts_in(tmp_path / "gate.db")) == 3_000


async def test_a_frozen_session_used_is_told_with_the_word_on_its_key(sink: RecordingSink, tmp_path: Path) -> None:
    async with alerting({"webhooks": [hook(sink)]}, tmp_path) as gate:
        await gate.change("POST", "/freezes", {"permissionId": SESSION_ID, "note": "lost phone"})
        await gate.send(GOOD)

        def of_note() -> list[Any]:
            return [each.body for each in sink.received if each.body["labels"]["alertname"].endswith("SessionUse")]

        await sink.until(lambda: bool(of_note()), "it was told")
        (body,) = of_note()
        assert "lost phone" in body["annotations"]["summary"]
        assert body["annotations"]["summary"].endswith("; its key signed.")
        assert body["labels"]["severity"] == "critical"


async def test_in_mode_alert_a_would_be_rejection_is_told(sink: RecordingSink, tmp_path: Path) -> None:
    async with alerting({"webhooks": [hook(sink)]}, tmp_path, mode=Mode.ALERT.value) as gate:
        await gate.send(OUTSIDE)

        def kinds() -> set[str]:
            return {each.body["labels"]["alertname"] for each in sink.received}

        await sink.until(lambda: "SessiongateWouldHaveRejected" in kinds(), "it was told")


async def test_without_sinks_nothing_is_kept_and_all_is_counted(tmp_path: Path) -> None:
    async with alerting({}, tmp_path) as gate:
        await gate.send(GOOD)
        assert gate.running.alerts.active == []
        assert await gate.metric("happenings_total", kind=HappeningKind.RULE_FIRED.value) == 1


async def test_a_session_removed_on_chain_and_used_is_told_with_the_word_on_its_key_which_was_kept(
    sink: RecordingSink, tmp_path: Path
) -> None:
    async with alerting({"webhooks": [hook(sink)]}, tmp_path) as gate:
        # lately: what was removed long ago is forgotten as soon as a gate keeps house
        session = known(TWICE, updated_at=time.time())
        assert session.state is not None
        gate.running.registry.put(replace(session, status=Status.REMOVED, state=emptied(session.state)))
        await gate.send(GOOD)
        stranger = replace(GOOD, signature=GOOD.signature[:-65] + OUTSIDE.signature[-65:])
        await gate.send(stranger)

        def words() -> list[str]:
            notes = [each.body["annotations"]["summary"] for each in sink.received]
            return sorted(note.rpartition("; ")[2] for note in notes if "removed" in note)

        await sink.until(lambda: len(words()) == 2, "both were told")
        assert words() == ["its key did not sign.", "its key signed."]
