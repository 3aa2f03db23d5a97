"""One page of the audit trail, bounded in bytes: as JSON, JSON lines or CSV.

    python -m proxy.edge.admin.audit_page

reads one for the gate that started it: see `proxy.edge.admin.audit_reading`.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from proxy.edge.admin.query import AuditFormat, AuditShow, Query, audit_filter, audit_listing
from proxy.edge.audit.export import print_csv
from proxy.edge.audit.reading import AuditFilter, Trail, read_entries, read_newest
from proxy.edge.audit.row import AuditEntry, AuditRow
from proxy.edge.audit.schema import RecordKind
from proxy.errors import InvalidParams

_MOST_BYTES: Final = 4_194_304
"""Of one answer; older records are left to the next page."""

_LESS_URGENT: Final = 10
"""Than the gate, on a machine with one core."""

_TYPES: Final[Mapping[AuditFormat, str]] = {
    AuditFormat.JSON: "application/json",
    AuditFormat.JSONL: "application/x-ndjson",
    AuditFormat.CSV: "text/csv",
}


@dataclass(frozen=True, slots=True)
class Page:
    """A printed page. The header `sessiongate-before`, there when older records match, is `before=` of the next one."""

    body: bytes
    content_type: str
    headers: Mapping[str, str]


def wanted_page(parameters: Mapping[str, str], now: float) -> tuple[AuditFilter, AuditShow, AuditFormat]:
    """What the parameters of `GET /audit` ask for. Raises `InvalidParams`."""
    query = Query(parameters, now=now)
    show, form = audit_listing(query)
    wanted = audit_filter(query)
    if show is not AuditShow.DECISIONS and form is AuditFormat.CSV:
        raise InvalidParams("format", "CSV is for decisions; wanted json or jsonl")
    return wanted, show, form


def read_page(trail: Trail, wanted: AuditFilter, show: AuditShow, form: AuditFormat) -> Page:
    """The newest records that match, oldest first, no more than fit. Raises `FileNotFoundError`."""
    limit = wanted.limit
    more = False
    rows: list[AuditRow | AuditEntry] = []
    lines: list[str] = []
    size = 0
    for row in _newest(trail, replace(wanted, limit=None if limit is None else limit + 1), show):
        line = json.dumps(row.as_json())
        size += len(line)
        if (limit is not None and len(rows) >= limit) or (rows and size > _MOST_BYTES):
            more = True
            break
        rows.append(row)
        lines.append(line)
    oldest = rows[-1].row_id if rows and more else None
    lines.reverse()
    if form is AuditFormat.CSV:
        text = print_csv(row for row in reversed(rows) if isinstance(row, AuditRow))
    elif form is AuditFormat.JSONL:
        text = "".join(f"{line}\n" for line in lines)
    else:
        text = f'{{"audit": [{", ".join(lines)}], "before": {json.dumps(oldest)}}}\n'
    headers = {} if oldest is None else {"sessiongate-before": str(oldest)}
    return Page(text.encode(), _TYPES[form], headers)


def _newest(trail: Trail, wanted: AuditFilter, show: AuditShow) -> Iterator[AuditRow | AuditEntry]:
    match show:
        case AuditShow.DECISIONS:
            yield from read_newest(trail, wanted)
        case AuditShow.DEEDS:
            yield from reversed(list(read_entries(trail, wanted, kinds=(RecordKind.DEED,))))
        case AuditShow.ENTRIES:
            yield from reversed(list(read_entries(trail, wanted)))


def main() -> None:
    """Read what is asked for on standard input; type and headers in a line, then the page."""
    os.nice(_LESS_URGENT)
    asked = json.load(sys.stdin)
    earlier = asked["earlier"]
    trail = Trail(Path(asked["path"]), None if earlier is None else Path(earlier))
    page = read_page(trail, *wanted_page(asked["parameters"], asked["now"]))
    sys.stdout.buffer.write(json.dumps([page.content_type, dict(page.headers)]).encode() + b"\n" + page.body)


if __name__ == "__main__":
    main()
