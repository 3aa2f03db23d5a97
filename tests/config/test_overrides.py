"""Every key of the file can be overridden by a variable, and a variable that overrides nothing is a fault."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from proxy.config import Config, load_config
from proxy.errors import ConfigErrors
from proxy.judge.verdict import Mode

GOOD = Path(__file__).parent / "files" / "good.yaml"
SECRETS = {"BUNDLER_KEY": "hush-bundler", "DAPP_KEY": "hush-dapp"}


def load(overrides: Mapping[str, str], path: Path = GOOD) -> Config:
    return load_config(path, {**SECRETS, **overrides})


def fault_of(overrides: Mapping[str, str]) -> str:
    with pytest.raises(ConfigErrors) as caught:
        load(overrides)
    (fault,) = caught.value.faults
    return str(fault)


def test_a_key_is_overridden_at_any_depth() -> None:
    config = load(
        {
            "SESSIONGATE_MODE": "off",
            "SESSIONGATE_LIMITS__MAX_BATCH": "7",
            "SESSIONGATE_CHAINS__SONEIUM__NODE": "https://other.example",
            "SESSIONGATE_CLIENTS__0__NAME": "renamed",
            "SESSIONGATE_SESSIONS__0__ACTIONS__0__MAX_USES": "9",
        }
    )
    assert config.mode is Mode.OFF
    assert config.limits.max_batch == 7
    assert str(config.chains["soneium"].node) == "https://other.example"
    assert config.clients[0].name == "renamed"
    assert config.sessions[0].actions[0].max_uses == 9


def test_a_whole_gate_can_be_set_up_by_the_environment(tmp_path: Path) -> None:
    path = tmp_path / "empty.yaml"
    path.touch()
    config = load(
        {
            "SESSIONGATE_CHAINS__LOCAL__CHAIN_ID": "31337",
            "SESSIONGATE_CHAINS__LOCAL__BUNDLERS": "[http://127.0.0.1:4337]",
            "SESSIONGATE_CLIENTS__0__NAME": "dapp",
            "SESSIONGATE_CLIENTS__0__API_KEY": "${DAPP_KEY}",
            "SESSIONGATE_LEDGER": "memory:",
        },
        path,
    )
    assert config.chains["local"].chain_id == 31337
    assert config.clients[0].api_key is not None
    assert config.clients[0].api_key.get_secret_value() == "hush-dapp"


def test_a_list_is_given_as_yaml() -> None:
    config = load({"SESSIONGATE_CORS__ORIGINS": "[https://a.example, https://b.example:8443]"})
    assert config.cors.origins == ("https://a.example", "https://b.example:8443")


def test_a_single_text_is_taken_as_it_stands() -> None:
    config = load({"SESSIONGATE_ADMIN_TOKEN": "a: [token] #with {yaml}"})
    assert config.admin_token is not None
    assert config.admin_token.get_secret_value() == "a: [token] #with {yaml}"


def test_an_override_mends_a_fault_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "sessiongate.yaml"
    path.write_text("mode: enfroce\nadmin_token: ${UNSET}\nchains: {a: {chain_id: 1, bundlers: [http://b]}}")
    config = load({"SESSIONGATE_MODE": "alert", "SESSIONGATE_ADMIN_TOKEN": "sixteen letters!"}, path)
    assert config.mode is Mode.ALERT


def test_a_fault_in_an_override_names_the_variable() -> None:
    assert fault_of({"SESSIONGATE_MODE": "enfroce"}) == (
        "$SESSIONGATE_MODE:1: mode: 'enfroce' is not one of off, shadow, alert, enforce; did you mean \"enforce\"?"
    )
    assert fault_of({"SESSIONGATE_CORS__ORIGINS": "[https://a"}).startswith("$SESSIONGATE_CORS__ORIGINS:1: not YAML")
    assert fault_of({"SESSIONGATE_ADMIN_TOKEN": "${UNSET}"}).startswith(
        "$SESSIONGATE_ADMIN_TOKEN:1: the variable UNSET is not set"
    )


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("SESSIONGATE_MOD", "there is no 'MOD'; did you mean \"MODE\"?"),
        ("SESSIONGATE_LIMITS__MAX_BATC", "there is no 'MAX_BATC' in limits; did you mean \"MAX_BATCH\"?"),
        ("SESSIONGATE_LIMITS_MAX_BATCH", "join the keys by two underscores"),
        ("SESSIONGATE_CHAINS__SONEIUM__NODES", 'in chains.soneium; did you mean "NODE"?'),
        ("SESSIONGATE_CLIENTS__FIRST__NAME", "clients is a list and 'FIRST' no index into it"),
        ("SESSIONGATE_CLIENTS__5__NAME", "number list entries without gaps"),
        ("SESSIONGATE_", "there is no ''"),
        ("SESSIONGATE_MODE__DEEPER", "there is no 'DEEPER' in mode"),
    ],
)
def test_a_variable_that_overrides_nothing_is_a_fault(name: str, told: str) -> None:
    fault = fault_of({name: "1"})
    assert fault.startswith(f"${name}:1: ")
    assert told in fault


def test_variables_that_are_no_overrides_are_left_alone() -> None:
    load(
        {
            "SESSIONGATE_CONFIG": "elsewhere.yaml",
            "SESSIONGATE_SERVICE_HOST": "10.0.0.1",
            "SESSIONGATE_SERVICE_PORT_HTTP": "8080",
            "SESSIONGATE_PORT": "tcp://10.0.0.1:8080",
            "SESSIONGATE_PORT_8080_TCP_ADDR": "10.0.0.1",
        }
    )


def test_a_variable_that_the_file_refers_to_is_no_override(tmp_path: Path) -> None:
    path = tmp_path / "sessiongate.yaml"
    path.write_text("chains: {a: {chain_id: 1, bundlers: ['http://b/${SESSIONGATE_BUNDLER_KEY}']}}")
    config = load({"SESSIONGATE_BUNDLER_KEY": "x"}, path)
    assert config.chains["a"].bundlers[0].url == "http://b/x"
