"""`sessiongate alerts test` reaches every sink, or says which it did not reach."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from proxy.cli import application
from tests.edge.alerts.builders import RecordingSink, recording_sink

SETTINGS = """\
chains: {{soneium: {{chain_id: 1868, bundlers: [https://bundler.example]}}}}
alerts:
  instance: gate-1
  alertmanager: {url}
  webhooks:
    - {{name: soc, url: "{url}/hook?token=hush-token", secret: hush-hook-secret-of-ours, min_severity: critical}}
"""


async def run(path: Path, *arguments: str) -> Any:
    return await asyncio.to_thread(CliRunner().invoke, application, ["alerts", "test", "-c", str(path), *arguments])


async def send(folder: Path, sink: RecordingSink, *arguments: str) -> Any:
    path = folder / "sessiongate.yaml"
    path.write_text(SETTINGS.format(url=sink.url), encoding="utf-8")
    return await run(path, *arguments)


async def test_each_sink_gets_it_whatever_its_route_and_is_named(tmp_path: Path) -> None:
    async with recording_sink() as sink:
        done = await send(tmp_path, sink)
        again = await send(tmp_path, sink)
    assert (done.exit_code, done.output) == (0, "alertmanager: taken\nsoc: taken\n")
    assert again.exit_code == 0
    hooks = [each.body for each in sink.received if isinstance(each.body, dict)]
    assert [hook["labels"]["alertname"] for hook in hooks] == ["SessiongateTest"] * 2
    # each test is a new alert: one that were joined to the test before would show nothing
    assert len({hook["dedupeKey"] for hook in hooks}) == 2


async def test_a_sink_that_refuses_is_named_and_no_key_of_it_is_shown(tmp_path: Path) -> None:
    async with recording_sink(answers=[404, 404]) as sink:
        done = await send(tmp_path, sink, "--json")
    assert done.exit_code == 1
    told = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    assert [each["taken"] for each in told] == [False, False]
    assert "hush" not in done.output


@pytest.mark.parametrize(("name", "code"), [("soc", 0), ("sco", 2)])
async def test_one_sink_alone_can_be_named(tmp_path: Path, name: str, code: int) -> None:
    async with recording_sink() as sink:
        done = await send(tmp_path, sink, "--sink", name)
    assert done.exit_code == code
    assert len(sink.received) == (code == 0)
    assert code == 0 or 'did you mean "soc"' in done.output


async def test_without_a_sink_it_says_where_to_name_one(tmp_path: Path) -> None:
    path = tmp_path / "sessiongate.yaml"
    path.write_text(SETTINGS.partition("alerts:")[0].replace("{{", "{").replace("}}", "}"), encoding="utf-8")
    done = await run(path)
    assert done.exit_code == 1
    assert "under alerts:" in done.output
