"""Operations of the past, from the audit trail or from recorded traffic, for rules to be held against."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from proxy.bundler_answers import Meaning, meaning_of_error
from proxy.cli.options import fail
from proxy.edge.audit.reading import AuditFilter, Trail, read_audit
from proxy.edge.audit.row import AuditRow, Forward
from proxy.errors import Code, InvalidParams, StateUnavailable, Undecodable
from proxy.judge.facts import ALLOWED, Facts
from proxy.judge.facts_json import facts_from_json
from proxy.judge.reading import Arrival, Background, facts_of
from proxy.judge.upstream_answer import UpstreamAnswer
from proxy.methods import MethodClass, classify
from proxy.rehearsal.backtest import Recorded
from proxy.rehearsal.case import Ending
from proxy.userop.declared_module import SessionModules
from proxy.userop.decode import decode_operation
from proxy.userop.entry_point import ENTRY_POINT_BY_ADDRESS
from proxy.userop.primitives import parse_address
from proxy.userop.user_operation import parse_user_operation


@dataclass(slots=True)
class Past:
    """What is read on the way: `unread` counts what could not be judged again, `untimed` the operations whose time
    nobody recorded."""

    unread: int = 0
    untimed: int = 0

    def audit(self, trail: Trail, since: float | None, until: float | None) -> Iterator[Recorded]:
        """The decisions of the audit trail, oldest first; those without facts are counted and left out."""
        try:
            for row in read_audit(trail, AuditFilter(since=since, until=until)):
                if (recorded := recorded_in(row)) is None:
                    self.unread += 1
                else:
                    yield recorded
        except sqlite3.Error as error:
            fail(f"the audit trail at {trail.path} cannot be read: {error}")

    def traffic(
        self, lines: list[str], chain: str, chain_id: int, modules: SessionModules, end: float
    ) -> Iterator[Recorded]:
        """Recorded requests: `{"request": …, "response": …, "time": …}` a line.

        The time may be called `timestamp`, `ts` or `at` as well, and be unix seconds, milliseconds, or a date and time
        with its offset. Without one, a second passes from each line to the next, the last of them at `end`.
        """
        now = end - len(lines)
        for line in lines:
            try:
                record = json.loads(line)
            except (ValueError, RecursionError):
                self.unread += 1
                continue
            if not isinstance(record, dict) or not isinstance(request := record.get("request"), dict):
                self.unread += 1
                continue
            recorded = _time_of(record)
            now = now + 1.0 if recorded is None else recorded
            found = self._request(request, chain, chain_id, modules, now)
            if found is not None:
                self.untimed += recorded is None
                response = record.get("response")
                answered = isinstance(response, dict) and "error" in response
                yield Recorded(facts=found, ending=Ending.REFUSED if answered else Ending.SUCCEEDS)

    def _request(
        self, request: Mapping[str, object], chain: str, chain_id: int, modules: SessionModules, now: float
    ) -> Facts | None:
        method, params = request.get("method"), request.get("params")
        kind = classify(method) if isinstance(method, str) else MethodClass.PASS
        if not isinstance(method, str) or kind not in (MethodClass.SUBMIT, MethodClass.PREVIEW):
            return None
        preview = kind is MethodClass.PREVIEW
        try:
            if not isinstance(params, list) or len(params) < 2:
                raise InvalidParams("params", "wanted an operation and an entry point")
            entry_point = ENTRY_POINT_BY_ADDRESS.get(parse_address(params[1], "params[1]"))
            if entry_point is None:
                raise InvalidParams("params[1]", "not an entry point this gate knows")
            op = parse_user_operation(params[0], entry_point.version, estimate=preview)
        except InvalidParams:
            self.unread += 1
            return None
        try:
            operation = decode_operation(op, entry_point, chain_id, modules)
        except Undecodable:
            operation = None
        return facts_of(
            op,
            entry_point,
            chain_id,
            operation,
            request=Arrival(chain=chain, client="recorded", method=method, preview=preview),
            standing=Background(verdict=Code.UNDECODABLE.label if operation is None else ALLOWED, lanes=1),
            now=now,
        )


def recorded_in(row: AuditRow) -> Recorded | None:
    """The operation of a decision; `None` where its facts were not kept, or not whole."""
    facts = _facts_in(row)
    return None if facts is None else Recorded(facts=facts, ending=_ending_of(row))


def _time_of(record: Mapping[str, object]) -> float | None:
    """When a request was recorded, in unix seconds."""
    written = next((record[name] for name in _TIMES if name in record), None)
    if isinstance(written, bool) or not isinstance(written, int | float | str):
        return None
    if isinstance(written, str):
        try:
            moment = datetime.fromisoformat(written)
        except ValueError:
            return None
        return None if moment.tzinfo is None else moment.timestamp()
    seconds = written / 1_000 if written > _MILLISECONDS_FROM else float(written)
    return seconds if 0 <= seconds < 2**33 else None


_TIMES: Final = ("time", "timestamp", "ts", "at")
_MILLISECONDS_FROM: Final = 10**11  # as seconds, far beyond the year 5000


def _facts_in(row: AuditRow) -> Facts | None:
    try:
        return None if row.facts is None or row.cut else facts_from_json(json.loads(row.facts))
    except (StateUnavailable, ValueError):
        return None


_ENDINGS: Final = {
    Meaning.REFUSED: Ending.REFUSED,
    Meaning.ACCEPTED: Ending.SUCCEEDS,
    Meaning.UNKNOWN: Ending.IN_FLIGHT,
}


def _ending_of(row: AuditRow) -> Ending:
    """What became of an operation, where its end is known; else what is taken to have become of it by the answer."""
    if row.end is not None:
        return ending_by_end(row.end.told)
    match row.forward:
        case Forward.ANSWERED if row.upstream is not None:
            return ending_by_answer(row.upstream)
        case Forward.PENDING | Forward.UNKNOWN:
            return Ending.IN_FLIGHT
        case _:
            return Ending.SUCCEEDS


def ending_by_end(told: Mapping[str, object]) -> Ending:
    """What became of an operation, by the record of its end."""
    if told.get("cause") == "mined":
        return Ending.REVERTS if told.get("success") is False else Ending.SUCCEEDS
    return Ending.DROPPED


def ending_by_answer(answer: UpstreamAnswer) -> Ending:
    """What is taken to have become of it, by what the bundler answered."""
    if answer.error_code is None:
        return Ending.SUCCEEDS
    # under which HTTP status it came is not on record
    return _ENDINGS[meaning_of_error(answer.error_code, answer.error_message, 200)]


def read_lines(path: Path) -> list[str]:
    """The lines of recorded traffic."""
    try:
        return [line for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, ValueError) as error:
        fail(f"{path} cannot be read: {error}")


@contextmanager
def progress(what: str, total: int | None) -> Iterator[Progress]:
    """A bar on stderr, so that stdout holds the answer alone; it goes when all is done. A file or a pipe gets none."""
    drawn = Console(stderr=True)
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed}"),
        TimeElapsedColumn(),
        console=drawn,
        transient=True,
        disable=not drawn.is_terminal,
    )
    with bar:
        bar.add_task(what, total=total)
        yield bar
