"""What a shard makes of marks, run after run: Parquet on a local folder, and the rows that its manifests owe."""

import uuid
from collections import Counter
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.fs
import pytest

from schemas import registry
from settings import CountingSettings, HistorySettings, KafkaSettings
from tools import block_list
from tools import suspects as tool
from tools.suspects import Suspect
from udfs.logic.erasure.erasures import Eraser
from udfs.logic.erasure.viewer_ids import viewer_ids
from udfs.logic.history.manifest import Manifest, MarkRules, SliceInfo, SliceName, date_of, made_by, no_history
from udfs.logic.history.rollup_plan import Recount, ShardResult, plan_of, published
from udfs.logic.slices.audience import CELLS, COUNTRIES, VIEWERS, Sums, viewer_hash
from udfs.logic.slices.slice_counts import SliceCounts, no_known
from udfs.logic.stream.block_list import FOR_GOOD_MS
from udfs.logic.stream.block_table import Period
from udfs.stages.shard_tables import ShardTables
from udfs.stages.table_rows import TableRows
from udfs.stores.archive import ArchiveFile, Record
from udfs.stores.history_store import HistoryStore

RULES = CountingSettings(shards=1)
LATE_HOURS = 40
# (video, viewer, hour, minute of it)
View = tuple[str, str | None, int, int]


def rules(minute_max: int, day_max: int) -> HistorySettings:
    return HistorySettings(
        late_hours=LATE_HOURS, late_file_hours=0, viewer_minute_max=minute_max, viewer_day_max=day_max
    )


MINUTE_3 = rules(3, 0)
DAY_4 = rules(0, 4)
NONE = rules(0, 0)
ROBOT: list[View] = [("a", "robot", 3, 7)] * 5


class Rows:
    """Stands for HistoryRows: keeps what is told of viewers and changes."""

    def __init__(self) -> None:
        self.viewers_of: dict[date, dict[str, tuple[int, int]]] = {}
        self.told: list[tuple[object, ...]] = []
        self.at: list[datetime] = []

    def viewers(self, table: pa.Table, day: date) -> None:
        self.viewers_of[day] = {r["video_id"]: (r["viewers"], r["marked"]) for r in table.to_pylist()}

    def changes(self, table: pa.Table, day: date, run: int, at: datetime, reason: str, rules: str) -> None:
        self.at.append(at)
        self.told += [(run, r["video_id"], r["views"], r["marked"], day, reason, rules) for r in table.to_pylist()]

    def __getattr__(self, name: str) -> object:
        assert name in {"hours", "days", "totals", "kinds"}
        return lambda *_: None


class Rollups:
    """A history of one shard, one partition."""

    def __init__(self, folder: Path) -> None:
        self.store = HistoryStore(pyarrow.fs.LocalFileSystem(), str(folder / "history"))
        self.rows = Rows()
        self.manifest = no_history(1)

    def add(self, hour: int, views: list[View]) -> SliceInfo:
        """Write the slice of an hour of arrival."""
        cells, viewers = Counter((v, h, m) for v, _, h, m in views), Counter(views)
        cell_rows = [
            {"shard": 0, "hour": h, "kind": "view", "video_id": v, "minute": h * 60 + m, "views": n, "late_added": 0}
            for (v, h, m), n in sorted(cells.items(), key=lambda one: one[0][1:])
        ]
        viewer_rows = [
            {
                "shard": 0,
                "hour": h,
                "kind": "view",
                "video_id": v,
                "minute": h * 60 + m,
                "viewer": viewer_hash(who),
                "views": n,
            }
            for (v, who, h, m), n in sorted(viewers.items(), key=lambda one: one[0][2])
            if who
        ]
        sums = Sums(
            pa.Table.from_pylist(cell_rows, CELLS),
            COUNTRIES.empty_table(),
            pa.Table.from_pylist(viewer_rows, VIEWERS),
        )
        counts = SliceCounts(sums, no_known(), {}, {}, Counter())
        fields = {"next_hour": hour + 1, "first_offset": 0, "next_offset": 9, "records": 1, "gaps": []}
        return self.store.put_slice(SliceName(hour, 0), counts, fields)

    def make(self, new: list[SliceInfo], history: HistorySettings, token: int = 1) -> Manifest:
        """All files of a rollup, and the manifest that comes of them, which is not published."""
        before, counted = self.manifest, [Recount(new)]
        plan, made = plan_of(before, counted, RULES, 1, history), made_by(token, "test")
        tables = ShardTables(
            self.store, shard=0, made=made, before=before, plan=plan, new=new, channel_of={}, eraser=Eraser([])
        )
        results = [ShardResult(0, counted, tables.make(), made)]
        return published(before, "before", plan, results, {}, RULES, history, token=token, made_ms=plan.run * 1000)

    def run(self, new: list[SliceInfo], history: HistorySettings) -> None:
        before = self.manifest
        self.manifest = self.make(new, history, token=before.token + 10)
        self.write(before)

    def write(self, before: Manifest | None) -> None:
        """The rows that the manifest owes."""
        rows: Any = self.rows
        TableRows(self.store, rows, self.manifest, before, hours_from=0, check=lambda: None).write_shard(0)

    def marks(self, day: int) -> list[tuple[object, ...]]:
        return [tuple(row.values()) for row in self.store.get(self.manifest.files["marks"][day][0]).to_pylist()]


@pytest.fixture
def rollups(tmp_path: Path) -> Rollups:
    """Day 0 is complete: a robot viewed "a" five times in a minute."""
    made = Rollups(tmp_path)
    made.run(
        [made.add(3, [*ROBOT, ("a", "ann", 3, 7), ("b", "ann", 3, 8), ("a", None, 3, 9)]), made.add(24, [])], MINUTE_3
    )
    return made  # fmt: skip


DAY_0 = date_of(0)


def test_rules_that_change_mark_past_days_again_and_what_was_is_kept(rollups: Rollups) -> None:
    assert rollups.marks(0) == [("a", "view", 2, 1)]
    assert rollups.rows.viewers_of[DAY_0] == {"a": (2, 2), "b": (1, 0)}
    assert rollups.rows.at == [datetime.fromtimestamp(1, UTC)]
    first = "viewer_minute_max=3 viewer_day_max=0"
    told: list[tuple[object, ...]] = [(1, "a", 7, 2, DAY_0, "day complete", first)]
    assert rollups.rows.told == told

    rollups.run([], NONE)
    assert rollups.marks(0) == []
    assert rollups.rows.viewers_of[DAY_0] == {"a": (2, 0), "b": (1, 0)}
    told.append((2, "a", 7, 0, DAY_0, "rules changed", "viewer_minute_max=0 viewer_day_max=0"))
    assert rollups.rows.told == told

    rollups.run([], DAY_4)
    assert rollups.marks(0) == [("a", "view", 1, 1)]
    second = "viewer_minute_max=0 viewer_day_max=4"
    told.append((3, "a", 7, 1, DAY_0, "rules changed", second))
    assert rollups.rows.told == told

    # Views are there with the next rollup, marks when nothing can be added any more.
    rollups.run([rollups.add(25, [ROBOT[0], ("b", "ann", 3, 8)])], DAY_4)
    told.append((4, "a", 8, 1, DAY_0, "late events", second))
    assert rollups.rows.told == told
    assert len(tool.suspects(rollups.store, rollups.manifest)) == 1
    rollups.run([rollups.add(24 + LATE_HOURS, [])], DAY_4)
    assert rollups.marks(0) == [("a", "view", 2, 1)]
    told.append((5, "a", 8, 2, DAY_0, "day final", second))
    assert rollups.rows.told == told
    # Nobody can be named any more, and no rule changes anything.
    assert tool.suspects(rollups.store, rollups.manifest) == []
    assert rollups.manifest.marked_by == {0: MarkRules(0, 4)}
    rollups.run([rollups.add(25 + LATE_HOURS, [])], NONE)
    assert rollups.rows.told == told


def test_an_attempt_at_other_rules_leaves_nothing_when_they_are_put_back(rollups: Rollups) -> None:
    """Rows are written by whoever has published, and its files are under names of their own."""
    told = list(rollups.rows.told)
    rollups.make([], DAY_4)
    assert rollups.rows.told == told
    assert rollups.rows.viewers_of[DAY_0] == {"a": (2, 2), "b": (1, 0)}
    assert rollups.marks(0) == [("a", "view", 2, 1)]
    # Nothing is to be marked again.
    rollups.run([], MINUTE_3)
    assert rollups.rows.told == told
    assert rollups.marks(0) == [("a", "view", 2, 1)]


def test_rows_that_a_manifest_owes_are_the_same_whoever_writes_them_and_how_often(rollups: Rollups) -> None:
    before = rollups.manifest
    rollups.run([], DAY_4)
    (_, once), at = rollups.rows.told, rollups.rows.at[-1]
    assert once[:4] == (2, "a", 7, 1)
    rollups.rows.viewers_of.clear()
    rollups.write(before)
    assert rollups.rows.told[2:] == [once]
    assert rollups.rows.at[-1] == at
    assert rollups.rows.viewers_of[DAY_0] == {"a": (2, 1), "b": (1, 0)}
    # Where the manifest before is not known, neither is what changed.
    rollups.write(None)
    assert len(rollups.rows.told) == 3


class Archived:
    """Stands for the archive: records by hour of arrival."""

    def __init__(self, records: dict[int, list[Record]]) -> None:
        self._records = records
        self.read_hours: list[int] = []

    def files(self, hours: list[int], partition: int) -> list[ArchiveFile]:
        return [ArchiveFile(hour, partition, "", 0, 0.0) for hour in hours if hour in self._records]

    def read(self, file: ArchiveFile) -> list[Record]:
        self.read_hours.append(file.hour)
        return self._records[file.hour]


def record(viewers: list[str | None]) -> Record:
    events = [
        {"event_id": uuid.UUID(int=n).bytes, "video_id": "a", "viewed_at": 0, "kind": "view", "viewer_id": viewer}
        for n, viewer in enumerate(viewers)
    ]
    batch = {"batch_id": bytes(16), "producer_id": "test", "salt": 0, "salts": 1, "produced_at": 0, "events": events}
    return Record(0, 0, bytes(4), registry.encode("ViewBatch", batch))


def test_a_hash_is_found_in_a_record_and_no_other() -> None:
    _, _, key, value = record(["ann", None, "röbot", "", "röbot", "eve"])
    wanted = {viewer_hash("röbot"), viewer_hash("eve"), viewer_hash("nobody")}
    found = {viewer_hash("röbot"): "röbot", viewer_hash("eve"): "eve"}
    assert viewer_ids(key, value, 1, wanted) == found
    # The first half alone is not enough.
    assert viewer_ids(key, value, 1, {viewer_hash("eve")[:8] + bytes(8)}) == {}
    assert value is not None
    for bad in (None, b"", value[:-1], b"noise"):
        assert viewer_ids(key, bad, 1, wanted) == {}


def test_found_viewers_are_named_by_the_archive_of_the_hours_they_viewed_in(rollups: Rollups) -> None:
    (found,) = tool.suspects(rollups.store, rollups.manifest)
    assert found == Suspect(DAY_0, viewer_hash("robot"), "view", "a", 5, 2)
    assert tool.suspects(rollups.store, rollups.manifest, date_of(1)) == []
    # Of hour 24 it is known without a look that the robot is not in it.
    archive: Any = Archived({3: [record(["ann"]), record(["robot"]), record(["robot"])], 24: [record(["robot"])]})
    names = tool.names(rollups.store, archive, rollups.manifest, [found], 1)
    assert names == {viewer_hash("robot"): "robot"}
    assert archive.read_hours == [3]
    gone: Any = Archived({})
    assert tool.names(rollups.store, gone, rollups.manifest, [found], 1) == {}


def test_who_has_few_marked_views_in_all_can_be_left_out() -> None:
    ann, bob = viewer_hash("ann"), viewer_hash("bob")
    found = [Suspect(date_of(day), who, "view", "a", 9, n) for day, who, n in ((0, ann, 2), (0, bob, 3), (1, ann, 2))]
    assert tool.with_marked_of(found, 4) == [found[0], found[2]]
    assert tool.with_marked_of(found, 5) == []


def test_who_is_blocked_for_good_is_not_blocked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    known = {"ann": [Period(1, FOR_GOOD_MS)], "bob": [Period(1, 2)]}
    monkeypatch.setattr(block_list, "periods", lambda _: known)
    assert tool.not_blocked(KafkaSettings(), ["eve", "bob", "ann"]) == ["bob", "eve"]
