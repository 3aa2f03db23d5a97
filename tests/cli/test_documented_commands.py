"""Every command that our pages tell somebody to type can be typed; those of the runbook are, against a running gate."""

from __future__ import annotations

import asyncio
import re
import shlex
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from typer.testing import CliRunner

from proxy.cli.application import application
from proxy.edge.storage.store import Store
from tests.admission.builders import TWICE, known
from tests.app.builders import GOOD, OUTSIDE, SESSION_ID
from tests.app.test_rule_desk import budget
from tests.running_gate import hash_of, running_gate
from tests.session.builders import ACCOUNT

ROOT = Path(__file__).parents[2]
PAGES = ("README.md", "SECURITY.md", "deploy/RUNBOOK.md", "rules/README.md", "dapps/README.md")
RUNBOOK = "deploy/RUNBOOK.md"
BLOCK = re.compile(r"^```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"`(sessiongate [^`]+)`")
COMMAND = typer.main.get_command(application)

STANDS_FOR = {
    "PERMISSION_ID": SESSION_ID,
    "ACCOUNT": "0x" + ACCOUNT.hex(),
    "HASH": hash_of(GOOD),
    "RULE": "few",
    "NAME": "alertmanager",
    "…": "why",
}
"""What a page leaves to whoever types."""

RULES = """
rules:
  - id: few
    description: A session sends nine an hour.
    mode: alert
    match: {session: true}
    limit: {count: ops, max: 9, per: session, window: 1h}
"""


def written(page: str) -> Iterator[str]:
    """The commands of a page, each of `a|b` by itself."""
    text = (ROOT / page).read_text(encoding="utf-8")
    lines = [line for block in BLOCK.findall(text) for line in block.splitlines() if line.startswith("sessiongate ")]
    for line in (*lines, *INLINE.findall(text)):
        command = re.split(r"\s+#\s|\s[>|]\s", line.replace("\\|", "|"))[0].strip().rstrip(".,;")
        words = shlex.split(command)[1:]
        several = next((place for place, word in enumerate(words) if re.fullmatch(r"[a-z|]+\|[a-z|]+", word)), None)
        if several is None:
            yield shlex.join(words)
        else:
            yield from (
                shlex.join([*words[:several], each, *words[several + 1 :]]) for each in words[several].split("|")
            )


def arguments(command: str) -> list[str]:
    return [_meant(word) for word in shlex.split(command)]


def _meant(word: str) -> str:
    if word.startswith("0x") and word.endswith("…"):
        return "0x" + "11" * 20 if word[2:6] in ("1111", "2222") else SESSION_ID
    return STANDS_FOR.get(word, word)


def examples(command: Any = COMMAND) -> Iterator[str]:
    """The examples in the help of every command."""
    for line in (command.help or "").splitlines():
        if line.strip().startswith("sessiongate "):
            typed = re.split(r"\s{3,}|\s[>|]\s", line.strip())[0]
            yield shlex.join(shlex.split(typed)[1:])
    for each in getattr(command, "commands", {}).values():
        yield from examples(each)


def everything() -> list[str]:
    told = [command for page in PAGES for command in written(page)]
    rules = yaml.safe_load((ROOT / "deploy" / "prometheus" / "alerts.yml").read_text())["groups"]
    for text in (rule["annotations"]["description"] for group in rules for rule in group["rules"] if "alert" in rule):
        filled_in = re.sub(r"\{\{ [^}]*\}\}", "RULE", text)
        told += [shlex.join(shlex.split(found)[1:]) for found in INLINE.findall(filled_in)]
    return list(dict.fromkeys((*told, *examples())))


def read(words: list[str]) -> None:
    """Have the command line read them, and do nothing. Raises what it would say."""
    context: Any = COMMAND.make_context("sessiongate", [], resilient_parsing=True)
    command: Any = COMMAND
    while hasattr(command, "resolve_command") and words:
        name, found, rest = command.resolve_command(context, words)
        if found is None:
            raise AssertionError(f"there is no command {name}")
        if rest and hasattr(found, "commands") and rest[0] in found.commands:
            context = found.make_context(name, [], parent=context, resilient_parsing=True)
        elif rest and hasattr(found, "commands") and not rest[0].startswith("-"):
            raise AssertionError(f"there is no command {name} {rest[0]}")
        else:
            needs = [each for each in found.params if each.required]
            # a table of commands names them without what they want
            found.make_context(name, rest, parent=context, resilient_parsing=bool(needs) and not rest)
            return
        command, words = found, rest


@pytest.mark.parametrize("command", everything())
def test_a_command_that_a_page_tells_is_one_that_there_is(command: str) -> None:
    read(arguments(command))


def test_the_pages_tell_a_good_many() -> None:
    assert len(everything()) > 40
    assert len(list(examples())) > 40
    assert len(set(written(RUNBOOK))) >= 10


def test_a_command_that_there_is_not_would_be_noticed() -> None:
    for wrong in ("audit --sinse 1h", "ledger sow", "freze 0x", "rules budget --never"):
        with pytest.raises((AssertionError, Exception), match=r"[Nn]o such|there is no command"):
            read(shlex.split(wrong))


async def test_the_commands_of_the_runbook_do_what_it_says_on_a_running_gate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rules = tmp_path / "rules.yaml"
    rules.write_text(RULES)
    with closing(Store(tmp_path / "gate.db")) as store:
        await store.save_session(known(TWICE))
    async with running_gate(ledger=tmp_path / "gate.db", rules=[str(rules)]) as gate:
        await gate.send(GOOD)
        await gate.send(OUTSIDE)
        gate.bundler.mine(GOOD)
        counted = await budget(gate, "1")
        await gate.until(lambda: gate.running.audit.queued == 0, "the decisions are on file")
        (tmp_path / "sessiongate.yaml").write_text(
            f"admin_listen: 127.0.0.1:{gate.running.admin_port}\n"
            f"ledger: sqlite:///{tmp_path}/gate.db\nrules: [{rules}]\n"
            f"chains: {{soneium: {{chain_id: 1868, bundlers: [{gate.bundler.url}]}}}}\n"
        )
        monkeypatch.chdir(tmp_path)
        for command in dict.fromkeys(written(RUNBOOK)):
            words = [counted["key"] if word == "KEY" else word for word in arguments(command)]
            result = await asyncio.to_thread(CliRunner().invoke, application, words)
            # this gate names no sink, the review of this session has something to say, and no removed one was used
            may_fail = words[:2] == ["alerts", "test"] or words[0] == "lint" or words[-1] == "session_revoked"
            assert result.exit_code == 0 or (may_fail and result.exit_code == 1), (command, result.output)
