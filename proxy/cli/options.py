"""What several commands have in common: options, arguments in hex, the configuration, ways to fail."""

from __future__ import annotations

import os
import time
from collections.abc import Collection
from enum import IntEnum
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from proxy.config import Config, load_config
from proxy.config.overrides import CONFIG_VARIABLE
from proxy.document import Location
from proxy.errors import ConfigErrors, InvalidParams
from proxy.moments import read_ahead, read_moment
from proxy.userop.primitives import Address, Hash32, parse_address, parse_hash


class ExitCode(IntEnum):
    """What the command tells the shell."""

    OK = 0
    REFUSED = 1  # the operation is refused, the file is faulty, nothing was found
    UNUSABLE = 2  # the arguments or the circumstances do not allow an answer


ConfigOption = Annotated[
    Path,
    typer.Option(
        "--config", "-c", envvar=CONFIG_VARIABLE, show_default=True, help="The settings file.", dir_okay=False
    ),
]
FileArgument = Annotated[
    Path | None, typer.Argument(show_default=False, help="The settings file, in place of --config.")
]
DEFAULT_CONFIG = Path("sessiongate.yaml")
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON, for machines.")]


def read_address(text: str) -> Address:
    """An address given as an argument."""
    try:
        return parse_address(text, "it")
    except InvalidParams as error:
        raise typer.BadParameter(error.problem) from None


def read_hash(text: str) -> Hash32:
    """32 bytes given as an argument."""
    try:
        return parse_hash(text, "it")
    except InvalidParams as error:
        raise typer.BadParameter(error.problem) from None


def read_since(text: str) -> float:
    """A moment given as an argument: `2h` ago, a date, unix seconds."""
    try:
        return read_moment(text, time.time())
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


def read_until(text: str) -> float:
    """A moment to come given as an argument: `7d` from now, a date, unix seconds."""
    try:
        return read_ahead(text, time.time())
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


PermissionId = Annotated[Hash32, typer.Argument(parser=read_hash, metavar="PERMISSION_ID", show_default=False)]
AccountOption = Annotated[
    Address | None, typer.Option("--account", parser=read_address, metavar="ADDRESS", help="Of this account only.")
]
ChainOption = Annotated[str | None, typer.Option("--chain", metavar="NAME", help="On this configured chain only.")]


def fail(problem: str, code: ExitCode = ExitCode.UNUSABLE) -> NoReturn:
    """End the command with a sentence on stderr."""
    typer.echo(f"sessiongate: {problem}", err=True)
    raise typer.Exit(code)


def load(path: Path, *, secrets: bool = True, needed: Collection[Location] = ()) -> Config:
    """The configuration; a faulty one ends the command with all its faults on stderr.

    A command that asks nobody needs no `secrets`: that they are not set where it is typed does not stop it. Those that
    it does need are named by their locations.
    """
    try:
        return load_config(path, os.environ, secrets=secrets, needed=needed)
    except ConfigErrors as errors:
        end_with(errors)


def only_chain(config: Config, chain: str | None) -> str:
    """The chain that was named, or the only one there is; otherwise the command ends."""
    if chain is None and len(config.chains) == 1:
        return next(iter(config.chains))
    if chain is None or chain not in config.chains:
        fail(f"choose a chain with --chain: {', '.join(config.chains)}")
    return chain


def end_with(errors: ConfigErrors) -> NoReturn:
    """End the command with every fault on stderr."""
    for fault in errors.faults:
        typer.echo(str(fault), err=True)
    raise typer.Exit(ExitCode.UNUSABLE) from None


def ledger_path(config: Config) -> Path:
    """Where the gate keeps what it knows; a gate that keeps it in memory, or never ran, ends the command."""
    path = config.ledger.path
    if path is None:
        fail("this gate keeps everything in memory (ledger: memory); ask its admin listener instead")
    if not path.exists():
        fail(f"there is no ledger at {path} yet; has the gate been started?", ExitCode.REFUSED)
    return path


def chain_id_of(config: Config, name: str | None) -> int | None:
    """The id of a configured chain."""
    if name is None:
        return None
    if (chain := config.chains.get(name)) is None:
        fail(f"there is no chain {name!r}; configured are {', '.join(config.chains)}")
    return chain.chain_id
