"""`sessiongate audit`."""

from __future__ import annotations

import json
import re
import sqlite3
import time
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated

import typer
from pydantic_core import PydanticCustomError
from rich.text import Text

from proxy.cli.functions import function_name
from proxy.cli.options import (
    DEFAULT_CONFIG,
    AccountOption,
    ConfigOption,
    ExitCode,
    JsonOption,
    audit_trail,
    fail,
    load,
    read_hash,
)
from proxy.cli.render import console
from proxy.config.fields import read_time
from proxy.edge.audit.reading import AuditFilter, follow_audit, read_audit
from proxy.edge.audit.row import AuditCall, AuditRow, Forward
from proxy.errors import Code
from proxy.userop.primitives import Hash32, print_bytes, print_checksummed

_AGO = re.compile(r"(\d{1,9})([smhd])\Z")
_SECONDS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
_CODES = frozenset(Code)


class VerdictName(StrEnum):
    """What a decision said."""

    ALLOW = "allow"
    REJECT = "reject"


def read_since(text: str) -> float:
    """`15m`, `2h`, `7d` ago, a date with its offset, or unix seconds."""
    if (match := _AGO.match(text)) is not None:
        return time.time() - int(match[1]) * _SECONDS[match[2]]
    try:
        return read_time(text)
    except PydanticCustomError as error:
        context = error.context or {}
        raise typer.BadParameter(f"{context.get('problem')}; {context.get('suggestion')}; or 15m, 2h, 7d") from None


def audit(
    config: ConfigOption = DEFAULT_CONFIG,
    *,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Stay, and print each new decision.")] = False,
    permission_id: Annotated[
        Hash32 | None, typer.Option("--permission-id", parser=read_hash, metavar="ID", help="Of this session.")
    ] = None,
    user_op_hash: Annotated[
        Hash32 | None, typer.Option("--user-op-hash", parser=read_hash, metavar="HASH", help="Of this operation.")
    ] = None,
    account: AccountOption = None,
    verdict: Annotated[VerdictName | None, typer.Option("--verdict", help="What was said.")] = None,
    since: Annotated[
        float | None,
        typer.Option("--since", parser=read_since, metavar="TIME", help="15m, 2h, 7d, a date, or unix seconds."),
    ] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="At most the newest that many.")] = 50,
    as_json: JsonOption = False,
) -> None:
    """List or follow what this gate decided.

    Oldest first: who asked, what for, what was said, which rules fired and what the bundler answered. Every
    record names both userOpHash and permission id, so that either leads to the other. With --json one object
    a line. Exit code 1 when nothing matches.

    \b
    Examples:
      sessiongate audit --since 1h --verdict reject
      sessiongate audit --permission-id 0xb0e670… --limit 10
      sessiongate audit --user-op-hash 0x50d6d8…
      sessiongate audit --follow --json | jq .reasons
    """
    trail = audit_trail(load(config))
    wanted = AuditFilter(
        since=since,
        account=account,
        permission_id=permission_id,
        user_op_hash=user_op_hash,
        verdict=None if verdict is None else verdict.value,
        limit=limit,
    )
    print_row = _print_json if as_json else _print_row
    count = 0
    try:
        for row in follow_audit(trail, wanted) if follow else read_audit(trail, wanted):
            count += 1
            print_row(row)
    except KeyboardInterrupt:
        return
    except sqlite3.Error as error:
        fail(f"the audit trail at {trail.path} cannot be read: {error}")
    if not count:
        typer.echo("no decision matches", err=True)
        raise typer.Exit(ExitCode.REFUSED)


def _print_json(row: AuditRow) -> None:
    typer.echo(json.dumps(row.as_json()))


def _print_row(row: AuditRow) -> None:
    out = console()
    moment = datetime.fromtimestamp(row.unix_time, UTC).strftime("%Y-%m-%d %H:%M:%S")
    label = Code(row.code).label if row.code in _CODES else ""
    style = "red" if row.verdict == VerdictName.REJECT else "green"
    head = Text.assemble(
        (f"{moment}  ", "dim"),
        (f"{row.verdict} {label}".rstrip(), style),
        f"  {row.chain}  {row.client}  {row.method}",
        ("" if row.mode == "enforce" else f"  (mode {row.mode})", "yellow"),
    )
    out.print(head)
    for name, value in (
        ("userOpHash", row.user_op_hash),
        ("permission", row.permission_id),
        ("account", row.account),
    ):
        if value is not None:
            mode = f"  {row.session_mode}" if name == "permission" and row.session_mode else ""
            shown = print_checksummed(value) if len(value) == 20 else print_bytes(value)
            out.print(Text.assemble((f"    {name:<11}", "cyan"), shown, mode))
    for index, call in enumerate(row.calls):
        out.print(Text.assemble((f"    {f'call {index}':<11}", "cyan"), _call_in_words(call)))
    for reason in row.reasons:
        out.print(Text.assemble(("    reason     ", "cyan"), f"{reason.sentence}; {reason.remedy}"))
    for hit in row.rules:
        out.print(
            Text.assemble(("    rule       ", "cyan"), f"{hit.rule} ({hit.severity}, {hit.mode}): {hit.sentence}")
        )
    for note in row.notes:
        out.print(Text.assemble(("    note       ", "cyan"), note))
    out.print(Text.assemble(("    bundler    ", "cyan"), _answer_in_words(row)))


def _call_in_words(call: AuditCall) -> str:
    function = "" if call.selector == b"\xff" * 4 else f" {function_name(call.selector) or print_bytes(call.selector)}"
    value = f" with {call.value} wei" if call.value else ""
    return f"{print_checksummed(call.target)}{function}{value}"


def _answer_in_words(row: AuditRow) -> str:
    match row.forward, row.upstream:
        case Forward.NONE, _:
            return "never asked"
        case Forward.ANSWERED, answer if answer is not None and answer.error_message is not None:
            return f"error {answer.error_code}: {answer.error_message}"
        case Forward.ANSWERED, answer if answer is not None:
            return f"accepted{f', {answer.result}' if answer.result else ''}"
        case Forward.PENDING, _:
            return "asked, no answer yet"
        case _:
            return "may have been asked: the gate ended before the answer was recorded"
