"""What history writes to tables: sums in batches cut by bytes, and all of it without the tables of lists."""

from collections.abc import Iterator
from datetime import UTC, date, datetime

import pyarrow as pa
import pytest

from settings import CassandraSettings
from tests.support.fake_cassandra import FakeCassandra, FakeTime
from udfs.logic.history.channel_sums import CHANNELS
from udfs.logic.history.tables import HOURS, SUMS
from udfs.logic.history.top_lists import TOPS
from udfs.sinks import history_rows
from udfs.sinks.history_rows import HistoryRows
from udfs.sinks.optional_rows import PATIENCE_S

HOUR = datetime(2026, 1, 31, 23, tzinfo=UTC)
DAY = date(2026, 1, 31)
LISTS = ("top_videos_by_hour", "top_videos_by_day")


@pytest.fixture
def cassandra(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeCassandra]:
    made = FakeCassandra()
    monkeypatch.setattr(history_rows, "connect_however_long", lambda _settings: made)
    with made.driven():
        yield made


def sums(schema: pa.Schema, rows: int, **named: str) -> pa.Table:
    row = {**named, "kind": "view", "hour": HOUR, "views": 1, "late_added": 0}
    return pa.Table.from_pylist([{**row} for _ in range(rows)], schema)


def test_long_channel_ids_are_cut_by_bytes(cassandra: FakeCassandra) -> None:
    HistoryRows(CassandraSettings(), 1).channels(sums(CHANNELS, 100, channel_id="c" * 4000), HOUR)
    (batches,) = cassandra.rows.values()
    assert sum(batch.number for batch in batches) == 100
    # Twenty of them are 80 KB, and a stock Cassandra refuses 50 KiB.
    assert 20_000 < max(len(batch.body) for batch in batches) <= CassandraSettings().batch_bytes_max


def test_without_tables_of_lists_sums_are_written(cassandra: FakeCassandra) -> None:
    cassandra.missing = set(LISTS)
    rows, time = HistoryRows(CassandraSettings(), 1), FakeTime()
    for lists in (rows._top_of_hour, rows._top_of_day):
        lists._clock, lists._sleep = time.clock, time.sleep
    tops = pa.Table.from_pylist([{"kind": "view", "country": "*", "rank": 1, "video_id": "v", "views": 1}], TOPS)
    for _ in range(30):
        rows.hours(sums(HOURS, 3, video_id="v"), HOUR)
        rows.top_of_hour(tops, HOUR)
        rows.lists_gone([("view", "DE")], HOUR)
        rows.days(sums(SUMS, 3, video_id="v"), DAY, HOUR)
        rows.top_of_day(tops, DAY, HOUR)
        rows.day_lists_gone([("view", "DE")], DAY, HOUR)
        rows.totals(sums(SUMS, 3, video_id="v"), HOUR)
        time.now_s += 1
    (batches,) = cassandra.rows.values()
    assert sum(batch.number for batch in batches) == 30 * 9
    assert time.now_s < 30 + 3 * PATIENCE_S
    assert rows.figures.refused == 0
    assert [rows.figures.set_aside(name) for name in LISTS] == [60, 60]
