"""The tables that the rollup is compared by with others: the events they are made of, and the comparison itself."""

import io
from collections import Counter
from pathlib import Path
from typing import Any

import fastavro
import msgspec
import polars as pl
import pyarrow as pa
import pyarrow.fs
import pytest

from benchmarks.contenders.polars_tables import tables
from benchmarks.inputs.columns import COLUMNS
from benchmarks.inputs.encoding import VIEWER_EVENT, viewer_batches
from benchmarks.inputs.tables import (
    Counts,
    DisagreementError,
    Key,
    Tables,
    before,
    by_minute_hour_day,
    compare,
    counts_of,
    of_history,
)
from benchmarks.rollup import verdicts
from schemas import registry
from settings.durations import HOUR_MS, MINUTE_MS
from tools.load.encoding import records
from tools.load.traffic import Block, Traffic, TrafficSource
from udfs.logic.history.manifest import DATA_SETS, no_history
from udfs.stores.history_store import HistoryStore

DAY_MS = 24 * HOUR_MS
# Two minutes into a day: some views are of the day before.
NOW_MS = 1_795_046_400_000 // DAY_MS * DAY_MS + 2 * MINUTE_MS
BATCH = fastavro.parse_schema({"type": "array", "items": VIEWER_EVENT})
FIELDS = [field["name"] for field in VIEWER_EVENT["fields"]]


@pytest.fixture
def source() -> TrafficSource:
    return TrafficSource(
        Traffic(videos=200, duplicate_share=0.2, restamped_share=0.0, late_share=0.0, future_share=0.0)
    )


def events_of(block: Block, source: TrafficSource) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for _, value, _ in viewer_batches(block, source.videos, events_per_batch=100):
        some: Any = fastavro.schemaless_reader(io.BytesIO(value), BATCH, None)
        found += some
    return found


def test_events_with_viewers_are_those_of_view_batches_without_the_device(source: TrafficSource) -> None:
    block = source.block(3000, NOW_MS)
    made = list(viewer_batches(block, source.videos, events_per_batch=100))
    whole = list(records(block, source.videos, events_per_batch=100))
    assert [(salt, events) for salt, _, events in made] == [(record.salt, record.events) for record in whole]
    seen = set()
    for (_, value, _), record in zip(made, whole, strict=True):
        stream = io.BytesIO(value)
        found: Any = fastavro.schemaless_reader(stream, BATCH, None)
        assert stream.read() == b""
        expected = registry.decode(record.value)[1]["events"]
        for event in expected:
            event["viewed_at"] = round(event["viewed_at"].timestamp() * 1000)
            seen.add((event["viewer_id"] is None, event["country"] is None, event.pop("device") is None))
        assert found == expected
    assert len(seen) == 8


def test_polars_makes_the_tables_that_a_count_by_hand_makes(source: TrafficSource) -> None:
    events = [event for _ in range(2) for event in events_of(source.block(4000, NOW_MS), source)]
    once = {event["event_id"]: event for event in events}.values()
    wanted: dict[str, Counter[Key]] = {name: Counter() for name in COLUMNS}
    viewers: set[Key] = set()
    for event in once:
        names, at_ms = (event["video_id"], event["kind"]), event["viewed_at"]
        wanted["minutes"][*names, at_ms // MINUTE_MS] += 1
        wanted["hours"][*names, at_ms // HOUR_MS] += 1
        wanted["days"][*names, at_ms // DAY_MS] += 1
        wanted["countries"][*names, event["country"] or "", at_ms // HOUR_MS] += 1
        if event["viewer_id"] is not None:
            viewers.add((*names, at_ms // DAY_MS, event["viewer_id"]))
    wanted["viewers"].update(key[:-1] for key in viewers)
    assert len(once) < len(events)
    assert len({key[-1] for key in wanted["days"]}) == 2
    made = tables(pl.DataFrame(events).lazy())
    frames = zip(made, pl.collect_all(made.values()), strict=True)
    found = {name: counts_of(name, frame.to_arrow()) for name, frame in frames}
    compare("polars", found, {name: dict(counts) for name, counts in wanted.items()})
    minutes = {(str(video), str(kind), int(at)): n for (video, kind, at), n in wanted["minutes"].items()}
    compare("polars", found, by_minute_hour_day(minutes))


def test_hours_and_days_follow_from_minutes() -> None:
    day = 24 * 60
    minutes = {("a", "view", day - 1): 1, ("a", "view", day): 2, ("a", "view", day + 59): 3, ("b", "view", day + 60): 4}
    assert by_minute_hour_day(minutes) == {
        "minutes": minutes,
        "hours": {("a", "view", 23): 1, ("a", "view", 24): 5, ("b", "view", 25): 4},
        "days": {("a", "view", 0): 1, ("a", "view", 1): 5, ("b", "view", 1): 4},
    }


def test_before_an_hour_are_hours_and_days_that_have_ended_by_then() -> None:
    made: Tables = {
        "minutes": {("a", "view", 0): 1},
        "countries": {("a", "view", "DE", 47): 1, ("a", "view", "DE", 48): 1},
        "viewers": {("a", "view", 1): 1, ("a", "view", 2): 1},
    }
    cut = {"countries": {("a", "view", "DE", 47): 1}, "viewers": {("a", "view", 1): 1}}
    assert before(made, 48) == cut
    assert before(made, 71)["viewers"] == cut["viewers"]
    assert before(made, 72)["viewers"] == made["viewers"]


def test_what_differs_is_named_whoever_lacks_it() -> None:
    wanted: Tables = {"days": {("a", "view", 1): 5, ("b", "view", 1): 4}}
    compare("SQL", {**wanted, "hours": {}}, wanted)
    wrongs: list[Counts] = [{("a", "view", 1): 5}, {("a", "view", 1): 5, ("b", "view", 1): 3}]
    for wrong in wrongs:
        with pytest.raises(DisagreementError, match=r"days of SQL.*'b', 'view', 1"):
            compare("SQL", {"days": wrong}, wanted)
    with pytest.raises(DisagreementError, match=r"days of SQL: 3 rows instead of 2.*'c', 'view', 1"):
        compare("SQL", {"days": {**wanted["days"], ("c", "view", 1): 1}}, wanted)


def test_a_table_with_a_key_twice_is_refused() -> None:
    row = {"video_id": "a", "kind": "view", "at_day": 1, "views": 2}
    assert counts_of("days", pa.Table.from_pylist([row])) == {("a", "view", 1): 2}
    with pytest.raises(DisagreementError, match="days has 2 rows of 1 keys"):
        counts_of("days", pa.Table.from_pylist([row, row]))


def test_history_is_read_by_its_manifest_with_times_of_columns_or_files(tmp_path: Path) -> None:
    store = HistoryStore(pyarrow.fs.LocalFileSystem(), str(tmp_path))
    hour = 24 * 20_000
    names = {"video_id": pa.array(["a", "b"]), "kind": pa.array(["view", "view"])}

    def times(*ms: int) -> pa.Array:
        return pa.array(ms).cast(pa.timestamp("ms", "UTC"))

    made = {
        "minutes": {"minute": times(hour * HOUR_MS, hour * HOUR_MS + MINUTE_MS), "views": pa.array([1, 2])},
        "hours": {"hour": times(hour * HOUR_MS, hour * HOUR_MS), "views": pa.array([1, 2])},
        "days": {"views": pa.array([1, 2])},
        "countries": {
            "country": pa.array(["DE", ""]),
            "views": pa.array([1, 2]),
            "hour": times(hour * HOUR_MS, (hour + 1) * HOUR_MS),
        },
        "viewers": {"viewers": pa.array([1, 1]), "sketch": pa.array([b"", b""])},
    }
    files: dict[str, dict[int, dict[int, str]]] = {data_set: {} for data_set in DATA_SETS}
    for name, columns in made.items():
        store.put(f"{name}/one.parquet", pa.table({**names, **columns}))
        # What was there before a rollup is no longer named.
        store.put(f"{name}/old.parquet", pa.table({**names, **columns}))
        files[name][20_000 if name in ("days", "viewers") else hour] = {3: f"{name}/one.parquet"}
    # Hours of a day may lie in one file.
    files["hours"][hour + 1] = files["hours"][hour]
    manifest = msgspec.structs.replace(no_history(16), files=files)
    assert of_history(store, manifest) == {
        "minutes": {("a", "view", hour * 60): 1, ("b", "view", hour * 60 + 1): 2},
        "hours": {("a", "view", hour): 1, ("b", "view", hour): 2},
        "days": {("a", "view", 20_000): 1, ("b", "view", 20_000): 2},
        "countries": {("a", "view", "DE", hour): 1, ("b", "view", "", hour + 1): 2},
        "viewers": {("a", "view", 20_000): 1, ("b", "view", 20_000): 1},
    }


def test_the_target_is_about_sql_that_counts_minutes_alone() -> None:
    median = {"rollup-zstandard": 1_600_000, "sql-distinct": 500_000, "sql-count-distinct": 400_000, "polars": 9e9}
    told = list(verdicts({**median, "sql-tables": 800_000}))
    assert [line.split("rollup: ")[1] for line in told] == [
        "1,600,000.00 events/s; target 1,500,000: reached",
        "3.20 times the best SQL that counts minutes alone; target 3: reached",
        "2.00 times SQL that makes the same tables; no target",
    ]
    assert len(list(verdicts({"rollup-zstandard": 1.0}))) == 1
    assert "NOT REACHED" in next(iter(verdicts({"rollup-zstandard": 1.0})))
