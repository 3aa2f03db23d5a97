"""Decisions as rows of a table, for spreadsheets and for whoever reads CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Final

from proxy.edge.audit.row import AuditRow

CSV_COLUMNS: Final = (
    *("id", "decisionId", "time", "chain", "client", "method", "estimate", "mode", "verdict", "code", "reason"),
    *("sentence", "userOpHash", "account", "permissionId", "sessionMode", "calls", "rules", "forward"),
    *("upstreamResult", "upstreamCode", "upstreamMessage", "end", "success", "revertReason", "transaction", "block"),
    *("gasUsed", "cost", "seconds"),
)
"""The heading. Several values in one cell are parted by spaces."""

_FORMULA: Final = ("=", "+", "@", "\t", "\r")


def csv_cells(row: AuditRow) -> list[str]:
    """One decision in the order of `CSV_COLUMNS`."""
    printed = row.as_json()
    end = {} if row.end is None else dict(row.end.told)
    answer = row.upstream
    values = {
        **printed,
        **end,
        "time": datetime.fromtimestamp(row.unix_time, UTC).isoformat(),
        "sentence": row.reasons[0].sentence if row.reasons else None,
        "calls": " ".join(f"0x{call.target.hex()}:0x{call.selector.hex()}:{call.value}" for call in row.calls),
        "rules": " ".join(hit.rule for hit in row.rules),
        "upstreamResult": None if answer is None else answer.result,
        "upstreamCode": None if answer is None else answer.error_code,
        "upstreamMessage": None if answer is None else answer.error_message,
        "end": end.get("cause"),
    }
    return [_cell(values.get(name)) for name in CSV_COLUMNS]


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    text = str(value)
    # a spreadsheet would run what begins like a formula; no number of ours begins so
    return f"'{text}" if text.startswith(_FORMULA) or (text.startswith("-") and not _is_number(text)) else text


def _is_number(text: str) -> bool:
    return text[1:].isdigit() and text.isascii()


def print_csv(rows: Iterable[AuditRow]) -> str:
    """A heading and the rows."""
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(CSV_COLUMNS)
    writer.writerows(csv_cells(row) for row in rows)
    return out.getvalue()
