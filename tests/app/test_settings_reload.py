"""Settings read again while the gate serves: what can be is in force at the next request, the rest is named."""

from __future__ import annotations

import os
import signal
from typing import Any

import pytest

from proxy.app.reload import can_be_put_in_force, differences, merged
from proxy.config import Config
from proxy.errors import Code, ConfigErrors, ConfigFault
from proxy.judge.verdict import Mode
from tests.admission.builders import TWICE, known
from tests.app.builders import OUTSIDE
from tests.edge.recording_bundler import Answer
from tests.running_gate import RunningGate, request, running_gate, settings

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


@pytest.mark.parametrize(
    ("path", "can"),
    [
        ("mode", True),
        ("limits.max_batch", True),
        ("limits.node_seconds", False),
        ("chains.soneium.allow_methods", True),
        ("chains.soneium.status_methods", True),
        ("chains.soneium.bundlers", False),
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
