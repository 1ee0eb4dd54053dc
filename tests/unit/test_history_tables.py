"""Minutes, hours, days and totals against sums in plain Python."""

from collections import Counter

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from tests.support.tiers import examples
from udfs.logic.history import tables

HOUR_MS = 3_600_000
Cell = tuple[str, str, int, int, int]
VIDEOS = st.sampled_from(["a", "b", "é"])
KINDS = st.sampled_from(["view", "like"])
# (video, kind, minute of the hour, views, late)
CELLS = st.lists(st.tuples(VIDEOS, KINDS, st.integers(0, 59), st.integers(0, 9), st.integers(0, 3)), max_size=12)


def of_slice(cells: list[Cell], hour: int) -> pa.Table:
    columns = list(zip(*cells, strict=True)) or [()] * 5
    return pa.table(
        {
            "kind": pa.array(columns[1], pa.string()),
            "video_id": pa.array(columns[0], pa.string()),
            "minute": pa.array([hour * 60 + minute for minute in columns[2]], pa.int64()),
            "views": pa.array(columns[3], pa.int64()),
            "late_added": pa.array(columns[4], pa.int64()),
        }
    )


def sums(table: pa.Table) -> dict[tuple[str, str], tuple[int, int]]:
    rows = table.to_pylist()
    found = {(row["video_id"], row["kind"]): (row["views"], row["late_added"]) for row in rows}
    assert len(found) == len(rows)
    assert list(found) == sorted(found)
    return found


def expected(slices: list[list[Cell]]) -> dict[tuple[str, str], tuple[int, int]]:
    views: Counter[tuple[str, str]] = Counter()
    late: Counter[tuple[str, str]] = Counter()
    for video, kind, _, counted, added in (cell for cells in slices for cell in cells):
        views[video, kind] += counted + added
        late[video, kind] += added
    return {key: (views[key], late[key]) for key in views}


@examples(full=50, fast=8)
@given(
    st.lists(
        st.tuples(st.integers(0, 47), st.lists(CELLS, max_size=3)), min_size=1, max_size=4, unique_by=lambda x: x[0]
    )
)
def test_tables_add_up(by_hour: list[tuple[int, list[list[Cell]]]]) -> None:
    hours = {}
    for hour, slices in by_hour:
        of_minutes = tables.minutes([of_slice(cells, hour) for cells in slices])
        assert of_minutes.schema == tables.MINUTES
        minutes = [(row["video_id"], row["kind"], row["minute"]) for row in of_minutes.to_pylist()]
        assert minutes == sorted(set(minutes))
        assert all(at.timestamp() // 3600 == hour for _, _, at in minutes)
        hours[hour] = tables.hour(of_minutes, hour * HOUR_MS)
        assert hours[hour].schema == tables.HOURS
        assert sums(hours[hour]) == expected(slices)
        assert {row["hour"].timestamp() for row in hours[hour].to_pylist()} <= {hour * 3600}
    for day in (0, 1):
        mine = [(hour, slices) for hour, slices in by_hour if hour // 24 == day]
        table = tables.day([hours[hour] for hour, _ in mine])
        assert table.schema == tables.SUMS
        assert sums(table) == expected([cells for _, slices in mine for cells in slices])
    first, *others = by_hour
    whole = tables.totals(tables.SUMS.empty_table(), [], list(hours.values()))
    assert sums(whole) == expected([cells for _, slices in by_hour for cells in slices])
    # The first hour is counted again, and has one view more.
    again = [*first[1], [("a", "view", 5, 1, 0)]]
    new = tables.hour(tables.minutes([of_slice(cells, first[0]) for cells in again]), first[0] * HOUR_MS)
    after = tables.totals(whole, [hours[first[0]]], [new])
    assert sums(after) == expected([*again, *(cells for _, slices in others for cells in slices)])
    changed = tables.of_videos_in(after, [new])
    assert sums(changed) == {key: value for key, value in sums(after).items() if key in expected(again)}


def test_no_hour_changes_no_row() -> None:
    table = tables.hour(tables.minutes([of_slice([("a", "view", 5, 1, 0)], 3)]), 3 * HOUR_MS)
    assert tables.of_videos_in(tables.day([table]), []).num_rows == 0
    assert tables.minutes([]).num_rows == 0
    assert tables.hour(tables.minutes([]), 0).schema == tables.HOURS


def test_hours_in_one_table_are_found_in_it() -> None:
    hours = {
        at: tables.hour(tables.minutes([of_slice([(v, "view", 5, at, 0) for v in "ba"], at)]), at * HOUR_MS)
        for at in (3, 4)
    }
    whole = tables.whole_day(list(hours.values()))
    assert [(row["video_id"], row["views"]) for row in whole.to_pylist()] == [("a", 3), ("a", 4), ("b", 3), ("b", 4)]
    for at, table in hours.items():
        assert tables.of_hour(whole, at).to_pylist() == table.to_pylist()
    minutes = tables.whole_day([tables.minutes([of_slice([("a", "view", 59, 1, 0)], at)]) for at in (3, 4)])
    assert tables.of_hour(minutes, 3)["minute"].cast("int64").to_pylist() == [3 * HOUR_MS + 59 * 60_000]


DEVICES = tuple(tables.DEVICES.names)


def by_device(*rows: tuple[str, str, str, int]) -> pa.Table:
    return pa.Table.from_pylist([dict(zip(DEVICES, row, strict=True)) for row in rows], tables.DEVICES)


def day_of(**views: int) -> pa.Table:
    rows = [{"video_id": video, "kind": "view", "views": n, "late_added": 0} for video, n in views.items()]
    return pa.Table.from_pylist(rows, tables.SUMS)


def test_devices_of_a_day_change_with_slices_and_add_up_to_it() -> None:
    before = by_device(("a", "view", "", 1), ("a", "view", "tv", 5), ("b", "view", "tv", 2))
    new = by_device(("a", "view", "tv", 2), ("b", "view", "", 4))
    old = by_device(("a", "view", "tv", 3), ("b", "view", "tv", 2))
    without = pa.Table.from_pylist([{"video_id": "a", "kind": "view", "country": "DE", "views": 7}])
    change = tables.changed_devices([new, without], [old])
    assert change.schema == tables.DEVICES
    assert [tuple(row.values()) for row in change.to_pylist()] == [("a", "view", "tv", -1), ("b", "view", "tv", -2)]
    found = tables.devices(day_of(a=12, b=4, c=1), before, [change, tables.changed_devices([new], [])])
    assert found.schema == tables.DEVICES
    assert [tuple(row.values()) for row in found.to_pylist()] == [
        ("a", "view", "", 6),
        ("a", "view", "tv", 6),
        ("b", "view", "", 4),
        ("c", "view", "", 1),
    ]
    assert tables.changed_devices([], []).equals(tables.DEVICES.empty_table())
    assert tables.devices(day_of(), tables.DEVICES.empty_table(), []).equals(tables.DEVICES.empty_table())


def test_a_video_with_fewer_views_than_its_devices_is_by_no_known_one() -> None:
    """A version without devices has taken views away."""
    before = by_device(("a", "view", "tv", 5), ("b", "view", "tv", 2))
    found = tables.devices(day_of(a=4, b=3), before, [])
    assert [tuple(row.values()) for row in found.to_pylist()] == [
        ("a", "view", "", 4),
        ("b", "view", "", 1),
        ("b", "view", "tv", 2),
    ]


def test_countries_of_hours_add_up() -> None:
    rows = [("a", "view", "DE", 2), ("a", "view", "", 1), ("b", "like", "FR", 4)]
    names = ("video_id", "kind", "country", "views")
    one = pa.Table.from_pylist([dict(zip(names, row, strict=True)) for row in rows])
    by_country = tables.countries([one, one.slice(0, 1)])
    assert by_country.schema == tables.COUNTRIES
    assert [tuple(row.values()) for row in by_country.to_pylist()] == [
        ("a", "view", "", 1),
        ("a", "view", "DE", 4),
        ("b", "like", "FR", 4),
    ]
    again = tables.countries([tables.with_hour(by_country, HOUR_MS), tables.with_hour(by_country, 0)])
    assert again["views"].to_pylist() == [2, 8, 8]
    assert tables.countries([]).equals(tables.COUNTRIES.empty_table())
