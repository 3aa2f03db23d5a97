"""Moments are read as people write them, and nothing is taken for a moment that is none."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.moments import HOW_AHEAD, read_ahead, read_moment

NOW = 1_700_000_000.0


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        *(("90s", NOW - 90), ("15m", NOW - 900), ("2h", NOW - 7_200), ("7d", NOW - 604_800), ("2w", NOW - 1_209_600)),
        *(("now", NOW), ("1700000000", NOW), ("1699999999.5", NOW - 0.5)),
        *(("2023-11-14", 1_699_920_000), ("2023-11-14 22:13:20", NOW), ("2023-11-14T22:13", NOW - 20)),
        *(("2023-11-14T22:13:20Z", NOW), ("2023-11-14T23:13:20+01:00", NOW)),
        *(("1h30m", NOW - 5_400), ("1h 30m", NOW - 5_400), ("2 hours ago", NOW - 7_200), ("90 min", NOW - 5_400)),
        *(("3 days ago", NOW - 259_200), ("5 h", NOW - 18_000), ("1 week", NOW - 604_800), ("10 seconds", NOW - 10)),
        *(("today", 1_699_920_000), ("Yesterday", 1_699_833_600), ("22:13", NOW - 20), ("22:13:20", NOW)),
        *(("20231114", 1_699_920_000), ("2023/11/14", 1_699_920_000), ("2023/11/14 22:13", NOW - 20)),
        *(("14 Nov 2023", 1_699_920_000), ("Nov 14, 2023", 1_699_920_000), ("14 November 2023 22:13", NOW - 20)),
        *(("14.11.2023", 1_699_920_000), ("2023-11-14 22:13:20 UTC", NOW), ("2023-11-14T22:13:20.000Z", NOW)),
        *(("Tue, 14 Nov 2023 22:13:20 GMT", NOW), ("Tue Nov 14 2023 22:13:20", NOW)),
    ],
)
def test_a_moment_is_read_as_people_write_it(text: str, moment: float) -> None:
    assert read_moment(text, NOW) == moment


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            "2026-13-40",
            "-5",
            "1e9",
            "nan",
            "inf",
            "0x10",
            "\u0661",
            "1969-12-31",
            "h",
            "9" * 13,
            "ago",
            "tomorrow",
        ),
        *("11/27/2026", "27/11/2026", "25:00", "2026", "20269999", "2026-11-27T10:00+01:00 UTC", "1h ago 5"),
    ],
)
def test_what_is_no_moment_says_how_to_write_one(text: str) -> None:
    with pytest.raises(ValueError, match="write"):
        read_moment(text, NOW)


def test_milliseconds_are_told() -> None:
    with pytest.raises(ValueError, match="write seconds: 1700000000"):
        read_moment("1700000000000", NOW)


@given(st.text())
def test_any_text_is_a_moment_or_a_sentence(text: str) -> None:
    try:
        moment = read_moment(text, NOW)
    except ValueError as error:
        told = str(error)
    else:
        told = "write"
        assert moment >= NOW - 604_800 * 1e9
    assert "write" in told


ZONES = st.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))


@given(st.datetimes(datetime(1971, 1, 1), datetime(2999, 1, 1), timezones=ZONES))  # noqa: DTZ001  # bounds have no zone
def test_every_iso_date_with_an_offset_is_read_exactly(moment: datetime) -> None:
    assert read_moment(moment.isoformat(), NOW) == moment.timestamp()
    bare = moment.astimezone(UTC).replace(tzinfo=None)
    assert read_moment(bare.isoformat(" "), NOW) == moment.timestamp()


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        *(("7d", NOW + 604_800), ("1h30m", NOW + 5_400), ("2 hours", NOW + 7_200), ("Tomorrow", 1_700_092_800)),
        *(("2023-12-31", 1_704_067_200), ("31 Dec 2023", 1_704_067_200), ("today", 1_700_006_400), ("now", NOW)),
        *(("20231231", 1_704_067_200), ("23:00", 1_700_002_800), ("2023-12-31 00:00", 1_703_980_800)),
        *(("2023-12-31T18:00+01:00", 1_704_042_000), ("1800000000", 1_800_000_000)),
        ("2 hours ago", NOW - 7_200),
        ("8000w", NOW + 8_000 * 604_800),
    ],
)
def test_of_a_moment_to_come_a_span_is_from_now_on(text: str, moment: float) -> None:
    assert read_ahead(text, NOW) == moment


@given(st.text(max_size=30) | st.from_regex(r"[0-9]{1,9} ?[smhdw]", fullmatch=True))
def test_a_moment_to_come_is_one_or_it_is_said_how_to_write_it(text: str) -> None:
    try:
        moment = read_ahead(text, NOW)
    except ValueError as error:
        moment, told = NOW, str(error)
    else:
        told = HOW_AHEAD
    assert told == HOW_AHEAD
    assert moment < 10**11
