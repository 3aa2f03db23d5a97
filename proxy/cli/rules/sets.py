"""A set of rules from files, and the cases beside them, as the commands on rules read them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import typer

from proxy.cli.options import ExitCode, fail, load
from proxy.config import Config
from proxy.edge.rule_files import read_rule_files
from proxy.edge.rule_reading import known_clients
from proxy.judge.parse import parse_rules
from proxy.judge.rule import Ruleset
from proxy.judge.verdict import Mode
from proxy.rehearsal.case import Case, CaseFault
from proxy.rehearsal.cases import read_cases
from proxy.rehearsal.run_cases import faults_of

_LARGEST: int = 4 * 1024 * 1024


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


def load_rules(files: Sequence[Path], config: Path) -> RuleSet:
    """The rules of `files`, or of the settings when none are given; faulty ones end the command, all told on stderr."""
    settings = None if files else load(config)
    base = Path() if settings is None else config.parent
    patterns = [str(file) for file in files] if settings is None else settings.rules
    sources, tokens, unread = read_rule_files(patterns, base)
    parsed = parse_rules(
        sources,
        tokens,
        chains=None if settings is None else {name: chain.chain_id for name, chain in settings.chains.items()},
        clients=None if settings is None else known_clients(settings),
    )
    faults = [*unread, *parsed.faults]
    _end_with([str(each) for each in faults])
    if parsed.ruleset is None:
        fail("the rules cannot be read", ExitCode.REFUSED)
    return RuleSet(
        ruleset=parsed.ruleset, paths=tuple(_found(source.path, base) for source in sources), settings=settings
    )


def load_cases(rules: RuleSet) -> list[Case]:
    """The cases beside the files of rules; faulty ones end the command, all told on stderr."""
    cases: list[Case] = []
    faults: list[CaseFault] = []
    for path in dict.fromkeys(rules.paths):
        written = path.with_suffix(f".cases{path.suffix}")
        if not written.exists():
            continue
        file = read_cases(_text(written), str(written), rules.ruleset.tokens)
        cases += file.cases
        faults += file.faults
    _end_with([str(each) for each in [*faults, *faults_of(cases, rules.ruleset)]])
    return cases


def _found(path: str, base: Path) -> Path:
    return Path(path) if Path(path).exists() else base / path


def _text(path: Path) -> str:
    try:
        with path.open(encoding="utf-8") as file:
            return file.read(_LARGEST)
    except (OSError, ValueError) as error:
        fail(f"{path} cannot be read: {error}")


def _end_with(faults: Sequence[str]) -> None:
    if faults:
        for each in faults:
            typer.echo(each, err=True)
        raise typer.Exit(ExitCode.REFUSED)
