"""Records of the audit trail printed: for people, as JSON lines, as CSV."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final

import typer
from rich.text import Text

from proxy.cli.functions import function_name
from proxy.cli.render import console, in_words
from proxy.edge.audit.export import CSV_COLUMNS, csv_cells
from proxy.edge.audit.row import AuditCall, AuditEntry, AuditRow, Forward
from proxy.errors import Code
from proxy.userop.primitives import print_bytes, print_checksummed

_CODES: Final = frozenset(Code)


def print_json(record: AuditRow | AuditEntry) -> None:
    """One object a line."""
    typer.echo(json.dumps(record.as_json()))


class CsvPrinter:
    """Rows under one heading."""

    def __init__(self) -> None:
        self._writer = csv.writer(sys.stdout)
        self._writer.writerow(CSV_COLUMNS)

    def __call__(self, record: AuditRow) -> None:
        """One decision as a row."""
        self._writer.writerow(csv_cells(record))


def print_entry(entry: AuditEntry) -> None:
    """A record that is no decision, in words."""
    told = dict(entry.detail)
    head = Text.assemble((f"{_moment(entry.unix_time)}  ", "dim"), (entry.kind, "bold"))
    if (what := told.pop("what", None)) is not None:
        head.append(f"  {what} by {told.pop('who', 'somebody')}")
    console().print(head)
    known = {name: value for name, value in entry.as_json().items() if name not in {"id", "kind", "time", "detail"}}
    for name, value in {**known, **told}.items():
        if value not in (None, "", {}):
            shown = ", ".join(f"{key} {item}" for key, item in value.items()) if isinstance(value, Mapping) else value
            console().print(Text.assemble((f"    {in_words(name):<10} ", "cyan"), str(shown)))


def print_row(row: AuditRow) -> None:
    """A decision, its answer and its end, in words."""
    out = console()
    label = Code(row.code).label if row.code in _CODES else ""
    style = "red" if row.verdict == "reject" else "green"
    head = Text.assemble(
        (f"{_moment(row.unix_time)}  ", "dim"),
        (f"{row.verdict} {label}".rstrip(), style),
        f"  {row.chain}  {row.client}  {row.method}{'  (estimate)' if row.estimate else ''}",
        ("" if row.mode == "enforce" else f"  (mode {row.mode})", "yellow"),
    )
    out.print(head)
    out.print(Text.assemble(("    decision   ", "cyan"), row.decision_id))
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
        signed = "" if reason.signed is None else f"; its key {'signed' if reason.signed else 'did not sign'}"
        out.print(Text.assemble(("    reason     ", "cyan"), f"{reason.sentence}; {reason.remedy}{signed}"))
    for hit in row.rules:
        out.print(
            Text.assemble(("    rule       ", "cyan"), f"{hit.rule} ({hit.severity}, {hit.mode}): {hit.sentence}")
        )
    for note in row.notes:
        out.print(Text.assemble(("    note       ", "cyan"), note))
    for what, names in row.passed_without.items():
        out.print(Text.assemble(("    passed     ", "yellow"), f"without {in_words(what)} {', '.join(names)}"))
    if row.cut:
        out.print(
            Text.assemble(("    shortened  ", "cyan"), ", ".join(f"{key} {item}" for key, item in row.cut.items()))
        )
    out.print(Text.assemble(("    bundler    ", "cyan"), _answer_in_words(row)))
    if row.meaning is not None:
        out.print(Text.assemble(("    meaning    ", "cyan"), row.meaning))
    if row.end is not None:
        out.print(Text.assemble(("    end        ", "cyan"), _end_in_words(row.end.told)))
        if row.end.meaning is not None:
            out.print(Text.assemble(("    meaning    ", "cyan"), row.end.meaning))


def _call_in_words(call: AuditCall) -> str:
    function = "" if call.selector == b"\xff" * 4 else f" {function_name(call.selector) or print_bytes(call.selector)}"
    value = f" with {call.value} wei" if call.value else ""
    return f"{print_checksummed(call.target)}{function}{value}"


def _answer_in_words(row: AuditRow) -> str:
    match row.forward, row.upstream:
        case Forward.NONE, _:
            return "never asked"
        case Forward.ANSWERED, answer if answer is not None and answer.error_message is not None:
            data = "" if answer.error_data is None else f" ({answer.error_data})"
            return f"error {answer.error_code}: {answer.error_message}{data}"
        case Forward.ANSWERED, answer if answer is not None:
            return f"accepted{f', {answer.result}' if answer.result else ''}"
        case Forward.PENDING, _:
            return "asked, no answer yet"
        case _:
            return "may have been asked: the gate ended before the answer was recorded"


def _end_in_words(told: Mapping[str, object]) -> str:
    words = [str(told.get("cause", "")).replace("_", " ")]
    if told.get("success") is False:
        reason = told.get("revertReason")
        words.append(f"reverted: {reason}" if reason else "reverted")
    for name, unit in (("block", ""), ("transaction", ""), ("gasUsed", ""), ("cost", " wei"), ("seconds", " s")):
        if (value := told.get(name)) is not None:
            shown = f"{value:.1f}" if isinstance(value, float) else value
            words.append(f"{'after' if name == 'seconds' else in_words(name)} {shown}{unit}")
    return ", ".join(words)


def _moment(unix_time: float) -> str:
    return datetime.fromtimestamp(unix_time, UTC).strftime("%Y-%m-%d %H:%M:%S")
