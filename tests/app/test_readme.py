"""The README leads with the smallest file that starts, and what else it shows is taken as it stands."""

from __future__ import annotations

import re
import shutil
from contextlib import AsyncExitStack
from pathlib import Path

import aiohttp
import pytest
from typer.testing import CliRunner

from proxy.app.running import start
from proxy.cli import application
from proxy.config import load_config

README = Path(__file__).parents[2] / "README.md"
BLOCK = re.compile(r"```yaml\n(.*?)```", re.DOTALL)
FREE_PORTS = {"SESSIONGATE_LISTEN": "127.0.0.1:0", "SESSIONGATE_ADMIN_LISTEN": "127.0.0.1:0"}


async def test_the_first_settings_in_the_readme_start_a_gate_as_they_are(tmp_path: Path) -> None:
    first = re.search(r"```yaml\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    assert first is not None
    path = tmp_path / "sessiongate.yaml"
    path.write_text(first[1], encoding="utf-8")
    async with AsyncExitStack() as stack:
        running = await start(load_config(path, FREE_PORTS), stack)
        http = await stack.enter_async_context(aiohttp.ClientSession())
        async with http.get(f"http://127.0.0.1:{running.admin_port}/healthz") as response:
            assert response.status == 200
    assert len([line for line in first[1].splitlines() if line.strip()]) <= 5


def settings_in_readme() -> list[str]:
    """The blocks that are settings files of their own."""
    return [block for block in BLOCK.findall(README.read_text(encoding="utf-8")) if "chains:" in block]


@pytest.mark.parametrize("number", range(len(settings_in_readme())))
def test_all_settings_in_the_readme_are_taken_as_they_are(number: int, tmp_path: Path) -> None:
    path = tmp_path / "sessiongate.yaml"
    path.write_text(settings_in_readme()[number], encoding="utf-8")
    assert CliRunner().invoke(application, ["check", str(path)]).exit_code == 0


def test_the_rule_in_the_readme_is_taken_beside_the_shipped_ones_and_its_commands_can_be_typed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = README.read_text(encoding="utf-8")
    (rule,) = (block for block in BLOCK.findall(text) if block.startswith("rules:"))
    rules = tmp_path / "rules"
    shutil.copytree(README.parent / "rules", rules)
    (rules / "mine.yaml").write_text(rule, encoding="utf-8")
    (tmp_path / "sessiongate.yaml").write_text(f"{settings_in_readme()[0]}rules: [rules/*.yaml]\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    checked = CliRunner().invoke(application, ["rules", "check", "--strict"])
    assert (checked.exit_code, checked.stderr) == (0, "")
    assert "rules/mine.yaml: 1 rule" in checked.stdout
    assert "usdc-per-day" in CliRunner().invoke(application, ["rules", "explain", "usdc-per-day"]).stdout
    assert "--rule usdc-per-day" in text, "the audit is asked for a rule that is not the one of the example"
