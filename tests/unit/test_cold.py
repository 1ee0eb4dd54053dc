"""Counts are the same whatever their age: from tables that forget and from history, with the clock moved. No server."""

import asyncio
from collections import Counter
from datetime import UTC, datetime, time, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import pyarrow.fs
import pytest

from services.query.cold import History, HistoryAwayError, inside, outside
from services.query.parameters import STEPS, ParameterError, Series
from services.query.store import CountStore, cut
from services.query.zones import local_days
from settings import CassandraSettings, QuerySettings
from tests.support.history import write_history
from udfs.logic.history import Manifest, no_history
from udfs.logic.shards import shard_of
from udfs.sinks.history_store import HistoryStore
from udfs.sources.history import HistoryFiles

SHARDS = 3
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
# Clocks change: on Lord Howe by half an hour on the 4th of October, in Berlin on the 25th.
WINDOWS = [datetime(2026, 10, 3, tzinfo=UTC), datetime(2026, 10, 24, tzinfo=UTC)]
ZONES = ["Europe/Berlin", "Asia/Kathmandu", "Asia/Kolkata", "Australia/Lord_Howe"]


def counts_from(start: datetime) -> dict[tuple[str, str, int], int]:
    """Three days of views: some in each hour, at its ends and within."""
    first = int(start.timestamp()) // 60
    cells = [(hour * 60 + minute, hour % 7 + minute + 1) for hour in range(72) for minute in (0, 14, 15, 31, 59)]
    return {(video, kind, first + at): n + len(kind) for video in "AB" for kind in ("view", "like") for at, n in cells}


class Tables(CountStore):
    """Cassandra as its time to live leaves it, for a clock that a test sets; kept up with by the rollup."""

    def __init__(
        self, history: History, counts: dict[tuple[str, str, int], int], now: datetime, *, is_rolled_up: bool = True
    ) -> None:
        super().__init__(CassandraSettings(), QuerySettings(), history)
        self._counts = counts
        self._now = now
        self._is_rolled_up = is_rolled_up
        self.asked: list[str] = []

    async def _rows(self, statement: str, values: tuple[Any, ...]) -> list[Any]:
        self.asked.append(statement)
        if statement == "bases":
            return [SimpleNamespace()] if self._is_rolled_up else []
        video, kind = values[:2]
        mine = {
            datetime.fromtimestamp(minute * 60, UTC): views
            for (of, what, minute), views in self._counts.items()
            if (of, what) == (video, kind)
        }
        if statement == "minutes":
            day, start, end = values[2:]
            return [
                SimpleNamespace(minute=at.replace(tzinfo=None), views=views)
                for at, views in mine.items()
                if at.date() == day and start <= at.replace(tzinfo=None) < end and at + 8 * DAY > self._now
            ]
        through = self._now.replace(minute=0) - HOUR
        sums: Counter[datetime] = Counter()
        for at, views in mine.items():
            if at < through:
                sums[at.replace(minute=0) if statement == "hours" else datetime.combine(at, time(), UTC)] += views
        if statement == "hours":
            month, start, end = values[2:]
            return [
                SimpleNamespace(hour=at.replace(tzinfo=None), views=views)
                for at, views in sums.items()
                if at.date().replace(day=1) == month and start <= at.replace(tzinfo=None) < end
                if at + HOUR + 100 * DAY > self._now
            ]
        assert statement == "days"
        first, last = values[2:]
        return [
            SimpleNamespace(
                day=SimpleNamespace(date=at.date),
                views=views,
                complete_through=min(at + DAY, through).replace(tzinfo=None),
            )
            for at, views in sums.items()
            if first <= at.date() <= last
        ]


@pytest.fixture
def written(tmp_path: Path) -> HistoryStore:
    return HistoryStore(pyarrow.fs.LocalFileSystem(), str(tmp_path / "history"))


@pytest.fixture
def history(tmp_path: Path) -> History:
    return History(HistoryFiles(pyarrow.fs.LocalFileSystem(), str(tmp_path / "history")), files_max=500)


def hour_of(at: datetime) -> int:
    return int(at.timestamp()) // 3600


@pytest.mark.parametrize("start", WINDOWS)
def test_every_granularity_answers_the_same_however_long_ago(
    written: HistoryStore, history: History, start: datetime
) -> None:
    counts = counts_from(start)
    manifest = write_history(written, counts, shards=SHARDS, from_hour=hour_of(start - DAY), through_hour=0)
    end = start + 3 * DAY
    mine = [
        (datetime.fromtimestamp(at * 60, UTC), n) for (video, kind, at), n in counts.items() if video + kind == "Aview"
    ]

    def want(step: timedelta) -> list[tuple[datetime, int]]:
        series = Series(step, start, end)
        sums = Counter({(at - start) // step: 0 for at in series.starts})
        for at, n in mine:
            sums[(at - start) // step] += n
        return [(at, sums[place]) for place, at in enumerate(series.starts)]

    asked: dict[int, set[str]] = {}
    # Now; on the days on which minutes and hours go; and long after.
    for days in (0, 4, 6, 8, 10, 98, 101, 200, 800):
        now = end + days * DAY + timedelta(hours=5, minutes=17)
        written.publish(msgspec.structs.replace(manifest, through_hour=hour_of(now) - 1))
        history._read_s = float("-inf")
        tables = Tables(history, counts, now)
        for step in STEPS.values():
            found = asyncio.run(tables.series("A", "view", Series(step, start, end), now=now))
            assert found == want(step), f"{step} after {days} days"
        for zone in ZONES:
            there = ZoneInfo(zone)
            span = local_days(there, start.date(), end)
            sums = Counter({at.date(): 0 for at, _ in span.sums([])})
            for at, n in mine:
                if at.astimezone(there).date() in sums:
                    sums[at.astimezone(there).date()] += n
            found = asyncio.run(tables.local_days("A", "view", span, now=now))
            assert [(at.date(), n) for at, n in found] == list(sums.items()), f"{zone} after {days} days"
        asked[days] = set(tables.asked)
    assert asked[0] == asked[10] | {"minutes"} == {"minutes", "hours", "days"}
    assert asked[800] == {"days"}


def test_there_is_a_day_between_the_cut_and_the_end_of_a_row() -> None:
    now = datetime(2026, 1, 31, 12, 34, tzinfo=UTC)
    assert cut(now, 8) == datetime(2026, 1, 24, 12, tzinfo=UTC)


def test_spans_are_cut_without_gap_or_overlap() -> None:
    at = [datetime(2026, 1, day, tzinfo=UTC) for day in range(1, 8)]
    spans = [(at[0], at[3]), (at[4], at[6])]
    assert inside(spans, (at[1], at[5])) == [(at[1], at[3]), (at[4], at[5])]
    assert outside(spans, (at[1], at[5])) == [(at[0], at[1]), (at[5], at[6])]
    assert outside(spans, (at[2], at[2])) == [(at[0], at[2]), (at[2], at[3]), (at[4], at[6])]
    assert inside(spans, (at[2], at[2])) == []


START = WINDOWS[0]
SPAN = (START, START + 3 * DAY)


@pytest.fixture
def manifest(written: HistoryStore) -> Manifest:
    return write_history(
        written, counts_from(START), shards=SHARDS, from_hour=hour_of(START), through_hour=hour_of(SPAN[1])
    )


def test_history_answers_for_what_it_has_and_only_before_the_cut(history: History, manifest: Manifest) -> None:
    later = SPAN[1] + DAY
    assert asyncio.run(history.reach([SPAN], START)) == (START, START)
    assert asyncio.run(history.reach([SPAN], START + DAY)) == (START, START + DAY)
    assert asyncio.run(history.reach([SPAN], later)) == SPAN
    # The rollup is behind: a 0 would be wrong.
    with pytest.raises(HistoryAwayError, match=r"complete through 2026-10-06T00:00Z.* older than 2026-10-07T00:00Z"):
        asyncio.run(history.reach([(START, later)], later))


def test_before_the_first_rollup_there_are_the_tables_and_after_it_there_is_history(
    history: History, written: HistoryStore
) -> None:
    now = START + 9 * DAY
    tables = Tables(history, counts_from(START), now, is_rolled_up=False)
    found = asyncio.run(tables.series("A", "view", Series(STEPS["minute"], *SPAN), now=now))
    # The last two days: minutes are kept for eight.
    assert next(at for at, views in found if views) == START + DAY + timedelta(minutes=14)
    # Nor is history there while no hour is complete.
    written.publish(msgspec.structs.replace(no_history(SHARDS), run=1))
    history._read_s = float("-inf")
    assert asyncio.run(history.reach([SPAN], SPAN[1])) is None
    # One that was looked for in the wrong place is not taken for none.
    tables = Tables(history, counts_from(START), now)
    with pytest.raises(HistoryAwayError, match="there is no manifest"):
        asyncio.run(tables.series("A", "view", Series(STEPS["minute"], *SPAN), now=now))


@pytest.mark.usefixtures("manifest")
def test_of_an_hour_in_part_there_is_that_part(history: History) -> None:
    quarter = timedelta(minutes=15)
    spans = [(START + quarter, START + HOUR + quarter), (START + 3 * HOUR, START + 3 * HOUR + quarter)]
    found = asyncio.run(history.rows("minutes", "A", "view", spans))
    minutes = [(at.replace(tzinfo=UTC) - START) // timedelta(minutes=1) for at, _ in found]
    assert sorted(minutes) == [15, 31, 59, 60, 74, 180, 194]


def test_hours_that_share_a_file_are_read_once(
    history: History, written: HistoryStore, manifest: Manifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file of three hours holds the third as it was before that was counted again."""
    first = hour_of(START)
    shard = shard_of("A", SHARDS)
    tables = [written.get(manifest.files["minutes"][first + at][shard]) for at in range(3)]
    written.put("minutes/three.parquet", pyarrow.concat_tables(tables).sort_by("video_id"))
    for at in range(2):
        manifest.files["minutes"][first + at][shard] = "minutes/three.parquet"
    written.publish(manifest)
    read: list[str] = []
    plain = HistoryFiles.rows

    def noted(self: HistoryFiles, path: str, *arguments: str) -> list[tuple[int, int]]:
        read.append(path)
        return plain(self, path, *arguments)

    monkeypatch.setattr(HistoryFiles, "rows", noted)
    found = asyncio.run(history.rows("minutes", "A", "view", [(START, START + 3 * HOUR)]))
    want = [
        (datetime.fromtimestamp(minute * 60, UTC).replace(tzinfo=None), views)
        for (video, kind, minute), views in counts_from(START).items()
        if video + kind == "Aview" and minute // 60 < first + 3
    ]
    assert sorted(found) == want
    assert sorted(read) == sorted(["minutes/three.parquet", manifest.files["minutes"][first + 2][shard]])


def test_a_file_that_a_rollup_replaced_is_looked_up_again(
    history: History, written: HistoryStore, manifest: Manifest, tmp_path: Path
) -> None:
    span = [(START, START + HOUR)]
    before = asyncio.run(history.rows("hours", "A", "view", span))
    assert before
    files = manifest.files["hours"][hour_of(START)]
    for shard, path in files.items():
        files[shard] = path.replace("run-00000001", "run-00000002")
        (tmp_path / "history" / path).rename(tmp_path / "history" / files[shard])
    assert isinstance(history._known, Manifest)
    written.publish(msgspec.structs.replace(manifest, run=2))
    assert asyncio.run(history.rows("hours", "A", "view", span)) == before
    for path in files.values():
        (tmp_path / "history" / path).unlink()
    history._files._footer.cache_clear()
    with pytest.raises(HistoryAwayError, match="cannot be read"):
        asyncio.run(history.rows("hours", "A", "view", span))


def test_too_many_files_are_refused(tmp_path: Path, manifest: Manifest) -> None:
    history = History(HistoryFiles(pyarrow.fs.LocalFileSystem(), str(tmp_path / "history")), files_max=10)
    assert asyncio.run(history.rows("hours", "A", "view", [(START, START + 10 * HOUR)]))
    with pytest.raises(ParameterError, match="asks for 11 files of history, more than 10"):
        asyncio.run(history.rows("hours", "A", "view", [(START, START + 11 * HOUR)]))


class Away:
    """A store that does not answer."""

    def get_file_info(self, _path: str) -> Any:
        raise OSError("connection refused")


def test_a_store_that_does_not_answer_is_an_error_for_old_counts_alone() -> None:
    history = History(HistoryFiles(Away(), "s3://bucket/history"), files_max=10)
    now = SPAN[1] + 30 * DAY
    tables = Tables(history, counts_from(START), now)
    for series in (Series(STEPS["minute"], *SPAN), Series(HOUR, START - 100 * DAY, START)):
        with pytest.raises(HistoryAwayError, match="does not answer: OSError"):
            asyncio.run(tables.series("A", "view", series, now=now))
    for series in (Series(HOUR, *SPAN), Series(DAY, *SPAN)):
        assert all(views for _, views in asyncio.run(tables.series("A", "view", series, now=now)))
