"""Counts are the same whatever their age: from tables that forget and from history, with the clock moved. No server."""

import asyncio
import copy
import shutil
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import pyarrow.fs
import pytest

from services.query.api.parameters.series import STEPS
from services.query.counts.cold import MANIFESTS_KEPT, History, TooManyFilesError
from services.query.counts.completeness import HistoryAwayError, cut
from services.query.counts.series import Series
from services.query.counts.spans import inside, merged, outside
from tests.support.history import write_history
from tests.support.registers import applied_of, put_manifest, register_of
from tests.support.tables import Tables
from tests.support.zones import dated, local_days
from udfs.logic.history.manifest import VERSION, Manifest
from udfs.logic.history.register import Register
from udfs.logic.kernels.shards import shard_of
from udfs.stores.history_reader import HistoryFiles
from udfs.stores.history_store import HistoryStore

# Together they take seconds, some by what they build first: the fast tier leaves them out.
pytestmark = pytest.mark.slow

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


@pytest.fixture
def written(tmp_path: Path) -> HistoryStore:
    return HistoryStore(pyarrow.fs.LocalFileSystem(), str(tmp_path / "history"))


@pytest.fixture
def history(tmp_path: Path) -> History:
    return History(HistoryFiles(pyarrow.fs.LocalFileSystem(), str(tmp_path / "history")), files_max=500)


def hour_of(at: datetime) -> int:
    return int(at.timestamp()) // 3600


def applied(written: HistoryStore, manifest: Manifest) -> Register:
    """The register once all rows of this manifest are in the tables."""
    return register_of("s3://here", applied_of(put_manifest(written, manifest), manifest), WINDOWS[0])


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
        rolled = msgspec.structs.replace(manifest, through_hour=hour_of(now) - 1)
        tables = Tables(history, counts, now, applied(written, rolled))
        for step in STEPS.values():
            found = asyncio.run(tables.series("A", "view", Series(step, start, end), tables.known, now=now))
            assert found == want(step), f"{step} after {days} days"
        for zone in ZONES:
            there = ZoneInfo(zone)
            span = local_days(there, start.date(), end)
            sums = Counter({day: 0 for day, _ in dated(span, zip(span.bounds, span.sums([]), strict=False))})
            for at, n in mine:
                if at.astimezone(there).date() in sums:
                    sums[at.astimezone(there).date()] += n
            found = asyncio.run(tables.points("A", "view", span, tables.known, now=now))
            assert dated(span, found) == list(sums.items()), f"{zone} after {days} days"
        asked[days] = set(tables.asked)
    # What history has is asked of minutes no more.
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
    assert merged([(at[4], at[5]), (at[0], at[2]), (at[2], at[3]), (at[1], at[2])]) == [(at[0], at[3]), (at[4], at[5])]


START = WINDOWS[0]
SPAN = (START, START + 3 * DAY)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Manifest]:
    """A history's folder, of which each test has a copy, and its manifest."""
    folder = tmp_path_factory.mktemp("made") / "history"
    store, hours = HistoryStore(pyarrow.fs.LocalFileSystem(), str(folder)), (hour_of(START), hour_of(SPAN[1]))
    return folder, write_history(store, counts_from(START), shards=SHARDS, from_hour=hours[0], through_hour=hours[1])


@pytest.fixture
def manifest(made: tuple[Path, Manifest], tmp_path: Path) -> Manifest:
    folder, manifest = made
    shutil.copytree(folder, tmp_path / "history", dirs_exist_ok=True)
    return copy.deepcopy(manifest)


@pytest.fixture
def name(written: HistoryStore, manifest: Manifest) -> str:
    """Of the manifest, as the register has it."""
    return put_manifest(written, manifest)


def test_no_manifest_has_nothing_and_one_that_has_gone_is_an_error(history: History, name: str, tmp_path: Path) -> None:
    assert asyncio.run(history.rows("", "minutes", "A", "view", [SPAN])) == []
    (tmp_path / "history" / name).unlink()
    with pytest.raises(HistoryAwayError, match=f"history cannot be read.*{name}"):
        asyncio.run(history.rows(name, "minutes", "A", "view", [SPAN]))


def test_a_manifest_is_read_once_and_each_is_another(
    history: History, written: HistoryStore, manifest: Manifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = []
    for place in range(MANIFESTS_KEPT + 2):
        files = {**manifest.files, "hours": dict(list(manifest.files["hours"].items())[place:])}
        names.append(put_manifest(written, msgspec.structs.replace(manifest, run=place + 1, files=files)))
    read: list[str] = []
    plain = HistoryFiles.manifest

    def noted(self: HistoryFiles, name: str) -> Manifest:
        read.append(name)
        return plain(self, name)

    monkeypatch.setattr(HistoryFiles, "manifest", noted)

    async def hours(name: str) -> int:
        return len(await history.rows(name, "hours", "A", "view", [SPAN]))

    async def ask() -> None:
        assert await asyncio.gather(*(hours(names[0]) for _ in range(5))) == [72] * 5
        assert read == names[:1]
        assert [await hours(name) for name in names] == [72 - place for place in range(len(names))]
        # The oldest are forgotten, and read again when somebody asks after all.
        assert [await hours(name) for name in (names[-1], names[0])] == [72 - len(names) + 1, 72]
        assert read == [*names, names[0]]

    asyncio.run(ask())


def test_what_is_no_manifest_or_another_version_is_an_error(
    history: History, written: HistoryStore, manifest: Manifest, tmp_path: Path
) -> None:
    newer = put_manifest(written, msgspec.structs.replace(manifest, version=VERSION + 1))
    (tmp_path / "history" / "manifests" / "half.json").write_bytes(b'{"version": 3')
    for name, text in ((newer, f"version {VERSION + 1}"), ("manifests/half.json", "truncated")):
        with pytest.raises(HistoryAwayError, match=f"history cannot be read.*{text}"):
            asyncio.run(history.rows(name, "hours", "A", "view", [SPAN]))


def test_of_an_hour_in_part_there_is_that_part(history: History, name: str) -> None:
    quarter = timedelta(minutes=15)
    spans = [(START + quarter, START + HOUR + quarter), (START + 3 * HOUR, START + 3 * HOUR + quarter)]
    found = asyncio.run(history.rows(name, "minutes", "A", "view", spans))
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
    name = put_manifest(written, manifest)
    read: list[str] = []
    plain = HistoryFiles.rows

    def noted(self: HistoryFiles, path: str, *arguments: str) -> list[tuple[int, int]]:
        read.append(path)
        return plain(self, path, *arguments)

    monkeypatch.setattr(HistoryFiles, "rows", noted)
    found = asyncio.run(history.rows(name, "minutes", "A", "view", [(START, START + 3 * HOUR)]))
    want = [
        (datetime.fromtimestamp(minute * 60, UTC).replace(tzinfo=None), views)
        for (video, kind, minute), views in counts_from(START).items()
        if video + kind == "Aview" and minute // 60 < first + 3
    ]
    assert sorted(found) == want
    assert sorted(read) == sorted(["minutes/three.parquet", manifest.files["minutes"][first + 2][shard]])


def test_a_file_that_has_gone_is_an_error(history: History, name: str, manifest: Manifest, tmp_path: Path) -> None:
    span = [(START, START + HOUR)]
    assert asyncio.run(history.rows(name, "hours", "A", "view", span))
    for path in manifest.files["hours"][hour_of(START)].values():
        (tmp_path / "history" / path).unlink()
    history._files._footer.cache_clear()
    with pytest.raises(HistoryAwayError, match="cannot be read"):
        asyncio.run(history.rows(name, "hours", "A", "view", span))


def test_too_many_files_are_refused(tmp_path: Path, name: str) -> None:
    history = History(HistoryFiles(pyarrow.fs.LocalFileSystem(), str(tmp_path / "history")), files_max=10)
    assert asyncio.run(history.rows(name, "hours", "A", "view", [(START, START + 10 * HOUR)]))
    with pytest.raises(TooManyFilesError, match="asks for 11 files of history, more than 10"):
        asyncio.run(history.rows(name, "hours", "A", "view", [(START, START + 11 * HOUR)]))


class Away:
    """A store that does not answer."""

    def open_input_stream(self, _path: str) -> Any:
        raise OSError("connection refused")


def test_a_store_that_does_not_answer_is_an_error_for_old_counts_alone(manifest: Manifest) -> None:
    history = History(HistoryFiles(Away(), "s3://bucket/history"), files_max=10)
    now = SPAN[1] + 30 * DAY
    rolled = msgspec.structs.replace(manifest, through_hour=hour_of(now) - 1)
    tables = Tables(
        history, counts_from(START), now, register_of("s3://here", applied_of("manifests/1-a.json", rolled), now)
    )
    for series in (Series(STEPS["minute"], *SPAN), Series(HOUR, START - 100 * DAY, START)):
        with pytest.raises(HistoryAwayError, match="does not answer: OSError"):
            asyncio.run(tables.series("A", "view", series, tables.known, now=now))
    for series in (Series(HOUR, *SPAN), Series(DAY, *SPAN)):
        assert all(views for _, views in asyncio.run(tables.series("A", "view", series, tables.known, now=now)))


def test_what_was_read_of_a_file_is_held_and_right(tmp_path: Path, name: str) -> None:
    """Also where an hour that a file still has lies in another file by now."""
    files = HistoryFiles(pyarrow.fs.LocalFileSystem(), str(tmp_path / "history"))
    held = History(files, files_max=1000, held_bytes_max=1 << 20)
    plain = History(files, files_max=1000)
    read: list[str] = []
    rows = files.rows

    def noted(path: str, *values: str) -> list[tuple[int, int]]:
        read.append(path)
        return rows(path, *values)

    files.rows = noted  # type: ignore[method-assign, assignment]

    async def ask() -> None:
        for spans in ([SPAN], [(START, START + DAY)], [(START + timedelta(minutes=7), START + timedelta(hours=3))]):
            for video, kind in (("A", "view"), ("B", "view"), ("nobody", "view")):
                want = await plain.rows(name, "minutes", video, kind, spans)
                assert sorted(await held.rows(name, "minutes", video, kind, spans)) == sorted(want)
        read.clear()
        assert await held.rows(name, "minutes", "A", "view", [SPAN])
        assert read == []
        # Of hours nothing was read, which lie in files of their own.
        assert await held.rows(name, "hours", "A", "view", [SPAN])
        assert read

    asyncio.run(ask())
    held.stop()
    plain.stop()
