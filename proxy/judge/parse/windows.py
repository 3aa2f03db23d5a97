"""Times in rules: durations, windows, time zones and the hours of a schedule."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Final
from zoneinfo import ZoneInfo, available_timezones

from proxy.document import did_you_mean
from proxy.judge.parse.written import Written
from proxy.judge.rule import Calendar, Hours, OnCalendar, Schedule, Sliding, Window
from proxy.written import kind_of, shorten

DAY: Final = 86_400
LONGEST: Final = 90 * DAY
_SECONDS: Final = {"s": 1, "m": 60, "h": 3_600, "d": DAY}
_DURATION: Final = re.compile(r"([0-9]{1,9})(s|m|h|d)\Z", re.ASCII)
# "24 hours" is a span; its nearest name, hour, would be a window of the calendar
_IN_WORDS: Final = re.compile(r"([0-9]{1,9}) *(s|m|h|d)(?:ec|in|r|ay|econd|inute|our)?s?\Z", re.ASCII | re.IGNORECASE)
_CLOCK: Final = re.compile(r"([01][0-9]|2[0-3]):([0-5][0-9])\Z|24:00\Z", re.ASCII)
_DATE: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}\Z", re.ASCII)
_DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


def read_duration(written: Written) -> int | None:
    """Seconds from `90s`, `10m`, `24h` or `7d`, up to 90 days."""
    value = written.value
    match = _DURATION.match(value) if isinstance(value, str) else None
    if match is None:
        written.fault(f"{kind_of(value)} is no time span", "write 90s, 10m, 24h or 7d")
        return None
    seconds = int(match[1]) * _SECONDS[match[2]]
    if 1 <= seconds <= LONGEST:
        return seconds
    written.fault(f"{match[0]} is out of bounds", "a time span is from 1s to 90d")
    return None


def read_until(written: Written) -> float | None:
    """The end of something, exclusive, in unix seconds: `2026-12-31` is past with that day in UTC, a time with its
    offset with that moment."""
    if (text := written.text()) is None:
        return None
    try:
        if _DATE.match(text):
            return (datetime.fromisoformat(text).replace(tzinfo=UTC) + timedelta(days=1)).timestamp()
        moment = datetime.fromisoformat(text)
    except (ValueError, OverflowError):
        moment = None
    if moment is None or moment.tzinfo is None:
        written.fault(f"{shorten(text)} is no date", "write 2026-12-31, or 2026-12-31T18:00:00Z")
        return None
    return moment.timestamp()


def read_zone(written: Written | None) -> ZoneInfo | None:
    """A time zone of the IANA database; UTC where none is written."""
    if written is None:
        return ZoneInfo("UTC")
    if (name := written.text()) is None:
        return None
    known = _zones()
    if name in known:
        return ZoneInfo(name)
    written.fault(f"{shorten(name)} is no time zone", did_you_mean(name, known) or "write Europe/Berlin, or UTC")
    return None


@cache
def _zones() -> frozenset[str]:
    """The names of all zones, which takes a hundred milliseconds to find."""
    return frozenset(available_timezones())


def read_window(written: Written, zone: Written | None) -> Window | None:
    """A sliding window, or one of the calendar in a time zone."""
    value = written.value
    if isinstance(value, str) and value in {each.value for each in Calendar}:
        known = read_zone(zone)
        return None if known is None else OnCalendar(Calendar(value), known)
    if zone is not None:
        zone.fault_at_key("a sliding window has no zone", "leave it out, or write window: day")
    if isinstance(value, str) and not _DURATION.match(value):
        if (span := _IN_WORDS.match(value)) is not None:
            cure: str | None = f"write {span[1]}{span[2].lower()}"
        else:
            cure = did_you_mean(value, [each.value for each in Calendar])
        written.fault(f"{shorten(value)} is no window", cure or "write 24h, or hour, day, week or month")
        return None
    seconds = read_duration(written)
    return None if seconds is None else Sliding(seconds)


def read_schedule(written: Written) -> Schedule | None:
    """When a rule fires: outside of some hours, or inside."""
    fields = written.fields(("zone", "inside", "outside"), "schedule", ("zone",))
    if ("inside" in fields) == ("outside" in fields):
        written.fault("a schedule has either inside or outside", "write inside: [{days: mon-fri, …}]")
        return None
    hours = [_read_hours(each) for each in fields.get("inside", fields.get("outside", written)).each()]
    zone = read_zone(fields["zone"]) if "zone" in fields else None
    known = tuple(each for each in hours if each is not None)
    if not hours:
        written.fault("a schedule needs hours", "write inside: [{days: mon-fri, from: 08:00, to: 18:00}]")
        return None
    if zone is None or len(known) != len(hours):
        return None
    return Schedule(zone=zone, hours=known, within="outside" in fields)


def _read_hours(written: Written) -> Hours | None:
    fields = written.fields(("days", "from", "to"), "hours")
    days = _read_days(fields["days"]) if "days" in fields else frozenset(range(7))
    start = _read_clock(fields["from"]) if "from" in fields else 0
    end = _read_clock(fields["to"]) if "to" in fields else DAY // 60
    if days is None or start is None or end is None or not isinstance(written.value, dict):
        return None
    if start == end or start == DAY // 60:
        written.fault("these hours are empty", "let them begin before they end")
        return None
    return Hours(days=days, start=start, end=end)


def _read_clock(written: Written) -> int | None:
    value = written.value
    match = _CLOCK.match(value) if isinstance(value, str) else None
    if match is None:
        written.fault(f"{kind_of(value)} is no time of day", 'write "08:00"')
        return None
    return DAY // 60 if match[1] is None else int(match[1]) * 60 + int(match[2])


def _read_days(written: Written) -> frozenset[int] | None:
    days: set[int] = set()
    for each in written.each():
        value = each.value
        first, dash, last = value.partition("-") if isinstance(value, str) else ("", "", "")
        if first not in _DAYS or (dash and last not in _DAYS):
            each.fault(f"{kind_of(value)} is no day", "write mon, or mon-fri")
            return None
        start, end = _DAYS.index(first), _DAYS.index(last or first)
        days.update((start + step) % 7 for step in range((end - start) % 7 + 1))
    return frozenset(days)
