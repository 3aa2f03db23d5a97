"""The log: lines for people or for machines, and one canonical line an operation.

No line holds a URL, a key, a signature or call data: what is logged of an operation is what the audit keeps of it, and
less.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Final

import orjson

from proxy.config.service import LogFormat, LoggedOperations, LogSettings
from proxy.edge.alerts.sources import is_of_note
from proxy.edge.audit.sampling import RefusalRate, Sampler
from proxy.judge.decision import Decision
from proxy.judge.verdict import Allow, Reject
from proxy.methods import is_preview
from proxy.userop.primitives import print_bytes, print_checksummed

OPERATIONS: Final = logging.getLogger("proxy.operations")
_CONSOLE: Final = "%(asctime)s %(levelname)s %(name)s: %(message)s"
_NO_FIELDS: Final[Mapping[str, object]] = {}


class JsonLines(logging.Formatter):
    """One JSON object a line: time (RFC 3339, UTC), level, logger, message, and the fields of the record."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **getattr(record, "fields", _NO_FIELDS),
        }
        if record.exc_info:
            line["trace"] = self.formatException(record.exc_info)
        return orjson.dumps(line, default=str).decode()


class ConsoleLines(logging.Formatter):
    """Lines for people; fields as name=value behind the message."""

    def __init__(self) -> None:
        super().__init__(_CONSOLE)

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  # the library's name
        fields = getattr(record, "fields", _NO_FIELDS)
        told = "".join(f" {name}={value}" for name, value in fields.items())
        return f"{super().formatMessage(record)}{told}"


def set_up_log(settings: LogSettings) -> None:
    """Have this process log as the settings say, in place of any way before."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonLines() if settings.format is LogFormat.JSON else ConsoleLines())
    logging.basicConfig(level=settings.level.upper(), handlers=[handler], force=True)


class OperationLog:
    """Writes the canonical line of operations. Strangers decide how many are refused: past a rate of each client's they
    are counted, and the next line says how many had none. `stopwatch` gives monotonic seconds."""

    def __init__(self, which: LoggedOperations, stopwatch: Callable[[], float] = time.monotonic) -> None:
        self._which = which
        self.has_all = which is LoggedOperations.ALL
        """Whether those have lines that were just allowed."""
        self._stopwatch = stopwatch
        self._sampler = Sampler(RefusalRate())
        self._told = 0

    def decided(self, decision: Decision, seconds: float) -> None:
        """One operation was judged, in so many seconds."""
        if self._which is LoggedOperations.NONE or not OPERATIONS.isEnabledFor(logging.INFO):
            return
        if self._which is LoggedOperations.ALL or isinstance(decision.verdict, Reject) or is_of_note(decision):
            if not self._sampler.keeps(decision, self._stopwatch(), estimate=is_preview(decision.method)):
                return
            fields = fields_of(decision, seconds)
            if untold := self._sampler.left_out - self._told:
                self._told += untold
                fields = {**fields, "refusedWithoutLine": untold}
            OPERATIONS.info("operation", extra={"fields": fields})


def fields_of(decision: Decision, seconds: float) -> Mapping[str, object]:
    """What the line says; what is not known, or has no meaning, is left out."""
    verdict = decision.verdict
    fields: dict[str, object] = {
        "decision": decision.decision_id,
        "chain": decision.chain,
        "client": decision.client,
        "method": decision.method,
        "mode": decision.mode.value,
        "verdict": "reject" if isinstance(verdict, Reject) else "allow",
        "ms": round(seconds * 1000, 3),
    }
    if isinstance(verdict, Reject):
        reason = verdict.first
        fields |= {"code": reason.code.label, "reason": reason.sentence}
        if reason.signed is not None:
            fields["keySigned"] = reason.signed
    elif isinstance(verdict, Allow) and verdict.waived:
        fields["passedWithout"] = ",".join(each.value for each in verdict.waived)
    if decision.opened:
        fields["passedWithoutRules"] = ",".join(decision.opened)
    if decision.hits:
        fields["rules"] = ",".join(f"{hit.rule.id}:{hit.mode.value}" for hit in decision.hits)
    if decision.account is not None:
        fields["account"] = print_checksummed(decision.account)
    if decision.permission_id is not None:
        fields["session"] = print_bytes(decision.permission_id)
    if decision.user_op_hash is not None:
        fields["userOpHash"] = print_bytes(decision.user_op_hash)
    return fields
