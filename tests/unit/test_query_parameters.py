"""What query makes of its parameters, and of the rows it reads. No server."""

from datetime import UTC, date, datetime, timedelta

import pytest

from schemas.progress import ShardProgress, complete_through
from services.parameters import ParameterError
from services.query.api.parameters.names import check_name
from services.query.api.parameters.series import read_series, read_video_series
from services.query.api.parameters.times import read_day
from services.query.counts.series import Rolled, Series, days_of_total, fill
from services.query.counts.spans import months

NOW = datetime(2026, 1, 2, 12, 30, 15, tzinfo=UTC)


def read(**query: str) -> Series:
    return read_series({name.rstrip("_"): value for name, value in query.items()}, now=NOW, points_max=2000)


def test_the_default_is_the_last_hour_by_minutes_with_the_current_one() -> None:
    series = read()
    assert series.step == timedelta(minutes=1)
    assert series.start == datetime(2026, 1, 2, 11, 30, tzinfo=UTC)
    assert series.end == datetime(2026, 1, 2, 12, 31, tzinfo=UTC)


def test_from_is_rounded_down_and_to_up() -> None:
    series = read(granularity="hour", from_="2026-01-01T10:59:59Z", to="2026-01-01T12:00:00.001Z")
    assert (series.start.hour, series.end.hour, series.points) == (10, 13, 3)
    assert read(from_="2026-01-01T10:00:00Z", to="2026-01-01T10:00:00Z").points == 0


@pytest.mark.parametrize("text", ["2026-01-01T12:00:00+02:00", "2026-01-01T12:00:00 02:00", "1767261600000"])
def test_a_time_may_be_written_so(text: str) -> None:
    assert read(from_=text, to="2026-01-01T10:01:00Z").start == datetime(2026, 1, 1, 10, tzinfo=UTC)


def test_a_day_is_a_date() -> None:
    assert read_day({"day": "2026-01-31"}) == date(2026, 1, 31)
    for text in ("", "2026-02-30", "yesterday", "1999-12-31", "2026-01-31T00:00:00Z"):
        with pytest.raises(ParameterError) as refused:
            read_day({"day": text} if text else {})
        assert (refused.value.field, refused.value.value) == ("day", text)


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"granularity": "week"}, "granularity"),
        ({"granularity": ""}, "granularity"),
        ({"from": "yesterday"}, "from"),
        ({"from": "2026-01-01T00:00:00"}, "from"),
        ({"from": "2026-01-01"}, "from"),
        ({"to": "1999-12-31T23:59:59Z"}, "to"),
        ({"to": "9999-12-31T23:59:59Z"}, "to"),
        ({"to": "9" * 40}, "to"),
        ({"to": "-1"}, "to"),
        ({"from": "2026-01-02T00:00:00Z", "to": "2026-01-01T00:00:00Z"}, "from"),
        ({"from": "2026-01-01T00:00:00Z", "to": "2026-01-02T23:00:00Z"}, "from"),
    ],
)
def test_a_bad_parameter_is_named(query: dict[str, str], field: str) -> None:
    with pytest.raises(ParameterError) as caught:
        read_series(query, now=NOW, points_max=2000)
    assert caught.value.field == field


def test_the_ends_of_the_calendar_are_within_reach() -> None:
    assert read(to="2000-01-01T00:00:00Z").points == 0
    assert read(from_="2099-12-31T23:59:00Z", to="2100-01-01T00:00:00Z").points == 1


@pytest.mark.parametrize("value", ["", "x" * 65, "é" * 33, "\ud800"])
def test_a_name_out_of_bounds_is_named(value: str) -> None:
    with pytest.raises(ParameterError) as caught:
        check_name("video_id", value, 64)
    assert caught.value.field == "video_id"


def rows(*closed: int | None, shards: int = 3) -> list[ShardProgress]:
    at = [None if minute is None else datetime(2026, 1, 1, 0, minute) for minute in closed]
    return [ShardProgress(shard, shards, value) for shard, value in enumerate(at)]


def test_complete_through_is_the_slowest_shard() -> None:
    assert complete_through(rows(5, 3, 9)) == datetime(2026, 1, 1, 0, 3, tzinfo=UTC)


@pytest.mark.parametrize("found", [[], rows(5, 3), rows(5, None, 9), [*rows(5, 3, 9), *rows(5, shards=1)]])
def test_complete_through_is_unknown_until_every_shard_told(found: list[ShardProgress]) -> None:
    assert complete_through(found) is None


def test_a_total_covers_its_days_and_tomorrow() -> None:
    assert days_of_total(date(2026, 1, 1), 1) == [date(2025, 12, 31), date(2026, 1, 1), date(2026, 1, 2)]


def test_gaps_are_zero_and_minutes_add_up_to_hours() -> None:
    series = read(granularity="hour", from_="2026-01-01T10:00:00Z", to="2026-01-01T13:00:00Z")
    minutes = [
        (datetime(2026, 1, 1, 10, 0), 7),
        (datetime(2026, 1, 1, 10, 59), 3),
        (datetime(2026, 1, 1, 12), 1),
    ]
    assert [views for _, views in fill(series, minutes)] == [10, 0, 1]


def test_what_is_rolled_up_stands_for_the_minutes_it_covers() -> None:
    series = read(granularity="day", from_="2026-01-01T00:00:00Z", to="2026-01-04T00:00:00Z")
    assert series.points == 3
    minutes = [
        (datetime(2026, 1, 1, 23, 59), 2),
        (datetime(2026, 1, 2, 10), 5),
        (datetime(2026, 1, 2, 11), 7),
        (datetime(2026, 1, 3, 1), 1),
    ]
    rolled = [
        Rolled(datetime(2026, 1, 1), 40, datetime(2026, 1, 2)),
        Rolled(datetime(2026, 1, 2), 30, datetime(2026, 1, 2, 11)),
    ]
    assert [views for _, views in fill(series, minutes, rolled)] == [40, 37, 1]


def test_months_are_all_that_a_series_touches() -> None:
    assert months(date(2025, 11, 30), date(2026, 2, 1)) == [
        date(2025, 11, 1), date(2025, 12, 1), date(2026, 1, 1), date(2026, 2, 1),
    ]  # fmt: skip
    assert months(date(2026, 2, 28), date(2026, 2, 28)) == [date(2026, 2, 1)]


def test_hours_of_a_zone_are_bounded_before_they_are_made() -> None:
    years = {"from": "2024-01-01T00:00:00Z", "to": "2026-01-01T00:00:00Z"}
    query = {"granularity": "hour", "zone": "Europe/Berlin", **years}
    with pytest.raises(ParameterError, match=r"17544 points, more than 9600"):
        read_video_series(query, now=NOW, points_max=50_000)
    assert read_video_series({**query, "from": "2025-01-01T00:00:00Z"}, now=NOW, points_max=50_000).count == 8760
