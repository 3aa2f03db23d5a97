"""Image and compose file, read without a container engine."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from proxy.config.loading import load_config
from proxy.judge.verdict import Mode
from tests.deploy.conftest import DEPLOY

ROOT = DEPLOY.parent
COMPOSE = DEPLOY / "compose.yaml"


@pytest.fixture(scope="module")
def services() -> dict[str, dict[str, Any]]:
    content: dict[str, dict[str, Any]] = yaml.safe_load(COMPOSE.read_text())["services"]
    return content


@pytest.fixture(scope="module")
def instructions() -> list[tuple[str, str]]:
    """The Dockerfile as (instruction, arguments), comments gone and continued lines joined."""
    lines = [line for line in (DEPLOY / "Dockerfile").read_text().splitlines() if not line.startswith("#")]
    joined = re.sub(r"\\\n\s*", " ", "\n".join(lines))
    found = [line.split(None, 1) for line in joined.splitlines() if line.strip()]
    return [(instruction, arguments) for instruction, arguments in found]


def test_every_port_is_published_on_this_machine_only(services: dict[str, dict[str, Any]]) -> None:
    ports = [port for service in services.values() for port in service.get("ports", [])]
    assert len(ports) == 5
    assert all(re.fullmatch(r"127\.0\.0\.1:\d+:\d+", port) for port in ports)
    published = [port.split(":")[1] for port in ports]
    assert len(set(published)) == len(published)


def test_no_service_shares_the_network_of_the_host_or_is_privileged(services: dict[str, dict[str, Any]]) -> None:
    for service in services.values():
        assert not {"network_mode", "privileged", "pid", "cap_add"} & service.keys()


def test_every_mounted_file_is_there_and_every_volume_declared(services: dict[str, dict[str, Any]]) -> None:
    declared = yaml.safe_load(COMPOSE.read_text())["volumes"].keys()
    for service in services.values():
        for volume in service.get("volumes", []):
            source, _, options = volume.split(":")[0], volume.split(":")[1], volume.split(":")[2:]
            if source.startswith("."):
                assert (DEPLOY / source).exists(), source
                assert options == ["ro"], volume
            else:
                assert source in declared


def test_what_compose_builds_is_there(services: dict[str, dict[str, Any]]) -> None:
    build = services["gate"]["build"]
    context = (DEPLOY / build["context"]).resolve()
    assert context == ROOT
    assert (context / build["dockerfile"]).is_file()


def test_every_image_that_is_pulled_has_a_fixed_version(services: dict[str, dict[str, Any]]) -> None:
    pulled = [service["image"] for service in services.values() if "build" not in service]
    assert len(pulled) == 3
    assert all(re.search(r":v?\d+\.\d+\.\d+$", image) for image in pulled)


def test_the_gate_runs_without_rights_it_does_not_need(services: dict[str, dict[str, Any]]) -> None:
    gate = services["gate"]
    assert gate["read_only"] is True
    assert gate["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in gate["security_opt"]


def test_every_variable_compose_asks_for_is_in_the_example() -> None:
    asked = set(re.findall(r"\$\{(\w+)", COMPOSE.read_text()))
    lines = (DEPLOY / ".env.example").read_text().splitlines()
    assert asked == {line.split("=")[0] for line in lines if line and not line.startswith("#")}


def test_the_example_environment_holds_no_secret() -> None:
    text = (DEPLOY / ".env.example").read_text()
    assert re.search(r"^SESSIONGATE_ADMIN_TOKEN=$", text, re.MULTILINE)
    assert re.search(r"^GRAFANA_ADMIN_PASSWORD=$", text, re.MULTILINE)
    assert ".env" in (DEPLOY / ".gitignore").read_text().split()


def test_the_gate_takes_the_settings_compose_gives_it(services: dict[str, dict[str, Any]]) -> None:
    lines = (DEPLOY / ".env.example").read_text().splitlines()
    example = dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))
    environment = {name: example[name] for name in services["gate"]["environment"]}
    environment["SESSIONGATE_ADMIN_TOKEN"] = "0123456789abcdef"
    config = load_config(DEPLOY / "sessiongate.yaml", environment)
    assert config.mode is Mode.ENFORCE
    assert config.admin_token is not None
    published = {port.split(":")[2] for port in services["gate"]["ports"]}
    assert published == {str(config.listen.port), str(config.admin_listen.port)}
    assert config.ledger.path is not None
    writable = {Path(volume.split(":")[1]) for volume in services["gate"]["volumes"] if volume.startswith("gate:")}
    assert config.ledger.path.parent in writable


def test_the_rules_we_ship_are_mounted_where_the_settings_look_for_them(services: dict[str, dict[str, Any]]) -> None:
    mounts = {volume.split(":")[1]: volume.split(":")[0] for volume in services["gate"]["volumes"]}
    settings = mounts["/etc/sessiongate/sessiongate.yaml"]
    patterns = yaml.safe_load((DEPLOY / settings).read_text())["rules"]
    assert patterns
    for pattern in patterns:
        folder, _, name = pattern.rpartition("/")
        assert list((DEPLOY / mounts[f"/etc/sessiongate/{folder}"]).glob(name)), pattern


def test_prometheus_scrapes_the_admin_listener_of_the_gate(services: dict[str, dict[str, Any]]) -> None:
    content = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text())
    (job,) = content["scrape_configs"]
    assert job["job_name"] == "sessiongate"
    targets = (
        job["static_configs"][0]["targets"] + content["alerting"]["alertmanagers"][0]["static_configs"][0]["targets"]
    )
    assert targets == ["gate:9090", "alertmanager:9093"]
    assert {target.split(":")[0] for target in targets} <= services.keys()


def test_alertmanager_sends_every_alert_to_a_receiver_that_exists() -> None:
    content = yaml.safe_load((DEPLOY / "alertmanager" / "alertmanager.yml").read_text())
    receivers = {receiver["name"] for receiver in content["receivers"]}
    routes = [content["route"], *content["route"]["routes"]]
    assert {route["receiver"] for route in routes} <= receivers


def test_every_file_the_image_copies_is_there_and_in_the_build_context(instructions: list[tuple[str, str]]) -> None:
    copied = [
        source
        for instruction, arguments in instructions
        if instruction == "COPY" and "--from" not in arguments
        for source in arguments.split()[:-1]
    ]
    ignore = (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines()
    assert copied
    for source in copied:
        assert (ROOT / source).exists(), source
        assert f"!{source}" in ignore


def test_the_image_installs_only_what_the_lock_holds_to_its_hash(instructions: list[tuple[str, str]]) -> None:
    installs = [
        command
        for instruction, arguments in instructions
        if instruction == "RUN"
        for command in arguments.split("&&")
        if "pip install" in command
    ]
    assert len(installs) == 2
    assert all("--require-hashes" in command or "--no-index" in command for command in installs)


def test_the_image_runs_as_nobody_in_particular_and_checks_itself(instructions: list[tuple[str, str]]) -> None:
    stages = [arguments for instruction, arguments in instructions if instruction == "FROM"]
    assert stages == ["python:3.11-slim AS build", "python:3.11-slim"]
    by_instruction = dict(instructions)
    assert int(by_instruction["USER"]) > 0
    assert "python" in by_instruction["HEALTHCHECK"]
    assert "/healthz" in by_instruction["HEALTHCHECK"]
    assert by_instruction["STOPSIGNAL"] == "SIGTERM"
    assert by_instruction["ENTRYPOINT"] == '["sessiongate"]'
