"""Moments as people write them: 2h ago, a date, a date and a time, yesterday, unix seconds."""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime
from typing import Final

_AGO: Final = re.compile(
    r"(?:\d{1,9} ?(?:s|sec|seconds?|m|mins?|minutes?|h|hours?|d|days?|w|weeks?) ?)+(?:ago)?\Z", re.ASCII
)
_SPAN: Final = re.compile(r"(\d+) ?([smhdw])")
_SECONDS: Final = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}
_DAY: Final = 86_400
_NUMBER: Final = re.compile(r"\d{1,15}(\.\d{1,9})?\Z", re.ASCII)
_BARE_DATE: Final = re.compile(r"(?:19|20)\d{6}\Z", re.ASCII)
_YEAR: Final = re.compile(r"(?:19|20)\d{2}\Z", re.ASCII)
_TIME: Final = re.compile(r"(\d{1,2}):(\d{2})(?::(\d{2}))?\Z", re.ASCII)
_ZULU: Final = re.compile(r" ?(?:UTC|GMT)\Z", re.IGNORECASE)
_SLASHED: Final = re.compile(r"(\d{4})/(\d{2})/(\d{2})", re.ASCII)
_FORMS: Final = tuple(
    day + time
    for day in ("%d %b %Y", "%d %B %Y", "%b %d %Y", "%B %d %Y", "%d.%m.%Y", "%a %b %d %Y", "%a, %d %b %Y")
    for time in ("", " %H:%M", " %H:%M:%S")
)
_MILLISECONDS_FROM: Final = 10**11  # as seconds this is the year 5138

HOW: Final = (
    "write 15m, 2h, 7d or 1h30m for so long ago, today or yesterday, a date (2026-11-27, UTC), 2026-11-27T14:00Z,"
    " 14:00 of today, or unix seconds"
)


HOW_AHEAD: Final = (
    "write 12h, 7d or 1d12h from now, tomorrow or a date (2026-12-31), which are meant to their end in UTC,"
    " 2026-12-31T18:00+01:00, or unix seconds"
)


def read_ahead(text: str, now: float) -> float:
    """The same of a moment to come, where something ends: a span is from now on, and a day ends when it is over, as
    that of a rule's exception does."""
    written = " ".join(text.split()).lower()
    try:
        if _AGO.match(written) is not None and not written.endswith("ago"):
            return _unix_seconds(now + (now - read_moment(written, now)))
        if written == "tomorrow":
            return now // _DAY * _DAY + 2 * _DAY
        moment = read_moment(text, now)
        is_time = ":" in written or written == "now" or _AGO.match(written) is not None
        if is_time or (_NUMBER.match(written) is not None and _BARE_DATE.match(written) is None):
            return moment
        return moment + _DAY if moment % _DAY == 0 else moment
    except ValueError:
        raise ValueError(HOW_AHEAD) from None


def read_moment(text: str, now: float) -> float:
    """The moment in unix seconds; a time without an offset is UTC. Raises `ValueError` that says how to write it."""
    text = " ".join(text.split())
    if _AGO.match(text.lower()) is not None:
        return now - sum(int(number) * _SECONDS[unit] for number, unit in _SPAN.findall(text.lower()))
    midnight = now // _DAY * _DAY
    if text.lower() in ("now", "today", "yesterday"):
        return {"now": now, "today": midnight, "yesterday": midnight - _DAY}[text.lower()]
    if (match := _TIME.match(text)) is not None:
        hour, minute, second = (int(each or 0) for each in match.groups())
        if hour > 23 or minute > 59 or second > 59:
            raise ValueError(HOW)
        return midnight + hour * 3_600 + minute * 60 + second
    if _YEAR.match(text) is not None:
        raise ValueError(f"that is a year; write {text}-01-01")
    if _NUMBER.match(text) is not None and _BARE_DATE.match(text) is None:
        return _unix_seconds(float(text))
    return _date(text)


def _unix_seconds(seconds: float) -> float:
    if seconds >= _MILLISECONDS_FROM:
        raise ValueError(f"that looks like milliseconds; write seconds: {int(seconds) // 1000}")
    return seconds


def _date(text: str) -> float:
    zone = _ZULU.search(text)
    bare = _SLASHED.sub(r"\1-\2-\3", text if zone is None else text[: zone.start()])
    if (written := _written_out(bare)) is not None:
        return written.timestamp()
    try:
        moment = datetime.fromisoformat(bare)
        if zone is not None and moment.tzinfo is not None:
            raise ValueError(HOW)
        seconds = (moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        raise ValueError(HOW) from None
    if not math.isfinite(seconds) or seconds < 0:
        raise ValueError(HOW)
    return seconds


def _written_out(text: str) -> datetime | None:
    """A date with the month's name, or with its day first and full stops between."""
    for form in _FORMS:
        try:
            return datetime.strptime(text.replace(", ", " ") if "," not in form else text, form).replace(tzinfo=UTC)
        except ValueError:
            continue
    return None
