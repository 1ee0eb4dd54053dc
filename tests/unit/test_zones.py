"""Days of any zone: as long as they are there, with every instant in one of them."""

from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.parameters import ParameterError
from services.query.api.parameters.series import read_local_days
from services.query.counts import zones
from services.query.counts.zones import LocalDays, local_days

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


def read(**query: str) -> LocalDays:
    return read_local_days({name.rstrip("_"): value for name, value in query.items()}, now=NOW, points_max=2400)


def lengths(days: LocalDays) -> list[float]:
    return [(end - start) / timedelta(hours=1) for start, end in pairwise(days.bounds)]


def test_days_are_23_and_25_hours_where_clocks_change() -> None:
    days = read(granularity="day", zone="Europe/Berlin", from_="2026-03-28T12:00:00Z", to="2026-03-30T22:00:00Z")
    assert [start.isoformat() for start, _ in days.sums([])] == [
        "2026-03-28T00:00:00+01:00",
        "2026-03-29T00:00:00+01:00",
        "2026-03-30T00:00:00+02:00",
    ]
    assert lengths(days) == [24, 23, 24]
    assert days.split_hours == []
    autumn = local_days(ZoneInfo("Europe/Berlin"), date(2026, 10, 25), datetime(2026, 10, 25, 12, tzinfo=UTC))
    assert lengths(autumn) == [25]


def test_hours_in_which_a_day_ends_are_split() -> None:
    days = read(granularity="day", zone="Asia/Kathmandu", from_="2026-03-28T18:15:00Z", to="2026-03-29T18:15:00Z")
    assert [start.isoformat() for start, _ in days.sums([])] == ["2026-03-29T00:00:00+05:45"]
    assert days.split_hours == [datetime(2026, 3, day, 18, tzinfo=UTC) for day in (28, 29)]
    lord_howe = local_days(ZoneInfo("Australia/Lord_Howe"), date(2026, 4, 4), datetime(2026, 4, 6, tzinfo=UTC))
    assert lengths(lord_howe) == [24, 24.5, 24]
    # At +11:00 before, at +10:30 after.
    assert [bound.minute for bound in lord_howe.bounds] == [0, 0, 30, 30]


def test_a_day_that_begins_after_midnight_and_one_that_is_skipped() -> None:
    sao_paulo = local_days(ZoneInfo("America/Sao_Paulo"), date(2018, 11, 3), datetime(2018, 11, 5, 12, tzinfo=UTC))
    assert [start.isoformat() for start, _ in sao_paulo.sums([])] == [
        "2018-11-03T00:00:00-03:00",
        "2018-11-04T01:00:00-02:00",
        "2018-11-05T00:00:00-02:00",
    ]
    assert lengths(sao_paulo) == [24, 23, 24]
    apia = local_days(ZoneInfo("Pacific/Apia"), date(2011, 12, 29), datetime(2011, 12, 31, tzinfo=UTC))
    assert [start.date().day for start, _ in apia.sums([])] == [29, 31]


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
    assert found.bounds[0] <= first
    assert found.bounds[-1] >= first + timedelta(days=days)
    assert all(timedelta(hours=22) <= end - start <= timedelta(hours=26) for start, end in pairwise(found.bounds))
    want: dict[date, int] = {start.date(): 0 for start, _ in found.sums([])}
    rows = [(first + timedelta(minutes=minute), 1) for minute in minutes]
    for at, views in rows:
        if found.bounds[0] <= at < found.bounds[-1]:
            want[at.astimezone(there).date()] += views
    assert {start.date(): views for start, views in found.sums(rows)} == want


def test_the_default_is_the_last_thirty_days_with_today() -> None:
    days = read(granularity="day", zone="Pacific/Kiritimati")
    assert len(days.bounds) == 32
    assert days.bounds[-2] <= NOW < days.bounds[-1]
    assert read(granularity="day", zone="UTC", from_="2026-01-01T00:00:00Z", to="2026-01-01T00:00:00Z").sums([]) == []


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"zone": "Europe/Atlantis"}, "zone"),
        ({"zone": "../../etc/passwd"}, "zone"),
        ({"zone": "Europe"}, "zone"),
        ({"zone": ""}, "zone"),
        ({"zone": "UTC", "granularity": "hour"}, "zone"),
        ({"zone": "UTC", "from": "x"}, "from"),
        ({"zone": "UTC", "from": "2025-12-01T00:00:00Z"}, "from"),
        ({"zone": "UTC", "from": "2026-03-31T00:00:00Z"}, "from"),
    ],
)
def test_a_bad_parameter_is_named(query: dict[str, str], field: str) -> None:
    with pytest.raises(ParameterError) as caught:
        read(**{"granularity": "day", **query})
    assert caught.value.field == field


def test_zones_are_those_of_the_database() -> None:
    assert {*ODD_ZONES, *PLAIN_ZONES} <= zones.names()
