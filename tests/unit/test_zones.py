"""Points of any zone: as long as they are there, with every instant in one of them."""

from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.parameters import ParameterError
from services.query.api.parameters.series import read_video_series
from services.query.counts import zones
from services.query.counts.points import Points
from services.query.counts.series import Series
from services.query.counts.spans import merged
from tests.support.zones import lengths, local_days, local_starts

MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
NOW = datetime(2026, 3, 30, 12, 30, 15, tzinfo=UTC)
# Days that begin within an hour of UTC, or change by half an hour, or skip their midnight.
ODD_ZONES = [
    "Asia/Kathmandu",
    "Asia/Kolkata",
    "Australia/Lord_Howe",
    "America/Sao_Paulo",
    "Pacific/Chatham",
    "Asia/Gaza",
]
PLAIN_ZONES = ["UTC", "Europe/Berlin", "America/New_York", "Pacific/Kiritimati", "Asia/Pyongyang"]


def read(**query: str) -> Points:
    return read_at_most(2400, **query)


def read_at_most(points_max: int, **query: str) -> Points:
    named = {name.rstrip("_"): value for name, value in query.items()}
    found = read_video_series(named, now=NOW, points_max=points_max)
    assert isinstance(found, Points)
    return found


def test_days_are_23_and_25_hours_where_clocks_change() -> None:
    days = read(granularity="day", zone="Europe/Berlin", from_="2026-03-28T12:00:00Z", to="2026-03-30T22:00:00Z")
    assert local_starts(days) == [
        "2026-03-28T00:00:00+01:00",
        "2026-03-29T00:00:00+01:00",
        "2026-03-30T00:00:00+02:00",
    ]
    assert lengths(days) == [24, 23, 24]
    assert days.pieces.split_hours == []
    autumn = local_days(ZoneInfo("Europe/Berlin"), date(2026, 10, 25), datetime(2026, 10, 25, 12, tzinfo=UTC))
    assert lengths(autumn) == [25]


def test_hours_in_which_a_day_ends_are_split() -> None:
    days = read(granularity="day", zone="Asia/Kathmandu", from_="2026-03-28T18:15:00Z", to="2026-03-29T18:15:00Z")
    assert local_starts(days) == ["2026-03-29T00:00:00+05:45"]
    cut = [datetime(2026, 3, day, 18, tzinfo=UTC) for day in (28, 29)]
    assert days.pieces.split_hours == [(hour, hour + HOUR) for hour in cut]
    assert days.pieces.hours == [(cut[0] + HOUR, cut[1])]
    lord_howe = local_days(ZoneInfo("Australia/Lord_Howe"), date(2026, 4, 4), datetime(2026, 4, 6, tzinfo=UTC))
    assert lengths(lord_howe) == [24, 24.5, 24]
    # At +11:00 before, at +10:30 after.
    assert [bound.minute for bound in lord_howe.bounds] == [0, 0, 30, 30]


def test_a_day_that_begins_after_midnight_and_one_that_is_skipped() -> None:
    sao_paulo = local_days(ZoneInfo("America/Sao_Paulo"), date(2018, 11, 3), datetime(2018, 11, 5, 12, tzinfo=UTC))
    assert local_starts(sao_paulo) == [
        "2018-11-03T00:00:00-03:00",
        "2018-11-04T01:00:00-02:00",
        "2018-11-05T00:00:00-02:00",
    ]
    assert lengths(sao_paulo) == [24, 23, 24]
    apia = local_days(ZoneInfo("Pacific/Apia"), date(2011, 12, 29), datetime(2011, 12, 31, tzinfo=UTC))
    assert [text[8:10] for text in local_starts(apia)] == ["29", "31"]


def test_an_hour_begins_when_the_clock_shows_a_full_hour_or_changes() -> None:
    kathmandu = read(granularity="hour", zone="Asia/Kathmandu", from_="2026-03-28T18:20:00Z", to="2026-03-28T20:15:00Z")
    assert local_starts(kathmandu) == ["2026-03-29T00:00:00+05:45", "2026-03-29T01:00:00+05:45"]
    assert kathmandu.pieces.hours == []
    # Back from 02:00 to 01:30, so that half an hour is shown again.
    lord_howe = read(
        granularity="hour", zone="Australia/Lord_Howe", from_="2026-04-04T14:30:00Z", to="2026-04-04T16:00:00Z"
    )
    assert local_starts(lord_howe) == [
        "2026-04-05T01:00:00+11:00",
        "2026-04-05T01:30:00+10:30",
        "2026-04-05T02:00:00+10:30",
    ]
    assert lengths(lord_howe) == [1, 0.5, 1]
    # Until 2011 clocks there changed a minute after midnight, back into the day before.
    newfoundland = ZoneInfo("America/St_Johns")
    night = datetime(2010, 11, 7, 2, 10, tzinfo=UTC)
    hours = Points(zones.hour_bounds(newfoundland, night, night + 2 * HOUR), newfoundland)
    assert local_starts(hours) == [
        "2010-11-06T23:00:00-02:30",
        "2010-11-07T00:00:00-02:30",
        "2010-11-06T23:01:00-03:30",
        "2010-11-07T00:00:00-03:30",
    ]
    assert lengths(hours) == [1, 1 / 60, 59 / 60, 1]
    # Asked for within the hour that is cut, it begins with the change.
    assert zones.hour_bounds(newfoundland, night + 40 * MINUTE, night + 41 * MINUTE)[0] == hours.bounds[2]


def test_weeks_begin_on_monday_or_on_a_day_that_is_named() -> None:
    span = {"from_": "2026-03-28T12:00:00Z", "to": "2026-03-30T22:00:00Z"}
    assert local_starts(read(granularity="week", **span)) == ["2026-03-23T00:00:00+00:00", "2026-03-30T00:00:00+00:00"]
    berlin = read(granularity="week", zone="Europe/Berlin", week_start="sunday", **span)
    assert local_starts(berlin) == ["2026-03-22T00:00:00+01:00", "2026-03-29T00:00:00+01:00"]
    assert lengths(berlin) == [168, 167]
    # Days of UTC, and the hours at both ends.
    assert berlin.pieces.days == [
        (datetime(2026, 3, 22, tzinfo=UTC), datetime(2026, 3, 28, tzinfo=UTC)),
        (datetime(2026, 3, 29, tzinfo=UTC), datetime(2026, 4, 4, tzinfo=UTC)),
    ]
    assert sum((end - start) // HOUR for start, end in berlin.pieces.hours) == 168 + 167 - 12 * 24


def test_months_are_those_of_the_calendar_there() -> None:
    found = read(granularity="month", zone="America/New_York", from_="2026-02-01T04:59:00Z", to="2026-04-01T04:00:00Z")
    assert local_starts(found) == [
        "2026-01-01T00:00:00-05:00",
        "2026-02-01T00:00:00-05:00",
        "2026-03-01T00:00:00-05:00",
    ]
    assert lengths(found) == [31 * 24, 28 * 24, 31 * 24 - 1]
    plain = read(granularity="month", from_="2024-02-10T00:00:00Z", to="2024-02-10T00:00:01Z")
    assert (lengths(plain), plain.zone) == ([29 * 24], None)
    assert plain.pieces.hours == plain.pieces.split_hours == []


@given(
    st.sampled_from([*ODD_ZONES, *PLAIN_ZONES[1:], "America/St_Johns"]),
    st.sampled_from(["hour", "day", "week", "month"]),
    st.datetimes(datetime(2000, 2, 1), datetime(2037, 1, 1)),
    st.integers(0, 100 * 60),
)
def test_points_of_a_zone_are_whole_and_made_of_pieces_that_fit(
    name: str, granularity: str, first: datetime, minutes: int
) -> None:
    start = first.replace(microsecond=0, tzinfo=UTC)
    end = start + minutes * MINUTE
    found = read_at_most(9999, granularity=granularity, zone=name, from_=start.isoformat(), to=end.isoformat())
    if minutes == 0 and start == found.bounds[0]:
        return
    # The first point has the start, and the last one the end.
    assert found.bounds[0] <= start < found.bounds[1]
    assert found.bounds[-2] < end <= found.bounds[-1] or minutes == 0
    assert list(found.bounds) == sorted(set(found.bounds))
    zone = found.zone or ZoneInfo("UTC")
    for one, other in pairwise(found.bounds):
        # Within a point, clocks show the same hour, date, week or month, save where they have gone back.
        last = (other - MINUTE).astimezone(zone)
        if granularity == "hour":
            assert {one.astimezone(zone).hour} == {last.hour}
            assert other - one <= HOUR
        elif granularity == "month" and name != "America/St_Johns":
            assert one.astimezone(zone).month == last.month
    pieces = [*found.pieces.days, *found.pieces.hours, *found.pieces.split_hours]
    # Pieces overlap nowhere, have all of the time, and are cut by no bound, save hours that are there to be cut.
    (all_of_it,) = merged(pieces)
    assert all_of_it[1] - all_of_it[0] == sum((b - a for a, b in pieces), timedelta())
    assert all_of_it[0] <= found.bounds[0]
    assert all_of_it[1] >= found.bounds[-1]
    for step, spans in ((DAY, found.pieces.days), (HOUR, found.pieces.hours)):
        starts = {a + place * step for a, b in spans for place in range((b - a) // step)}
        assert not any(a < bound < a + step for a in starts for bound in found.bounds)


@given(
    st.sampled_from([*ODD_ZONES, *PLAIN_ZONES]),
    st.datetimes(datetime(2000, 2, 1), datetime(2037, 1, 1)),
    st.integers(0, 60),
    st.lists(st.integers(0, 70 * 1440), max_size=30),
)
def test_every_minute_counts_for_its_date_there(zone: str, first: datetime, days: int, minutes: list[int]) -> None:
    first = first.replace(second=0, microsecond=0, tzinfo=UTC)
    there = ZoneInfo(zone)
    found = local_days(there, first.astimezone(there).date(), first + timedelta(days=days))
    starts = [datetime.fromisoformat(text) for text in local_starts(found)]
    assert found.bounds[0] <= first
    assert found.bounds[-1] >= first + timedelta(days=days)
    assert all(timedelta(hours=22) <= end - start <= timedelta(hours=26) for start, end in pairwise(found.bounds))
    want: dict[date, int] = {start.date(): 0 for start in starts}
    rows = [(first + timedelta(minutes=minute), 1) for minute in minutes]
    naive = [(at.replace(tzinfo=None), views) for at, views in rows]
    for at, views in rows:
        if found.bounds[0] <= at < found.bounds[-1]:
            want[at.astimezone(there).date()] += views
    assert {start.date(): views for start, views in zip(starts, found.sums(naive), strict=True)} == want


def test_the_default_is_the_last_thirty_days_with_today() -> None:
    days = read(granularity="day", zone="Pacific/Kiritimati")
    assert len(days.bounds) == 32
    assert days.bounds[-2] <= NOW < days.bounds[-1]
    # A change of clocks is within.
    assert len(read(granularity="day", zone="Europe/Berlin").bounds) == 32
    assert len(read(granularity="week").bounds) == 14
    assert len(read(granularity="month", zone="Europe/Berlin").bounds) == 14
    assert len(read(granularity="hour", zone="Asia/Kathmandu").bounds) == 26
    empty = read(granularity="day", zone="Asia/Tokyo", from_="2025-12-31T15:00:00Z", to="2025-12-31T15:00:00Z")
    assert empty.count == 0


def test_points_of_the_zone_utc_are_those_without_a_zone() -> None:
    for zone in ("UTC", "Etc/UTC", "Zulu"):
        assert isinstance(read_video_series({"granularity": "day", "zone": zone}, now=NOW, points_max=99), Series)
        assert read(granularity="week", zone=zone) == read(granularity="week")


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"zone": "Europe/Atlantis"}, "zone"),
        ({"zone": "../../etc/passwd"}, "zone"),
        ({"zone": "Europe"}, "zone"),
        ({"zone": ""}, "zone"),
        ({"granularity": "year"}, "granularity"),
        ({"granularity": "week", "week_start": "Monday"}, "week_start"),
        ({"granularity": "week", "week_start": ""}, "week_start"),
        ({"granularity": "month", "week_start": "monday"}, "week_start"),
        ({"zone": "Asia/Tokyo", "from": "x"}, "from"),
        ({"zone": "Asia/Tokyo", "from": "2025-12-01T00:00:00Z"}, "from"),
        ({"zone": "Asia/Tokyo", "from": "2026-03-31T00:00:00Z"}, "from"),
        ({"zone": "Asia/Tokyo", "granularity": "hour", "from": "2025-12-01T00:00:00Z"}, "from"),
        ({"zone": "Asia/Kathmandu", "granularity": "hour", "from": "2026-03-28T12:00:00Z"}, "from"),
        ({"zone": "Asia/Tokyo", "granularity": "minute", "from": "2026-03-01T00:00:00Z"}, "from"),
        ({"granularity": "month", "from": "1999-12-31T23:59:59Z"}, "from"),
        ({"granularity": "week", "to": "2100-01-01T00:00:01Z"}, "to"),
    ],
)
def test_a_bad_parameter_is_named(query: dict[str, str], field: str) -> None:
    with pytest.raises(ParameterError) as caught:
        read_video_series({"granularity": "day", **query}, now=NOW, points_max=2400)
    assert caught.value.field == field


def test_zones_are_those_of_the_database() -> None:
    assert {*ODD_ZONES, *PLAIN_ZONES} <= zones.names()
