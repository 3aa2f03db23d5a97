"""Settings read again while the gate serves: what can be is in force at the next request, the rest is named."""

from __future__ import annotations

import asyncio
import os
import re
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from proxy.app.reload import can_be_put_in_force, differences, merged
from proxy.config import Chain, Config
from proxy.errors import Code, ConfigErrors, ConfigFault
from proxy.judge.verdict import Mode
from proxy.userop.primitives import print_checksummed
from tests.admission.builders import TWICE, known, lane
from tests.app.builders import GOOD, OUTSIDE, audited, use_number
from tests.app.test_bundlers import MANY, many
from tests.bypass_list.desk import CHAIN_ID
from tests.edge.recording_bundler import Answer
from tests.patience import patiently
from tests.running_gate import (
    BUNDLER_KEY,
    HonestBundler,
    RunningGate,
    hash_of,
    request,
    running_gate,
    settings,
)
from tests.session.builders import ACCOUNT

KEY = "hush-client-key"
NEW_KEY = "hush-another-key"


def changed(config: Config, **top: Any) -> Config:
    """The settings as if the file said so; each value as it is written."""
    fresh = settings("http://127.0.0.1:1/", **top)
    return config.model_copy(update={name: getattr(fresh, name) for name in top})


class Rereading:
    """What the file says at the moment."""

    def __init__(self) -> None:
        self.top: dict[str, Any] = {}
        self.error: ConfigErrors | None = None

    def __call__(self, config: Config) -> Config:
        if self.error is not None:
            raise self.error
        return changed(config, **self.top)


async def reload(gate: RunningGate) -> Any:
    return await gate.change("POST", "/settings/reload", {})


async def test_a_mode_that_changes_is_in_force_at_the_next_request() -> None:
    file = Rereading()
    async with running_gate(reread=file) as gate:
        gate.running.registry.put(known(TWICE))
        assert (await gate.send(OUTSIDE))["error"]["code"] == Code.SESSION_SCOPE
        file.top = {"mode": "shadow"}
        assert await reload(gate) == {"ok": True, "faults": [], "inForce": ["mode"], "needsRestart": []}
        assert "result" in await gate.send(OUTSIDE)
        file.top = {"mode": "enforce"}
        await reload(gate)
        assert (await gate.send(OUTSIDE))["error"]["code"] == Code.SESSION_SCOPE


async def test_a_key_that_is_replaced_opens_at_once_and_the_old_one_no_more() -> None:
    file = Rereading()
    first = [{"name": "dapp", "api_key": KEY}]
    async with running_gate(reread=file, clients=first) as gate:
        ask = request("eth_chainId")
        assert "result" in await gate.ask(ask, **{"x-api-key": KEY})
        file.top = {"clients": [{"name": "newcomer", "api_key": NEW_KEY}]}
        assert (await reload(gate))["inForce"] == ["clients"]
        assert "error" in await gate.ask(ask, **{"x-api-key": KEY})
        assert "result" in await gate.ask(ask, **{"x-api-key": NEW_KEY})
        assert await gate.metric("client_requests_total", client="newcomer", outcome="answered") == 1


NAMING = "rules:\n  - {id: theirs, description: d, mode: enforce, match: {session: true, client: newcomer}}\n"


@pytest.mark.parametrize("by_signal", [False, True])
async def test_rules_may_name_a_client_that_a_reload_has_brought(tmp_path: Path, by_signal: bool) -> None:
    file, rules = Rereading(), tmp_path / "rules.yaml"
    rules.write_text("rules: []\n")
    clients = [{"name": "dapp", "api_key": KEY}, {"name": "newcomer", "api_key": NEW_KEY}]
    async with running_gate(reread=file, rules=[str(rules)], clients=clients[:1]) as gate:
        rules.write_text(NAMING)
        assert "newcomer" in str((await gate.change("POST", "/rules/reload", {}))["faults"])
        file.top = {"clients": clients}
        if by_signal:
            os.kill(os.getpid(), signal.SIGHUP)
        else:
            assert (await reload(gate))["ok"]
            assert (await gate.change("POST", "/rules/reload", {}))["faults"] == []
        for _ in patiently():
            if [rule["id"] for rule in (await gate.look("/rules"))["rules"]] == ["theirs"]:
                return
            await asyncio.sleep(0.01)
        raise AssertionError("the rule is not in force")


async def test_a_size_that_changes_is_in_force() -> None:
    file = Rereading()
    async with running_gate(reread=file) as gate:
        batch = [request("eth_chainId", request_id=number) for number in range(3)]
        assert isinstance(await gate.ask(batch), list)
        file.top = {"limits": {"max_batch": "2"}}
        assert (await reload(gate))["inForce"] == ["limits.max_batch"]
        assert "error" in await gate.ask(batch)


async def test_after_a_reload_sdks_are_answered_in_their_dialect_as_before() -> None:
    file = Rereading()
    async with running_gate(reread=file) as gate:
        pair = {"maxFeePerGas": "0x2", "maxPriorityFeePerGas": "0x1"}
        tiers = {"slow": pair, "standard": pair, "fast": pair}
        gate.bundler.answers["pimlico_getUserOperationGasPrice"] = Answer(result=tiers)
        for mode in ("shadow", "enforce"):
            file.top = {"mode": mode}
            await reload(gate)
            assert (await gate.ask(request("rundler_maxPriorityFeePerGas")))["result"] == "0x1"


async def test_what_needs_a_restart_is_named_and_the_rest_is_in_force_all_the_same() -> None:
    file = Rereading()
    async with running_gate(reread=file) as gate:
        file.top = {"mode": "shadow", "listen": "127.0.0.1:1", "limits": {"node_seconds": "9"}}
        told = await reload(gate)
        assert told["inForce"] == ["mode"]
        assert set(told["needsRestart"]) == {"listen", "limits.node_seconds"}
        again = await reload(gate)
        assert (again["inForce"], set(again["needsRestart"])) == ([], {"listen", "limits.node_seconds"})


def bundlers(*urls: str) -> dict[str, Any]:
    served = {"chain_id": str(CHAIN_ID), "bundlers": list(urls), "poll_seconds": "0.05"}
    return {"chains": {"soneium": served}}


async def test_a_bundler_that_is_replaced_gets_the_next_operation_and_what_is_in_flight_is_seen_to_its_end() -> None:
    file = Rereading()
    async with HonestBundler() as other, running_gate(reread=file) as gate:
        gate.running.registry.put(known(TWICE))
        assert "result" in await gate.send(GOOD)
        file.top = bundlers(other.url)
        assert (await reload(gate))["inForce"] == ["chains.soneium.bundlers"]
        assert "result" in await gate.send(use_number(1))
        assert (len(gate.bundler.sent), len(other.sent)) == (1, 1)
        assert await gate.metric("operations_in_flight", chain="soneium") == 2
        refused = await gate.send(use_number(2))
        assert refused["error"]["code"] == Code.LIMIT_EXCEEDED  # two uses are held, one at each
        gate.bundler.mine(GOOD)  # only the one that was removed knows
        other.mine(use_number(1))

        async def ended() -> float:
            return await gate.metric("operations_in_flight", chain="soneium")

        for _ in patiently():
            if not await ended():
                return
            await asyncio.sleep(0.01)
        raise AssertionError("an operation is followed at no bundler any more")


async def test_what_a_bundler_took_while_it_was_alone_is_replaced_and_followed_there_until_it_is_mined() -> None:
    file = Rereading()
    async with HonestBundler() as other, running_gate(reread=file) as gate:
        gate.running.registry.put(known(MANY))
        for number in (1, 2, 3):
            assert "result" in await gate.send(many(number))
        file.top = bundlers(other.url, gate.bundler.url)
        await reload(gate)
        replaced = many(2, max_fee_per_gas=3 * 10**9)
        for op in (replaced, many(3, sequence=1)):
            assert "result" in await gate.send(op)
        assert (len(gate.bundler.sent), other.sent) == (5, [])
        gate.bundler.mine(replaced)
        await in_flight(gate, 3)
        assert "result" in await gate.send(many(2, sequence=1))
        assert (len(gate.bundler.sent), len(other.sent)) == (5, 1)
        file.top = bundlers(other.url)
        await reload(gate)
        for op in (many(1), many(3), many(3, sequence=1)):
            gate.bundler.mine(op)
        other.mine(many(2, sequence=1))
        await in_flight(gate, 0)
        asked = len(gate.bundler.requests)
        await gate.ask(request("pimlico_getUserOperationStatus", hash_of(OUTSIDE)))
        assert len(gate.bundler.requests) == asked, "one that was removed, and has nothing any more, is asked no more"


async def in_flight(gate: RunningGate, number: int) -> None:
    for _ in patiently():
        if await gate.metric("operations_in_flight", chain="soneium") == number:
            return
        await asyncio.sleep(0.01)
    raise AssertionError(f"more or less than {number} operations are in flight")


async def test_a_bundler_that_is_gone_has_no_health_any_more_and_a_new_one_is_probed_at_once() -> None:
    file = Rereading()
    async with HonestBundler() as other, running_gate(reread=file) as gate:
        file.top = bundlers(f"{gate.bundler.url}?apikey={BUNDLER_KEY}", other.url)
        await reload(gate)
        await gate.until(lambda: len(other.requests) > 1, "the new bundler is probed")
        assert await gate.metric("upstream_up", upstream="soneium#1") in (0, 1)
        file.top = bundlers(other.url)
        await reload(gate)
        text = await gate.look("/metrics")
        assert 'sessiongate_upstream_up{upstream="soneium#0"}' in text
        assert 'upstream_up{upstream="soneium#1"}' not in text
        assert 'upstream_resting{kind="send",upstream="soneium#1"}' not in text
        assert (await gate.look("/readyz"))["ready"]


async def test_a_cap_that_is_lowered_holds_for_what_comes_next() -> None:
    file = Rereading()
    async with running_gate(reread=file) as gate:
        gate.running.registry.put(known(TWICE))
        assert "result" in await gate.send(GOOD)
        file.top = {"limits": {"in_flight_per_session": "1"}}
        assert (await reload(gate))["inForce"] == ["limits.in_flight_per_session"]
        assert "error" in await gate.send(use_number(1))


async def test_who_may_list_sessions_is_read_again_too() -> None:
    file = Rereading()
    client = {"name": "dapp", "api_key": KEY, "list_sessions": True}
    async with running_gate(reread=file, clients=[client], headers={"x-api-key": KEY}) as gate:
        ask = request("sessiongate_listSessions", print_checksummed(ACCOUNT))
        assert "result" in await gate.ask(ask)
        file.top = {"clients": [{**client, "list_sessions": False}]}
        await reload(gate)
        assert (await gate.ask(ask))["error"]["data"]["setting"] == "list_sessions"


async def test_the_admin_token_is_another_after_a_reload() -> None:
    file = Rereading()
    async with running_gate(reread=file) as gate:
        file.top = {"admin_token": "hush-a-token-of-ops"}
        assert (await reload(gate))["inForce"] == ["admin_token"]
        assert "authorization" in (await reload(gate))["error"]


async def test_a_reload_is_on_record_with_who_asked_when_and_why_and_so_is_one_that_failed() -> None:
    file = Rereading()
    async with running_gate(reread=file) as gate:
        file.top = {"mode": "shadow", "listen": "127.0.0.1:1"}
        await gate.change("POST", "/settings/reload", {"note": "calm down"})
        file.error = ConfigErrors([ConfigFault(path="sessiongate.yaml", line=3, problem="unknown key 'mdoe'")])
        await reload(gate)

        for _ in patiently():
            told = (await gate.look("/audit?show=deeds"))["audit"]
            if len(told) == 2:
                break
            await asyncio.sleep(0.01)
        done, failed = (each["detail"] for each in told)
        assert done == {
            "what": "settings_reloaded",
            "who": "this machine from 127.0.0.1",
            "why": "calm down",
            "inForce": "mode",
            "needsRestart": "listen",
        }
        assert (failed["what"], failed["faults"]) == ("settings_not_reloaded", "1")
        assert 0 < told[0]["time"] <= told[1]["time"]


async def test_a_faulty_file_changes_nothing_and_every_fault_is_told() -> None:
    file = Rereading()
    async with running_gate(reread=file) as gate:
        gate.running.registry.put(known(TWICE))
        file.error = ConfigErrors([ConfigFault(path="sessiongate.yaml", line=3, problem="unknown key 'mdoe'")])
        told = await reload(gate)
        assert (told["ok"], told["faults"]) == (False, ["sessiongate.yaml:3: unknown key 'mdoe'"])
        assert (await gate.send(OUTSIDE))["error"]["code"] == Code.SESSION_SCOPE


async def test_sighup_reads_the_settings_again() -> None:
    file = Rereading()
    async with running_gate(reread=file) as gate:
        gate.running.registry.put(known(TWICE))
        file.top = {"mode": "shadow"}
        os.kill(os.getpid(), signal.SIGHUP)
        for _ in range(500):
            if "result" in await gate.send(OUTSIDE):
                return
        raise AssertionError("the settings were not read again")


async def test_reloads_under_load_drop_no_request_and_each_is_judged_by_the_settings_of_one_moment() -> None:
    file = Rereading()
    async with running_gate(reread=file) as gate:
        gate.running.registry.put(known(TWICE))
        outside = [replace(OUTSIDE, nonce=lane(number)) for number in range(90)]

        async def reload_often() -> None:
            for mode in ("shadow", "enforce") * 5:
                file.top = {"mode": mode, "limits": {"max_batch": 50 if mode == "shadow" else 60}}
                told = await reload(gate)
                assert told["ok"]
                assert "mode" in told["inForce"]

        *answers, _ = await asyncio.gather(*map(gate.send, outside), reload_often())
        codes = {answer["error"]["code"] for answer in answers if "error" in answer}
        assert len(answers) == len(outside)
        assert codes <= {Code.SESSION_SCOPE}
        assert len(await audited(gate, len(outside))) == len(outside)
        assert len(gate.bundler.sent) == sum("result" in answer for answer in answers)


def test_the_settings_that_need_no_restart_are_the_ones_that_the_readme_names() -> None:
    fields = type(settings("http://127.0.0.1:1/").limits).model_fields
    needing = {name for name in fields if not can_be_put_in_force(f"limits.{name}")}
    top = {name for name in Config.model_fields if can_be_put_in_force(name)}
    of_a_chain = {name for name in Chain.model_fields if can_be_put_in_force(f"chains.soneium.{name}")}
    readme = (Path(__file__).parent.parent.parent / "README.md").read_text(encoding="utf-8")
    said, _, rest = readme.partition("In force at the next request: ")[2].partition("`limits` but for ")
    limits, _, rest = rest.partition(", and a chain's ")
    of_chains, _, _ = rest.partition(". Everything else")
    assert [set(re.findall(r"`(\w+)`", each)) for each in (said, limits, of_chains)] == [top, needing, of_a_chain]


@pytest.mark.parametrize(
    ("path", "can"),
    [
        ("mode", True),
        ("limits.max_batch", True),
        ("limits.in_flight_per_session", True),
        ("limits.node_seconds", False),
        ("chains.soneium.allow_methods", True),
        ("chains.soneium.status_methods", True),
        ("chains.soneium.bundlers", True),
        ("chains.soneium.node", False),
        ("audit", False),
        ("chains.soneium", False),
        ("listen", False),
    ],
)
def test_which_settings_need_a_restart(path: str, can: bool) -> None:
    assert can_be_put_in_force(path) is can


def test_a_chain_that_comes_or_goes_needs_a_restart_and_merging_keeps_those_there_were() -> None:
    before = settings("http://127.0.0.1:1/")
    after = before.model_copy(update={"chains": {}, "mode": Mode.SHADOW})
    assert list(differences(before, after)) == ["mode", "chains.soneium"]
    both = merged(before, after)
    assert (both.mode, both.chains) == (Mode.SHADOW, before.chains)
