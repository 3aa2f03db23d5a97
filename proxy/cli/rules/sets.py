"""A set of rules from files, and the cases beside them, as the commands on rules read them."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import typer

from proxy.cli.options import ExitCode, fail, load
from proxy.config import Config, load_config
from proxy.edge.rule_files.files import MOST_BYTES, read_beside, read_rule_files
from proxy.edge.rule_files.reading import known_clients
from proxy.errors import ConfigErrors
from proxy.judge.parse import Parsed, RuleFault, SourceFile, parse_rules
from proxy.judge.rule import Ruleset
from proxy.judge.verdict import Mode
from proxy.rehearsal.case import Case, CaseFault
from proxy.rehearsal.cases import read_cases
from proxy.rehearsal.run_cases import faults_of

FilesArgument = Annotated[
    list[Path] | None,
    typer.Argument(metavar="[FILES]...", show_default=False, help="Rule files, in place of those of the settings."),
]


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleSet:
    """The rules, the files they come from, and the settings, where these named the files."""

    ruleset: Ruleset
    paths: tuple[Path, ...]
    settings: Config | None

    @property
    def ceiling(self) -> Mode:
        """The gate's own mode; without settings nothing is lowered."""
        return Mode.ENFORCE if self.settings is None else self.settings.mode


def load_rules(files: Sequence[Path], config: Path, *, as_json: bool = False) -> RuleSet:
    """The rules of `files`, or of the settings when none are given; faulty ones end the command, all told on stderr,
    or as JSON."""
    settings = None if files else load(config, secrets=False)
    base = Path() if settings is None else config.parent
    parsed, sources = parse_files([str(file) for file in files] if settings is None else settings.rules, base, config)
    _end_with(parsed.faults, as_json=as_json)
    if parsed.ruleset is None:
        fail("the rules cannot be read", ExitCode.REFUSED)
    return RuleSet(
        ruleset=parsed.ruleset, paths=tuple(_found(source.path, base) for source in sources), settings=settings
    )


def parse_files(patterns: Sequence[str], base: Path, config: Path) -> tuple[Parsed, Sequence[SourceFile]]:
    """The rules of files, and what was read. Chains and clients that they name are held against the settings, where
    there are any: a name that is misspelt makes a rule that never fires."""
    sources, tokens, unread = read_rule_files(patterns, base)
    names = _named_in(config)
    parsed = parse_rules(
        sources,
        tokens,
        chains=None if names is None else {name: chain.chain_id for name, chain in names.chains.items()},
        clients=None if names is None else known_clients(names),
        beside=read_beside,
    )
    if unread:
        parsed = replace(parsed, ruleset=None, faults=(*unread, *parsed.faults))
    return parsed, sources


def _named_in(config: Path) -> Config | None:
    """The settings that chains and clients are named in; `None` where there are none to be found."""
    if not config.exists():
        return None
    try:
        return load_config(config, os.environ, secrets=False)
    except ConfigErrors as errors:
        typer.echo(f"{errors.faults[0]} (warning: so chains and clients of rules are not checked)", err=True)
        return None


def load_cases(rules: RuleSet, *, as_json: bool = False) -> list[Case]:
    """The cases beside the files of rules; faulty ones end the command likewise."""
    cases: list[Case] = []
    faults: list[CaseFault] = []
    for path in dict.fromkeys(rules.paths):
        written = path.with_suffix(f".cases{path.suffix}")
        if not written.exists():
            continue
        file = read_cases(_text(written), str(written), rules.ruleset.tokens)
        cases += file.cases
        faults += file.faults
    _end_with([*faults, *faults_of(cases, rules.ruleset)], as_json=as_json)
    return cases


def _found(path: str, base: Path) -> Path:
    return Path(path) if Path(path).exists() else base / path


def _text(path: Path) -> str:
    if not path.is_file():  # a pipe would be waited for
        fail(f"{path} cannot be read: it is no file")
    try:
        data = path.read_bytes() if path.stat().st_size <= MOST_BYTES else b""
        text = data.decode("utf-8-sig")
    except (OSError, ValueError) as error:
        fail(f"{path} cannot be read: {error}")
    if not data:
        fail(f"{path} cannot be read: it is empty, or larger than {MOST_BYTES >> 20} MiB")
    return text


def _end_with(faults: Sequence[RuleFault | CaseFault], *, as_json: bool) -> None:
    if not faults:
        return
    for each in faults:
        typer.echo(str(each), err=True)
    if as_json:
        typer.echo(json.dumps({"ok": False, "faults": [_as_json(each) for each in faults]}, indent=2))
    raise typer.Exit(ExitCode.REFUSED)


def _as_json(fault: RuleFault | CaseFault) -> dict[str, object]:
    place = fault.place
    told: dict[str, object] = {"file": place.path, "line": place.line, "column": place.column}
    return told | {"problem": fault.problem, "suggestion": fault.suggestion}
