"""`sessiongate audit verify`."""

from __future__ import annotations

import json
import re
import sqlite3
from pathlib import Path
from typing import Annotated

import typer

from proxy.cli.audit.trail import audit_trail
from proxy.cli.options import DEFAULT_CONFIG, ConfigOption, ExitCode, JsonOption, fail, load
from proxy.cli.render import console
from proxy.config import Config
from proxy.edge.audit.appending import Head
from proxy.edge.audit.chain import ChainKey, chain_key
from proxy.edge.audit.head_lines import read_heads
from proxy.edge.audit.remarks import HARMLESS, Audited, Remark
from proxy.edge.audit.verify import verify_trail

_HEAD = re.compile(r"([1-9]\d{0,17}):([0-9a-f]{64})\Z")
_KEY = ("audit", "key")
"""The one setting with a secret that is looked at."""


def read_head(text: str) -> Head:
    """A head given as an argument: `ID:HASH`."""
    if (match := _HEAD.match(text)) is None:
        raise typer.BadParameter("wanted ID:HASH, the hash in 64 hex digits")
    return Head(int(match[1]), bytes.fromhex(match[2]))


def verify(
    config: ConfigOption = DEFAULT_CONFIG,
    *,
    file: Annotated[
        Path | None, typer.Option("--file", metavar="FILE", help="This trail, not the one of the settings.")
    ] = None,
    heads: Annotated[
        Path | None,
        typer.Option("--heads", metavar="FILE", help="Heads told elsewhere; by default audit.heads.file."),
    ] = None,
    head: Annotated[
        list[Head] | None, typer.Option("--head", parser=read_head, metavar="ID:HASH", help="One such head.")
    ] = None,
    earlier_key: Annotated[
        list[Path] | None,
        typer.Option("--earlier-key", metavar="FILE", help="A file with a key that was in use before."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Say whether anybody changed the audit trail, and where.

    Every record is held against its hash. Edits, deletions, insertions, swaps and what was cut off at the end are told
    apart from what a gate does itself: pruning, gaps that it recorded, runs that were killed. That an older copy of
    the whole file was put back shows only against heads that were told elsewhere. Exit code 1 when something was
    changed.

    \b
    Examples:
      sessiongate audit verify
      sessiongate audit verify --heads /mnt/elsewhere/audit-heads.jsonl
      sessiongate audit verify --file copy-of-audit.db --json
    """
    settings = load(config, secrets=False, needed=(_KEY,))
    path = audit_trail(settings).path if file is None else file
    told = [*_heads(settings, heads), *(head or ())]
    try:
        found = verify_trail(path, _keys(settings, earlier_key or ()), told)
    except FileNotFoundError:
        fail(f"there is no audit trail at {path} yet; has the gate been started?", ExitCode.REFUSED)
    except sqlite3.Error as error:
        fail(f"the audit trail at {path} cannot be read: {error}")
    if as_json:
        typer.echo(json.dumps(_as_json(found, len(told)), indent=2))
    else:
        _print(found, len(told))
    raise typer.Exit(ExitCode.OK if found.intact else ExitCode.REFUSED)


def _keys(settings: Config, earlier: list[Path] | tuple[Path, ...]) -> list[ChainKey]:
    secrets = [] if settings.audit.key is None else [settings.audit.key.get_secret_value()]
    for path in earlier:
        try:
            secrets.append(path.read_text(encoding="utf-8").rstrip("\r\n"))
        except (OSError, ValueError):
            fail(f"the key in {path} cannot be read")
    return [chain_key(secret) for secret in secrets]


def _heads(settings: Config, given: Path | None) -> tuple[Head, ...]:
    path = settings.audit.heads.file if given is None else given
    if path is None or (given is None and not path.exists()):
        return ()
    try:
        return read_heads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        fail(f"the heads in {path} cannot be read: {error}")


def _as_json(found: Audited, heads: int) -> dict[str, object]:
    return {
        "intact": found.intact,
        "known": not found.unheld,
        "records": found.records,
        "first": found.first,
        "last": found.last,
        "keyed": found.keyed,
        "heads": heads,
        "remarks": [
            {"what": each.what.value, "first": each.first, "last": each.last, "sentence": each.sentence}
            for each in found.remarks
        ],
    }


def _print(found: Audited, heads: int) -> None:
    out = console()
    for remark in found.remarks:
        out.print(_line(remark), markup=False)
    verdict = "intact" if found.intact else "NOT KNOWN" if found.unheld else "CHANGED"
    out.print(f"{verdict}: {found.records} records, {found.first} to {found.last}", markup=False)
    if found.unheld:
        out.print("what was written with another key shows with --earlier-key FILE, a file that has it", markup=False)
    if not found.keyed:
        out.print("without a key: whoever can write the file can make every hash anew (audit.key)", markup=False)
    if not heads:
        out.print(
            "held against no head told elsewhere: an older copy put back would not show (audit.heads)", markup=False
        )


def _line(remark: Remark) -> str:
    place = f"record {remark.first}" if remark.first == remark.last else f"records {remark.first} to {remark.last}"
    note = " (no tampering)" if remark.what in HARMLESS else ""
    return f"{remark.what.value}{note}: {place}: {remark.sentence}"
